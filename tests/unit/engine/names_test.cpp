// SPDX-License-Identifier: GPL-2.0-or-later
// Login hosts' addresses in the engine (security.md S3, S20; goals R3, R9).
#include <catch2/catch.hpp>

#include "connection.hpp"

using namespace icqgate;
using namespace icqgate::test;
using std::chrono::hours;

namespace {

bool login_server(const Gateway& gateway, Ipv4 address, Port port = kOscar) {
  return gateway.model.holds(nft::Element::login({address, port}), gateway.now);
}

// A resolver that always says the same.
template <class Say>
void live(Gateway& gateway, seconds span, Say say) {
  for (const TimePoint end = gateway.now + span; gateway.now < end;) {
    for (const auto& query : std::exchange(gateway.asked, {})) say(query);
    gateway.pass(seconds{5});
  }
}

}  // namespace

TEST_CASE("an address that is not named any more goes after its TTL and keep", "[engine][names]") {
  Ready gateway;
  live(gateway, seconds{900 + 60}, [&](const dns::Query& query) {
    if (query.type == dns::Type::A)
      gateway.answer(query.name, {kLogin2});
    else
      gateway.answer(query.name, {}, seconds{300}, query.type);
    CHECK(login_server(gateway, kLogin2));
  });
  CHECK_FALSE(login_server(gateway, kLogin));
  CHECK(login_server(gateway, kLogin2));
  CHECK(gateway.count(What::AddressGone) == 1);
}

TEST_CASE("a live flow keeps its server's address", "[engine][names]") {
  Ready gateway;
  Connection flow{gateway, {kClient, Port{4000}}, {kLogin, kOscar}};
  REQUIRE(flow.open());
  live(gateway, hours{2}, [&](const dns::Query& query) {
    if (query.type == dns::Type::A)
      gateway.answer(query.name, {kLogin2});
    else
      gateway.answer(query.name, {}, seconds{300}, query.type);
    flow.lan(wire::Data{});
    flow.ack(Side::Lan);
    flow.at_offset(Side::Lan, -1, wire::Data{std::byte{0}});
    REQUIRE(login_server(gateway, kLogin));
  });
  flow.fin(Side::Lan);
  live(gateway, seconds{1000}, [&](const dns::Query& query) {
    gateway.answer(query.name,
                   query.type == dns::Type::A ? std::vector<IpAddress>{kLogin2} : std::vector<IpAddress>{},
                   seconds{300}, query.type);
  });
  CHECK_FALSE(login_server(gateway, kLogin));
}

TEST_CASE("while every lookup fails the last good addresses stay", "[engine][names]") {
  Ready gateway;
  live(gateway, hours{24},
       [&](const dns::Query& query) { gateway.fail(query.name, "SERVFAIL", query.type); });
  CHECK(login_server(gateway, kLogin));
  CHECK(login_server(gateway, kLogin2));
  CHECK(gateway.count(What::LookupFailed) == 2);  // once per change, not once per try
}

TEST_CASE("while nobody answers at all they stay as well", "[engine][names]") {
  Ready gateway;
  gateway.pass(hours{24});
  CHECK(gateway.live(nft::SetId::Login4) == 2);
}

TEST_CASE("addresses that no server outside has are not let in: attack (f)", "[engine][names][attack]") {
  Gateway gateway;
  gateway.answer("login.icq.com",
                 {make_ipv4(192, 168, 1, 10), make_ipv4(192, 168, 9, 9), make_ipv4(127, 0, 0, 1), kOutside,
                  make_ipv4(10, 0, 0, 1), make_ipv4(172, 16, 0, 1), make_ipv4(224, 0, 0, 251),
                  make_ipv4(169, 254, 169, 254), Ipv4{}, make_ipv4(255, 255, 255, 255), kLogin});
  CHECK(gateway.live(nft::SetId::Login4) == 1);
  CHECK(login_server(gateway, kLogin));
  CHECK(gateway.count(What::LookupFailed, Reason::ForbiddenTarget) == 10);
}

TEST_CASE("a gateway inside a private network may find its server there", "[engine][names]") {
  auto around = test_surroundings();
  around.own.push_back(make_ipv4(10, 20, 0, 2));  // its outside address
  Gateway gateway{test_config(), around};
  gateway.answer("login.icq.com", {make_ipv4(10, 0, 0, 1), make_ipv4(192, 168, 1, 10)});
  CHECK(login_server(gateway, make_ipv4(10, 0, 0, 1)));
  CHECK(gateway.live(nft::SetId::Login4) == 1);
}

TEST_CASE("an address in the configuration is for ever, private or not", "[engine][names]") {
  auto config = test_config();
  config.login_hosts.push_back({IpAddress{make_ipv4(10, 0, 0, 7)}, Port{5191}});
  config.login_hosts.push_back({IpAddress{kLogin}, std::nullopt});
  Ready gateway{config};  // whose name resolves to kLogin as well
  live(gateway, hours{6}, [&](const dns::Query& query) {
    if (query.type == dns::Type::A)
      gateway.answer(query.name, {kLogin2});
    else
      gateway.answer(query.name, {}, seconds{300}, query.type);
    REQUIRE(login_server(gateway, kLogin));
    REQUIRE(login_server(gateway, make_ipv4(10, 0, 0, 7), Port{5191}));
  });
}

TEST_CASE("a hostile resolver cannot make the set grow without end", "[engine][names][limits]") {
  Gateway gateway;
  std::uint32_t next = make_ipv4(198, 18, 0, 0).get();
  std::size_t most = 0;
  live(gateway, std::chrono::minutes{16}, [&](const dns::Query& query) {
    if (query.type != dns::Type::A) return gateway.fail(query.name, "SERVFAIL", query.type);
    std::vector<IpAddress> many;
    for (int i = 0; i < 1000; ++i) many.emplace_back(Ipv4{next++});
    gateway.answer(query.name, many, seconds{0});
    most = std::max(most, gateway.live(nft::SetId::Login4));
  });
  CHECK(most >= 64);
  CHECK(most < 4000);
}

TEST_CASE("answers nobody asked for, and of other names, change nothing", "[engine][names]") {
  Ready gateway;
  gateway.forget();
  gateway.answer("login.icq.com", {kPeer});
  gateway.answer("evil.example", {kPeer});
  gateway.fail("evil.example");
  CHECK(gateway.changes.empty());
  CHECK(gateway.reports.empty());
}

TEST_CASE("the login set is never empty through changes of address every five seconds", "[engine][names]") {
  Ready gateway;
  std::uint8_t turn = 0;
  live(gateway, hours{2}, [&](const dns::Query& query) {
    if (query.type == dns::Type::A)
      gateway.answer(query.name, {make_ipv4(192, 0, 2, ++turn)}, seconds{5});
    else
      gateway.answer(query.name, {}, seconds{5}, query.type);
    REQUIRE(gateway.live(nft::SetId::Login4) >= 1);
    REQUIRE(gateway.live(nft::SetId::Login4) <= 64);
  });
}
