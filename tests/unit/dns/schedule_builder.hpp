// SPDX-License-Identifier: GPL-2.0-or-later
// A schedule of one name, and the answers it may get.
#pragma once

#include <catch2/catch.hpp>
#include <vector>

#include "dns/schedule.hpp"

namespace icqgate::test {

using namespace dns;
using namespace std::chrono_literals;

using Addresses = std::vector<IpAddress>;
using Hurried = Schedule::Hurried;
inline constexpr TimePoint kStart{1000h};
inline const Query kA{"login.test", Type::A};
inline const Query kAaaa{"login.test", Type::Aaaa};

inline IpAddress v4(std::uint32_t last) { return Ipv4{0xc0000200U + last}; }
inline IpAddress v6(std::uint8_t last) {
  std::array<std::uint8_t, 16> bytes{0x20, 1, 0x0d, 0xb8};
  bytes[15] = last;
  return Ipv6{bytes};
}

inline Answer answer_of(const Query& query, std::vector<AddressRecord> addresses) {
  Answer answer;
  answer.question = query.name;
  answer.type = query.type;
  answer.addresses = std::move(addresses);
  return answer;
}
inline Answer negative(const Query& query, Rcode rcode, std::chrono::seconds ttl = 0s) {
  Answer answer = answer_of(query, {});
  answer.rcode = static_cast<std::uint8_t>(rcode);
  answer.negative_ttl = ttl;
  return answer;
}

// A schedule that was started, with both queries of its one name under way.
inline Schedule started(SchedulePolicy policy = {}, TimePoint now = kStart) {
  Schedule schedule{{"login.test"}, policy};
  REQUIRE(schedule.due(now) == std::vector<Query>{kA, kAaaa});
  return schedule;
}
// The same with A answered and AAAA known not to exist for an hour.
inline Schedule with_addresses(std::vector<AddressRecord> addresses, SchedulePolicy policy = {}) {
  Schedule schedule = started(policy);
  schedule.answered(kAaaa, negative(kAaaa, Rcode::NoError, 1h), kStart);
  schedule.answered(kA, answer_of(kA, std::move(addresses)), kStart);
  return schedule;
}

// The addresses that expire() drops, whatever name.
inline Addresses dropped(Schedule& schedule, TimePoint now) {
  Addresses addresses;
  for (const auto& [query, address] : schedule.expire(now)) addresses.push_back(address);
  return addresses;
}

inline Schedule::NameState state_of(const Schedule& schedule, const Query& query) {
  for (auto& state : schedule.state())
    if (state.query == query) return state;
  FAIL("no such query");
  return {};
}

}  // namespace icqgate::test
