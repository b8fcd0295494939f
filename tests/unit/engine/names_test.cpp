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
  CHECK(gateway.count(What::AddressRefused, Reason::ForbiddenTarget) == 8);
  CHECK(gateway.count(What::AddressRefused, Reason::PrivateAddress) == 2);
}

TEST_CASE("a host listed with !private may have private addresses, and no others that it may not",
          "[engine][names]") {
  auto config = test_config();
  config.login_hosts = {{"login.icq.com", std::nullopt, true}};
  Gateway gateway{config};
  gateway.answer("login.icq.com",
                 {make_ipv4(10, 0, 0, 1), make_ipv4(192, 168, 1, 10), make_ipv4(127, 0, 0, 1),
                  make_ipv4(224, 0, 0, 251), make_ipv4(169, 254, 1, 1), kOutside});
  CHECK(login_server(gateway, make_ipv4(10, 0, 0, 1)));
  CHECK(gateway.live(nft::SetId::Login4) == 1);
  CHECK(gateway.count(What::AddressRefused, Reason::ForbiddenTarget) == 5);
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
  CHECK(most == 64);
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

TEST_CASE("an idle address leaves the set at its end, without a timeout of its own running out first",
          "[engine][names]") {
  auto config = test_config();
  config.keep = seconds{0};
  Gateway gateway{config};
  gateway.answer("login.icq.com", {kLogin}, seconds{60});
  CHECK(login_server(gateway, kLogin));
  live(gateway, seconds{120}, [&](const dns::Query& query) {
    if (query.type == dns::Type::A) return gateway.answer(query.name, {kLogin2}, seconds{60});
    gateway.answer(query.name, {}, seconds{60}, query.type);
  });
  CHECK_FALSE(login_server(gateway, kLogin));
  CHECK(login_server(gateway, kLogin2));
  CHECK(gateway.count(What::AddressGone) == 1);
}

TEST_CASE("addresses-per-name: the idle one named longest ago goes first, once the new one is in",
          "[engine][names][limits]") {
  auto config = test_config();
  config.addresses_per_name = 2;
  Gateway gateway{config};
  gateway.answer("login.icq.com", {kLogin, kLogin2});
  Connection flow{gateway, {kClient, Port{4000}}, {kLogin, kOscar}};
  REQUIRE(flow.open());
  gateway.pass(seconds{1});
  gateway.forget();
  gateway.held_answer("login.icq.com", {kBos});
  CHECK(login_server(gateway, kBos));
  CHECK(login_server(gateway, kLogin));  // its flow lives
  CHECK_FALSE(login_server(gateway, kLogin2));
  REQUIRE(gateway.changes.size() == 2);  // in first, out then
  CHECK(gateway.changes[0].kind == nft::Change::Kind::Renew);
  CHECK(gateway.changes[1].kind == nft::Change::Kind::Remove);
  CHECK(gateway.count(What::AddressGone, Reason::OverLimit) == 1);
  gateway.pass(seconds{1});
  gateway.held_answer("login.icq.com", {kPeer});
  CHECK(login_server(gateway, kLogin));
  CHECK(login_server(gateway, kPeer));
  CHECK(gateway.live(nft::SetId::Login4) == 2);
}

TEST_CASE("addresses-total holds over all names", "[engine][names][limits]") {
  auto config = test_config();
  config.login_hosts.push_back({"other.example", std::nullopt});
  config.login_hosts.push_back({IpAddress{kPeer}, std::nullopt});
  config.addresses_per_name = 3;
  config.addresses_total = 4;
  Gateway gateway{config};
  gateway.answer("login.icq.com",
                 {make_ipv4(192, 0, 2, 1), make_ipv4(192, 0, 2, 2), make_ipv4(192, 0, 2, 3)});
  gateway.pass(seconds{1});
  gateway.answer("other.example",
                 {make_ipv4(192, 0, 2, 11), make_ipv4(192, 0, 2, 12), make_ipv4(192, 0, 2, 13)});
  CHECK(gateway.live(nft::SetId::Login4) == 5);  // four, and the one the configuration names itself
  CHECK(login_server(gateway, kPeer));
  CHECK(login_server(gateway, make_ipv4(192, 0, 2, 13)));
}

TEST_CASE("a flow that is not followed keeps its server's address too", "[engine][names]") {
  auto config = test_config();
  config.keep = seconds{30};
  Gateway gateway{config};
  gateway.answer("login.icq.com", {kLogin}, seconds{60});
  const FlowKey key{{kClient, Port{4000}}, {kLogin, kOscar}};
  gateway.step(engine::FlowsListed{{kOscar}, listed({key})});
  CHECK(gateway.engine.snapshot(gateway.now).addresses.at(0).flows == 1);
  const auto say_other = [&](const dns::Query& query) {
    if (query.type == dns::Type::A) return gateway.answer(query.name, {kLogin2}, seconds{60});
    gateway.answer(query.name, {}, seconds{60}, query.type);
  };
  live(gateway, hours{1}, [&](const dns::Query& query) {
    say_other(query);
    REQUIRE(login_server(gateway, kLogin));
  });
  gateway.step(engine::FlowEnded{key});
  live(gateway, seconds{25}, say_other);
  CHECK(login_server(gateway, kLogin));  // `keep` begins where the flow ended
  live(gateway, seconds{10}, say_other);
  CHECK_FALSE(login_server(gateway, kLogin));
}

TEST_CASE("conntrack's list corrects what events have missed", "[engine][names]") {
  Ready gateway;
  const FlowKey one{{kClient, Port{4000}}, {kLogin, kOscar}};
  const FlowKey two{{kClient, Port{4001}}, {kLogin, kOscar}};
  const auto flows = [&] {
    for (const auto& address : gateway.engine.snapshot(gateway.now).addresses)
      if (address.server.address == IpAddress{kLogin}) return address.flows;
    return std::size_t{99};
  };
  gateway.step(engine::FlowsListed{{kOscar}, listed({one, two})});
  CHECK(flows() == 2);
  gateway.step(engine::FlowsListed{{Port{443}}, {}});  // says nothing of this port
  CHECK(flows() == 2);
  gateway.step(engine::FlowsListed{{kOscar}, listed({two})});
  CHECK(flows() == 1);
  Connection followed{gateway, {kOther, Port{4002}}, {kLogin, kOscar}};
  REQUIRE(followed.open());
  CHECK(flows() == 2);
  gateway.step(engine::FlowsListed{{kOscar}, listed({two})});  // too young to be listed
  CHECK(flows() == 2);
  gateway.pass(seconds{6});
  const TimePoint begun = gateway.now - seconds{3};  // a list that took its time: as young as it was then
  gateway.step(engine::FlowsListed{{kOscar}, listed({two}), begun});
  CHECK(flows() == 2);
  gateway.step(engine::FlowsListed{{kOscar}, listed({two})});
  CHECK(flows() == 1);
}

TEST_CASE("an answer held for a client is let go once its addresses are in", "[engine][names][held]") {
  Ready gateway;
  gateway.forget();
  CHECK(gateway.held_answer("login.icq.com", {kBos, make_ipv4(10, 0, 0, 1), make_ipv4(127, 0, 0, 1)}));
  CHECK(login_server(gateway, kBos));
  CHECK(gateway.live(nft::SetId::Login4) == 3);
  CHECK(gateway.count(What::AddressRefused) == 2);
  for (const auto& address : gateway.engine.snapshot(gateway.now).addresses)
    CHECK(address.source == (address.server.address == IpAddress{kBos} ? "held answer" : "answer"));
  gateway.forget();
  gateway.held_answer("login.icq.com", {kBos}, seconds{299});  // a cache counts down: nothing new
  CHECK(gateway.changes.empty());
  SECTION("another name teaches nothing") {
    CHECK(gateway.held_answer("evil.example", {kPeer}));
    CHECK(gateway.changes.empty());
  }
}

TEST_CASE("a client that tries an unknown server has the name asked for again, within bounds",
          "[engine][names][missed]") {
  Ready gateway;
  gateway.forget();
  gateway.step(engine::ServerMissed{{kBos, kOscar}});
  CHECK(gateway.asked.empty());  // it was asked for just now: in a while
  gateway.pass(seconds{3});
  CHECK(gateway.asked.size() == 1);
  gateway.answer("login.icq.com", {kLogin, kLogin2});
  gateway.pass(seconds{3});
  gateway.forget();
  gateway.step(engine::ServerMissed{{kBos, Port{443}}});  // no login port
  gateway.step(engine::ServerMissed{{kLogin, kOscar}});   // known
  CHECK(gateway.asked.empty());
  gateway.step(engine::ServerMissed{{kBos, kOscar}});
  CHECK(gateway.asked == std::vector<dns::Query>{{"login.icq.com", dns::Type::A}});
  CHECK(gateway.count(What::ServerMissed) == 1);
  for (int i = 0; i < 1000; ++i) gateway.step(engine::ServerMissed{{Ipv4{kBos.get() + 1}, kOscar}});
  CHECK(gateway.asked.size() == 1);
  gateway.answer("login.icq.com", {kBos});
  CHECK(login_server(gateway, kBos));
  std::size_t asked = 0;
  for (int second = 0; second < 600; ++second) {
    gateway.step(engine::ServerMissed{{Ipv4{kBos.get() + 1}, kOscar}});
    for (const auto& query : std::exchange(gateway.asked, {})) {
      ++asked;
      gateway.answer(query.name, {}, seconds{300}, query.type);
    }
    gateway.pass(seconds{1});
  }
  CHECK(asked <= 600 / 2 + 2);
}

TEST_CASE("a name without an answer for a while is a warning, once, and its return a word",
          "[engine][names]") {
  Ready gateway;
  live(gateway, hours{3}, [&](const dns::Query& query) { gateway.fail(query.name, "SERVFAIL", query.type); });
  REQUIRE(gateway.count(What::NameUnresolved) == 1);
  const auto warning = std::find_if(gateway.reports.begin(), gateway.reports.end(),
                                    [](const auto& one) { return one.what == What::NameUnresolved; });
  CHECK(warning->text == "login.icq.com: SERVFAIL");
  CHECK(gateway.count(What::NameResolved) == 0);
  live(gateway, hours{1}, [&](const dns::Query& query) {
    gateway.answer(query.name,
                   query.type == dns::Type::A ? std::vector<IpAddress>{kLogin} : std::vector<IpAddress>{},
                   seconds{300}, query.type);
  });
  CHECK(gateway.count(What::NameResolved) == 1);
  CHECK(gateway.count(What::NameUnresolved) == 1);
}

TEST_CASE("answers with forbidden addresses only are failures: what is good stays",
          "[engine][names][attack]") {
  Ready gateway;
  live(gateway, hours{24}, [&](const dns::Query& query) {
    if (query.type == dns::Type::A)
      return gateway.answer(query.name, {make_ipv4(10, 0, 0, 1), make_ipv4(127, 0, 0, 1)}, seconds{1});
    gateway.answer(query.name, {}, seconds{300}, query.type);
    REQUIRE(login_server(gateway, kLogin));
  });
  CHECK(gateway.live(nft::SetId::Login4) == 2);
  CHECK(gateway.count(What::AddressRefused) == 2);  // each told once
}

TEST_CASE("another resolver is asked at once for what the old one did not say", "[engine][names]") {
  Gateway gateway;
  live(gateway, hours{1},
       [&](const dns::Query& query) { gateway.fail(query.name, "timed out", query.type); });
  gateway.pass(seconds{10});
  gateway.forget();
  for (const auto type : {dns::Type::A, dns::Type::Aaaa}) gateway.fail("login.icq.com", "timed out", type);
  gateway.step(engine::ResolverChanged{});
  CHECK(gateway.asked.size() == 2);
}

TEST_CASE("an IPv6 answer does not smuggle an IPv4 address in", "[engine][names][attack]") {
  auto config = test_config();
  config.login_hosts = {{"login.icq.com", std::nullopt, true}};
  Gateway gateway{config};
  gateway.answer(
      "login.icq.com",
      {*parse_address("::ffff:192.168.1.10"), *parse_address("::ffff:198.51.100.1"), *parse_address("::1"),
       *parse_address("fe80::1"), *parse_address("ff02::1"), *parse_address("::"),
       *parse_address("64:ff9b::192.168.1.10"), *parse_address("2002:c0a8:10a::1"), *parse_address("fd00::5"),
       *parse_address("2001:db8::5")},
      seconds{300}, dns::Type::Aaaa);
  CHECK(gateway.live(nft::SetId::Login6) == 2);
}

TEST_CASE("an answer with more addresses than are taken is told when it begins", "[engine][names][limits]") {
  Gateway gateway;
  std::vector<IpAddress> many;
  for (std::uint32_t i = 0; i < 100; ++i) many.emplace_back(Ipv4{make_ipv4(198, 18, 0, 0).get() + i});
  live(gateway, hours{1}, [&](const dns::Query& query) {
    if (query.type == dns::Type::A) return gateway.answer(query.name, many, seconds{30});
    gateway.answer(query.name, {}, seconds{300}, query.type);
  });
  CHECK(gateway.count(What::AnswerCut, Reason::OverLimit) == 1);
  CHECK(gateway.live(nft::SetId::Login4) == 64);
}

TEST_CASE("at the limit, an address held by a flow does not make the named ones come and go",
          "[engine][names][limits]") {
  auto config = test_config();
  config.addresses_per_name = 2;
  Gateway gateway{config};
  gateway.answer("login.icq.com", {kLogin}, seconds{30});
  Connection flow{gateway, {kClient, Port{4000}}, {kLogin, kOscar}};
  REQUIRE(flow.open());
  const auto say = [&](const dns::Query& query) {
    if (query.type == dns::Type::A) return gateway.answer(query.name, {kBos, kPeer}, seconds{30});
    gateway.answer(query.name, {}, seconds{300}, query.type);
  };
  live(gateway, seconds{120}, say);
  gateway.forget();
  live(gateway, seconds{300}, say);
  CHECK(gateway.count(What::AddressAdded) == 0);
  CHECK(gateway.count(What::AddressGone) == 0);
  CHECK(login_server(gateway, kLogin));
  CHECK(gateway.live(nft::SetId::Login4) == 2);
}

TEST_CASE("a loop that is late does not hang at an address's end", "[engine][names]") {
  using std::chrono::microseconds;
  Gateway gateway;
  const auto start = gateway.now;
  const auto at = [&](auto span) {
    gateway.now = start + span;
    gateway.step(engine::Tick{});
  };
  gateway.answer("login.icq.com", {kLogin, kLogin2}, seconds{300});
  at(seconds{299});
  gateway.answer("login.icq.com", {kLogin2}, seconds{300});
  at(seconds{300} + microseconds{5});
  at(seconds{900} + microseconds{1});  // between the kernel's end and the engine's
  at(seconds{902});
  CHECK_FALSE(login_server(gateway, kLogin));
}
