// SPDX-License-Identifier: GPL-2.0-or-later
// How sessions end, and what stays open until when (protocol.md 1.8, 1.9; security.md S13).
#include <catch2/catch.hpp>

#include "connection.hpp"

using namespace icqgate;
using namespace icqgate::test;
using Kind = Verdict::Kind;
using std::chrono::minutes;

namespace {

// Nothing is left of a session.
void check_over(const Gateway& gateway, Reason reason) {
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
  CHECK(gateway.live(nft::SetId::Sessions) == 0);
  CHECK(gateway.count(What::SessionEnded, reason) == 1);
  CHECK(gateway.engine.snapshot(gateway.now).pinholes.empty());
}

}  // namespace

TEST_CASE("every way a session ends closes its pinhole at once", "[engine][end]") {
  Ready gateway;
  Connection flow = online(gateway);
  announce(flow);
  REQUIRE(gateway.state(kClient, kPort) == "open");
  SECTION("the client signs off") {
    flow.lan(wire::close_frame());
    check_over(gateway, Reason::Logout);
    announce(flow, Port{24501});  // behind a sign-off nothing counts
    CHECK(gateway.live(nft::SetId::Pinholes) == 0);
  }
  SECTION("the server ends it") {
    flow.wan(wire::flap(4, wire::tlv(9, wire::u16(1))));
    check_over(gateway, Reason::Kicked);
  }
  SECTION("FIN of either side") {
    flow.fin(GENERATE(Side::Lan, Side::Wan));
    check_over(gateway, Reason::ConnectionClosed);
  }
  SECTION("FIN with the last data") {
    flow.send(Side::Lan, wire::keep_alive(), TcpSegment::kFin);
    check_over(gateway, Reason::ConnectionClosed);
  }
  SECTION("RST of either side") {
    flow.rst(GENERATE(Side::Lan, Side::Wan));
    check_over(gateway, Reason::ConnectionClosed);
  }
  SECTION("the same ports anew: a SYN with another number") {
    Connection again{gateway, {kClient, Port{4001}}, {kBos, kOscar}};
    again.next(Side::Lan) = 77;
    again.syn();
    check_over(gateway, Reason::ConnectionClosed);
  }
  SECTION("conntrack forgot it") {
    gateway.step(engine::FlowEnded{flow.key()});
    check_over(gateway, Reason::ConnectionClosed);
  }
  SECTION("silence") {
    gateway.pass(seconds{599});
    CHECK(gateway.state(kClient, kPort) == "open");
    gateway.pass(seconds{1});
    check_over(gateway, Reason::Idle);
  }
}

TEST_CASE("(n) ends out of window neither close nor leak", "[engine][end][attack]") {
  Ready gateway;
  Connection flow = online(gateway);
  announce(flow);
  const Side side = GENERATE(Side::Lan, Side::Wan);
  flow.rst(side, 1 << 20);
  flow.rst(side, -(1 << 20));
  flow.at_offset(side, 1000, {}, TcpSegment::kFin);
  flow.at_offset(side, -1, {}, TcpSegment::kFin);
  CHECK(gateway.state(kClient, kPort) == "open");
  // A SYN sent again is no new connection.
  flow.raw(Side::Lan, TcpSegment::kSyn, 0xfffffeff, 0, {});
  CHECK(gateway.state(kClient, kPort) == "open");
  flow.fin(side);
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
}

TEST_CASE("a session that can't be read any more lives until its end shows", "[engine][end]") {
  Ready gateway;
  Connection flow = online(gateway);
  announce(flow);
  flow.wan(wire::text("no FLAP"));
  REQUIRE(gateway.count(What::FlowBlind, Reason::NotOscar) == 1);
  CHECK(gateway.state(kClient, kPort) == "open");
  for (int i = 0; i < 60; ++i) {
    gateway.pass(minutes{1});
    flow.lan(wire::Data(20'000, std::byte{1}));  // beyond any window that the stream would know
    REQUIRE(gateway.state(kClient, kPort) == "open");
  }
  announce(flow, Port{24501});
  CHECK(gateway.state(kClient, Port{24501}).empty());
  SECTION("FIN") { flow.fin(Side::Lan); }
  SECTION("RST") { flow.rst(Side::Lan); }
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
}

TEST_CASE("a refused SYN is no flow any more", "[engine][end]") {
  Ready gateway;
  Connection flow{gateway, {kClient, Port{4000}}, {kLogin, kOscar}};
  flow.syn();
  CHECK(gateway.engine.snapshot(gateway.now).sessions.size() == 1);
  SECTION("a reset for something else") {
    flow.raw(Side::Wan, TcpSegment::kRst | TcpSegment::kAck, 0, 12345, {});
    CHECK(gateway.engine.snapshot(gateway.now).sessions.size() == 1);
  }
  SECTION("the server's own") {
    flow.raw(Side::Wan, TcpSegment::kRst | TcpSegment::kAck, 0, flow.next(Side::Lan), {});
    CHECK(gateway.engine.snapshot(gateway.now).sessions.empty());
  }
}

TEST_CASE("a session that moves keeps its pinhole for 30 s", "[engine][end][migration]") {
  const bool masquerade = GENERATE(false, true);
  auto config = test_config();
  config.masquerade = masquerade;
  config.pinhole_timeout = seconds{GENERATE(120, 40)};
  Ready gateway{config};
  Connection flow = online(gateway);
  announce(flow);
  flow.wan(wire::migration("198.51.100.26:5190", "moving"));
  const Endpoint next{make_ipv4(198, 51, 100, 26), kOscar};
  CHECK(gateway.model.holds(nft::Element::server(kClient, next), gateway.now));
  gateway.pass(seconds{59});  // the old timer comes just before its next turn
  flow.fin(Side::Lan);
  CHECK(gateway.state(kClient, kPort) == "open");
  Person who{.local = 5000, .cookie = "moving"};
  SECTION("nobody comes") {
    gateway.pass(seconds{29});
    CHECK(gateway.state(kClient, kPort) == "open");
    gateway.pass(seconds{1});
    CHECK(gateway.live(nft::SetId::Pinholes) == 0);
    CHECK(gateway.live(nft::SetId::Forwards) == 0);
    CHECK(gateway.count(What::PinholeClosed, Reason::Expired) == 1);
  }
  SECTION("the new session takes it over, for good") {
    gateway.pass(seconds{20});
    Connection moved = session(gateway, who, next);
    for (int i = 0; i < 20; ++i) {
      gateway.pass(minutes{1});
      moved.lan(wire::keep_alive());
      REQUIRE(gateway.state(kClient, kPort) == "open");
    }
    Connection peer = call(gateway);
    REQUIRE(peer.open());
    CHECK(peer.wan(wire::peer_init({})).verdict == Kind::Verify);
    moved.lan(wire::close_frame());
    CHECK(gateway.live(nft::SetId::Pinholes) == 0);
  }
  SECTION("another user at the same client does not get it") {
    Connection other = online(gateway, {.uin = kFriend, .local = 6000, .cookie = "second"});
    announce(other);
    CHECK(gateway.count(What::AnnounceRefused, Reason::PortTaken) == 1);
    gateway.pass(seconds{31});
    CHECK(gateway.live(nft::SetId::Pinholes) == 0);
  }
}

TEST_CASE("a session that moves before it leaves keeps its pinhole, too", "[engine][end][migration]") {
  Ready gateway;
  Connection flow = online(gateway);
  announce(flow);
  flow.wan(wire::migration("198.51.100.26:5190", "moving"));
  const Endpoint next{make_ipv4(198, 51, 100, 26), kOscar};
  Connection moved = session(gateway, {.local = 5000, .cookie = "moving"}, next);
  flow.fin(Side::Lan);
  for (int i = 0; i < 5; ++i) {
    gateway.pass(minutes{1});
    moved.lan(wire::keep_alive());
    REQUIRE(gateway.state(kClient, kPort) == "open");
  }
  moved.fin(Side::Lan);
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
}

TEST_CASE("a day with a keep-alive each minute", "[engine][end][day]") {
  Ready gateway;
  Connection flow = online(gateway);
  announce(flow);
  std::size_t tries = 0;
  for (int minute = 0; minute < 24 * 60; ++minute) {
    for (int part = 0; part < 4; ++part) {
      gateway.pass(seconds{15});
      REQUIRE(gateway.live(nft::SetId::Login4) >= 1);
      REQUIRE(gateway.pinhole(kClient, kPort));
      REQUIRE(gateway.live(nft::SetId::Sessions) == 1);
      // The resolver: answers with a turning pair of addresses, and is dead for an hour every six.
      const bool dead = minute % 360 >= 300;
      for (const auto& query : std::exchange(gateway.asked, {})) {
        ++tries;
        if (dead) {
          gateway.fail(query.name, "timed out", query.type);
        } else if (query.type == dns::Type::Aaaa) {
          gateway.answer(query.name, {}, seconds{300}, query.type);
        } else {
          const auto turn = static_cast<std::uint8_t>(10 + minute % 7);
          gateway.answer(query.name, {make_ipv4(192, 0, 2, turn), kLogin2}, seconds{300});
        }
      }
      REQUIRE(gateway.live(nft::SetId::Login4) <= 9);
    }
    flow.lan(wire::keep_alive());
    if (minute % 60 == 0) gateway.forget();
  }
  CHECK(tries > 24 * 10);
  CHECK(gateway.state(kClient, kPort) == "open");
  // Then the client vanishes: everything is gone after session-idle, and by the kernel alone in two minutes.
  const TimePoint vanished = gateway.now;
  gateway.pass(gateway.config.session_idle);
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
  CHECK(gateway.now - vanished <= gateway.config.session_idle);
}

TEST_CASE("without the daemon the kernel ends everything by itself", "[engine][end]") {
  Ready gateway;
  Connection flow = online(gateway);
  announce(flow);
  const TimePoint later = gateway.now + gateway.config.pinhole_timeout;
  CHECK(gateway.model.elements(nft::SetId::Pinholes, later).empty());
  CHECK(gateway.model.elements(nft::SetId::Sessions, later).empty());
  CHECK(gateway.model.elements(nft::SetId::Servers4, later).empty());
}

TEST_CASE("sessions that come and go leave nothing behind", "[engine][end][limits]") {
  Ready gateway;
  for (std::uint16_t i = 0; i < 200; ++i) {
    Person who{.local = static_cast<std::uint16_t>(2000 + 10 * i)};
    who.cookie += std::to_string(i);
    Connection flow = online(gateway, who);
    announce(flow, Port{static_cast<std::uint16_t>(24500 + i % 100)});
    flow.fin(Side::Lan);
    gateway.pass(seconds{7});
  }
  gateway.pass(minutes{10});
  const auto left = gateway.engine.snapshot(gateway.now);
  CHECK(left.sessions.empty());
  CHECK(left.pinholes.empty());
  CHECK(gateway.live(nft::SetId::Servers4) == 0);
  CHECK(gateway.live(nft::SetId::Sessions) == 0);
}
