// SPDX-License-Identifier: GPL-2.0-or-later
#include "dns/schedule.hpp"

#include <algorithm>
#include <iterator>

namespace icqgate::dns {
namespace {

using std::chrono::seconds;

constexpr Type other(Type type) noexcept { return type == Type::A ? Type::Aaaa : Type::A; }

// RFC 1035 4.1.1, by the names that resolvers and their logs use.
std::string rcode_name(std::uint8_t rcode) {
  switch (static_cast<Rcode>(rcode)) {
    case Rcode::NoError:
      return "NOERROR";
    case Rcode::FormErr:
      return "FORMERR";
    case Rcode::ServFail:
      return "SERVFAIL";
    case Rcode::NxDomain:
      return "NXDOMAIN";
    case Rcode::NotImp:
      return "NOTIMP";
    case Rcode::Refused:
      return "REFUSED";
  }
  return "RCODE" + std::to_string(rcode);
}

}  // namespace

Schedule::Schedule(std::vector<DomainName> names, SchedulePolicy policy) : policy_{policy} {
  for (auto& name : names) {
    entries_.try_emplace(Query{name, Type::A});
    entries_.try_emplace(Query{std::move(name), Type::Aaaa});
  }
}

seconds Schedule::clamped(seconds ttl) const noexcept {
  return std::max(policy_.ttl_min, std::min(ttl, policy_.ttl_max));
}

std::vector<Query> Schedule::due(TimePoint now) {
  std::vector<Query> queries;
  for (auto& [query, entry] : entries_) {
    if (entry.asked_until && *entry.asked_until <= now) note_failure(entry, "timed out", now);
    if (entry.asked_until || entry.next_ask > now) continue;
    entry.asked_until = now + policy_.timeout;
    queries.push_back(query);
  }
  return queries;
}

// When the first of its addresses ends, or a little before (2 s, or a tenth of a short TTL), so that the
// answer is there in time. Addresses that end within half of ttl_min were just asked for, and not named: they
// cause no query.
TimePoint Schedule::next_ask_after(const Entry& entry, TimePoint now) const {
  const TimePoint soonest = now + TimePoint::duration{policy_.ttl_min} / 2;
  TimePoint first = now + clamped(policy_.ttl_max);
  for (const auto& [address, good] : entry.addresses) {
    if (good.until <= soonest) continue;
    const auto early = std::min<TimePoint::duration>(seconds{2}, TimePoint::duration{good.ttl} / 10);
    first = std::min<TimePoint>(first, good.until - early);
  }
  return std::max(first, soonest);
}

void Schedule::note_failure(Entry& entry, std::string why, TimePoint now) const {
  auto wait = std::min(policy_.retry_first, policy_.retry_most);
  for (std::uint32_t i = 0; i < entry.failures && wait < policy_.retry_most; ++i)
    wait = std::min(2 * wait, policy_.retry_most);
  if (wait < policy_.retry_most) ++entry.failures;
  entry.asked_until.reset();
  entry.next_ask = now + wait;
  entry.outcome = Outcome::Failure;
  entry.last_error = std::move(why);
}

std::vector<Schedule::Fresh> Schedule::answered(const Query& query, const Answer& answer, TimePoint now) {
  const auto found = entries_.find(query);
  if (found == entries_.end() || !found->second.asked_until) return {};
  if (answer.question != query.name || answer.type != query.type) return {};
  Entry& entry = found->second;

  const bool no_error = answer.rcode == static_cast<std::uint8_t>(Rcode::NoError);
  const bool nxdomain = answer.rcode == static_cast<std::uint8_t>(Rcode::NxDomain);
  if (answer.truncated || (!no_error && !nxdomain)) {
    note_failure(entry, answer.truncated ? "truncated" : rcode_name(answer.rcode), now);
    return {};
  }

  std::vector<AddressRecord> records;
  for (const auto& record : answer.addresses) {
    if (records.size() >= std::max<std::size_t>(policy_.most_addresses, 1)) break;
    if (no_error && record.address.is_v4() == (query.type == Type::A)) records.push_back(record);
  }
  entry.asked_until.reset();
  entry.failures = 0;  // the resolver works, whatever it says
  if (records.empty()) {
    entry.next_ask = now + clamped(answer.negative_ttl);
    entry.outcome = nxdomain ? Outcome::Failure : Outcome::NoData;
    // Most login hosts have no IPv6 address: nothing to report.
    entry.last_error = nxdomain ? "NXDOMAIN" : query.type == Type::A ? "NODATA" : "";
    return {};
  }

  ++answers_;
  std::vector<Fresh> fresh;
  for (const auto& record : records) {
    const auto ttl = clamped(record.ttl);
    // One that was evicted but not yet returned by expire() has never left, as the caller sees it.
    const bool added = !holds(record.address) && evicted_.erase(record.address) == 0;
    entry.addresses.insert_or_assign(record.address, Good{now + ttl, ttl, answers_});
    const auto until = latest_end(record.address).value_or(now + ttl);
    fresh.push_back({record.address, std::chrono::ceil<seconds>(until - now), added});
  }
  evict(entry);
  entry.next_ask = next_ask_after(entry, now);
  entry.outcome = Outcome::Success;
  entry.last_error.clear();
  entry.last_success = now;
  return fresh;
}

void Schedule::failed(const Query& query, std::string why, TimePoint now) {
  const auto found = entries_.find(query);
  if (found == entries_.end() || !found->second.asked_until) return;
  note_failure(found->second, std::move(why), now);
}

// Those of the newest answer are never more than the limit, so they stay.
void Schedule::evict(Entry& entry) {
  const std::size_t most = std::max<std::size_t>(policy_.most_addresses, 1);
  while (entry.addresses.size() > most) {
    const auto oldest = std::ranges::min_element(
        entry.addresses, [](const auto& a, const auto& b) { return a.second.heard < b.second.heard; });
    const IpAddress address = oldest->first;
    entry.addresses.erase(oldest);
    if (!holds(address)) evicted_.insert(address);
  }
}

// Does an address of `entry` stay although its time is over?
bool Schedule::keeps_expired(const Query& query, const Entry& entry) const {
  if (entry.asked_until || entry.outcome == Outcome::Failure) return true;
  if (entry.outcome != Outcome::NoData) return false;
  const auto sibling = entries_.find(Query{query.name, other(query.type)});
  return sibling == entries_.end() || sibling->second.outcome != Outcome::Success;
}

std::vector<IpAddress> Schedule::expire(TimePoint now) {
  std::set<IpAddress> over;
  over.swap(evicted_);
  for (auto& [query, entry] : entries_) {
    if (entry.next_ask <= now || keeps_expired(query, entry)) continue;
    std::erase_if(entry.addresses, [&](const auto& item) {
      if (item.second.until > now) return false;
      over.insert(item.first);
      return true;
    });
  }
  std::vector<IpAddress> gone;
  std::ranges::copy_if(over, std::back_inserter(gone),
                       [this](const auto& address) { return !holds(address); });
  return gone;
}

std::optional<TimePoint> Schedule::next_deadline() const {
  std::optional<TimePoint> first;
  const auto consider = [&first](TimePoint time) { first = std::min(first.value_or(time), time); };
  if (!evicted_.empty()) consider(TimePoint{});
  for (const auto& [query, entry] : entries_) {
    consider(entry.asked_until.value_or(entry.next_ask));
    if (keeps_expired(query, entry)) continue;
    for (const auto& [address, good] : entry.addresses) consider(good.until);
  }
  return first;
}

std::optional<TimePoint> Schedule::latest_end(const IpAddress& address) const {
  std::optional<TimePoint> latest;
  for (const auto& [query, entry] : entries_) {
    const auto found = entry.addresses.find(address);
    if (found != entry.addresses.end())
      latest = std::max(latest.value_or(found->second.until), found->second.until);
  }
  return latest;
}

std::vector<Schedule::NameState> Schedule::state() const {
  std::vector<NameState> states;
  for (const auto& [query, entry] : entries_) {
    NameState& state = states.emplace_back();
    state.query = query;
    for (const auto& [address, good] : entry.addresses) state.addresses.emplace_back(address, good.until);
    state.last_error = entry.last_error;
    state.last_success = entry.last_success;
    state.next_ask = entry.next_ask;
  }
  return states;
}

bool Schedule::holds(const IpAddress& address) const {
  return std::ranges::any_of(entries_,
                             [&](const auto& item) { return item.second.addresses.contains(address); });
}

}  // namespace icqgate::dns
