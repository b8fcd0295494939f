// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <catch2/catch.hpp>

#include "schedule_builder.hpp"

using namespace icqgate;
using namespace icqgate::dns;
using namespace icqgate::test;
using namespace std::chrono_literals;

namespace {

// Runs until `end` as the daemon does: waits for the deadline, asks, answers by `resolve`, expires. Returns
// the number of queries of type A.
template <class Resolve>
int run(Schedule& schedule, TimePoint& now, TimePoint end, Resolve resolve) {
  int asked = 0;
  while (true) {
    const auto deadline = schedule.next_deadline();
    REQUIRE(deadline);
    if (*deadline > end) break;
    now = std::max(now, *deadline);
    const auto due = schedule.due(now);
    (void)schedule.expire(now);
    // A deadline that comes again at once would be a daemon that never sleeps.
    const auto next = schedule.next_deadline();
    REQUIRE(next);
    REQUIRE(*next > now);
    for (const auto& query : due) {
      if (query.type == Type::A) ++asked;
      resolve(query, now);
    }
  }
  now = end;
  return asked;
}

}  // namespace

TEST_CASE("both types of each name are asked at once, and only once", "[dns][schedule]") {
  Schedule schedule{{"b.test", "a.test", "b.test"}};
  REQUIRE(schedule.next_deadline());
  CHECK(*schedule.next_deadline() <= kStart);
  const auto first = schedule.due(kStart);
  CHECK(first ==
        std::vector<Query>{
            {"a.test", Type::A}, {"a.test", Type::Aaaa}, {"b.test", Type::A}, {"b.test", Type::Aaaa}});
  CHECK(schedule.due(kStart).empty());
  CHECK(schedule.due(kStart + 29s).empty());
  CHECK(schedule.next_deadline() == kStart + 30s);
}

TEST_CASE("without names there is nothing to wait for", "[dns][schedule]") {
  Schedule schedule{{}};
  CHECK_FALSE(schedule.next_deadline());
  CHECK(schedule.due(kStart).empty());
  CHECK(schedule.expire(kStart).empty());
  CHECK(schedule.state().empty());
}

TEST_CASE("an answer's TTLs are clamped", "[dns][schedule]") {
  Schedule schedule = started();
  const auto fresh =
      schedule.answered(kA, answer_of(kA, {{v4(1), 0s}, {v4(2), 100s}, {v4(3), 86400s}}), kStart);
  REQUIRE(fresh.size() == 3);
  CHECK(fresh[0].ttl == 30s);
  CHECK(fresh[1].ttl == 100s);
  CHECK(fresh[2].ttl == 3600s);
  for (const auto& item : fresh) {
    CHECK(item.added);
    CHECK(schedule.holds(item.address));
  }
  CHECK_FALSE(schedule.holds(v4(4)));
  const auto state = state_of(schedule, kA);
  CHECK(state.addresses == std::vector<std::pair<IpAddress, TimePoint>>{
                               {v4(1), kStart + 30s}, {v4(2), kStart + 100s}, {v4(3), kStart + 3600s}});
  CHECK(state.last_error.empty());
  CHECK(state.last_success == kStart);
}

TEST_CASE("the next query comes shortly before the first address ends", "[dns][schedule]") {
  const auto next = [](std::vector<AddressRecord> addresses, SchedulePolicy policy = {}) {
    return state_of(with_addresses(std::move(addresses), policy), kA).next_ask - kStart;
  };
  CHECK(next({{v4(1), 300s}}) == 298s);
  CHECK(next({{v4(1), 300s}, {v4(2), 200s}}) == 198s);
  CHECK(next({{v4(1), 1s}}) == 28s);
  CHECK(next({{v4(1), 86400s}}) == 3598s);
  SchedulePolicy quick;
  quick.ttl_min = 1s;
  CHECK(next({{v4(1), 5s}}, quick) == 4500ms);
  CHECK(next({{v4(1), 1s}}, quick) == 900ms);
}

TEST_CASE("addresses that end one after the other do not cause a query each", "[dns][schedule]") {
  Schedule schedule = with_addresses({{v4(1), 100s}, {v4(2), 103s}});
  REQUIRE(schedule.due(kStart + 98s) == std::vector<Query>{kA});
  schedule.answered(kA, answer_of(kA, {{v4(3), 100s}}), kStart + 98s);
  // v4(1) and v4(2) end at 100 and 103: the answer that does not name them is fresh enough.
  CHECK(state_of(schedule, kA).next_ask == kStart + 196s);
  CHECK(dropped(schedule, kStart + 100s) == Addresses{v4(1)});
  CHECK(dropped(schedule, kStart + 103s) == Addresses{v4(2)});
}

TEST_CASE("a query never comes sooner than half of ttl-min after an answer", "[dns][schedule]") {
  Schedule schedule = with_addresses({{v4(1), 100s}, {v4(2), 114s}});
  REQUIRE(schedule.due(kStart + 98s) == std::vector<Query>{kA});
  schedule.answered(kA, answer_of(kA, {{v4(1), 100s}}), kStart + 98s);
  CHECK(state_of(schedule, kA).next_ask == kStart + 113s);  // not 112: v4(2) outlives it
}

TEST_CASE("answers nobody asked for change nothing", "[dns][schedule]") {
  Schedule schedule{{"login.test"}};
  CHECK(schedule.answered(kA, answer_of(kA, {{v4(1), 60s}}), kStart).empty());  // not asked yet
  REQUIRE(schedule.due(kStart).size() == 2);
  const Query other{"other.test", Type::A};
  CHECK(schedule.answered(other, answer_of(other, {{v4(1), 60s}}), kStart).empty());
  CHECK(schedule.answered(kA, answer_of(other, {{v4(1), 60s}}), kStart).empty());
  CHECK(schedule.answered(kA, answer_of(kAaaa, {{v4(1), 60s}}), kStart).empty());
  CHECK_FALSE(schedule.holds(v4(1)));
  CHECK(schedule.answered(kA, answer_of(kA, {{v4(1), 60s}}), kStart).size() == 1);
  CHECK(schedule.answered(kA, answer_of(kA, {{v4(2), 60s}}), kStart).empty());  // the second one
  CHECK_FALSE(schedule.holds(v4(2)));
  schedule.failed(kA, "SERVFAIL", kStart);  // nor does a late failure
  CHECK(state_of(schedule, kA).last_error.empty());
}

TEST_CASE("an answer after its timeout is one nobody waits for", "[dns][schedule]") {
  Schedule schedule = started();
  CHECK(schedule.due(kStart + 30s).empty());
  CHECK(state_of(schedule, kA).last_error == "timed out");
  CHECK(schedule.answered(kA, answer_of(kA, {{v4(1), 60s}}), kStart + 31s).empty());
  CHECK(schedule.due(kStart + 34s).empty());
  CHECK(schedule.due(kStart + 35s).size() == 2);
}

TEST_CASE("addresses of the other family are not taken", "[dns][schedule]") {
  Schedule schedule = started();
  const auto fresh = schedule.answered(kA, answer_of(kA, {{v6(1), 60s}, {v4(1), 60s}}), kStart);
  REQUIRE(fresh.size() == 1);
  CHECK(fresh[0].address == v4(1));
  CHECK_FALSE(schedule.holds(v6(1)));
}

TEST_CASE("the union over answers is kept, each address to its own end", "[dns][schedule]") {
  Schedule schedule = with_addresses({{v4(1), 100s}, {v4(2), 300s}});
  REQUIRE(schedule.due(kStart + 98s).size() == 1);
  const auto fresh = schedule.answered(kA, answer_of(kA, {{v4(2), 300s}, {v4(3), 300s}}), kStart + 99s);
  REQUIRE(fresh.size() == 2);
  CHECK_FALSE(fresh[0].added);
  CHECK(fresh[1].added);
  CHECK(schedule.expire(kStart + 99s).empty());
  CHECK(schedule.next_deadline() == kStart + 100s);
  CHECK(dropped(schedule, kStart + 100s) == Addresses{v4(1)});
  CHECK(schedule.expire(kStart + 300s).empty());  // v4(2) was named again
  CHECK(schedule.holds(v4(2)));
}

TEST_CASE("an address stays while the lookup that may renew it is due or under way", "[dns][schedule]") {
  Schedule schedule = with_addresses({{v4(1), 100s}});
  CHECK(schedule.expire(kStart + 101s).empty());  // due since 98 s, but nobody called due()
  REQUIRE(schedule.due(kStart + 101s).size() == 1);
  CHECK(schedule.expire(kStart + 110s).empty());
  schedule.answered(kA, answer_of(kA, {{v4(2), 100s}}), kStart + 111s);
  REQUIRE(schedule.next_deadline());
  CHECK(*schedule.next_deadline() <= kStart + 111s);
  CHECK(dropped(schedule, kStart + 111s) == Addresses{v4(1)});
  CHECK(schedule.expire(kStart + 111s).empty());
}

TEST_CASE("failures back off from 5 to 300 seconds and keep every address", "[dns][schedule]") {
  Schedule schedule = with_addresses({{v4(1), 60s}});
  auto now = kStart + 58s;
  for (const auto wait : {5s, 10s, 20s, 40s, 80s, 160s, 300s, 300s, 300s}) {
    REQUIRE(schedule.due(now) == std::vector<Query>{kA});
    schedule.failed(kA, "SERVFAIL", now);
    CHECK(state_of(schedule, kA).next_ask == now + wait);
    CHECK(state_of(schedule, kA).last_error == "SERVFAIL");
    CHECK(state_of(schedule, kA).last_success == kStart);
    CHECK(schedule.next_deadline() == now + wait);
    CHECK(schedule.due(now + wait - 1ms).empty());
    now += wait;
    CHECK(schedule.expire(now).empty());
    CHECK(schedule.holds(v4(1)));
  }
  REQUIRE(schedule.due(now).size() == 1);
  schedule.answered(kA, answer_of(kA, {{v4(2), 60s}}), now);
  CHECK(dropped(schedule, now) == Addresses{v4(1)});
  now += 58s;
  REQUIRE(schedule.due(now).size() == 1);
  schedule.failed(kA, "SERVFAIL", now);  // the first again
  CHECK(state_of(schedule, kA).next_ask == now + 5s);
}

TEST_CASE("every error of a resolver counts as a failure under its own name", "[dns][schedule]") {
  const auto error_after = [](const Answer& answer) {
    Schedule schedule = with_addresses({{v4(1), 60s}});
    const auto now = kStart + 58s;
    REQUIRE(schedule.due(now).size() == 1);
    CHECK(schedule.answered(kA, answer, now).empty());
    CHECK(schedule.expire(now + 4s).empty());
    CHECK(schedule.holds(v4(1)));
    CHECK(state_of(schedule, kA).next_ask == now + 5s);
    return state_of(schedule, kA).last_error;
  };
  CHECK(error_after(negative(kA, Rcode::ServFail)) == "SERVFAIL");
  CHECK(error_after(negative(kA, Rcode::Refused)) == "REFUSED");
  CHECK(error_after(negative(kA, Rcode::FormErr)) == "FORMERR");
  CHECK(error_after(negative(kA, Rcode::NotImp)) == "NOTIMP");
  CHECK(error_after(negative(kA, static_cast<Rcode>(9))) == "RCODE9");
  auto truncated = answer_of(kA, {{v4(2), 60s}});
  truncated.truncated = true;
  CHECK(error_after(truncated) == "truncated");
}

TEST_CASE("NXDOMAIN and NODATA wait for the negative TTL, clamped", "[dns][schedule]") {
  const auto wait = [](Rcode rcode, std::chrono::seconds ttl) {
    Schedule schedule = started();
    CHECK(schedule.answered(kA, negative(kA, rcode, ttl), kStart).empty());
    return state_of(schedule, kA).next_ask - kStart;
  };
  CHECK(wait(Rcode::NoError, 0s) == 30s);
  CHECK(wait(Rcode::NoError, 900s) == 900s);
  CHECK(wait(Rcode::NxDomain, 86400s) == 3600s);
}

TEST_CASE("no IPv6 address is nothing to report", "[dns][schedule]") {
  Schedule schedule = started();
  schedule.answered(kAaaa, negative(kAaaa, Rcode::NoError, 60s), kStart);
  schedule.answered(kA, negative(kA, Rcode::NoError, 60s), kStart);
  CHECK(state_of(schedule, kAaaa).last_error.empty());
  CHECK_FALSE(state_of(schedule, kAaaa).last_success);
  CHECK(state_of(schedule, kA).last_error == "NODATA");
}

TEST_CASE("a name that exists no more keeps its last good addresses", "[dns][schedule]") {
  Schedule schedule = with_addresses({{v4(1), 60s}});
  REQUIRE(schedule.due(kStart + 58s).size() == 1);
  schedule.answered(kA, negative(kA, Rcode::NxDomain, 60s), kStart + 58s);
  CHECK(schedule.expire(kStart + 60s).empty());
  CHECK(schedule.expire(kStart + 100s).empty());
  CHECK(state_of(schedule, kA).last_error == "NXDOMAIN");
}

TEST_CASE("NODATA for one type drops its addresses if the other type is answered", "[dns][schedule]") {
  Schedule schedule = started();
  schedule.answered(kA, answer_of(kA, {{v4(1), 60s}}), kStart);
  schedule.answered(kAaaa, answer_of(kAaaa, {{v6(1), 60s}}), kStart);
  auto now = kStart + 58s;
  REQUIRE(schedule.due(now).size() == 2);
  schedule.answered(kAaaa, negative(kAaaa, Rcode::NoError, 60s), now);
  CHECK(schedule.expire(now).empty());  // its time has not come
  SECTION("the other is answered") {
    schedule.answered(kA, answer_of(kA, {{v4(1), 60s}}), now);
    CHECK(schedule.next_deadline() == kStart + 60s);
    CHECK(dropped(schedule, kStart + 60s) == Addresses{v6(1)});
  }
  SECTION("the other fails: so does the name") {
    schedule.failed(kA, "timed out", now);
    CHECK(schedule.expire(kStart + 60s).empty());
    CHECK(schedule.holds(v6(1)));
  }
  SECTION("the other has none either: so does the name") {
    schedule.answered(kA, negative(kA, Rcode::NoError, 60s), now);
    CHECK(schedule.expire(kStart + 61s).empty());
  }
}

TEST_CASE("each of two names lets an address go by itself", "[dns][schedule]") {
  Schedule schedule{{"a.test", "b.test"}};
  REQUIRE(schedule.due(kStart).size() == 4);
  const Query a{"a.test", Type::A};
  const Query b{"b.test", Type::A};
  for (const auto& name : {"a.test", "b.test"}) {
    const Query six{name, Type::Aaaa};
    schedule.answered(six, negative(six, Rcode::NoError, 1h), kStart);
  }
  CHECK(schedule.answered(a, answer_of(a, {{v4(1), 500s}}), kStart)[0].added);
  const auto second = schedule.answered(b, answer_of(b, {{v4(1), 60s}, {v4(2), 60s}}), kStart + 100s);
  REQUIRE(second.size() == 2);
  CHECK_FALSE(second[0].added);
  CHECK(second[0].ttl == 60s);  // whatever a.test says
  CHECK(second[1].ttl == 60s);
  const auto now = kStart + 158s;
  REQUIRE(schedule.due(now) == std::vector<Query>{b});
  schedule.answered(b, answer_of(b, {{v4(3), 3000s}}), now);
  CHECK(schedule.expire(kStart + 160s) == std::vector<Schedule::Dropped>{{b, v4(1)}, {b, v4(2)}});
  CHECK(schedule.holds(v4(1)));
  CHECK(schedule.holds(a, v4(1)));
  CHECK_FALSE(schedule.holds(b, v4(1)));
  REQUIRE(schedule.due(kStart + 498s) == std::vector<Query>{a});
  schedule.answered(a, answer_of(a, {{v4(4), 3000s}}), kStart + 498s);
  CHECK(dropped(schedule, kStart + 500s) == Addresses{v4(1)});
}

TEST_CASE("beyond the limit the address heard of longest ago goes", "[dns][schedule]") {
  SchedulePolicy policy;
  policy.most_addresses = 3;
  Schedule schedule = with_addresses({{v4(1), 60s}, {v4(2), 3000s}}, policy);
  auto now = kStart + 58s;
  REQUIRE(schedule.due(now).size() == 1);
  schedule.answered(kA, answer_of(kA, {{v4(1), 60s}, {v4(3), 60s}, {v4(4), 60s}}), now);
  CHECK_FALSE(schedule.holds(v4(2)));
  CHECK(*schedule.next_deadline() <= now);
  CHECK(dropped(schedule, now) == Addresses{v4(2)});
  CHECK(schedule.expire(now).empty());
  CHECK(*schedule.next_deadline() > now);

  SECTION("an answer with more than the limit is cut") {
    now += 58s;
    REQUIRE(schedule.due(now).size() == 1);
    const auto fresh = schedule.answered(
        kA, answer_of(kA, {{v4(11), 60s}, {v4(12), 60s}, {v4(13), 60s}, {v4(14), 60s}}), now);
    CHECK(fresh.size() == 3);
    CHECK_FALSE(schedule.holds(v4(14)));
    CHECK(dropped(schedule, now) == Addresses{v4(1), v4(3), v4(4)});
  }
  SECTION("one that is named again before expire() was called has never left") {
    now += 58s;
    REQUIRE(schedule.due(now).size() == 1);
    schedule.answered(kA, answer_of(kA, {{v4(5), 60s}, {v4(6), 60s}, {v4(7), 60s}}), now);
    now += 58s;
    REQUIRE(schedule.due(now).size() == 1);
    const auto fresh = schedule.answered(kA, answer_of(kA, {{v4(1), 60s}}), now);
    REQUIRE(fresh.size() == 1);
    CHECK_FALSE(fresh[0].added);
    const auto gone = dropped(schedule, now);
    CHECK(std::ranges::find(gone, v4(1)) == gone.end());
    CHECK(schedule.holds(v4(1)));
  }
}

TEST_CASE("a day of rotating answers: renewed in time, bounded, quiet", "[dns][schedule][day]") {
  SchedulePolicy policy;
  policy.most_addresses = 16;
  Schedule schedule{{"login.test"}, policy};
  auto now = kStart;
  std::uint32_t turn = 0;
  std::size_t most = 0;
  const int asked = run(schedule, now, kStart + 24h, [&](const Query& query, TimePoint at) {
    if (query.type == Type::Aaaa) {
      schedule.answered(query, negative(query, Rcode::NoError, 1h), at + 20ms);
      return;
    }
    std::vector<AddressRecord> four;
    for (std::uint32_t i = 0; i < 4; ++i) four.push_back({v4((turn * 4 + i) % 200), 60s});
    ++turn;
    schedule.answered(query, answer_of(query, four), at + 20ms);
    most = std::max(most, state_of(schedule, kA).addresses.size());
  });
  CHECK(most <= 16);
  CHECK(asked >= 24 * 60);
  CHECK(asked <= 24 * 60 * 60 / 15);
}

TEST_CASE("a day with a steady address: one query per TTL, never without it", "[dns][schedule][day]") {
  SchedulePolicy policy;
  policy.ttl_min = 5s;
  Schedule schedule{{"login.test"}, policy};
  auto now = kStart;
  bool known = false;
  const int asked = run(schedule, now, kStart + 24h, [&](const Query& query, TimePoint at) {
    CHECK(schedule.holds(v4(1)) == known);
    if (query.type == Type::Aaaa) {
      schedule.answered(query, negative(query, Rcode::NoError, 1h), at + 1s);
    } else {
      known = true;
      schedule.answered(query, answer_of(query, {{v4(1), 5s}}),
                        at + 1s);  // slower than the head start it has
    }
  });
  CHECK(asked >= 24 * 60 * 60 / 6);
  CHECK(asked <= 24 * 60 * 60 / 4);
}

TEST_CASE("a day without a resolver keeps the addresses and asks seldom", "[dns][schedule][day]") {
  const auto day = [](auto fail) {
    Schedule schedule = with_addresses({{v4(1), 60s}, {v4(2), 600s}});
    auto now = kStart;
    const int asked = run(schedule, now, kStart + 24h,
                          [&](const Query& query, TimePoint at) { fail(schedule, query, at); });
    CHECK(schedule.holds(v4(1)));
    CHECK(schedule.holds(v4(2)));
    CHECK_FALSE(state_of(schedule, kA).last_error.empty());
    CHECK(state_of(schedule, kA).last_success == kStart);
    return asked;
  };
  CHECK(day([](auto&, const auto&, auto) {}) <= 24 * 3600 / 330 + 8);  // never answers
  CHECK(day([](auto& schedule, const auto& query, auto at) { schedule.failed(query, "SERVFAIL", at); }) <=
        24 * 12 + 8);
  CHECK(day([](auto& schedule, const auto& query, auto at) {
          schedule.answered(query, negative(query, Rcode::NxDomain, 600s), at);
        }) <= 24 * 6 + 2);
}
