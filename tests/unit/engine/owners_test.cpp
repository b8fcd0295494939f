// SPDX-License-Identifier: GPL-2.0-or-later
// Several names, and flows, behind one address: each holds what is its own, for its own time (security.md
// S3).
#include <catch2/catch.hpp>

#include "connection.hpp"

using namespace icqgate;
using namespace icqgate::test;
using std::chrono::hours;

namespace {

constexpr Port kSecond{5191};

// login.icq.com at 5190, other.example at 5191, both for a minute, and kept for another.
config::Config two_names(bool same_port = false) {
  auto config = test_config();
  config.login_hosts = {{"login.icq.com", std::nullopt},
                        {"other.example", same_port ? std::nullopt : std::optional{kSecond}}};
  config.ttl_min = config.ttl_max = config.keep = seconds{60};
  return config;
}

bool has(const Gateway& gateway, Ipv4 address, Port port) {
  return gateway.model.holds(nft::Element::login({address, port}), gateway.now);
}

// login.icq.com stays at kLogin; other.example has moved to kBos.
void live(Gateway& gateway, seconds span) {
  for (const TimePoint end = gateway.now + span; gateway.now < end;) {
    for (const auto& query : std::exchange(gateway.asked, {})) {
      if (query.type == dns::Type::Aaaa)
        gateway.answer(query.name, {}, seconds{60}, query.type);
      else
        gateway.answer(query.name, {query.name == "login.icq.com" ? kLogin : kBos}, seconds{60});
    }
    gateway.pass(seconds{5});
  }
}

std::string host_of(const Gateway& gateway, Ipv4 address) {
  for (const auto& one : gateway.engine.snapshot(gateway.now).addresses)
    if (one.server.address == IpAddress{address}) return one.host;
  return "";
}

}  // namespace

TEST_CASE("a name that left an address takes its port along", "[engine][names][owners]") {
  Gateway gateway{two_names()};
  gateway.answer("login.icq.com", {kLogin}, seconds{60});
  gateway.answer("other.example", {kLogin}, seconds{60});
  CHECK(has(gateway, kLogin, kOscar));
  CHECK(has(gateway, kLogin, kSecond));
  live(gateway, seconds{100});
  CHECK(has(gateway, kLogin, kSecond));  // `keep` is not over
  live(gateway, seconds{60});
  CHECK(has(gateway, kLogin, kOscar));
  CHECK_FALSE(has(gateway, kLogin, kSecond));
  CHECK(has(gateway, kBos, kSecond));
  CHECK(gateway.count(What::AddressGone, Reason::Expired) == 1);
  CHECK(host_of(gateway, kLogin) == "login.icq.com");
}

TEST_CASE("a flow keeps the port of a name that left, and nothing longer than itself",
          "[engine][names][owners]") {
  Gateway gateway{two_names()};
  gateway.answer("login.icq.com", {kLogin}, seconds{60});
  gateway.answer("other.example", {kLogin}, seconds{60});
  Connection flow{gateway, {kClient, Port{4000}}, {kLogin, kSecond}};
  REQUIRE(flow.open());
  Connection usual{gateway, {kClient, Port{4001}}, {kLogin, kOscar}};
  REQUIRE(usual.open());
  for (int i = 0; i < 60; ++i) {
    live(gateway, seconds{60});
    flow.ack(Side::Lan);
    usual.ack(Side::Lan);
    REQUIRE(has(gateway, kLogin, kSecond));
  }
  flow.fin(Side::Lan);
  live(gateway, seconds{55});
  CHECK(has(gateway, kLogin, kSecond));
  live(gateway, seconds{10});
  CHECK_FALSE(has(gateway, kLogin, kSecond));
  CHECK(has(gateway, kLogin, kOscar));
}

TEST_CASE("the right to private addresses ends with the name that has it",
          "[engine][names][owners][attack]") {
  auto config = two_names(true);
  config.login_hosts[1].private_allowed = true;
  Gateway gateway{config};
  gateway.answer("login.icq.com", {kLogin}, seconds{60});
  gateway.answer("other.example", {kLogin}, seconds{60});
  const auto redirect = [&gateway](std::uint16_t local) {
    gateway.forget();
    login(gateway, {.local = local, .cookie = "c" + std::to_string(local), .target = "10.9.9.9:5190"});
    return gateway.count(What::Redirected);
  };
  CHECK(redirect(5000) == 1);
  // Flows to the address, and connections beside them, make no difference: the other name explains them.
  Connection flow{gateway, {kClient, Port{4001}}, {kLogin, kOscar}};
  REQUIRE(flow.open());
  live(gateway, seconds{200});
  CHECK(host_of(gateway, kLogin) == "login.icq.com");
  CHECK(redirect(5002) == 0);
  CHECK(gateway.count(What::RedirectRefused, Reason::ForbiddenTarget) == 1);
}

TEST_CASE("a name that left an address of the configuration leaves it to that", "[engine][names][owners]") {
  auto config = two_names();
  config.login_hosts.push_back({IpAddress{kLogin}, kOscar});
  Gateway gateway{config};
  gateway.answer("other.example", {kLogin}, seconds{60});
  CHECK(has(gateway, kLogin, kSecond));
  live(gateway, seconds{200});
  CHECK(has(gateway, kLogin, kOscar));
  CHECK_FALSE(has(gateway, kLogin, kSecond));
}

TEST_CASE("an address that comes back finds its flows", "[engine][names][owners]") {
  auto config = test_config();
  config.addresses_per_name = 1;
  config.keep = seconds{60};
  Gateway gateway{config};
  gateway.answer("login.icq.com", {kLogin}, seconds{60});
  Connection flow{gateway, {kClient, Port{4000}}, {kLogin, kOscar}};
  REQUIRE(flow.open());
  config.login_hosts = {{"other.example", std::nullopt}};
  gateway.step(engine::Reconfigured{config});
  CHECK_FALSE(has(gateway, kLogin, kOscar));
  gateway.pass(seconds{5});
  gateway.answer("other.example", {kLogin}, seconds{60});
  CHECK(gateway.engine.snapshot(gateway.now).addresses.at(0).flows == 1);
  flow.rst(Side::Lan);
  CHECK(gateway.engine.snapshot(gateway.now).addresses.at(0).flows == 0);
}

TEST_CASE("flows to a port that is no login port any more hold nothing, and are still heard of",
          "[engine][names][owners]") {
  Ready gateway;
  const FlowKey key{{kClient, Port{4000}}, {kLogin, kOscar}};
  gateway.step(engine::FlowsListed{{kOscar}, listed({key})});
  auto config = test_config();
  config.login_ports = {kSecond};
  gateway.step(engine::Reconfigured{config});
  for (const auto& address : gateway.engine.snapshot(gateway.now).addresses) CHECK(address.flows == 0);
  CHECK(gateway.engine.server_ports() == std::set<Port>{kOscar, kSecond});
  CHECK(gateway.engine.login_ports() == std::set<Port>{kSecond});
  gateway.step(engine::FlowEnded{key});
  CHECK(gateway.engine.server_ports() == std::set<Port>{kSecond});
}

TEST_CASE("flows to every known address do not keep a server that moved out",
          "[engine][names][limits][attack]") {
  auto config = test_config();
  config.addresses_per_name = 4;
  config.ttl_min = config.ttl_max = seconds{60};
  Gateway gateway{config};
  std::vector<IpAddress> old;
  for (std::uint32_t i = 0; i < 4; ++i) old.emplace_back(Ipv4{kLogin.get() + i});
  gateway.answer("login.icq.com", old, seconds{60});
  for (std::uint16_t i = 0; i < 4; ++i) {
    Connection flow{gateway, {kClient, Port{static_cast<std::uint16_t>(4000 + i)}}, {old[i], kOscar}};
    REQUIRE(flow.open());
  }
  gateway.pass(seconds{5});
  std::vector<IpAddress> fresh;
  for (std::uint32_t i = 0; i < 3; ++i) fresh.emplace_back(Ipv4{kBos.get() + i});
  for (int i = 0; i < 60; ++i) {
    for (const auto& query : std::exchange(gateway.asked, {}))
      gateway.answer(query.name, query.type == dns::Type::A ? fresh : std::vector<IpAddress>{}, seconds{60},
                     query.type);
    gateway.pass(seconds{5});
  }
  const auto in = [&gateway](const std::vector<IpAddress>& addresses) {
    return std::count_if(addresses.begin(), addresses.end(),
                         [&](const IpAddress& one) { return has(gateway, *one.v4(), kOscar); });
  };
  CHECK(in(fresh) == 2);
  CHECK(in(old) == 2);
  gateway.forget();
  for (int i = 0; i < 60; ++i) {
    for (const auto& query : std::exchange(gateway.asked, {}))
      gateway.answer(query.name, query.type == dns::Type::A ? fresh : std::vector<IpAddress>{}, seconds{60},
                     query.type);
    gateway.pass(seconds{5});
  }
  CHECK(gateway.count(What::AddressGone) == 0);
}

TEST_CASE("a name's limit takes no other name's address", "[engine][names][limits]") {
  auto config = test_config();
  config.login_hosts = {{"login.icq.com", std::nullopt}, {"other.example", std::nullopt}};
  config.addresses_per_name = 2;
  Gateway gateway{config};
  gateway.answer("login.icq.com", {kLogin}, seconds{3600});
  gateway.answer("other.example", {kLogin}, seconds{300});
  gateway.pass(seconds{299});
  gateway.answer("other.example", {kBos, kPeer}, seconds{300});
  CHECK(has(gateway, kLogin, kOscar));
  CHECK(host_of(gateway, kLogin) == "login.icq.com");
  CHECK(gateway.live(nft::SetId::Login4) == 3);
}

TEST_CASE("a day of held answers leaves room for timers of others", "[engine][names][owners][day]") {
  auto config = test_config();
  config.keep = hours{24};
  config.ttl_max = hours{24};
  Gateway gateway{config};
  gateway.answer("login.icq.com", {kLogin, kLogin2}, seconds{3600});
  dns::Answer answer;
  answer.question = "login.icq.com";
  answer.addresses = {{kLogin, seconds{3600}}, {kLogin2, seconds{3600}}};
  // Directly: the gateway of the tests remembers every packet.
  for (int second = 0; second < 600'000; ++second) {
    gateway.now += seconds{2};
    for (const auto& action :
         gateway.engine.step(engine::AnswerHeld{1, {"login.icq.com", dns::Type::A}, answer}, gateway.now))
      if (const auto* change = std::get_if<engine::ChangeElement>(&action))
        gateway.model.apply(change->change, gateway.now);
  }
  Connection flow{gateway, {kClient, Port{4000}}, {kLogin, kOscar}};
  REQUIRE(flow.open());
  CHECK(gateway.engine.snapshot(gateway.now).sessions.size() == 1);
}
