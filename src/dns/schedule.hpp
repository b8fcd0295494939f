// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <boost/container/flat_map.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dns/message.hpp"
#include "net/address.hpp"

namespace icqgate::dns {

using TimePoint = std::chrono::steady_clock::time_point;

struct SchedulePolicy {
  std::chrono::seconds ttl_min{30};     // a TTL below counts as this
  std::chrono::seconds ttl_max{3600};   // a TTL above counts as this
  std::chrono::seconds retry_first{5};  // after a failed lookup: doubling from here
  std::chrono::seconds retry_most{300};
  std::chrono::seconds timeout{30};  // an answer that never came counts as failed after this
  std::size_t most_addresses = 64;   // kept per owner name and type; the one heard of longest ago goes first
  // A refresh comes earlier by up to so many percent of the time to it, and a retry likewise, so that many
  // names, or many gateways, do not ask in step.
  std::uint32_t jitter_percent = 0;
  std::uint64_t seed = 1;  // of the jitter
  // Queries in a minute at most; 0: no limit. Twice the names, 30 at least, may come at once.
  std::uint32_t queries_per_minute = 0;
  std::chrono::seconds hurry_again{2};  // hurry() leaves so long between two queries
};

// What to ask now.
struct Query {
  DomainName name;
  Type type = Type::A;
  friend auto operator<=>(const Query&, const Query&) = default;
};

// When to ask for each login host, and what its addresses are (each with its own
// TTL). A and AAAA are judged apart. A failed lookup changes no address (the last good ones stay); an
// address that answers no longer name ends when its own clamped TTL does. The union over answers is kept,
// since each answer may show others. Time is passed in; there is no clock here.
class Schedule {
 public:
  explicit Schedule(std::vector<DomainName> names, SchedulePolicy policy = {});
  // Another configuration. Names that stay keep all that is known of them; new ones are due at once.
  void reconfigure(const std::vector<DomainName>& names, SchedulePolicy policy);

  // The queries whose time has come; each counts as under way until answered(), failed() or its timeout.
  [[nodiscard]] std::vector<Query> due(TimePoint now);

  struct Fresh {
    IpAddress address;
    std::chrono::seconds ttl;  // clamped: good for so long from now, under this name
    bool added = false;        // not known before, under any name
  };
  // An answer came: which addresses are (again) good, and for how long. Answers nobody asked for are ignored:
  // no query of that name and type under way, or the answer's own question is another. rcode other than
  // NoError, or truncated, or no addresses: as failed(), except that NODATA and NXDOMAIN use the negative
  // TTL, clamped, as the time to ask again.
  std::vector<Fresh> answered(const Query& query, const Answer& answer, TimePoint now);
  // An answer that somebody else asked for, from a server that is trusted: its addresses are as good as in
  // answered(), which query comes when does not change.
  std::vector<Fresh> heard(const Query& query, const Answer& answer, TimePoint now);
  // From an earlier run: good for `ttl_left` more (negative: over, and kept only until a lookup says better).
  void remember(const Query& query, const IpAddress& address, std::chrono::seconds ttl_left, TimePoint now);
  // The address is not held under this name any more (the caller's own limits).
  void forget(const Query& query, const IpAddress& address);
  // Somebody knows an address of that name that we do not: it is due at once, or policy.hurry_again after the
  // last query if that is later. Such queries have a quarter of the budget, so that whoever causes them can't
  // use up all of it.
  enum class Hurried : std::uint8_t { Yes, Already, NoBudget };
  Hurried hurry(const Query& query, TimePoint now);
  // The resolver is another one now: what failed so far is due at once.
  void hurry_failed(TimePoint now);
  // Takes one query that is not of a scheduled name out of the budget; false: it is used up.
  [[nodiscard]] bool spend(TimePoint now);
  // No usable answer. `why` in the resolver's own words ("SERVFAIL", "timed out").
  void failed(const Query& query, std::string why, TimePoint now);

  [[nodiscard]] std::optional<TimePoint> next_deadline() const;  // of due() or expire()

  // Addresses whose time is over are dropped, from each name by itself; they are returned in ascending order.
  // While a whole name fails, its last good addresses stay: they expire only once a lookup succeeds without
  // them. So do addresses whose time ends while the next lookup is due or under way. (NODATA for one type
  // drops that type's addresses if the other type of the name was answered: then the name does not fail, it
  // has changed.)
  using Dropped = std::pair<Query, IpAddress>;
  std::vector<Dropped> expire(TimePoint now);

  struct NameState {  // for status
    Query query;
    std::vector<std::pair<IpAddress, TimePoint>> addresses;  // until when each is good
    std::string last_error;                                  // "" after a success
    std::optional<TimePoint> last_success;
    std::optional<TimePoint>
        failing_since;  // without a usable answer; nullopt as well if the other type has one
    TimePoint next_ask;
  };
  [[nodiscard]] std::vector<NameState> state() const;
  [[nodiscard]] bool holds(const IpAddress& address) const;
  [[nodiscard]] bool holds(const Query& query, const IpAddress& address) const;
  [[nodiscard]] std::string last_error(const Query& query) const;  // "" after a success
  // Since when the name has had no usable answer of either type (so since the later of the two failed);
  // nullopt: it has, or was not asked for yet.
  [[nodiscard]] std::optional<TimePoint> unresolved_since(const DomainName& name) const;

 private:
  enum class Outcome { None, Success, NoData, Failure };  // of the lookup that ended last
  struct Good {
    TimePoint until;
    std::chrono::seconds ttl{0};
    std::uint64_t heard = 0;  // number of the answer that named it last
  };
  struct Entry {
    boost::container::flat_map<IpAddress, Good> addresses;  // few, and looked through often
    TimePoint next_ask{};
    std::optional<TimePoint> asked_until;  // a query is under way, and counts as failed from then
    std::uint32_t failures = 0;            // in a row
    Outcome outcome = Outcome::None;
    std::string last_error;
    std::optional<TimePoint> last_success;
    std::optional<TimePoint> failing_since;
    std::optional<TimePoint> last_asked;
    std::optional<TimePoint> hurried;  // wanted again from then on, although a query is under way
    std::uint32_t under_way = 0;       // queries without an answer, of those since the last one
    std::optional<TimePoint> late;     // until then another answer may come: two were asked for
  };

  [[nodiscard]] std::chrono::seconds clamped(std::chrono::seconds ttl) const noexcept;
  [[nodiscard]] bool keeps_expired(const Query& query, const Entry& entry) const;
  [[nodiscard]] TimePoint next_ask_after(const Entry& entry, TimePoint now);
  [[nodiscard]] TimePoint::duration jitter(TimePoint::duration span);
  [[nodiscard]] TimePoint::duration share() const;
  [[nodiscard]] TimePoint affordable() const;
  void note_failure(Entry& entry, std::string why, TimePoint now);
  enum class Whose { Ours, Others };  // who had asked
  std::vector<Fresh> take(const Query& query, Entry& entry, const std::vector<AddressRecord>& records,
                          Whose whose, TimePoint now);
  void evict(const Query& query, Entry& entry);

  SchedulePolicy policy_;
  std::map<Query, Entry> entries_;
  std::set<Dropped> evicted_;  // dropped for most_addresses, not yet returned by expire()
  std::uint64_t answers_ = 0;
  std::uint64_t random_ = 1;
  TimePoint spent_until_{};    // when all queries so far are paid for: each costs its share of a minute
  TimePoint hurried_until_{};  // the same of hurry(), at four shares
};

}  // namespace icqgate::dns
