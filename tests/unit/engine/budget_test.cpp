// SPDX-License-Identifier: GPL-2.0-or-later
// queries-per-minute, shared by login hosts, redirects to names and clients that try unknown servers.
#include <catch2/catch.hpp>

#include "connection.hpp"

using namespace icqgate;
using namespace icqgate::test;

TEST_CASE("redirects to names draw on the same budget of queries", "[engine][names][limits]") {
  auto config = test_config();
  config.queries_per_minute = 1;
  Ready gateway{config};
  std::size_t asked = 0;
  for (std::uint16_t i = 0; i < 50; ++i) {
    gateway.forget();
    Person who{.address = make_ipv4(192, 168, 1, static_cast<std::uint8_t>(20 + i)),
               .uin = Uin{100001u + i},
               .cookie = "cookie" + std::to_string(i),
               .target = "bos" + std::to_string(i) + ".example:5190"};
    login(gateway, who);
    asked += gateway.asked.size();
    gateway.fail("bos" + std::to_string(i) + ".example");
  }
  CHECK(asked <= 30);
  CHECK(asked >= 20);
  CHECK(gateway.count(What::RedirectRefused, Reason::QueryBudget) >= 1);
}

TEST_CASE("clients that come together to a server by name need no query each", "[engine][names][limits]") {
  const seconds ttl{GENERATE(0, 300)};
  Ready gateway;
  gateway.forget();
  for (int i = 0; i < 200; ++i) {
    const auto number = static_cast<std::uint32_t>(i);
    login(gateway, {.address = make_ipv4(192, 168, 1, static_cast<std::uint8_t>(20 + i)),
                    .uin = Uin{100001u + number},
                    .cookie = "c" + std::to_string(i),
                    .target = "bos.example:5190"});
    gateway.pass(milliseconds{20});
    gateway.answer("bos.example", {kBos}, ttl);
    gateway.pass(milliseconds{20});
  }
  CHECK(gateway.count(What::RedirectRefused) == 0);
  CHECK(gateway.count(What::Redirected) == 200);
  CHECK(gateway.live(nft::SetId::Servers4) == 200);
  const auto asked =
      std::count(gateway.asked.begin(), gateway.asked.end(), dns::Query{"bos.example", dns::Type::A});
  CHECK(asked <= 5);
}

TEST_CASE("misses, however many, leave queries for the others", "[engine][names][missed][attack]") {
  auto config = test_config();
  config.login_hosts.clear();
  for (const char* name : {"a.example", "b.example", "c.example", "d.example", "e.example", "login.icq.com"})
    config.login_hosts.push_back({name, std::nullopt});
  Ready gateway{config};
  const auto missed = [&] {
    for (std::uint32_t i = 0; i < 20; ++i)
      gateway.step(engine::ServerMissed{{Ipv4{make_ipv4(198, 18, 0, 0).get() + i}, kOscar}});
  };
  std::map<std::string, std::size_t> asked;
  std::uint16_t logins = 0;
  for (int second = 0; second < 300; ++second) {
    missed();
    for (const auto& query : std::exchange(gateway.asked, {})) {
      ++asked[query.name];
      if (query.name == "login.icq.com" && query.type == dns::Type::A)
        gateway.answer(query.name, {kLogin, kLogin2});
      else if (query.name.starts_with("bos"))
        gateway.answer(query.name, {kBos});
      else
        gateway.answer(query.name, {}, seconds{300}, query.type);
    }
    gateway.pass(seconds{1});
    if (second >= 60 && second % 10 == 0) {
      const auto number = static_cast<std::uint16_t>(logins++);
      login(gateway, {.address = make_ipv4(192, 168, 1, static_cast<std::uint8_t>(30 + number)),
                      .uin = Uin{100001u + number},
                      .cookie = "cookie" + std::to_string(number),
                      .target = "bos" + std::to_string(number) + ".example:5190"});
    }
  }
  CHECK(gateway.count(What::RedirectRefused) == 0);
  CHECK(gateway.count(What::Redirected) + 1 >= logins);
  for (const auto& host : config.login_hosts) CHECK(asked[std::get<dns::DomainName>(host.host)] >= 15);
  CHECK(gateway.engine.snapshot(gateway.now).refused.at(static_cast<std::size_t>(Reason::QueryBudget)) > 0);
}
