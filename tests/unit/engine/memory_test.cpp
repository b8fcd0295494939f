// SPDX-License-Identifier: GPL-2.0-or-later
// Across restarts and reloads (security.md S1, S13; attack (p)).
#include <catch2/catch.hpp>

#include "connection.hpp"

using namespace icqgate;
using namespace icqgate::test;
using engine::Saved;

namespace {

// The next run, over what the kernel still has: the elements of the adopted table and the marks of its flows.
struct Next : Gateway {
  Next(const Gateway& before, Saved saved, std::vector<FlowKey> alive, seconds down = seconds{1},
       config::Config c = test_config())
      : Gateway{Idle{}, std::move(c)} {
    now = before.now + down;
    model = before.model;
    step(engine::Restored{std::move(saved), listed(alive)});
  }
};

struct Standing {
  Standing() : flow{online(gateway)} {
    announce(flow);
    REQUIRE(gateway.state(kClient, kPort) == "open");
    saved = gateway.engine.saved(gateway.now);
  }
  Ready gateway;
  Connection flow;
  Saved saved;
};

}  // namespace

TEST_CASE("a session goes on exactly where it was left", "[engine][memory]") {
  Standing before;
  REQUIRE(before.saved.sessions.size() == 1);
  REQUIRE(before.saved.pinholes.size() == 1);
  Next gateway{before.gateway, before.saved, {before.flow.key()}};
  CHECK(gateway.state(kClient, kPort) == "open");
  CHECK(gateway.live(nft::SetId::Sessions) == 1);
  CHECK(gateway.live(nft::SetId::Servers4) == 1);
  CHECK(gateway.engine.snapshot(gateway.now).sessions.at(0).state == "online");
  Connection flow = before.flow.through(gateway);
  flow.ack(Side::Wan);
  announce(flow, Port{24570});
  CHECK(gateway.state(kClient, Port{24570}) == "open");
  CHECK(gateway.state(kClient, kPort) == "");
  flow.fin(Side::Wan);
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
}

TEST_CASE("a session that said something meanwhile keeps what it has and teaches nothing",
          "[engine][memory]") {
  Standing before;
  Next gateway{before.gateway, before.saved, {before.flow.key()}};
  Connection flow = before.flow.through(gateway);
  SECTION("the client's bytes were missed") { flow.skip(Side::Lan, 20); }
  SECTION("the server's bytes were missed") { flow.skip(Side::Wan, 7); }
  SECTION("only an acknowledgement tells of it") { flow.ack(Side::Wan, flow.next(Side::Lan) + 9); }
  announce(flow, Port{24570});
  CHECK(gateway.state(kClient, Port{24570}) == "");
  CHECK(gateway.state(kClient, kPort) == "open");
  CHECK(gateway.engine.snapshot(gateway.now).sessions.at(0).state == "blind");
  // It is kept as long as the session is heard of, and no longer.
  for (int i = 0; i < 20; ++i) {
    gateway.pass(seconds{60});
    flow.ack(Side::Lan);
  }
  CHECK(gateway.state(kClient, kPort) == "open");
  flow.fin(Side::Lan);
  CHECK(gateway.state(kClient, kPort) == "");
  CHECK(gateway.live(nft::SetId::Sessions) == 0);
}

TEST_CASE("what was sent twice over a restart is no hole", "[engine][memory]") {
  Standing before;
  Next gateway{before.gateway, before.saved, {before.flow.key()}};
  Connection flow = before.flow.through(gateway);
  flow.at_offset(Side::Lan, -1, wire::Data{std::byte{0}});  // a keep-alive probe
  flow.at_offset(Side::Lan, -5, wire::Data(5));
  announce(flow, Port{24570});
  CHECK(gateway.state(kClient, Port{24570}) == "open");
}

TEST_CASE("a session that ended meanwhile leaves nothing open", "[engine][memory]") {
  Standing before;
  Next gateway{before.gateway, before.saved, {}};
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
  CHECK(gateway.engine.snapshot(gateway.now).sessions.empty());
}

TEST_CASE("another connection on the same ports is no continuation", "[engine][memory][attack]") {
  Standing before;
  SECTION("conntrack has another number for it") {
    REQUIRE(before.gateway.wanted == std::vector<FlowKey>{before.flow.key()});
    before.gateway.step(engine::FlowsListed{{}, {{before.flow.key(), 7}}});
    before.saved = before.gateway.engine.saved(before.gateway.now);
    REQUIRE(before.saved.sessions.at(0).conntrack == 7);
    Gateway gateway{Gateway::Idle{}, test_config()};
    gateway.now = before.gateway.now;
    gateway.model = before.gateway.model;
    gateway.step(engine::Restored{before.saved, {{before.flow.key(), 8}}});
    CHECK(gateway.live(nft::SetId::Pinholes) == 0);
    CHECK(gateway.engine.snapshot(gateway.now).sessions.empty());
  }
  SECTION("its bytes are elsewhere") {
    const bool exact = GENERATE(true, false);
    before.saved.sessions.at(0).exact = exact;
    Next gateway{before.gateway, before.saved, {before.flow.key()}};
    REQUIRE(gateway.state(kClient, kPort) == "open");
    Connection flow = before.flow.through(gateway);
    const Side first = GENERATE(Side::Lan, Side::Wan);
    flow.next(first) += 0x40000000;
    SECTION("data") { flow.send(first, wire::Data(5)); }
    SECTION("an acknowledgement") { flow.ack(Connection::other(first)); }
    SECTION("the server's answer to its first segment") {
      flow.raw(Side::Wan, TcpSegment::kSyn | TcpSegment::kAck, flow.next(Side::Wan) + 0x40000000,
               flow.next(Side::Lan), {});
    }
    CHECK(gateway.state(kClient, kPort) == "");
    CHECK(gateway.live(nft::SetId::Sessions) == 0);
    announce(flow, Port{24570});
    CHECK(gateway.live(nft::SetId::Pinholes) == 0);
  }
}

TEST_CASE("what conntrack knows to be the same connection may have gone far", "[engine][memory]") {
  Standing before;
  before.gateway.step(engine::FlowsListed{{}, {{before.flow.key(), 7}}});
  Gateway gateway{Gateway::Idle{}, test_config()};
  gateway.now = before.gateway.now;
  gateway.model = before.gateway.model;
  gateway.step(engine::Restored{before.gateway.engine.saved(before.gateway.now), {{before.flow.key(), 7}}});
  Connection flow = before.flow.through(gateway);
  flow.skip(Side::Wan, 600 * 1024);
  flow.ack(Side::Lan);
  CHECK(gateway.state(kClient, kPort) == "open");
  CHECK(gateway.engine.snapshot(gateway.now).sessions.at(0).state == "blind");
}

TEST_CASE("a blind session is known again by where it was about", "[engine][memory]") {
  Standing before;
  before.flow.lan(wire::Data(100, std::byte{0xff}));  // no FLAP
  REQUIRE(before.gateway.engine.snapshot(before.gateway.now).sessions.at(0).state == "blind");
  for (int i = 0; i < 100; ++i) before.flow.lan(wire::Data(30'000, std::byte{0xff}));
  for (int i = 0; i < 100; ++i) before.flow.wan(wire::Data(20'000, std::byte{0xff}));
  const auto saved = before.gateway.engine.saved(before.gateway.now);
  REQUIRE(saved.sessions.size() == 1);
  CHECK_FALSE(saved.sessions[0].exact);
  CHECK(saved.sessions[0].to_server == before.flow.next(Side::Lan));
  CHECK(saved.sessions[0].to_client == before.flow.next(Side::Wan));
  Next gateway{before.gateway, saved, {before.flow.key()}};
  Connection flow = before.flow.through(gateway);
  flow.skip(Side::Lan, 1000);
  flow.lan(wire::Data(10));
  flow.ack(Side::Wan);
  CHECK(gateway.state(kClient, kPort) == "open");
}

TEST_CASE("what only another login host allowed is not taken up", "[engine][memory][attack]") {
  Standing before;
  REQUIRE(before.saved.sessions.at(0).hosts == std::vector<std::string>{"login.icq.com"});
  auto config = test_config();
  SECTION("the host is another one") { config.login_hosts = {{"other.example", std::nullopt}}; }
  SECTION("the host was an address") { before.saved.sessions.at(0).hosts = {"192.0.2.99"}; }
  SECTION("it may not stand for private addresses any more") {
    const IpAddress inside{make_ipv4(10, 9, 9, 9)};
    before.saved.sessions.at(0).flow.outside.address = inside;
    before.saved.pinholes.at(0).owner.outside.address = inside;
  }
  const FlowKey flow = before.saved.sessions.at(0).flow;
  Next gateway{before.gateway, before.saved, {flow}, seconds{1}, config};
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
  CHECK(gateway.engine.snapshot(gateway.now).sessions.empty());
  CHECK(gateway.engine.elements().count(nft::Element::session(kClient)) == 0);
}

TEST_CASE("a peer gets in after a restart, with the right UIN", "[engine][memory]") {
  Standing before;
  Next gateway{before.gateway, before.saved, {before.flow.key()}};
  auto peer = call(gateway);
  REQUIRE(peer.open());
  CHECK(peer.wan(wire::peer_init({})).verdict == Verdict::Kind::Verify);
  auto stranger = call(gateway, kPort, kClient, 31001);
  REQUIRE(stranger.open());
  CHECK(stranger.wan(wire::peer_init({.to = Uin{kUser.get() + 1}})).verdict == Verdict::Kind::Refuse);
}

TEST_CASE("what the state says is believed only as far as today's rules go: attack (p)",
          "[engine][memory][attack]") {
  Standing before;
  Saved saved = before.saved;
  auto& session = saved.sessions.at(0);
  auto& pinhole = saved.pinholes.at(0);
  auto config = test_config();
  std::vector<FlowKey> alive{before.flow.key()};
  SECTION("another host's port") { pinhole.client = kOther; }
  SECTION("a host that is no client") { pinhole.client = make_ipv4(172, 16, 0, 5); }
  SECTION("a port outside the range") { pinhole.port = Port{22}; }
  SECTION("a denied port") { config.port_deny.insert(kPort); }
  SECTION("another UIN than its session's") { pinhole.uin = kFriend; }
  SECTION("a session that was never accepted") { session.online = false; }
  SECTION("a session without a UIN") { session.uin.reset(); }
  SECTION("a session with a server inside") {
    session.flow.outside.address = pinhole.owner.outside.address = kOther;
  }
  SECTION("a session conntrack does not know") {
    session.flow.inside.port = pinhole.owner.inside.port = Port{5};
  }
  SECTION("more ports than one client may have") { config.ports_per_client = 0; }
  SECTION("the client is none any more") { config.clients = {*parse_subnet("192.168.9.0/24")}; }
  engine::Engine fresh{config, test_surroundings()};
  KernelModel kernel{config};
  for (const auto& action : fresh.step(engine::Restored{saved, listed(alive)}, before.gateway.now))
    if (const auto* change = std::get_if<engine::ChangeElement>(&action))
      kernel.apply(change->change, before.gateway.now);
  CHECK(kernel.elements(nft::SetId::Pinholes, before.gateway.now).empty());
}

TEST_CASE("saved addresses serve while DNS is dead, and go once it says better", "[engine][memory][names]") {
  Ready before;
  before.pass(seconds{100});
  Saved saved = before.engine.saved(before.now);
  REQUIRE(saved.addresses.size() == 2);
  saved.addresses.push_back({"login.icq.com", make_ipv4(10, 0, 0, 1), seconds{300}, seconds{1}});
  saved.addresses.push_back({"not.ours.example", kPeer, seconds{300}, seconds{1}});
  saved.addresses[0].ttl_left = seconds{-5000};
  Gateway gateway{Gateway::Idle{}, test_config()};
  gateway.step(engine::Restored{saved, {}});
  CHECK(gateway.live(nft::SetId::Login4) == 2);
  for (const auto& address : gateway.engine.snapshot(gateway.now).addresses) {
    CHECK(address.source == "saved");
    CHECK(address.age >= seconds{100});
  }
  for (int i = 0; i < 24 * 12; ++i) {
    gateway.pass(seconds{300});
    for (const auto& query : std::exchange(gateway.asked, {}))
      gateway.fail(query.name, "timed out", query.type);
    REQUIRE(gateway.live(nft::SetId::Login4) == 2);
  }
  for (int i = 0; i < 60; ++i) {
    for (const auto& query : std::exchange(gateway.asked, {}))
      gateway.answer(query.name,
                     query.type == dns::Type::A ? std::vector<IpAddress>{kLogin} : std::vector<IpAddress>{},
                     seconds{300}, query.type);
    gateway.pass(seconds{30});
  }
  CHECK(gateway.live(nft::SetId::Login4) == 1);
  CHECK(gateway.engine.snapshot(gateway.now).addresses.at(0).source == "answer");
}
