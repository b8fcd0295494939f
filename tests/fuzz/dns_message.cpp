// needs: dns
// SPDX-License-Identifier: GPL-2.0-or-later
#include <cstdint>
#include <cstdlib>
#include <set>
#include <span>

#include "dns/message.hpp"
#include "dns/schedule.hpp"

namespace {

using namespace icqgate;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_answer(const dns::Answer& answer, std::size_t size) {
  using std::chrono::seconds;
  require(dns::parse_name(answer.question) == answer.question);
  require(answer.type == dns::Type::A || answer.type == dns::Type::Aaaa);
  std::set<IpAddress> seen;
  for (const auto& [address, ttl] : answer.addresses) {
    require(address.is_v4() == (answer.type == dns::Type::A));
    require(ttl >= seconds{0} && ttl <= seconds{0x7fffffff});
    require(seen.insert(address).second);
  }
  require(answer.addresses.size() * 15 <= size);  // no record is smaller
  require(answer.addresses.empty() || (answer.rcode == 0 && !answer.truncated));
  require(answer.addresses.empty() || answer.negative_ttl == seconds{0});
}

// What the schedule makes of it: nothing but what was clamped and is held, and a deadline ahead.
void check_schedule(const dns::Answer& answer) {
  const dns::TimePoint now{std::chrono::hours{1}};
  dns::SchedulePolicy policy;
  policy.most_addresses = 8;
  dns::Schedule schedule{{answer.question}, policy};
  require(schedule.due(now).size() == 2);
  const dns::Query query{answer.question, answer.type};
  const auto fresh = schedule.answered(query, answer, now);
  require(fresh.size() <= policy.most_addresses && fresh.empty() == answer.addresses.empty());
  for (const auto& item : fresh) {
    require(schedule.holds(item.address) && item.added);
    require(item.ttl >= policy.ttl_min && item.ttl <= policy.ttl_max);
  }
  require(schedule.expire(now).empty());
  require(schedule.next_deadline().value_or(now) > now);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes message = std::as_bytes(std::span{data, size});
  const auto answer = dns::parse_answer(message);
  if (answer) {
    check_answer(*answer, size);
    check_schedule(*answer);
  }
  // The same bytes as a name: what comes out goes in again.
  if (const auto name = dns::parse_name(as_text(message))) require(dns::parse_name(*name) == name);
  return 0;
}
