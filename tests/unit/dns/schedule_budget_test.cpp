// SPDX-License-Identifier: GPL-2.0-or-later
// When names are asked for beside their TTLs: budget, jitter, hurry, restarts and reloads.
#include <catch2/catch.hpp>
#include <map>
#include <set>

#include "schedule_builder.hpp"

using namespace icqgate;
using namespace icqgate::dns;
using namespace icqgate::test;
using namespace std::chrono_literals;

TEST_CASE("refreshes of several gateways drift apart, and never come late", "[dns][schedule]") {
  std::set<TimePoint> when;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    auto schedule = with_addresses({{v4(1), 1000s}}, {.jitter_percent = 10, .seed = seed});
    const auto next = state_of(schedule, kA).next_ask;
    CHECK(next <= kStart + 998s);
    CHECK(next >= kStart + 898s);
    when.insert(next);
  }
  CHECK(when.size() > 40);
}

TEST_CASE("no more queries in a minute than the budget has", "[dns][schedule]") {
  std::vector<DomainName> names;
  for (int i = 0; i < 100; ++i) names.push_back("host" + std::to_string(i) + ".test");
  Schedule schedule{names, {.ttl_min = 1s, .queries_per_minute = 60}};
  TimePoint now = kStart;
  std::size_t asked = schedule.due(now).size();
  CHECK(asked == 200);  // all of them may come at once, once
  while (now < kStart + 10min) {
    const auto deadline = schedule.next_deadline();
    REQUIRE(deadline);
    now = std::max(now, *deadline);
    const auto due = schedule.due(now);
    schedule.expire(now);
    REQUIRE(schedule.next_deadline().value() > now);
    asked += due.size();
    for (const auto& query : due) schedule.answered(query, answer_of(query, {{v4(1), 1s}}), now);
  }
  CHECK(asked <= 200 + 10 * 60 + 1);
  CHECK(asked >= 500);
  CHECK_FALSE(schedule.spend(now));
  CHECK(schedule.spend(now + 2s));
}

TEST_CASE("what others are told counts as an answer, and asks nothing", "[dns][schedule]") {
  auto schedule = with_addresses({{v4(1), 300s}});
  const auto before = state_of(schedule, kA).next_ask;
  const auto fresh =
      schedule.heard(kA, answer_of(kA, {{v4(2), 100s}, {v6(1), 100s}, {v4(1), 50s}}), kStart + 10s);
  REQUIRE(fresh.size() == 2);
  CHECK(fresh[0].address == v4(2));
  CHECK(fresh[0].added);
  CHECK(fresh[1].ttl == 290s);  // the longer word of our own holds
  CHECK(state_of(schedule, kA).next_ask == before);
  CHECK(schedule.heard({"other.test", Type::A}, answer_of({"other.test", Type::A}, {{v4(3), 1s}}), kStart)
            .empty());
  CHECK(schedule.heard(kA, negative(kA, Rcode::NxDomain), kStart).empty());
  CHECK(schedule.holds(v4(1)));
}

TEST_CASE("a name in a hurry is due at once, but not again and again", "[dns][schedule]") {
  auto schedule = with_addresses({{v4(1), 300s}});
  CHECK(schedule.hurry(kA, kStart + 1s) == Hurried::Yes);  // asked a second ago: in another second
  CHECK(schedule.due(kStart + 1s).empty());
  CHECK(schedule.hurry(kA, kStart + 1s) == Hurried::Already);
  CHECK(schedule.due(kStart + 2s) == std::vector<Query>{kA});
  CHECK(schedule.hurry(kA, kStart + 3s) == Hurried::Yes);  // under way: once more after it
  CHECK(schedule.hurry(kA, kStart + 3s) == Hurried::Already);
  schedule.answered(kA, answer_of(kA, {{v4(1), 300s}}), kStart + 3s);
  CHECK(schedule.due(kStart + 3s).empty());
  CHECK(schedule.due(kStart + 4s) == std::vector<Query>{kA});
  schedule.answered(kA, answer_of(kA, {{v4(1), 300s}}), kStart + 5s);
  CHECK(schedule.due(kStart + 60s).empty());
  CHECK(schedule.hurry({"other.test", Type::A}, kStart + 60s) == Hurried::Already);
}

TEST_CASE("what is remembered stays until a lookup says better", "[dns][schedule]") {
  Schedule schedule{{"login.test"}};
  schedule.remember(kA, v4(1), -500s, kStart);
  schedule.remember(kA, v4(2), 100s, kStart);
  schedule.remember(kA, v6(1), 100s, kStart);
  schedule.remember({"other.test", Type::A}, v4(3), 100s, kStart);
  REQUIRE(schedule.due(kStart).size() == 2);
  CHECK(schedule.expire(kStart + 1s).empty());
  schedule.failed(kA, "timed out", kStart + 10s);
  CHECK(schedule.expire(kStart + 14s).empty());
  CHECK(state_of(schedule, kA).addresses.size() == 2);
  REQUIRE(schedule.due(kStart + 200s) == std::vector<Query>{kA});
  schedule.answered(kA, answer_of(kA, {{v4(1), 300s}}), kStart + 200s);
  CHECK(dropped(schedule, kStart + 200s) == Addresses{v4(2)});
}

TEST_CASE("a reload keeps what is known of the names that stay", "[dns][schedule]") {
  auto schedule = with_addresses({{v4(1), 300s}});
  schedule.reconfigure({"login.test", "new.test"}, {});
  CHECK(schedule.holds(v4(1)));
  CHECK(schedule.due(kStart + 1s) == std::vector<Query>{{"new.test", Type::A}, {"new.test", Type::Aaaa}});
  schedule.reconfigure({"new.test"}, {});
  CHECK_FALSE(schedule.holds(v4(1)));
}

TEST_CASE("a name is unresolved while neither type has a usable answer", "[dns][schedule]") {
  Schedule schedule = started();
  CHECK_FALSE(schedule.unresolved_since("login.test"));
  schedule.failed(kA, "SERVFAIL", kStart + 1s);
  CHECK(schedule.unresolved_since("login.test") == kStart + 1s);
  schedule.answered(kAaaa, negative(kAaaa, Rcode::NoError, 1h), kStart + 2s);
  CHECK(schedule.unresolved_since("login.test") == kStart + 2s);
  REQUIRE(schedule.due(kStart + 10s).size() >= 1);
  schedule.answered(kA, answer_of(kA, {{v4(1), 300s}}), kStart + 10s);
  CHECK_FALSE(schedule.unresolved_since("login.test"));
  // AAAA has been NODATA for long; the name is unresolved since A is.
  REQUIRE(schedule.due(kStart + 308s) == std::vector<Query>{kA});
  schedule.failed(kA, "SERVFAIL", kStart + 309s);
  CHECK(schedule.unresolved_since("login.test") == kStart + 309s);
}

TEST_CASE("who is in a hurry gets a part of the budget only", "[dns][schedule][budget]") {
  SchedulePolicy policy;
  policy.queries_per_minute = 60;
  std::vector<DomainName> names;
  for (char c = 'a'; c <= 'l'; ++c) names.push_back(std::string{c} + ".test");
  Schedule schedule{names, policy};
  auto now = kStart;
  for (const auto& query : schedule.due(now))
    schedule.answered(query, negative(query, Rcode::NoError, 1h), now);
  std::size_t asked = 0;
  bool refused = false;
  for (now += 60s; now < kStart + 660s; now += 1s) {
    for (const auto& name : names)
      refused = schedule.hurry({name, Type::A}, now) == Hurried::NoBudget || refused;
    for (const auto& query : schedule.due(now)) {
      ++asked;
      schedule.answered(query, negative(query, Rcode::NoError, 1h), now);
    }
    if (now >= kStart + 120s) CHECK(schedule.spend(now));  // others, one a second: 15 of 60 were left to it
    now += 1s;
  }
  CHECK(refused);
  CHECK(asked >= 140);
  CHECK(asked <= 160);
}

TEST_CASE("a reload that changes nothing of it refills no budget", "[dns][schedule][budget]") {
  SchedulePolicy policy;
  policy.queries_per_minute = 1;
  Schedule schedule{{"login.test"}, policy};
  int spent = 0;
  while (schedule.spend(kStart)) ++spent;
  CHECK(spent == 30);
  policy.ttl_max = 10s;
  schedule.reconfigure({"login.test"}, policy);
  CHECK_FALSE(schedule.spend(kStart));
  CHECK(state_of(schedule, kA).next_ask == kStart + 1min);  // and whoever looks is told until when
  policy.queries_per_minute = 60;
  schedule.reconfigure({"login.test"}, policy);
  CHECK(schedule.spend(kStart));
}

TEST_CASE("with a budget that is too small all names come late, none never", "[dns][schedule][budget]") {
  SchedulePolicy policy;
  policy.queries_per_minute = 60;
  std::vector<DomainName> names;
  for (int i = 100; i < 160; ++i) names.push_back("h" + std::to_string(i) + ".test");
  Schedule schedule{names, policy};
  std::map<DomainName, int> asked;
  for (auto now = kStart; now < kStart + 1h; now += 1s) {
    for (const auto& query : schedule.due(now)) {
      if (query.type != Type::A) {
        schedule.answered(query, negative(query, Rcode::NoError, 30s), now);
        continue;
      }
      ++asked[query.name];
      schedule.answered(query, answer_of(query, {{v4(1), 30s}}), now);
    }
    (void)schedule.expire(now);
  }
  const auto [least, most] =
      std::ranges::minmax_element(asked, {}, [](const auto& one) { return one.second; });
  CHECK(asked.size() == names.size());
  CHECK(least->second >= 20);
  CHECK(most->second <= least->second + 3);
}

TEST_CASE("of two queries both answers count", "[dns][schedule]") {
  auto schedule = started();
  CHECK(schedule.hurry(kA, kStart + 1s) == Hurried::Yes);
  REQUIRE(schedule.due(kStart + 2s) == std::vector<Query>{kA});
  CHECK(schedule.answered(kA, answer_of(kA, {{v4(1), 300s}}), kStart + 3s).size() == 1);
  CHECK(schedule.answered(kA, answer_of(kA, {{v4(2), 300s}}), kStart + 3s).size() == 1);
  CHECK(schedule.answered(kA, answer_of(kA, {{v4(3), 300s}}), kStart + 3s).empty());  // nobody asked for this
  CHECK(schedule.holds(v4(1)));
  CHECK(schedule.holds(v4(2)));
}

TEST_CASE("who is in a hurry is asked for again behind an answer without addresses", "[dns][schedule]") {
  auto schedule = with_addresses({{v4(1), 300s}});
  REQUIRE(schedule.due(kStart + 298s) == std::vector<Query>{kA});
  CHECK(schedule.hurry(kA, kStart + 299s) == Hurried::Yes);
  schedule.answered(kA, negative(kA, Rcode::NoError, 1h), kStart + 299s);
  CHECK(schedule.due(kStart + 300s) == std::vector<Query>{kA});
  schedule.answered(kA, negative(kA, Rcode::NoError, 1h), kStart + 301s);
  CHECK(schedule.due(kStart + 900s).empty());
}

TEST_CASE("another resolver makes what failed due at once, and nothing else", "[dns][schedule]") {
  Schedule schedule = started();
  schedule.answered(kAaaa, negative(kAaaa, Rcode::NoError, 1h), kStart);
  schedule.failed(kA, "timed out", kStart + 1s);
  CHECK(schedule.due(kStart + 2s).empty());
  schedule.hurry_failed(kStart + 2s);
  CHECK(schedule.due(kStart + 2s) == std::vector<Query>{kA});
}

TEST_CASE("a query that takes long gets one beside it when somebody is in a hurry", "[dns][schedule]") {
  Schedule schedule = started();
  CHECK(schedule.hurry(kA, kStart + 1s) == Hurried::Yes);
  CHECK(schedule.next_deadline() == kStart + 2s);
  CHECK(schedule.due(kStart + 1s).empty());
  CHECK(schedule.due(kStart + 2s) == std::vector<Query>{kA});
  CHECK(schedule.due(kStart + 3s).empty());
  SECTION("the later one is answered") {
    CHECK(schedule.answered(kA, answer_of(kA, {{v4(1), 300s}}), kStart + 3s).size() == 1);
    schedule.failed(kA, "timed out", kStart + 4s);  // the first: nobody waits for it
    CHECK(state_of(schedule, kA).last_error.empty());
  }
  SECTION("the first fails before the later one is answered") {
    schedule.failed(kA, "timed out", kStart + 3s);
    CHECK(state_of(schedule, kA).last_error.empty());
    CHECK(schedule.answered(kA, answer_of(kA, {{v4(1), 300s}}), kStart + 4s).size() == 1);
  }
  SECTION("both fail") {
    schedule.failed(kA, "timed out", kStart + 3s);
    schedule.failed(kA, "SERVFAIL", kStart + 4s);
    CHECK(state_of(schedule, kA).last_error == "SERVFAIL");
  }
}
