// SPDX-License-Identifier: GPL-2.0-or-later
// Connections of LAN clients to peers, and the return that their handshake opens; masquerade.
#include <catch2/catch.hpp>

#include "connection.hpp"
#include "vectors.hpp"

using namespace icqgate;
using namespace icqgate::test;
using Kind = Verdict::Kind;
using Path = KernelModel::Path;

namespace {

constexpr Port kPeerPort{30001};

struct Online : Ready {
  explicit Online(config::Config c = test_config()) : Ready{std::move(c)}, flow{online(*this)} {}
  // The server tells of a listening peer: the connection there is ours to let out (strict).
  void tell() { flow.wan(wire::buddy(kFriend, kPeer, {make_ipv4(10, 0, 0, 9), kPeerPort.get()})); }
  Connection flow;
};

Connection dial(Gateway& gateway, std::uint16_t from = 40000, Ipv4 client = kClient) {
  return {gateway, {client, Port{from}}, {kPeer, kPeerPort}};
}
wire::Data hello(Uin from = kUser, std::uint32_t port = kPort.get(), Uin to = kFriend) {
  return wire::peer_init({.to = to, .from = from, .port = port});
}
bool returns(const Gateway& gateway, Ipv4 client = kClient, Port port = kPort) {
  return gateway.model.holds(nft::Element::returning(kPeer, client, port), gateway.now);
}
config::Config masqueraded() {
  auto config = test_config();
  config.masquerade = true;
  return config;
}

}  // namespace

TEST_CASE("a call with the own UIN passes and opens the return", "[engine][outbound]") {
  Online gateway;
  if (GENERATE(true, false)) gateway.tell();  // through our mark, or through the other tables
  Connection call_out = dial(gateway);
  REQUIRE(call_out.open());
  const auto size = GENERATE(as<std::size_t>{}, 1, 2, 17, 50);
  const Outcome last = call_out.pieces(Side::Lan, hello(), size);
  REQUIRE(last.verdict == Kind::Verify);
  CHECK(gateway.count(What::OutboundVerified) == 1);
  REQUIRE(returns(gateway));
  CHECK(call_out.wan(wire::text("anything")).path == Path::Allowed);

  SECTION("the one who was called comes back") {
    Connection back = call(gateway);
    REQUIRE(back.open());
    CHECK(back.wan(wire::peer_init({})).verdict == Kind::Verify);
  }
  SECTION("from another user there: refused") {
    Connection back = call(gateway);
    REQUIRE(back.open());
    CHECK(back.wan(wire::peer_init({.from = Uin{300003}})).verdict == Kind::Refuse);
    CHECK(gateway.count(What::PeerRefused, Reason::WrongPeer) == 1);
  }
  SECTION("for another user here: refused") {
    Connection back = call(gateway);
    REQUIRE(back.open());
    CHECK(back.wan(wire::peer_init({.to = Uin{300003}})).verdict == Kind::Refuse);
  }
  SECTION("from another address: nothing is open") {
    CHECK_FALSE(call(gateway, kPort, kClient, 31000, make_ipv4(198, 51, 100, 8)).syn());
  }
  SECTION("it ends after a short while") {
    gateway.pass(seconds{59});
    CHECK(returns(gateway));
    gateway.pass(seconds{1});
    CHECK_FALSE(returns(gateway));
    CHECK(gateway.count(What::ReturnClosed, Reason::Expired) == 1);
    CHECK_FALSE(call(gateway).syn());
  }
}

TEST_CASE("a call with a foreign UIN is refused and opens nothing", "[engine][outbound]") {
  Online gateway;
  gateway.tell();
  Connection call_out = dial(gateway);
  REQUIRE(call_out.open());
  CHECK(call_out.lan(hello(Uin{777777})).verdict == Kind::Refuse);
  CHECK(gateway.count(What::OutboundRefused, Reason::ForeignUin) == 1);
  CHECK(gateway.live(nft::SetId::Returns) == 0);
}

TEST_CASE("what no ICQ client says", "[engine][outbound]") {
  Online gateway;
  const bool strict = GENERATE(true, false);
  if (strict) gateway.tell();
  Connection call_out = dial(gateway);
  REQUIRE(call_out.open());
  const Outcome outcome = call_out.lan(wire::text("GET / HTTP/1.0\r\n\r\n"));
  // Where the other tables let it out by themselves it is none of ours.
  CHECK(outcome.verdict == (strict ? Kind::Refuse : Kind::Release));
  if (!strict) CHECK(call_out.lan(wire::text("more")).arrives());
  CHECK(gateway.live(nft::SetId::Returns) == 0);
}

TEST_CASE("a listener that speaks first: only the opening of a transfer", "[engine][outbound]") {
  Online gateway;
  gateway.tell();
  Connection call_out = dial(gateway);
  REQUIRE(call_out.open());
  SECTION("a file") {
    CHECK(call_out.wan(from_hex(kO01)).verdict == Kind::Verify);
    CHECK(gateway.count(What::OutboundVerified) == 1);
  }
  SECTION("anything else") { CHECK(call_out.wan(wire::text("220 welcome")).verdict == Kind::Refuse); }
  CHECK(gateway.live(nft::SetId::Returns) == 0);
}

TEST_CASE("without a session nothing of a client's connections is ours", "[engine][outbound]") {
  Ready gateway;
  Connection call_out = dial(gateway);
  CHECK(call_out.raw(Side::Lan, TcpSegment::kSyn, 1, 0, {}).path == Path::Elsewhere);
}

TEST_CASE("the session's end takes the way out", "[engine][outbound]") {
  Online gateway;
  gateway.tell();
  Connection call_out = dial(gateway);
  REQUIRE(call_out.open());
  gateway.flow.lan(wire::close_frame());
  CHECK(call_out.lan(hello()).verdict == Kind::Refuse);
  CHECK(gateway.count(What::OutboundRefused, Reason::NoSession) == 1);
  CHECK(gateway.live(nft::SetId::Returns) == 0);
}

TEST_CASE("a handshake names a port that may not be opened", "[engine][outbound]") {
  Online gateway;
  gateway.tell();
  Connection call_out = dial(gateway);
  REQUIRE(call_out.open());
  const std::uint32_t port = GENERATE(22u, 3389u, 24600u, 70000u, 0u);
  CHECK(call_out.lan(hello(kUser, port)).verdict == Kind::Verify);
  CHECK(gateway.live(nft::SetId::Returns) == 0);
}

TEST_CASE("with a pinhole on that port no return is needed", "[engine][outbound]") {
  Online gateway;
  announce(gateway.flow);
  gateway.tell();
  Connection call_out = dial(gateway);
  REQUIRE(call_out.open());
  CHECK(call_out.lan(hello()).verdict == Kind::Verify);
  CHECK(gateway.live(nft::SetId::Returns) == 0);
}

TEST_CASE("two users at one client: each with its own name", "[engine][outbound]") {
  Online gateway;
  Connection second = online(gateway, {.uin = Uin{300003}, .local = 5000, .cookie = "second"});
  Connection one = dial(gateway);
  REQUIRE(one.open());
  CHECK(one.lan(hello(Uin{300003}, 24501)).verdict == Kind::Verify);
  CHECK(returns(gateway, kClient, Port{24501}));
  second.lan(wire::close_frame());
  Connection two = dial(gateway, 40001);
  REQUIRE(two.open());
  CHECK(two.lan(hello(Uin{300003}, 24502)).verdict == Kind::Refuse);
  Connection three = dial(gateway, 40002);
  REQUIRE(three.open());
  CHECK(three.lan(hello(kUser, 24503)).verdict == Kind::Verify);
}

TEST_CASE("a SYN to a peer that is sent again makes no server of it", "[engine][outbound][attack]") {
  // Other tables let it out, so the flow is watched; the peer drops the first SYN and plays a login server:
  // attacks (d) and (e).
  Online gateway;
  Connection rogue{gateway, {kClient, Port{40000}}, {kPeer, kOscar}};
  REQUIRE(rogue.syn());
  REQUIRE(rogue.open());
  rogue.wan(wire::server_hello());
  rogue.lan(wire::login_a(kFriend));
  rogue.wan(wire::reply_a(kFriend, "198.51.100.66:5190", "rogue"));
  CHECK(gateway.live(nft::SetId::Servers4) == 1);  // the true session's
  CHECK(gateway.count(What::LoginSeen) == 1);
}

TEST_CASE("returns are capped", "[engine][outbound][limits]") {
  auto config = test_config();
  config.port_range = {Port{20000}, Port{65000}};
  Online gateway{config};
  for (std::uint32_t i = 0; i < 20'000; ++i) {
    const Endpoint peer{make_ipv4(198, 18, 0, 0).get() + i / 100 == 0
                            ? IpAddress{kPeer}
                            : IpAddress{Ipv4{make_ipv4(198, 18, 0, 0).get() + i / 100}},
                        kPeerPort};
    const auto init = hello(kUser, 20000 + i % 100);
    TcpSegment one;
    one.source = {kClient, Port{static_cast<std::uint16_t>(1024 + i % 60'000)}};
    one.destination = peer;
    one.flags = TcpSegment::kAck;
    one.payload = init;
    (void)gateway.engine.step(engine::SegmentSeen{Lane::Control, Side::Lan, i, one}, gateway.now);
  }
  CHECK(gateway.engine.snapshot(gateway.now).returns.size() <= 16'384);
}

// --- masquerade

TEST_CASE("masquerade: the outside port comes and goes with the pinhole", "[engine][masquerade]") {
  Online gateway{masqueraded()};
  announce(gateway.flow);
  CHECK(gateway.model.holds(nft::Element::forward(kPort, kClient, kPort), gateway.now));
  for (int i = 0; i < 30; ++i) {
    gateway.pass(std::chrono::minutes{1});
    gateway.flow.lan(wire::keep_alive());  // the fixture sees to it that both live
  }
  gateway.flow.lan(wire::close_frame());
  CHECK(gateway.live(nft::SetId::Forwards) == 0);
}

TEST_CASE("masquerade: one outside port, one client", "[engine][masquerade]") {
  Online gateway{masqueraded()};
  announce(gateway.flow);
  Connection other = online(gateway, {.address = kOther, .uin = kFriend, .cookie = "second"});
  announce(other, kPort, kOther);
  CHECK(gateway.count(What::AnnounceRefused, Reason::PortTaken) == 1);
  gateway.flow.lan(wire::close_frame());
  announce(other, kPort, kOther);
  CHECK(gateway.state(kOther, kPort) == "open");
}

TEST_CASE("masquerade: returns and pinholes share the outside ports", "[engine][masquerade]") {
  Online gateway{masqueraded()};
  Connection other = online(gateway, {.address = kOther, .uin = kFriend, .cookie = "second"});
  SECTION("another client's pinhole: no return there") {
    announce(other, kPort, kOther);
    Connection out = dial(gateway);
    REQUIRE(out.open());
    CHECK(out.lan(hello()).verdict == Kind::Verify);
    CHECK_FALSE(returns(gateway));
  }
  SECTION("another client's return: no pinhole until it ends") {
    Connection out = dial(gateway);
    REQUIRE(out.open());
    out.lan(hello());
    REQUIRE(returns(gateway));
    announce(other, kPort, kOther);
    CHECK(gateway.count(What::AnnounceRefused, Reason::PortTaken) == 1);
    gateway.pass(seconds{60});
    CHECK(gateway.live(nft::SetId::Forwards) == 0);
    announce(other, kPort, kOther);
    CHECK(gateway.state(kOther, kPort) == "open");
  }
  SECTION("the own return, then the pinhole: the port stays while either does") {
    Connection out = dial(gateway);
    REQUIRE(out.open());
    out.lan(hello());
    announce(gateway.flow);
    REQUIRE(gateway.state(kClient, kPort) == "open");
    gateway.pass(seconds{61});
    CHECK_FALSE(returns(gateway));
    CHECK(gateway.live(nft::SetId::Forwards) == 1);
    gateway.flow.lan(wire::close_frame());
    CHECK(gateway.live(nft::SetId::Forwards) == 0);
  }
  SECTION("the pinhole ends first") {
    Connection out = dial(gateway);
    REQUIRE(out.open());
    out.lan(hello());
    announce(gateway.flow);
    gateway.flow.lan(wire::close_frame());
    CHECK(returns(gateway));
    CHECK(gateway.live(nft::SetId::Forwards) == 1);
    gateway.pass(seconds{59});
    CHECK(gateway.live(nft::SetId::Forwards) == 1);
    gateway.pass(seconds{1});
    CHECK(gateway.live(nft::SetId::Forwards) == 0);
  }
}
