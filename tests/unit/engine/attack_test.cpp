// SPDX-License-Identifier: GPL-2.0-or-later
// The attack list of security.md, as far as an engine sees it; (g), (h), (i), (o), (q), (r) stand beside what
// they attack. None may open anything.
#include <catch2/catch.hpp>

#include "connection.hpp"
#include "vectors.hpp"

using namespace icqgate;
using namespace icqgate::test;
using Kind = Verdict::Kind;
using Path = KernelModel::Path;

namespace {

void check_nothing_open(const Gateway& gateway) {
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
  CHECK(gateway.live(nft::SetId::Returns) == 0);
  CHECK(gateway.live(nft::SetId::Servers4) == 0);
  CHECK(gateway.live(nft::SetId::Sessions) == 0);
}

wire::Data perfect() { return wire::status({kClient, kPort.get()}); }

}  // namespace

TEST_CASE("(a) a POST padded so that a perfect SNAC starts a segment", "[engine][attack]") {
  Ready gateway;
  Connection flow{gateway, {kClient, Port{4000}}, {kLogin, kOscar}};
  REQUIRE(flow.open());
  auto post = wire::text("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n");
  post.resize(1448, std::byte{'a'});
  CHECK(flow.lan(post).verdict == Kind::Verify);  // nothing is learned of it any more
  CHECK(gateway.count(What::FlowBlind, Reason::NotOscar) == 1);
  SECTION("alone") {}
  SECTION("(c) with a server that answers real OSCAR") {
    flow.wan(wire::server_hello());
    flow.wan(wire::families());
    flow.wan(wire::self_info(kUser, kOutside));
    flow.wan(wire::reply_a(kUser, "198.51.100.25:5190", "cookie"));
  }
  flow.lan(perfect());
  flow.ack(Side::Wan);
  check_nothing_open(gateway);
}

TEST_CASE("(c) the same where the queue still sees every segment", "[engine][attack]") {
  // Between the verdict and the mark, more segments of the flow may wait already.
  Ready gateway;
  Connection flow{gateway, {kClient, Port{4000}}, {kLogin, kOscar}};
  REQUIRE(flow.open());
  const std::vector<std::pair<Side, wire::Data>> rest{{Side::Lan, wire::text("POST / HTTP/1.1\r\n\r\n")},
                                                      {Side::Lan, wire::cookie_hello("x")},
                                                      {Side::Wan, wire::server_hello()},
                                                      {Side::Wan, wire::families()},
                                                      {Side::Wan, wire::self_info(kUser, kOutside)},
                                                      {Side::Lan, perfect()},
                                                      {Side::Wan, wire::Data{}}};
  std::uint32_t id = 5000;
  for (const auto& [side, payload] : rest) {
    TcpSegment one;
    one.source = side == Side::Lan ? flow.key().inside : flow.key().outside;
    one.destination = side == Side::Lan ? flow.key().outside : flow.key().inside;
    one.sequence = flow.next(side);
    one.acknowledgment = flow.next(Connection::other(side));
    one.flags = TcpSegment::kAck;
    one.payload = payload;
    flow.skip(side, payload.size());
    for (const auto& action :
         gateway.engine.step(engine::SegmentSeen{Lane::Control, side, ++id, one}, gateway.now))
      CHECK_FALSE(std::holds_alternative<engine::ChangeElement>(action));
  }
}

TEST_CASE("(e) a true login at a server that is in no set", "[engine][attack]") {
  Ready gateway;
  const Endpoint rogue{make_ipv4(198, 51, 100, 66), kOscar};
  Connection flow{gateway, {kClient, Port{4000}}, rogue};
  CHECK(flow.raw(Side::Lan, TcpSegment::kSyn, 1, 0, {}).path == Path::Elsewhere);
  // Even if the kernel sent it all to the queue.
  std::uint32_t id = 5000;
  const auto play = [&](Side side, std::uint8_t flags, const wire::Data& payload) {
    TcpSegment one;
    one.source = side == Side::Lan ? Endpoint{kClient, Port{4000}} : rogue;
    one.destination = side == Side::Lan ? rogue : Endpoint{kClient, Port{4000}};
    one.sequence = flow.next(side);
    one.acknowledgment = flow.next(Connection::other(side));
    one.flags = flags;
    one.payload = payload;
    flow.next(side) += static_cast<std::uint32_t>(payload.size()) + ((flags & TcpSegment::kSyn) != 0 ? 1 : 0);
    for (const auto& action :
         gateway.engine.step(engine::SegmentSeen{Lane::Control, side, ++id, one}, gateway.now))
      CHECK_FALSE(std::holds_alternative<engine::ChangeElement>(action));
  };
  play(Side::Lan, TcpSegment::kSyn, {});
  play(Side::Wan, TcpSegment::kSyn | TcpSegment::kAck, {});
  play(Side::Wan, TcpSegment::kAck, wire::server_hello());
  play(Side::Lan, TcpSegment::kAck, wire::login_a(kUser));
  play(Side::Wan, TcpSegment::kAck, wire::reply_a(kUser, "198.51.100.66:5190", "cookie"));
  check_nothing_open(gateway);
}

TEST_CASE("a flow met in its middle teaches nothing", "[engine][attack]") {
  Ready gateway;
  Connection flow{gateway, {kClient, Port{4000}}, {kLogin, kOscar}};
  REQUIRE(flow.open());
  gateway.step(engine::FlowEnded{flow.key()});  // as after a restart
  flow.wan(wire::server_hello());
  flow.lan(wire::login_a(kUser));
  flow.wan(wire::reply_a(kUser, "198.51.100.25:5190", "cookie"));
  CHECK(gateway.count(What::FlowBlind, Reason::MidStream) == 1);
  check_nothing_open(gateway);
}

TEST_CASE("(j) overlapping segments with other content", "[engine][attack]") {
  Ready gateway;
  Connection flow = online(gateway);
  const auto mine = wire::status({kClient, 24501});
  const auto other = wire::status({kClient, 24502});
  SECTION("beyond a gap") {
    flow.at_offset(Side::Lan, 10, wire::part(mine, 10, 55));
    flow.at_offset(Side::Lan, 12, wire::part(other, 12, 53));
  }
  SECTION("across it") {
    flow.at_offset(Side::Lan, 10, wire::part(mine, 10, 55));
    flow.at_offset(Side::Lan, 0, other);
  }
  flow.at_offset(Side::Lan, 0, mine);
  flow.skip(Side::Lan, mine.size());
  flow.ack(Side::Wan);
  CHECK(gateway.count(What::FlowBlind, Reason::StreamConflict) == 1);
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
}

TEST_CASE("(k) a retransmission changes the announcement before it is acknowledged", "[engine][attack]") {
  Ready gateway;
  Connection flow = online(gateway);
  const auto mine = wire::status({kClient, 24501});
  flow.at_offset(Side::Lan, 0, mine);
  CHECK(gateway.state(kClient, Port{24501}) == "probation");
  flow.at_offset(Side::Lan, 0, wire::status({kClient, 24502}));
  flow.skip(Side::Lan, mine.size());
  flow.ack(Side::Wan);
  CHECK(gateway.count(What::PinholeOpened) == 0);
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
}

TEST_CASE("(l) acknowledgements that say nothing of the announcement", "[engine][attack]") {
  Ready gateway;
  Connection flow = online(gateway);
  const std::uint32_t before = flow.next(Side::Lan);
  flow.lan(perfect());
  flow.ack(Side::Wan, before);
  flow.ack(Side::Wan, flow.next(Side::Lan) - 1);
  flow.ack(Side::Wan, before - 1000);
  flow.ack(Side::Wan, flow.next(Side::Lan) + 0x7fffffff);
  flow.ack(Side::Lan, flow.next(Side::Lan));                               // its own side's does not count
  flow.raw(Side::Wan, 0, flow.next(Side::Wan), flow.next(Side::Lan), {});  // no ACK flag
  CHECK(gateway.state(kClient, kPort) == "probation");
  flow.ack(Side::Wan);
  CHECK(gateway.state(kClient, kPort) == "open");
}

TEST_CASE("(m) a gap before the announcement", "[engine][attack]") {
  Ready gateway;
  Connection flow = online(gateway);
  flow.skip(Side::Lan, 1);
  flow.lan(perfect());
  flow.ack(Side::Wan);
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
  flow.at_offset(Side::Lan, -static_cast<int>(perfect().size()) - 1, wire::Data{std::byte{0x2a}});
  flow.ack(Side::Wan);
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);  // the filled gap makes no frame of it
}

TEST_CASE("a segment of which the queue saw a part only", "[engine][attack]") {
  Ready gateway;
  Connection flow = online(gateway);
  const auto message = perfect();
  TcpSegment cut;
  cut.source = flow.key().inside;
  cut.destination = flow.key().outside;
  cut.sequence = flow.next(Side::Lan);
  cut.acknowledgment = flow.next(Side::Wan);
  cut.flags = TcpSegment::kAck;
  cut.payload = message;
  cut.missing = 1;
  CHECK(gateway.segment(Side::Lan, cut).verdict == Kind::Pass);
  CHECK(gateway.count(What::FlowBlind, Reason::CutPacket) == 1);
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
}

TEST_CASE("announcements in the wrong place", "[engine][attack]") {
  Ready gateway;
  SECTION("from the server") {
    Connection flow = online(gateway);
    flow.wan(perfect());
    flow.ack(Side::Lan);
    CHECK(gateway.live(nft::SetId::Pinholes) == 0);
  }
  SECTION("inside a message's text") {
    Connection flow = online(gateway);
    flow.lan(wire::snac(4, 6, wire::join({wire::Data(10), wire::tlv(2, perfect())})));
    flow.ack(Side::Wan);
    CHECK(gateway.live(nft::SetId::Pinholes) == 0);
  }
  SECTION("on a login flow") {
    Connection flow{gateway, {kClient, Port{4000}}, {kLogin, kOscar}};
    REQUIRE(flow.open());
    flow.wan(wire::server_hello());
    flow.lan(wire::join({wire::login_a(kUser), perfect()}));
    flow.wan(wire::families());
    CHECK(gateway.count(What::FlowBlind, Reason::BadState) == 1);
    check_nothing_open(gateway);
  }
  SECTION("a login inside a session") {
    Connection flow = online(gateway);
    flow.lan(wire::login_b(kUser));
    flow.wan(wire::reply_b(kUser, "198.51.100.66:5190", "x"));
    CHECK(gateway.count(What::FlowBlind, Reason::BadState) == 1);
    CHECK(gateway.live(nft::SetId::Servers4) == 1);
  }
  SECTION("a second hello") {
    Connection flow = online(gateway);
    flow.lan(wire::join({wire::cookie_hello("cookie-of-100001"), perfect()}));
    CHECK(gateway.count(What::FlowBlind, Reason::BadState) == 1);
    CHECK(gateway.live(nft::SetId::Pinholes) == 0);
  }
  SECTION("in a frame too large to be kept") {
    Connection flow = online(gateway);
    auto body = perfect();
    flow.pieces(Side::Lan,
                wire::snac(1, 0x1e, wire::join({wire::direct_info({kClient, 24567}), wire::Data(20'000)})),
                1448);
    flow.ack(Side::Wan);
    CHECK(gateway.live(nft::SetId::Pinholes) == 0);
    announce(flow);  // and the stream goes on
    CHECK(gateway.state(kClient, kPort) == "open");
  }
}

TEST_CASE("before the server spoke nothing counts (S5)", "[engine][attack]") {
  Ready gateway;
  login(gateway);
  Connection flow{gateway, {kClient, Port{4001}}, {kBos, kOscar}};
  REQUIRE(flow.open());
  flow.wan(wire::server_hello());
  flow.lan(wire::join({wire::cookie_hello("cookie-of-100001"), perfect()}));
  flow.ack(Side::Wan);
  SECTION("silence") {}
  SECTION("the server refuses the cookie") { flow.wan(wire::flap(4, {})); }
  SECTION("keep-alives are no acceptance") { flow.wan(wire::keep_alive()); }
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
  CHECK(gateway.live(nft::SetId::Sessions) == 0);
}

TEST_CASE("a stream with more out of order than is kept is left (S22)", "[engine][attack][limits]") {
  Ready gateway;
  Connection flow = online(gateway);
  announce(flow);
  for (int i = 0; i < 100; ++i) flow.at_offset(Side::Lan, 10 + 1500 * i, wire::Data(1400));
  CHECK(gateway.count(What::FlowBlind, Reason::StreamOverCap) == 1);
  CHECK(gateway.state(kClient, kPort) == "open");  // it lives, and its end will show
  flow.rst(Side::Lan);
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
}

TEST_CASE("SYNs without end are bounded in what they leave", "[engine][attack][limits]") {
  Ready gateway;
  TcpSegment syn;
  syn.source = {kClient, Port{4000}};
  syn.destination = {kLogin, kOscar};
  syn.flags = TcpSegment::kSyn;
  for (std::uint32_t i = 0; i < 30'000; ++i) {
    syn.sequence = i * 7919;
    const auto& actions =
        gateway.engine.step(engine::SegmentSeen{Lane::Control, Side::Lan, i, syn}, gateway.now);
    REQUIRE(std::holds_alternative<Verdict>(actions.back()));
  }
  CHECK(gateway.engine.snapshot(gateway.now).sessions.size() <= 1);
  gateway.pass(seconds{700});
  CHECK(gateway.engine.snapshot(gateway.now).sessions.empty());
  Connection flow = online(gateway);
  announce(flow);
  CHECK(gateway.state(kClient, kPort) == "open");
}

TEST_CASE("sixty redirects a minute are enough for a client", "[engine][attack][limits]") {
  Ready gateway;
  Connection flow = online(gateway);
  for (std::uint8_t i = 0; i < 200; ++i)
    flow.wan(
        wire::service_redirect("198.51.100." + std::to_string(i + 30) + ":5190", "c" + std::to_string(i)));
  CHECK(gateway.live(nft::SetId::Servers4) <= 61);
  CHECK(gateway.count(What::RedirectRefused, Reason::TooOften) >= 139);
}

TEST_CASE("an IPv6 session opens no port, and IPv6 peers are not let in", "[engine][attack]") {
  Gateway gateway;
  const auto server = *parse_address("2001:db8::5");
  const auto client = *parse_address("2001:db8:1::20");
  auto config = test_config();
  config.clients.clear();
  Gateway open{config};
  open.answer("login.icq.com", {server}, seconds{300}, dns::Type::Aaaa);
  Connection flow{open, {client, Port{4001}}, {server, kOscar}};
  REQUIRE(flow.open());
  flow.wan(wire::server_hello());
  flow.lan(wire::cookie_hello("x"));
  flow.wan(wire::families());
  flow.wan(wire::self_info(kUser, kOutside));
  CHECK(open.count(What::SessionOpened) == 1);
  flow.lan(wire::status({Ipv4{}, kPort.get()}));
  flow.ack(Side::Wan);
  CHECK(open.count(What::AnnounceRefused, Reason::Ipv6Session) == 1);
  CHECK(open.live(nft::SetId::Pinholes) == 0);
  flow.lan(wire::close_frame());
  CHECK(open.count(What::SessionEnded, Reason::Logout) == 1);
}
