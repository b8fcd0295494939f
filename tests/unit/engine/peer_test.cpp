// SPDX-License-Identifier: GPL-2.0-or-later
// Peers that come to a pinhole (protocol.md 4.5, 6, 9; security.md S15).
#include <catch2/catch.hpp>

#include "connection.hpp"
#include "vectors.hpp"

using namespace icqgate;
using namespace icqgate::test;
using Kind = Verdict::Kind;
using Path = KernelModel::Path;

namespace {

struct Open : Ready {
  explicit Open(config::Config c = test_config()) : Ready{std::move(c)}, flow{online(*this)} {
    announce(flow);
    REQUIRE(state(kClient, kPort) == "open");
  }
  Connection flow;
};

// Its buddy's cookie, as the server tells it in (03,0B).
void tell(Open& gateway, std::uint32_t cookie, Uin uin = kFriend) {
  gateway.flow.wan(wire::buddy(uin, kPeer, {make_ipv4(10, 0, 0, 9), 30001, 4, 8, cookie}));
}

wire::Data followed(const wire::Data& init) {
  return wire::join({init, from_hex(kP10), wire::Data(300, std::byte{0x5a})});
}

}  // namespace

TEST_CASE("every form of handshake that names the user", "[engine][peer]") {
  Open gateway;
  const auto form = GENERATE(values<wire::PeerInit>({
      {.version = 3, .length = 26},
      {.version = 6, .length = 44},
      {.version = 6, .length = 36},
      {.version = 7, .length = 44},
      {.version = 7, .length = 48},
      {.version = 8, .length = 48},
      {.version = 10, .length = 48},
  }));
  CAPTURE(form.version, form.length);
  const auto init = wire::peer_init(form);
  Connection peer = call(gateway);
  REQUIRE(peer.open());
  SECTION("in one segment") { CHECK(peer.wan(init).verdict == Kind::Verify); }
  SECTION("joined with what follows") { CHECK(peer.wan(followed(init)).verdict == Kind::Verify); }
  SECTION("length word and body, as the official client does") {
    CHECK(peer.wan(wire::part(init, 0, 2)).verdict == Kind::Pass);
    CHECK(peer.wan(wire::part(init, 2, init.size() - 2)).verdict == Kind::Verify);
  }
  SECTION("one byte at a time") {
    for (std::size_t i = 0; i + 1 < init.size(); ++i) {
      CHECK(peer.wan(wire::part(init, i, 1)).verdict == Kind::Pass);
      // Sent again: counted once.
      CHECK(peer.at_offset(Side::Wan, -1, wire::part(init, i, 1)).verdict == Kind::Pass);
    }
    CHECK(peer.wan(wire::part(init, init.size() - 1, 1)).verdict == Kind::Verify);
  }
  CHECK(gateway.count(What::PeerVerified) == 1);
  CHECK(gateway.engine.snapshot(gateway.now).pinholes.at(0).peers == 1);
  // From now on nothing of it is asked about.
  CHECK(peer.lan(from_hex(kP10)).path == Path::Allowed);
  CHECK(peer.wan(wire::text("anything")).path == Path::Allowed);
}

TEST_CASE("every cut of a handshake in two", "[engine][peer]") {
  Open gateway;
  const auto init = wire::peer_init({});
  for (std::uint16_t cut = 1; cut < init.size(); ++cut) {
    Connection peer = call(gateway, kPort, kClient, static_cast<std::uint16_t>(31000 + cut));
    REQUIRE(peer.open());
    CHECK(peer.wan(wire::part(init, 0, cut)).verdict == Kind::Pass);
    CHECK(peer.wan(wire::part(init, cut, init.size())).verdict == Kind::Verify);
  }
}

TEST_CASE("the body overtakes its length word", "[engine][peer]") {
  Open gateway;
  const auto init = wire::peer_init({});
  const auto body = wire::part(init, 2, 48);
  Connection peer = call(gateway);
  REQUIRE(peer.open());
  CHECK(peer.at_offset(Side::Wan, 2, body).verdict == Kind::Drop);
  SECTION("and the word comes") {
    CHECK(peer.at_offset(Side::Wan, 0, wire::part(init, 0, 2)).verdict == Kind::Verify);
    CHECK(peer.at_offset(Side::Wan, 2, body).path == Path::Allowed);
  }
  SECTION("and nothing comes: the second time it counts as it stands") {
    CHECK(peer.at_offset(Side::Wan, 2, body).verdict == Kind::Refuse);
  }
}

TEST_CASE("the golden handshakes", "[engine][peer]") {
  Open gateway;
  const auto good =
      GENERATE(values<std::string_view>({kP01, kP02, kP04, kP05, kP06, kP07, kP08, kP09, kP15}));
  Connection peer = call(gateway);
  REQUIRE(peer.open());
  CHECK(peer.wan(from_hex(good)).verdict == Kind::Verify);
}

TEST_CASE("(o) the golden refusals", "[engine][peer][attack]") {
  Open gateway;
  tell(gateway, 0x55667788);
  const auto bad = GENERATE(values<std::string_view>(
      {kB01, kB02, kB03, kB04, kB05, kB06, kB08, kB09, kB10, kB11, kB12, kB13, kB14, kB15, kO01, kO04}));
  CAPTURE(bad);
  Connection peer = call(gateway);
  REQUIRE(peer.open());
  CHECK(peer.wan(from_hex(bad)).verdict == Kind::Refuse);
  CHECK(gateway.count(What::PeerRefused) == 1);
  CHECK(gateway.count(What::PeerVerified) == 0);
}

TEST_CASE("refused: what the sender sends again resets it", "[engine][peer]") {
  Open gateway;
  Connection peer = call(gateway);
  REQUIRE(peer.open());
  const auto bad = wire::peer_init({.to = Uin{999}});
  REQUIRE(peer.at_offset(Side::Wan, 0, bad).verdict == Kind::Refuse);
  CHECK(gateway.count(What::PeerRefused, Reason::WrongUser) == 1);
  // conntrack has forgotten the flow (the fixture reports that to the engine); its segments still come.
  TcpSegment again;
  again.source = {kPeer, Port{31000}};
  again.destination = {kClient, kPort};
  again.sequence = peer.next(Side::Wan);
  again.flags = TcpSegment::kAck;
  const auto repeat = [&](const wire::Data& payload) {
    again.payload = payload;
    return gateway.segment(Side::Wan, again);
  };
  // The model readmits nothing without a SYN, so ask the engine itself.
  const Outcome outcome = repeat(bad);
  CHECK_FALSE(outcome.arrives());
  gateway.forget();
  for (int i = 0; i < 3; ++i) {
    TcpSegment direct = again;
    direct.payload = bad;
    const auto& actions = gateway.engine.step(
        engine::SegmentSeen{Lane::Peer, Side::Wan, static_cast<std::uint32_t>(9000 + i), direct},
        gateway.now);
    REQUIRE(actions.size() >= 1);
    CHECK(std::get<Verdict>(actions.at(0)).kind == Kind::Repeat);
  }
}

TEST_CASE("(o) sixty-four kilobytes at once, and never anything", "[engine][peer][attack]") {
  Open gateway;
  Connection peer = call(gateway);
  REQUIRE(peer.open());
  SECTION("garbage") { CHECK(peer.wan(wire::Data(60'000, std::byte{0x30})).verdict == Kind::Refuse); }
  SECTION("a good handshake in front") {
    CHECK(peer.wan(wire::join({wire::peer_init({}), wire::Data(60'000)})).verdict == Kind::Verify);
  }
  SECTION("nothing for 30 seconds: the kernel knows") {
    gateway.pass(seconds{31});
    CHECK(peer.wan(wire::peer_init({})).path == Path::Late);
  }
  SECTION("half of it, then nothing") {
    CHECK(peer.wan(wire::part(wire::peer_init({}), 0, 20)).verdict == Kind::Pass);
    gateway.pass(seconds{31});
    CHECK(gateway.count(What::PeerRefused, Reason::Deadline) == 1);
    CHECK_FALSE(peer.wan(wire::part(wire::peer_init({}), 20, 30)).arrives());
    CHECK(gateway.count(What::PeerVerified) == 0);
  }
}

TEST_CASE("bytes of a handshake that change between two arrivals", "[engine][peer][attack]") {
  Open gateway;
  Connection peer = call(gateway);
  REQUIRE(peer.open());
  const auto init = wire::peer_init({});
  auto other = wire::peer_init({.from = Uin{300003}});
  peer.at_offset(Side::Wan, 0, wire::part(init, 0, 30));
  CHECK(peer.at_offset(Side::Wan, 0, wire::part(other, 0, 30)).verdict == Kind::Refuse);
  CHECK(gateway.count(What::PeerRefused, Reason::Overlap) == 1);
}

TEST_CASE("a handshake with a hole is not one", "[engine][peer][attack]") {
  Open gateway;
  Connection peer = call(gateway);
  REQUIRE(peer.open());
  const auto init = wire::join({wire::peer_init({}), wire::Data(100)});
  peer.at_offset(Side::Wan, 0, wire::part(init, 0, 8));
  // Beyond what is kept, and not proven: does not pass.
  CHECK(peer.at_offset(Side::Wan, 20, wire::part(init, 20, 100)).verdict == Kind::Drop);
  CHECK(peer.at_offset(Side::Wan, 8, wire::part(init, 8, 12)).verdict == Kind::Verify);
}

TEST_CASE("the listener says nothing before the peer has proved itself", "[engine][peer]") {
  Open gateway;
  Connection peer = call(gateway);
  REQUIRE(peer.open());
  CHECK(peer.at_offset(Side::Lan, 0, wire::text("SSH-2.0-OpenSSH")).verdict == Kind::Drop);
  CHECK(peer.wan(wire::peer_init({})).verdict == Kind::Verify);
  CHECK(peer.lan(wire::text("SSH-2.0-OpenSSH")).arrives());
}

TEST_CASE("the cookie rule of protocol.md 4.5", "[engine][peer][cookie]") {
  Open gateway;  // announced 0x11223344
  const auto verdict = [&](const wire::PeerInit& init) {
    Connection peer = call(gateway);
    REQUIRE(peer.open());
    return peer.wan(wire::peer_init(init)).verdict;
  };
  SECTION("none is known of that user: the UIN decides") { CHECK(verdict({.cookie = 0}) == Kind::Verify); }
  SECTION("known for somebody else only") {
    tell(gateway, 0x55667788, Uin{300003});
    CHECK(verdict({.cookie = 0}) == Kind::Verify);
  }
  SECTION("the pair's cookie") {
    tell(gateway, 0x55667788);
    CHECK(verdict({.cookie = 0x55667788}) == Kind::Verify);
  }
  SECTION("the one the client announced itself") {
    tell(gateway, 0x55667788);
    CHECK(verdict({.cookie = 0x11223344}) == Kind::Verify);
  }
  SECTION("another, where one is known") {
    tell(gateway, 0x55667788);
    CHECK(verdict({.cookie = 0x55667789}) == Kind::Refuse);
    CHECK(gateway.count(What::PeerRefused, Reason::Cookie) == 1);
  }
  SECTION("0 where another is known") {
    tell(gateway, 0x55667788);
    CHECK(verdict({.cookie = 0}) == Kind::Refuse);
  }
  SECTION("0 where 0 is known, as of Licq") {
    tell(gateway, 0);
    CHECK(verdict({.cookie = 0}) == Kind::Verify);
  }
  SECTION("the last one told counts") {
    tell(gateway, 0x55667788);
    tell(gateway, 0x99);
    CHECK(verdict({.cookie = 0x99}) == Kind::Verify);
    tell(gateway, 0x55667788);
  }
  SECTION("the one told before does not") {
    tell(gateway, 0x55667788);
    tell(gateway, 0x99);
    CHECK(verdict({.cookie = 0x55667788}) == Kind::Refuse);
  }
  SECTION("a status change without TLV 0x0C keeps it") {
    tell(gateway, 0x55667788);
    gateway.flow.wan(wire::snac(3, 0x0b, wire::user_info(kFriend, {wire::tlv(6, wire::u32(0))})));
    CHECK(verdict({.cookie = 1}) == Kind::Refuse);
  }
  SECTION("never in a v6 body or of version 6") {
    tell(gateway, 0x55667788);
    CHECK(verdict({.version = 7, .length = 44, .cookie = 1}) == Kind::Verify);
    CHECK(gateway.count(What::PeerVerified) == 1);
  }
  SECTION("nor of version 6") {
    tell(gateway, 0x55667788);
    CHECK(verdict({.version = 6, .length = 44, .cookie = 1}) == Kind::Verify);
  }
}

TEST_CASE("check-cookie and allow-old-versions switched off", "[engine][peer]") {
  auto config = test_config();
  config.check_cookie = false;
  config.allow_old_versions = false;
  Open gateway{config};
  tell(gateway, 0x55667788);
  Connection peer = call(gateway);
  REQUIRE(peer.open());
  CHECK(peer.wan(wire::peer_init({.cookie = 1})).verdict == Kind::Verify);
  Connection old = call(gateway, kPort, kClient, 31001);
  REQUIRE(old.open());
  CHECK(old.wan(wire::peer_init({.version = 3, .length = 26})).verdict == Kind::Refuse);
  CHECK(gateway.count(What::PeerRefused, Reason::OldVersion) == 1);
}

TEST_CASE("peer-check = log lets pass and tells", "[engine][peer]") {
  auto config = test_config();
  config.peer_check = config::PeerCheck::Log;
  Open gateway{config};
  Connection peer = call(gateway);
  REQUIRE(peer.open());
  CHECK(peer.wan(wire::text("GET / HTTP/1.0\r\n")).verdict == Kind::Verify);
  REQUIRE(gateway.count(What::PeerRefused, Reason::NotIcq) == 1);
  CHECK(gateway.reports.back().text == "HTTP");
}

TEST_CASE("nobody reaches a port without pinhole, nor another port or client", "[engine][peer]") {
  Open gateway;
  CHECK(call(gateway, Port{24568}).syn() == false);
  CHECK(call(gateway, kPort, kOther).syn() == false);
  Connection elsewhere = call(gateway, Port{445});
  CHECK(elsewhere.raw(Side::Wan, TcpSegment::kSyn, 1, 0, {}).path == Path::Elsewhere);  // not ours to open
}

TEST_CASE("a pinhole that closes under a peer's handshake", "[engine][peer]") {
  Open gateway;
  Connection peer = call(gateway);
  REQUIRE(peer.open());
  const bool begun = GENERATE(true, false);
  const auto init = wire::peer_init({});
  if (begun) peer.wan(wire::part(init, 0, 5));
  gateway.flow.lan(wire::close_frame());
  REQUIRE(gateway.live(nft::SetId::Pinholes) == 0);
  SECTION("the peer goes on") {
    CHECK(peer.wan(begun ? wire::part(init, 5, 45) : init).verdict == Kind::Refuse);
    CHECK(gateway.count(What::PeerRefused, Reason::NoPinhole) == 1);
  }
  SECTION("with the opening of a file transfer, while the client has another session") {
    online(gateway, {.uin = kFriend, .local = 5000, .cookie = "second"});
    if (!begun) CHECK(peer.wan(from_hex(kO01)).verdict == Kind::Refuse);
  }
  CHECK(gateway.count(What::PeerVerified) == 0);
  CHECK(gateway.count(What::OutboundVerified) == 0);
}

TEST_CASE("a flood of half-open handshakes does not keep out the good ones", "[engine][peer][limits]") {
  Open gateway;
  for (std::uint32_t i = 0; i < 17'000; ++i) {
    const Ipv4 from{make_ipv4(198, 18, 0, 0).get() + i / 100};
    TcpSegment one;
    one.source = {from, Port{static_cast<std::uint16_t>(2000 + i % 100)}};
    one.destination = {kClient, kPort};
    one.sequence = 1;
    one.flags = TcpSegment::kAck;
    const wire::Data byte{std::byte{0x30}};
    one.payload = byte;
    const auto& actions =
        gateway.engine.step(engine::SegmentSeen{Lane::Peer, Side::Wan, i, one}, gateway.now);
    // The oldest makes room: conntrack is to forget it, and that is all that happens.
    REQUIRE(actions.size() == (i < 16'384 ? 1u : 2u));
    if (i >= 16'384) REQUIRE(std::holds_alternative<engine::EndFlow>(actions.front()));
    REQUIRE(std::get<Verdict>(actions.back()).kind == Kind::Pass);
  }
  Connection peer = call(gateway);
  REQUIRE(peer.open());
  CHECK(peer.wan(wire::peer_init({})).verdict == Kind::Verify);
}

TEST_CASE("refused peers do not keep out the good ones", "[engine][peer][limits]") {
  Open gateway;
  for (std::uint32_t i = 0; i < 20'000; ++i) {
    const Ipv4 from{make_ipv4(198, 18, 0, 0).get() + i / 100};
    TcpSegment one;
    one.source = {from, Port{static_cast<std::uint16_t>(2000 + i % 100)}};
    one.destination = {kClient, kPort};
    one.flags = TcpSegment::kAck;
    const wire::Data bytes = wire::text("GET / HTTP/1.0\r\n");
    one.payload = bytes;
    const auto& actions =
        gateway.engine.step(engine::SegmentSeen{Lane::Peer, Side::Wan, i, one}, gateway.now);
    for (const auto& action : actions)
      if (const auto* verdict = std::get_if<Verdict>(&action)) REQUIRE(verdict->kind == Kind::Refuse);
  }
  Connection peer = call(gateway);
  REQUIRE(peer.open());
  CHECK(peer.wan(wire::peer_init({})).verdict == Kind::Verify);
}
