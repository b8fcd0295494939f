// SPDX-License-Identifier: GPL-2.0-or-later
#include "dns/schedule.hpp"

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

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

// The first `most` addresses of that type.
std::vector<AddressRecord> of_type(Type type, const Answer& answer, std::size_t most) {
  std::vector<AddressRecord> records;
  for (const auto& record : answer.addresses) {
    if (records.size() >= std::max<std::size_t>(most, 1)) break;
    if (record.address.is_v4() == (type == Type::A)) records.push_back(record);
  }
  return records;
}

}  // namespace

Schedule::Schedule(std::vector<DomainName> names, SchedulePolicy policy)
    : policy_{policy}, random_{policy.seed} {
  for (auto& name : names) {
    entries_.try_emplace(Query{name, Type::A});
    entries_.try_emplace(Query{std::move(name), Type::Aaaa});
  }
}

void Schedule::reconfigure(const std::vector<DomainName>& names, SchedulePolicy policy) {
  // What was spent is counted in shares of the old budget, which names share too.
  bool other = policy.queries_per_minute != policy_.queries_per_minute;
  policy_ = policy;
  other = std::erase_if(entries_,
                        [&](const auto& entry) {
                          return std::ranges::find(names, entry.first.name) == names.end();
                        }) > 0 ||
          other;
  for (const auto& name : names)
    for (const Type type : {Type::A, Type::Aaaa})
      other = entries_.try_emplace(Query{name, type}).second || other;
  if (other) spent_until_ = hurried_until_ = {};
}

// Between nothing and jitter_percent of `span`.
TimePoint::duration Schedule::jitter(TimePoint::duration span) {
  if (policy_.jitter_percent == 0 || span.count() <= 0) return {};
  random_ += 0x9e3779b97f4a7c15u;  // splitmix64
  std::uint64_t mixed = (random_ ^ (random_ >> 30)) * 0xbf58476d1ce4e5b9u;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
  const auto thousandths = static_cast<TimePoint::rep>((mixed ^ (mixed >> 31)) % 1001);
  return span / 100'000 * (thousandths * policy_.jitter_percent);
}

// What one query costs of a minute.
TimePoint::duration Schedule::share() const {
  return TimePoint::duration{std::chrono::minutes{1}} / policy_.queries_per_minute;
}

// From when on the budget has room for one more query.
TimePoint Schedule::affordable() const {
  if (policy_.queries_per_minute == 0) return {};
  constexpr std::size_t kLeastAtOnce = 30;
  const auto at_once = static_cast<TimePoint::rep>(std::max(kLeastAtOnce, entries_.size()));
  return spent_until_ - share() * (at_once - 1);
}

bool Schedule::spend(TimePoint now) {
  if (policy_.queries_per_minute == 0) return true;
  if (affordable() > now) return false;
  spent_until_ = std::max(spent_until_, now) + share();
  return true;
}

seconds Schedule::clamped(seconds ttl) const noexcept {
  return std::max(policy_.ttl_min, std::min(ttl, policy_.ttl_max));
}

std::vector<Query> Schedule::due(TimePoint now) {
  // Those that are due longest come first: a budget that is too small makes all of them late, none never.
  std::vector<std::tuple<TimePoint, const Query*, Entry*>> waiting;
  for (auto& [query, entry] : entries_) {
    if (entry.asked_until && *entry.asked_until <= now) note_failure(entry, "timed out", now);
    if (entry.asked_until) {
      if (entry.hurried && *entry.hurried <= now) waiting.emplace_back(*entry.hurried, &query, &entry);
    } else if (entry.next_ask <= now) {
      waiting.emplace_back(entry.next_ask, &query, &entry);
    }
  }
  std::ranges::stable_sort(waiting, {}, [](const auto& one) { return std::get<TimePoint>(one); });
  std::vector<Query> queries;
  for (auto& [since, query, entry] : waiting) {
    if (!spend(now)) break;
    entry->hurried.reset();
    entry->last_asked = now;
    ++entry->under_way;
    entry->asked_until = now + policy_.timeout;
    queries.push_back(*query);
  }
  return queries;
}

// When the first of its addresses ends, or a little before (2 s, or a tenth of a short TTL), so that the
// answer is there in time. Addresses that end within half of ttl_min were just asked for, and not named: they
// cause no query.
TimePoint Schedule::next_ask_after(const Entry& entry, TimePoint now) {
  const TimePoint soonest = now + TimePoint::duration{policy_.ttl_min} / 2;
  TimePoint first = now + clamped(policy_.ttl_max);
  for (const auto& [address, good] : entry.addresses) {
    if (good.until <= soonest) continue;
    const auto early = std::min<TimePoint::duration>(seconds{2}, TimePoint::duration{good.ttl} / 10);
    first = std::min<TimePoint>(first, good.until - early);
  }
  first -= jitter(first - now);
  return std::max(first, soonest);
}

void Schedule::note_failure(Entry& entry, std::string why, TimePoint now) {
  auto wait = std::min(policy_.retry_first, policy_.retry_most);
  for (std::uint32_t i = 0; i < entry.failures && wait < policy_.retry_most; ++i)
    wait = std::min(2 * wait, policy_.retry_most);
  if (wait < policy_.retry_most) ++entry.failures;
  entry.under_way = 0;
  entry.hurried.reset();  // the retry will do
  entry.asked_until.reset();
  entry.next_ask = now + wait - jitter(wait);
  entry.outcome = Outcome::Failure;
  if (!entry.failing_since) entry.failing_since = now;
  entry.last_error = std::move(why);
}

std::vector<Schedule::Fresh> Schedule::answered(const Query& query, const Answer& answer, TimePoint now) {
  const auto found = entries_.find(query);
  if (found == entries_.end() || answer.question != query.name || answer.type != query.type) return {};
  Entry& entry = found->second;
  if (!entry.asked_until) {
    const bool second = entry.late && *entry.late > now;
    entry.late.reset();
    return second ? heard(query, answer, now) : std::vector<Fresh>{};
  }

  const bool no_error = answer.rcode == static_cast<std::uint8_t>(Rcode::NoError);
  const bool nxdomain = answer.rcode == static_cast<std::uint8_t>(Rcode::NxDomain);
  if (answer.truncated || (!no_error && !nxdomain)) {
    note_failure(entry, answer.truncated ? "truncated" : rcode_name(answer.rcode), now);
    return {};
  }

  const auto records =
      no_error ? of_type(query.type, answer, policy_.most_addresses) : std::vector<AddressRecord>{};
  entry.late.reset();
  if (entry.under_way > 1) entry.late = entry.asked_until;
  entry.under_way = 0;
  entry.asked_until.reset();
  entry.failures = 0;  // the resolver works, whatever it says
  const auto hurried = std::exchange(entry.hurried, std::nullopt);
  if (records.empty()) {
    entry.next_ask = now + clamped(answer.negative_ttl);
    if (hurried) entry.next_ask = std::min(entry.next_ask, *hurried);
    entry.outcome = nxdomain ? Outcome::Failure : Outcome::NoData;
    if (!entry.failing_since) entry.failing_since = now;
    // Most login hosts have no IPv6 address: nothing to report.
    entry.last_error = nxdomain ? "NXDOMAIN" : query.type == Type::A ? "NODATA" : "";
    return {};
  }

  auto fresh = take(query, entry, records, Whose::Ours, now);
  entry.next_ask = next_ask_after(entry, now);
  if (hurried) entry.next_ask = std::min(entry.next_ask, *hurried);
  entry.outcome = Outcome::Success;
  entry.last_error.clear();
  entry.failing_since.reset();
  entry.last_success = now;
  return fresh;
}

std::vector<Schedule::Fresh> Schedule::heard(const Query& query, const Answer& answer, TimePoint now) {
  const auto found = entries_.find(query);
  if (found == entries_.end() || answer.question != query.name || answer.type != query.type) return {};
  if (answer.rcode != static_cast<std::uint8_t>(Rcode::NoError)) return {};
  return take(query, found->second, of_type(query.type, answer, policy_.most_addresses), Whose::Others, now);
}

std::vector<Schedule::Fresh> Schedule::take(const Query& query, Entry& entry,
                                            const std::vector<AddressRecord>& records, Whose whose,
                                            TimePoint now) {
  ++answers_;
  std::vector<Fresh> fresh;
  for (const auto& record : records) {
    const auto ttl = clamped(record.ttl);
    // One that was evicted but not yet returned by expire() has never left, as the caller sees it.
    const bool added = !holds(record.address) && evicted_.erase({query, record.address}) == 0;
    Good& good = entry.addresses[record.address];
    // Of what others were told the longest word holds: their resolver's cache may be older than ours.
    if (whose == Whose::Ours || good.until < now + ttl) good = Good{now + ttl, ttl, answers_};
    good.heard = answers_;
    fresh.push_back({record.address, std::chrono::ceil<seconds>(good.until - now), added});
  }
  evict(query, entry);
  return fresh;
}

void Schedule::remember(const Query& query, const IpAddress& address, seconds ttl_left, TimePoint now) {
  const auto found = entries_.find(query);
  if (found == entries_.end() || address.is_v4() != (query.type == Type::A)) return;
  const auto ttl = std::clamp(ttl_left, seconds{0}, policy_.ttl_max);
  found->second.addresses.try_emplace(address, Good{now + ttl, ttl, answers_});
  evict(query, found->second);
}

void Schedule::forget(const Query& query, const IpAddress& address) {
  if (const auto found = entries_.find(query); found != entries_.end())
    found->second.addresses.erase(address);
}

Schedule::Hurried Schedule::hurry(const Query& query, TimePoint now) {
  const auto found = entries_.find(query);
  if (found == entries_.end()) return Hurried::Already;
  Entry& entry = found->second;
  const TimePoint soonest = entry.last_asked ? *entry.last_asked + policy_.hurry_again : now;
  const TimePoint wanted = std::max(now, soonest);
  // What is under way may bring an answer that is older than what the other one knows, or none: a server that
  // does not answer is waited for long.
  if (entry.asked_until ? entry.hurried.has_value() : entry.next_ask <= wanted) return Hurried::Already;
  if (policy_.queries_per_minute != 0) {
    constexpr TimePoint::rep kPart = 4, kAtOnce = 8;
    const auto cost = share() * kPart;
    if (hurried_until_ > now + cost * (kAtOnce - 1)) return Hurried::NoBudget;
    hurried_until_ = std::max(hurried_until_, now) + cost;
  }
  if (entry.asked_until) {
    entry.hurried = wanted;
  } else {
    entry.next_ask = wanted;
  }
  return Hurried::Yes;
}

void Schedule::hurry_failed(TimePoint now) {
  for (auto& [query, entry] : entries_) {
    if (entry.outcome != Outcome::Failure || entry.asked_until) continue;
    entry.next_ask = std::min(entry.next_ask, now);
    entry.failures = 0;
  }
}

void Schedule::failed(const Query& query, std::string why, TimePoint now) {
  const auto found = entries_.find(query);
  if (found == entries_.end() || !found->second.asked_until) return;
  if (found->second.under_way > 1) {  // the other query may do better
    --found->second.under_way;
    return;
  }
  note_failure(found->second, std::move(why), now);
}

// Those of the newest answer are never more than the limit, so they stay.
void Schedule::evict(const Query& query, Entry& entry) {
  const std::size_t most = std::max<std::size_t>(policy_.most_addresses, 1);
  if (entry.addresses.size() <= most) return;
  std::vector<std::pair<std::uint64_t, IpAddress>> ages;
  ages.reserve(entry.addresses.size());
  for (const auto& [address, good] : entry.addresses) ages.emplace_back(good.heard, address);
  const auto excess = static_cast<std::ptrdiff_t>(ages.size() - most);
  std::ranges::nth_element(ages, ages.begin() + excess);
  for (auto oldest = ages.begin(); oldest != ages.begin() + excess; ++oldest) {
    entry.addresses.erase(oldest->second);
    evicted_.insert({query, oldest->second});
  }
}

// Does an address of `entry` stay although its time is over?
bool Schedule::keeps_expired(const Query& query, const Entry& entry) const {
  if (entry.asked_until || entry.outcome == Outcome::Failure) return true;
  if (entry.outcome != Outcome::NoData) return false;
  const auto sibling = entries_.find(Query{query.name, other(query.type)});
  return sibling == entries_.end() || sibling->second.outcome != Outcome::Success;
}

std::vector<Schedule::Dropped> Schedule::expire(TimePoint now) {
  std::set<Dropped> over;
  over.swap(evicted_);
  for (auto& [query, entry] : entries_) {
    if (keeps_expired(query, entry)) continue;
    auto all = entry.addresses.extract_sequence();
    const auto rest =
        std::remove_if(all.begin(), all.end(), [&, &query = query, &entry = entry](const auto& item) {
          // One that ends once the next query is due waits for what that says (as in next_deadline()).
          if (item.second.until > now || item.second.until >= entry.next_ask) return false;
          over.insert({query, item.first});
          return true;
        });
    all.erase(rest, all.end());
    entry.addresses.adopt_sequence(boost::container::ordered_unique_range, std::move(all));
  }
  return {over.begin(), over.end()};
}

std::optional<TimePoint> Schedule::next_deadline() const {
  std::optional<TimePoint> first;
  const auto consider = [&first](TimePoint time) { first = std::min(first.value_or(time), time); };
  if (!evicted_.empty()) consider(TimePoint{});
  for (const auto& [query, entry] : entries_) {
    consider(entry.asked_until ? *entry.asked_until : std::max(entry.next_ask, affordable()));
    if (entry.asked_until && entry.hurried) consider(std::max(*entry.hurried, affordable()));
    if (keeps_expired(query, entry)) continue;
    // One that ends once the next query is due waits for what that says, however long the budget delays it.
    for (const auto& [address, good] : entry.addresses)
      if (good.until < entry.next_ask) consider(good.until);
  }
  return first;
}

std::vector<Schedule::NameState> Schedule::state() const {
  std::vector<NameState> states;
  for (const auto& [query, entry] : entries_) {
    NameState& state = states.emplace_back();
    state.query = query;
    for (const auto& [address, good] : entry.addresses) state.addresses.emplace_back(address, good.until);
    state.last_error = entry.last_error;
    state.last_success = entry.last_success;
    // A type that never had an answer has not failed for longer than its name.
    if (const auto since = unresolved_since(query.name); since && entry.failing_since)
      state.failing_since = std::max(*since, *entry.failing_since);
    state.next_ask = std::max(entry.next_ask, affordable());
  }
  return states;
}

std::string Schedule::last_error(const Query& query) const {
  const auto found = entries_.find(query);
  return found == entries_.end() ? std::string{} : found->second.last_error;
}

std::optional<TimePoint> Schedule::unresolved_since(const DomainName& name) const {
  std::optional<TimePoint> since;
  for (const Type type : {Type::A, Type::Aaaa}) {
    const auto found = entries_.find(Query{name, type});
    if (found == entries_.end() || found->second.outcome == Outcome::Success) return std::nullopt;
    if (found->second.failing_since)
      since = std::max(since.value_or(*found->second.failing_since), *found->second.failing_since);
  }
  return since;
}

bool Schedule::holds(const Query& query, const IpAddress& address) const {
  const auto found = entries_.find(query);
  return found != entries_.end() && found->second.addresses.contains(address);
}

bool Schedule::holds(const IpAddress& address) const {
  return std::ranges::any_of(entries_,
                             [&](const auto& item) { return item.second.addresses.contains(address); });
}

}  // namespace icqgate::dns
