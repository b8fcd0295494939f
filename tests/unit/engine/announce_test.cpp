// SPDX-License-Identifier: GPL-2.0-or-later
// Announcements (protocol.md 4; security.md S5 to S13).
#include <catch2/catch.hpp>

#include "connection.hpp"

using namespace icqgate;
using namespace icqgate::test;
using Kind = Verdict::Kind;

TEST_CASE("an announcement: probation, then open once the server has it", "[engine][announce]") {
  Ready gateway;
  Connection flow = online(gateway);
  CHECK(flow.lan(wire::status({kClient, kPort.get()})).verdict == Kind::Pass);
  CHECK(gateway.pinhole(kClient, kPort));  // before the verdict: held by the fixture
  CHECK(gateway.state(kClient, kPort) == "probation");
  CHECK(gateway.count(What::PinholeProbation) == 1);

  Connection peer = call(gateway);
  REQUIRE(peer.open());
  const auto init = wire::peer_init({.cookie = 0x11223344});
  CHECK(peer.at_offset(Side::Wan, 0, init).verdict == Kind::Drop);  // not yet; it tries again
  flow.ack(Side::Wan);
  CHECK(gateway.state(kClient, kPort) == "open");
  CHECK(peer.wan(init).verdict == Kind::Verify);
}

TEST_CASE("every cut of an announcement's segments", "[engine][announce]") {
  Ready gateway;
  Connection flow = online(gateway);
  const auto message = wire::status({kClient, kPort.get()});
  const std::size_t cut = GENERATE(range(1u, 65u));
  REQUIRE(cut < message.size());
  flow.lan(wire::part(message, 0, cut));
  flow.ack(Side::Wan);
  CHECK_FALSE(gateway.pinhole(kClient, kPort));
  flow.lan(wire::part(message, cut, message.size() - cut));
  CHECK(gateway.state(kClient, kPort) == "probation");
  // All but the last byte acknowledged is not enough.
  flow.ack(Side::Wan, flow.next(Side::Lan) - 1);
  CHECK(gateway.state(kClient, kPort) == "probation");
  flow.ack(Side::Wan);
  CHECK(gateway.state(kClient, kPort) == "open");
}

TEST_CASE("segments in the wrong order teach the same", "[engine][announce]") {
  Ready gateway;
  Connection flow = online(gateway);
  const auto message = wire::status({kClient, kPort.get()});
  flow.at_offset(Side::Lan, 20, wire::part(message, 20, message.size() - 20));
  CHECK_FALSE(gateway.pinhole(kClient, kPort));
  flow.at_offset(Side::Lan, 0, wire::part(message, 0, 20));
  CHECK(gateway.state(kClient, kPort) == "probation");
  flow.skip(Side::Lan, message.size());
  flow.ack(Side::Wan);
  CHECK(gateway.state(kClient, kPort) == "open");
}

TEST_CASE("an announcement before the server accepted the cookie waits for that", "[engine][announce]") {
  Ready gateway;
  login(gateway);
  Connection flow{gateway, {kClient, Port{4001}}, {kBos, kOscar}};
  REQUIRE(flow.open());
  flow.wan(wire::server_hello());
  flow.lan(wire::join({wire::cookie_hello("cookie-of-100001"), wire::status({kClient, 24501}),
                       wire::status({kClient, kPort.get()})}));
  flow.ack(Side::Wan);
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
  flow.wan(wire::families());
  CHECK(gateway.state(kClient, kPort) == "open");  // the last one said; acknowledged before
  CHECK(gateway.live(nft::SetId::Pinholes) == 1);
}

TEST_CASE("what an announcement may not say", "[engine][announce]") {
  Ready gateway;
  Connection flow = online(gateway);
  const auto refused = [&](const wire::Direct& direct, Reason reason) {
    flow.lan(wire::status(direct));
    flow.ack(Side::Wan);
    CHECK(gateway.count(What::AnnounceRefused, reason) == 1);
  };
  SECTION("(g) another host's address") { refused({kOther, kPort.get()}, Reason::OtherHost); }
  SECTION("(g) an address outside") { refused({kPeer, kPort.get()}, Reason::OtherHost); }
  SECTION("(h) ports that nobody opens") {
    refused({kClient, GENERATE(445u, 3389u, 22u, 1u, 1023u, 24499u, 24600u, 65535u)}, Reason::OutsideRange);
  }
  SECTION("a port beyond 16 bits") { refused({kClient, 0x15ff7}, Reason::BadPort); }
  SECTION("a port beyond 16 bits whose lower half is none") { refused({kClient, 0x10000}, Reason::BadPort); }
  SECTION("type 0") { refused({kClient, kPort.get(), 0}, Reason::DcType); }
  SECTION("type 2, a SOCKS proxy's port") { refused({kClient, kPort.get(), 2}, Reason::DcType); }
  SECTION("type 7, unknown") { refused({kClient, kPort.get(), 7}, Reason::DcType); }
  SECTION("(r) two ports in one message") {
    const auto two = wire::join({wire::direct_info({kClient, 24501}), wire::direct_info({kClient, 24502})});
    flow.lan(wire::snac(1, 0x1e, two));
    flow.ack(Side::Wan);
    CHECK(gateway.count(What::AnnounceRefused, Reason::Contradictory) == 1);
  }
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
}

TEST_CASE("(h) denied ports inside a wide range", "[engine][announce]") {
  auto config = test_config();
  config.port_range = {Port{1024}, Port{65535}};
  config.port_deny = {Port{24567}};
  Ready gateway{config};
  Connection flow = online(gateway);
  for (const std::uint32_t port : {3306u, 3389u, 5432u, 5900u, 5060u, 6000u, 8080u, 24567u, 5190u}) {
    flow.lan(wire::status({kClient, port}));
    flow.ack(Side::Wan);
  }
  CHECK(gateway.count(What::AnnounceRefused, Reason::DeniedPort) == 9);
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
}

TEST_CASE("which addresses an announcement may name", "[engine][announce]") {
  Ready gateway;
  Connection flow = online(gateway);
  const auto which = GENERATE(0, 1, 2);
  const Ipv4 address = which == 0 ? kClient : which == 1 ? Ipv4{} : kOutside;
  CAPTURE(to_string(IpAddress{address}));
  announce(flow, kPort, address);
  CHECK(gateway.state(kClient, kPort) == "open");
}

TEST_CASE("types that listen", "[engine][announce]") {
  Ready gateway;
  Connection flow = online(gateway);
  const auto type = GENERATE(as<std::uint8_t>{}, 1, 3, 4, 5, 6);
  flow.lan(wire::status({kClient, kPort.get(), type}));
  flow.ack(Side::Wan);
  CHECK(gateway.state(kClient, kPort) == "open");
}

TEST_CASE("what a later announcement changes", "[engine][announce]") {
  Ready gateway;
  Connection flow = online(gateway);
  announce(flow);
  REQUIRE(gateway.state(kClient, kPort) == "open");
  gateway.forget();
  SECTION("nothing, without TLV 0x0C") {
    flow.lan(wire::status_without());
    CHECK(gateway.state(kClient, kPort) == "open");
    CHECK(gateway.changes.empty());
  }
  SECTION("nothing, with the same port") {
    announce(flow, kPort, kClient, 0x99);
    CHECK(gateway.state(kClient, kPort) == "open");
    CHECK(gateway.live(nft::SetId::Pinholes) == 1);
    CHECK(gateway.count(What::PinholeClosed) == 0);
  }
  SECTION("another port takes the place") {
    announce(flow, Port{24501});
    CHECK(gateway.state(kClient, kPort).empty());
    CHECK(gateway.state(kClient, Port{24501}) == "open");
    CHECK(gateway.count(What::PinholeClosed, Reason::Replaced) == 1);
  }
  SECTION("port 0 closes") {
    flow.lan(wire::status({kClient, 0}));
    CHECK(gateway.live(nft::SetId::Pinholes) == 0);
    CHECK(gateway.count(What::PinholeClosed, Reason::PortWithdrawn) == 1);
    announce(flow);
    CHECK(gateway.state(kClient, kPort) == "open");
  }
  SECTION("the all-zero dummy closes") {
    flow.lan(wire::status({Ipv4{}, 0, 0, 0, 0}));
    CHECK(gateway.live(nft::SetId::Pinholes) == 0);
  }
  SECTION("type 2 closes") {
    flow.lan(wire::status({kClient, kPort.get(), 2}));
    CHECK(gateway.live(nft::SetId::Pinholes) == 0);
  }
  SECTION("a port that may not be opened closes the old one: nobody listens there any more") {
    flow.lan(wire::status({kClient, 22}));
    CHECK(gateway.live(nft::SetId::Pinholes) == 0);
  }
  SECTION("a false claim changes nothing") {
    flow.lan(wire::status({kOther, 24501}));
    flow.lan(wire::status({kClient, 0x15ff7}));
    CHECK(gateway.state(kClient, kPort) == "open");
  }
}

TEST_CASE("(i) ten thousand announcements", "[engine][announce]") {
  auto config = test_config();
  config.port_range = {Port{20000}, Port{29999}};
  Ready gateway{config};
  Connection flow = online(gateway);
  std::size_t most = 0;
  for (std::uint16_t i = 0; i < 10'000; ++i) {
    announce(flow, Port{static_cast<std::uint16_t>(20000 + i)});
    most = std::max(most, gateway.live(nft::SetId::Pinholes));
    if (i % 100 == 0) gateway.pass(milliseconds{100});  // ten seconds in all
  }
  CHECK(most == 1);
  CHECK(gateway.count(What::PinholeProbation) == 10);
  CHECK(gateway.count(What::AnnounceRefused, Reason::DeniedPort) == 3);  // MongoDB's
  CHECK(gateway.count(What::AnnounceRefused, Reason::TooOften) == 9987);
  gateway.pass(seconds{61});
  flow.lan(wire::keep_alive());
  announce(flow, Port{20001});
  CHECK(gateway.state(kClient, Port{20001}) == "open");
}

TEST_CASE("one port back and forth for an hour leaves one timer, not thousands", "[engine][announce]") {
  Ready gateway;
  Connection flow = online(gateway);
  for (int i = 0; i < 600; ++i) {
    announce(flow, Port{static_cast<std::uint16_t>(24500 + i % 2)});
    gateway.pass(seconds{6});
  }
  gateway.forget();
  for (int i = 0; i < 5; ++i) {
    gateway.pass(seconds{60});
    flow.lan(wire::keep_alive());
  }
  // The pinhole, the session and the server, each about once a minute.
  CHECK(gateway.changes.size() <= 18);
}

TEST_CASE("ports-per-client counts sessions of one client together", "[engine][announce]") {
  auto config = test_config();
  config.ports_per_client = 2;
  Ready gateway{config};
  std::vector<Connection> flows;
  for (std::uint32_t i = 0; i < 3; ++i) {
    Person who{.uin = Uin{100001 + i}, .local = static_cast<std::uint16_t>(4000 + 10 * i)};
    who.cookie += std::to_string(i);
    flows.push_back(online(gateway, who));
    announce(flows.back(), Port{static_cast<std::uint16_t>(24500 + i)});
  }
  CHECK(gateway.live(nft::SetId::Pinholes) == 2);
  CHECK(gateway.count(What::AnnounceRefused, Reason::TooMany) == 1);
  flows[0].lan(wire::close_frame());
  announce(flows[2], Port{24502});
  CHECK(gateway.state(kClient, Port{24502}) == "open");
}

TEST_CASE("two clients, each with its own", "[engine][announce]") {
  Ready gateway;
  Connection one = online(gateway);
  Connection two = online(gateway, {.address = kOther, .uin = kFriend, .cookie = "second"});
  announce(one);
  announce(two, kPort, kOther);
  CHECK(gateway.state(kClient, kPort) == "open");
  CHECK(gateway.state(kOther, kPort) == "open");
  one.lan(wire::close_frame());
  CHECK(gateway.state(kClient, kPort).empty());
  CHECK(gateway.state(kOther, kPort) == "open");
}

TEST_CASE("two users at one client cannot have one port", "[engine][announce]") {
  Ready gateway;
  Connection one = online(gateway);
  Connection two = online(gateway, {.uin = kFriend, .local = 5000, .cookie = "second"});
  announce(one);
  announce(two);
  CHECK(gateway.count(What::AnnounceRefused, Reason::PortTaken) == 1);
  two.lan(wire::close_frame());
  CHECK(gateway.state(kClient, kPort) == "open");
  one.lan(wire::close_frame());
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
}

TEST_CASE("the same user again takes the port over, and must have it acknowledged anew",
          "[engine][announce]") {
  Ready gateway;
  Connection old = online(gateway);
  announce(old);
  Connection fresh = online(gateway, {.local = 5000, .cookie = "second"});
  fresh.lan(wire::status({kClient, kPort.get()}));
  CHECK(gateway.state(kClient, kPort) == "probation");
  old.ack(Side::Wan);
  CHECK(gateway.state(kClient, kPort) == "probation");
  fresh.ack(Side::Wan);
  CHECK(gateway.state(kClient, kPort) == "open");
  old.lan(wire::close_frame());
  CHECK(gateway.state(kClient, kPort) == "open");
  for (int i = 0; i < 10; ++i) {  // and it is renewed for the new session
    gateway.pass(seconds{60});
    fresh.lan(wire::keep_alive());
  }
  CHECK(gateway.state(kClient, kPort) == "open");
  fresh.lan(wire::close_frame());
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
}

TEST_CASE("self info that names another user ends what was open under the first", "[engine][announce]") {
  Ready gateway;
  Connection flow = online(gateway);
  announce(flow);
  flow.wan(wire::self_info(kFriend, kOutside));
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
  CHECK(gateway.count(What::SessionEnded, Reason::Replaced) == 1);
  CHECK(gateway.count(What::SessionOpened) == 2);
  CHECK(gateway.live(nft::SetId::Sessions) == 1);
}

TEST_CASE("an acknowledgement that comes late still opens for good", "[engine][announce]") {
  Ready gateway;
  Connection flow = online(gateway);
  flow.lan(wire::status({kClient, kPort.get()}));
  gateway.pass(seconds{100});
  REQUIRE(gateway.state(kClient, kPort) == "probation");
  flow.ack(Side::Wan);
  for (int i = 0; i < 10; ++i) {
    gateway.pass(seconds{60});
    flow.lan(wire::keep_alive());
    REQUIRE(gateway.state(kClient, kPort) == "open");
  }
}

TEST_CASE("an announcement nobody acknowledges lapses", "[engine][announce]") {
  Ready gateway;
  Connection flow = online(gateway);
  flow.lan(wire::status({kClient, kPort.get()}));
  gateway.pass(seconds{119});
  CHECK(gateway.pinhole(kClient, kPort));
  gateway.pass(seconds{1});
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
  CHECK(gateway.count(What::PinholeClosed, Reason::Expired) == 1);
}
