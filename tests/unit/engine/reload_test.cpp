// SPDX-License-Identifier: GPL-2.0-or-later
// Another configuration in flight (security.md S1, S13): what it does not allow goes, and does not come back.
#include <catch2/catch.hpp>

#include "connection.hpp"

using namespace icqgate;
using namespace icqgate::test;

namespace {

struct Standing {
  explicit Standing(config::Config config = test_config())
      : gateway{std::move(config)}, flow{online(gateway)} {
    announce(flow);
    REQUIRE(gateway.state(kClient, kPort) == "open");
  }
  Ready gateway;
  Connection flow;
};

config::Config other_host() {
  auto config = test_config();
  config.login_hosts = {{"other.example", std::nullopt}};
  return config;
}

}  // namespace

TEST_CASE("a reload takes away what the configuration does not allow any more", "[engine][reload]") {
  Standing before;
  Gateway& gateway = before.gateway;
  auto config = test_config();
  SECTION("nothing differs: nothing moves") {
    gateway.forget();
    gateway.step(engine::Reconfigured{config});
    CHECK(gateway.changes.empty());
    CHECK(gateway.reports.empty());
    CHECK(gateway.state(kClient, kPort) == "open");
  }
  SECTION("the range") {
    config.port_range = {Port{24000}, Port{24099}};
    gateway.config = config;
    gateway.step(engine::Reconfigured{config});
    CHECK(gateway.live(nft::SetId::Pinholes) == 0);
    CHECK(gateway.live(nft::SetId::Sessions) == 1);  // the session itself stays
    announce(before.flow, Port{24001});
    CHECK(gateway.state(kClient, Port{24001}) == "open");
  }
  SECTION("the client") {
    config.clients = {*parse_subnet("192.168.1.128/25")};
    gateway.step(engine::Reconfigured{config});
    CHECK(gateway.live(nft::SetId::Pinholes) == 0);
    CHECK(gateway.live(nft::SetId::Sessions) == 0);
    CHECK(gateway.live(nft::SetId::Servers4) == 0);
  }
  SECTION("the login host") {
    config.login_hosts = {{"other.example", std::nullopt}};
    gateway.forget();
    gateway.step(engine::Reconfigured{config});
    CHECK(gateway.live(nft::SetId::Login4) == 0);
    CHECK(gateway.asked.size() == 2);
    CHECK(gateway.asked[0].name == "other.example");
    CHECK(gateway.state(kClient, kPort) == "");  // whose server it was, is none any more
    CHECK(gateway.live(nft::SetId::Sessions) == 0);
    CHECK(gateway.live(nft::SetId::Servers4) == 0);
    CHECK(before.flow.lan(wire::Data(5)).arrives());
    CHECK(std::all_of(gateway.reports.begin(), gateway.reports.end(), [](const auto& one) {
      return one.what != What::AddressGone || one.text == "login.icq.com";
    }));
    gateway.answer("other.example", {kPeer});
    CHECK(gateway.live(nft::SetId::Login4) == 1);
  }
  SECTION("fewer ports for each client: the newest go") {
    config.ports_per_client = 1;
    Connection second = online(gateway, {.uin = kFriend, .local = 4100, .cookie = "another"});
    gateway.pass(seconds{1});
    announce(second, Port{24570});
    REQUIRE(gateway.state(kClient, Port{24570}) == "open");
    gateway.step(engine::Reconfigured{config});
    CHECK(gateway.state(kClient, kPort) == "open");
    CHECK(gateway.state(kClient, Port{24570}) == "");
  }
  SECTION("the login port") {
    config.login_ports = {Port{443}};
    gateway.step(engine::Reconfigured{config});
    CHECK(gateway.model.holds(nft::Element::login({kLogin, Port{443}}), gateway.now));
    CHECK_FALSE(gateway.model.holds(nft::Element::login({kLogin, kOscar}), gateway.now));
  }
  SECTION("an address of its own") {
    config.login_hosts.push_back({IpAddress{kPeer}, Port{5191}});
    gateway.step(engine::Reconfigured{config});
    CHECK(gateway.model.holds(nft::Element::login({kPeer, Port{5191}}), gateway.now));
    gateway.step(engine::Reconfigured{test_config()});
    CHECK_FALSE(gateway.model.holds(nft::Element::login({kPeer, Port{5191}}), gateway.now));
    CHECK(gateway.live(nft::SetId::Login4) == 2);
  }
}

TEST_CASE("a session of a removed host does not bring its server back", "[engine][reload][attack]") {
  Ready gateway;
  online(gateway);
  gateway.step(engine::Reconfigured{other_host()});
  REQUIRE(gateway.live(nft::SetId::Servers4) == 0);
  gateway.pass(seconds{200});
  CHECK(gateway.live(nft::SetId::Servers4) == 0);
  gateway.forget();
  Connection again{gateway, {kClient, Port{4444}}, {kBos, kOscar}};
  again.open();
  CHECK(gateway.count(What::ControlOpened) == 0);
}

TEST_CASE("a name that a removed host had sent to opens nothing", "[engine][reload][attack]") {
  Ready gateway;
  login(gateway, {.target = "bos.example:5190"});
  REQUIRE(gateway.held() == 1);
  gateway.step(engine::Reconfigured{other_host()});
  gateway.forget();
  gateway.answer("bos.example", {kBos});
  CHECK(gateway.live(nft::SetId::Servers4) == 0);
  CHECK(gateway.count(What::Redirected) == 0);
  CHECK(gateway.held() == 0);
  Connection flow = session(gateway);
  announce(flow);
  CHECK(gateway.state(kClient, kPort) == "");
}

TEST_CASE("a private server goes with the right to it", "[engine][reload][attack]") {
  auto config = test_config();
  config.login_hosts[0].private_allowed = true;
  Ready gateway{config};
  login(gateway, {.target = "10.9.9.9:5190"});
  Connection flow = session(gateway, {}, {make_ipv4(10, 9, 9, 9), kOscar});
  announce(flow);
  REQUIRE(gateway.state(kClient, kPort) == "open");
  gateway.step(engine::Reconfigured{test_config()});
  CHECK(gateway.live(nft::SetId::Servers4) == 0);
  CHECK(gateway.state(kClient, kPort) == "");
}

TEST_CASE("a server whose address is the gateway's own by now goes", "[engine][reload][attack]") {
  Standing before;
  auto around = test_surroundings();
  around.own.push_back(kBos);
  before.gateway.engine.surroundings(around);
  auto config = test_config();
  config.keep = seconds{601};
  before.gateway.step(engine::Reconfigured{config});
  CHECK(before.gateway.live(nft::SetId::Servers4) == 0);
}

TEST_CASE("a server goes with the port that it is on", "[engine][reload]") {
  auto config = test_config();
  config.server_ports = {Port{9898}};
  Ready gateway{config};
  login(gateway, {.target = "198.51.100.25:9898"});
  REQUIRE(gateway.live(nft::SetId::Servers4) == 1);
  gateway.step(engine::Reconfigured{test_config()});
  CHECK(gateway.live(nft::SetId::Servers4) == 0);
}

TEST_CASE("a session of a removed host that moves keeps no port", "[engine][reload]") {
  Standing before;
  before.flow.wan(wire::migration("198.51.100.26:5190", "m"));
  before.gateway.step(engine::Reconfigured{other_host()});
  CHECK(before.gateway.state(kClient, kPort) == "");
}

TEST_CASE("a port that the range shuts is none of ports-per-client", "[engine][reload]") {
  Standing before;
  Gateway& gateway = before.gateway;
  Connection second = online(gateway, {.uin = kFriend, .local = 4100, .cookie = "another"});
  gateway.pass(seconds{1});
  announce(second, Port{24570});
  auto config = test_config();
  config.port_range = {Port{24570}, Port{24599}};
  config.ports_per_client = 1;
  gateway.step(engine::Reconfigured{config});
  CHECK(gateway.state(kClient, kPort) == "");
  CHECK(gateway.state(kClient, Port{24570}) == "open");
}

TEST_CASE("another budget of queries counts at once", "[engine][reload][names]") {
  auto config = test_config();
  config.queries_per_minute = 2;
  config.ttl_min = seconds{1};
  Gateway gateway{config};
  std::size_t asked = 0;
  for (int i = 0; i < 600; ++i) {
    for (const auto& query : std::exchange(gateway.asked, {})) {
      ++asked;
      gateway.answer(query.name,
                     query.type == dns::Type::A ? std::vector<IpAddress>{kLogin} : std::vector<IpAddress>{},
                     seconds{1}, query.type);
    }
    gateway.pass(milliseconds{500});
  }
  CHECK(asked >= 30);
  config.queries_per_minute = 6000;
  gateway.asked.clear();
  gateway.step(engine::Reconfigured{config});
  gateway.pass(seconds{2});
  CHECK(gateway.asked.size() > 0);
}
