// SPDX-License-Identifier: GPL-2.0-or-later
#include "peer/handshake.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <set>
#include <string_view>
#include <vector>

#include "vectors.hpp"

namespace icqgate::peer {
namespace {

using test::from_hex;
using Buffer = std::vector<std::byte>;
using Kind = Decision::Kind;

constexpr Uin kUser{100001};
constexpr Uin kPeer{200002};
constexpr Expectation kInbound{.destination = kUser, .not_source = kUser};

Buffer changed(std::string_view hex, std::size_t at, std::string_view with) {
  auto bytes = from_hex(hex);
  std::ranges::copy(from_hex(with), bytes.begin() + static_cast<std::ptrdiff_t>(at));
  return bytes;
}

// The fewest bytes at which there is a verdict, having checked that it never changes from there on, whatever
// comes behind it; 0 if there is none.
std::size_t decided_at(Buffer stream, const Expectation& expectation = kInbound) {
  stream.resize(stream.size() + 20, std::byte{0xee});
  const auto last = decide(stream, expectation);
  std::size_t at = 0;
  for (std::size_t size = stream.size() + 1; size-- > 0;) {
    const auto decision = decide(Bytes{stream}.first(size), expectation);
    if (decision.kind == Kind::NeedMore) {
      at = size + 1;
      break;
    }
    CHECK(decision.kind == last.kind);
    CHECK(decision.refusal == last.refusal);
    CHECK(decision.consumed == last.consumed);
  }
  for (std::size_t size = 0; size + 1 < at; ++size)
    CHECK(decide(Bytes{stream}.first(size), expectation).kind == Kind::NeedMore);
  return at;
}

Handshake accepted(Bytes bytes, const Expectation& expectation = kInbound) {
  const auto decision = decide(bytes, expectation);
  REQUIRE(decision.kind == Kind::Accept);
  return decision.handshake;
}

Refusal refused(Bytes bytes, const Expectation& expectation = kInbound) {
  const auto decision = decide(bytes, expectation);
  REQUIRE(decision.kind == Kind::Refuse);
  return decision.refusal;
}

TEST_CASE("handshakes that are accepted", "[peer]") {
  struct Expected {
    std::string_view hex;
    std::uint16_t version, length;
    std::uint32_t connect_id;
    Uin source;
    bool cookie_counts;
  };
  for (const auto& [hex, version, length, connect_id, source, cookie_counts] : {
           Expected{test::kP02, 6, 44, 0, kPeer, false},
           Expected{test::kP04, 7, 44, 0, kPeer, false},
           Expected{test::kP05, 7, 48, 0, kPeer, true},
           Expected{test::kP06, 8, 48, 0, kPeer, true},
           Expected{test::kP07, 8, 48, 0x2f, kPeer, true},
           Expected{test::kP08, 8, 48, 0, kPeer, true},
           Expected{test::kP09, 6, 36, 0, kPeer, false},
           Expected{test::kP15, 8, 48, 0x2f, Uin{0}, true},
       }) {
    const auto bytes = from_hex(hex);
    const auto decision = decide(bytes, kInbound);
    REQUIRE(decision.kind == Kind::Accept);
    CHECK(decision.consumed == bytes.size());
    CHECK(decision.consumed == std::size_t{2} + length);
    const auto& handshake = decision.handshake;
    CHECK(handshake.version == version);
    CHECK(handshake.destination == kUser);
    CHECK(handshake.source == source);
    CHECK(handshake.listening_port == Port{30001});
    CHECK(handshake.cookie == 0x55667788);
    CHECK(handshake.connect_id == connect_id);
    CHECK(handshake.body_length == length);
    CHECK(handshake.cookie_counts() == cookie_counts);
    CHECK(decided_at(bytes) == bytes.size());
  }
}

TEST_CASE("the 26-byte form names no destination and no cookie", "[peer]") {
  const auto bytes = from_hex(test::kP01);
  const auto decision = decide(bytes, kInbound);
  REQUIRE(decision.kind == Kind::Accept);
  CHECK(decision.consumed == 28);
  CHECK(decision.handshake.version == 3);
  CHECK_FALSE(decision.handshake.destination);
  CHECK(decision.handshake.source == kPeer);
  CHECK(decision.handshake.listening_port == Port{30001});
  CHECK_FALSE(decision.handshake.cookie);
  CHECK(decision.handshake.body_length == 26);
  CHECK_FALSE(decision.handshake.cookie_counts());
  CHECK(decided_at(bytes) == 28);

  const Expectation strict{.destination = kUser, .not_source = kUser, .allow_old_versions = false};
  CHECK(refused(bytes, strict) == Refusal::OldVersion);
  CHECK(decided_at(bytes, strict) == 3);
  CHECK(accepted(from_hex(test::kP06), strict).version == 8);  // only that form is meant
}

TEST_CASE("the 26-byte form: versions, ports, sources", "[peer]") {
  for (std::uint8_t version = 2; version <= 11; ++version) {
    auto bytes = from_hex(test::kP01);
    bytes[3] = std::byte{version};
    CHECK(accepted(bytes).version == version);
    CHECK_FALSE(accepted(bytes).cookie_counts());
  }
  for (const auto* version : {"00000000", "01000000", "0c000000", "03010000", "03000100", "03000001"}) {
    const auto bytes = changed(test::kP01, 3, version);
    CHECK(refused(bytes) == Refusal::BadVersion);
    CHECK(decided_at(bytes) == 7);
  }
  // Offset 22 of the body, or 5 if that is 0; they may differ.
  CHECK(accepted(changed(test::kP01, 7, "39300000")).listening_port == Port{30001});
  auto other = changed(test::kP01, 7, "39300000");
  std::fill_n(other.begin() + 24, 4, std::byte{0});
  CHECK(accepted(other).listening_port == Port{12345});
  CHECK_FALSE(accepted(changed(test::kP01, 24, "00000000")).listening_port);
  CHECK_FALSE(accepted(changed(test::kP01, 24, "00000100")).listening_port);

  CHECK(refused(changed(test::kP01, 11, "00000000")) == Refusal::NoSourceUin);
  CHECK(refused(changed(test::kP01, 11, "a1860100")) == Refusal::OwnUin);
  CHECK(decided_at(changed(test::kP01, 11, "a1860100")) == 28);
}

TEST_CASE("the answer of an official version-6 client: first port zero, seen outbound", "[peer]") {
  const auto bytes = from_hex(test::kP03);
  const auto handshake = accepted(bytes, {.destination = kPeer});
  CHECK(handshake.source == kUser);
  CHECK(handshake.destination == kPeer);
  CHECK(handshake.listening_port == Port{24567});
  CHECK(refused(bytes) == Refusal::WrongUser);
  CHECK(accepted(bytes, {}).destination == kPeer);
}

TEST_CASE("the two port fields", "[peer]") {
  // Either zero: the other counts.
  CHECK(accepted(changed(test::kP06, 13, "00000000")).listening_port == Port{30001});
  CHECK(accepted(changed(test::kP06, 30, "00000000")).listening_port == Port{30001});
  auto none = changed(test::kP06, 13, "00000000");
  std::fill_n(none.begin() + 30, 4, std::byte{0});
  CHECK_FALSE(accepted(none).listening_port);
  // Beyond 16 bits: no port; and no port is cut down to one.
  CHECK(refused(changed(test::kP06, 13, "31750100")) == Refusal::PortMismatch);
  auto large = changed(test::kP06, 13, "31750100");
  std::ranges::copy(from_hex("31750100"), large.begin() + 30);
  CHECK_FALSE(accepted(large).listening_port);
  std::fill_n(large.begin() + 30, 4, std::byte{0});
  CHECK_FALSE(accepted(large).listening_port);
  auto limit = changed(test::kP06, 13, "ffff0000");
  std::ranges::copy(from_hex("ffff0000"), limit.begin() + 30);
  CHECK(accepted(limit).listening_port == Port{65535});
}

TEST_CASE("bad openings, each with its reason and as early as can be", "[peer]") {
  struct Expected {
    std::string_view hex;
    Refusal refusal;
    std::size_t at;
  };
  for (const auto& [hex, refusal, at] : {
           Expected{test::kB01, Refusal::WrongUser, 11},
           Expected{test::kB02, Refusal::BadLength, 7},
           Expected{test::kB03, Refusal::BadLength, 7},
           Expected{test::kB04, Refusal::PortMismatch, 50},
           Expected{test::kB06, Refusal::OwnUin, 50},
           Expected{test::kB08, Refusal::BadVersion, 5},
           Expected{test::kB09, Refusal::BadVersion, 7},
           Expected{test::kB10, Refusal::NotIcq, 1},
           Expected{test::kB11, Refusal::NotIcq, 1},
           Expected{test::kB12, Refusal::NotIcq, 1},
           Expected{test::kB13, Refusal::NotIcq, 3},
           Expected{test::kB14, Refusal::NotIcq, 1},
           Expected{test::kB15, Refusal::NoSourceUin, 50},
           // Packets that are right only later in a connection, and the other side of the wrong port.
           Expected{test::kP10, Refusal::NotIcq, 1},
           Expected{test::kP11, Refusal::NotIcq, 1},
           Expected{test::kP12, Refusal::NotIcq, 1},
           Expected{test::kP13, Refusal::NotIcq, 1},
           Expected{test::kP14, Refusal::NotIcq, 1},
           Expected{test::kG16, Refusal::NotIcq, 1},
           Expected{test::kO01, Refusal::Transfer, 4},
           Expected{test::kO02, Refusal::Transfer, 4},
           Expected{test::kO04, Refusal::Transfer, 4},
           Expected{test::kO05, Refusal::NotIcq, 1},
       }) {
    INFO(hex);
    const auto bytes = from_hex(hex);
    CHECK(refused(bytes) == refusal);
    CHECK(decided_at(bytes) == at);
  }
}

TEST_CASE("a wrong cookie is not a matter of shape", "[peer]") {
  CHECK(accepted(from_hex(test::kB05)).cookie == 0U);  // the engine knows what the server said
}

TEST_CASE("the length prefix alone decides nothing", "[peer]") {
  CHECK(decide(from_hex(test::kB07), kInbound).kind == Kind::NeedMore);
  CHECK(decide({}, kInbound).kind == Kind::NeedMore);
  for (unsigned first = 0; first < 256; ++first) {
    const std::array<std::byte, 1> one{static_cast<std::byte>(first)};
    const bool open = first == 0x1a || first == 0x24 || first == 0x2c || first == 0x30 || first == 0x4f;
    CHECK((decide(one, kInbound).kind == Kind::NeedMore) == open);
    for (unsigned second = 0; second < 256; ++second) {
      const std::array<std::byte, 2> two{static_cast<std::byte>(first), static_cast<std::byte>(second)};
      const bool still = first == 0x4f ? second == 0x46 || second == 0x44 : open && second == 0;
      const auto decision = decide(two, kInbound);
      if ((decision.kind == Kind::NeedMore) != still) FAIL("at " << first << ' ' << second);
      if (!still && decision.refusal != Refusal::NotIcq) FAIL("at " << first << ' ' << second);
    }
  }
}

TEST_CASE("versions and inner lengths of every form", "[peer]") {
  struct Form {
    std::string_view hex;
    std::uint16_t inner;
  };
  for (const auto& [hex, inner] : {Form{test::kP09, 0x1f}, Form{test::kP02, 0x27}, Form{test::kP06, 0x2b}}) {
    for (std::uint32_t version = 0; version <= 0xffff; version += version < 300 ? 1 : 251) {
      auto bytes = from_hex(hex);
      bytes[3] = static_cast<std::byte>(version);
      bytes[4] = static_cast<std::byte>(version >> 8);
      const auto decision = decide(bytes, kInbound);
      const bool good = version >= 6 && version <= 11;
      if ((decision.kind == Kind::Accept) != good) FAIL("version " << version);
      if (good) CHECK(decision.handshake.version == version);
    }
    for (std::uint32_t length = 0; length <= 0xffff; length += length < 300 ? 1 : 251) {
      auto bytes = from_hex(hex);
      bytes[5] = static_cast<std::byte>(length);
      bytes[6] = static_cast<std::byte>(length >> 8);
      const bool good = length == 0 || length == inner;
      const auto decision = decide(bytes, kInbound);
      if ((decision.kind == Kind::Accept) != good) FAIL("inner length " << length);
      if (!good && decision.refusal != Refusal::BadLength) FAIL("inner length " << length);
    }
  }
}

TEST_CASE("without an expected destination any is accepted", "[peer]") {
  const Expectation any{.not_source = kUser};
  CHECK(accepted(from_hex(test::kB01), any).destination == Uin{0x493e3});
  CHECK(refused(from_hex(test::kB06), any) == Refusal::OwnUin);
  CHECK(accepted(from_hex(test::kB06), {.destination = kUser}).source == kUser);
}

TEST_CASE("source UIN 0 only with a connect id, which only the 48-byte form has", "[peer]") {
  CHECK(refused(changed(test::kP02, 17, "00000000")) == Refusal::NoSourceUin);
  CHECK(refused(changed(test::kP09, 17, "00000000")) == Refusal::NoSourceUin);
  auto bytes = changed(test::kP02, 17, "00000000");
  bytes.insert(bytes.end(), 4, std::byte{1});  // the next packet is no connect id
  CHECK(refused(bytes) == Refusal::NoSourceUin);
  CHECK(accepted(changed(test::kB15, 49, "80")).connect_id == 0x80000000);
}

TEST_CASE("peer streams: split and coalesced", "[peer]") {
  auto stream = from_hex(test::kP06);
  for (const auto hex : {test::kP10, test::kP11}) {
    const auto next = from_hex(hex);
    stream.insert(stream.end(), next.begin(), next.end());
  }
  CHECK(decided_at(stream) == 50);
  CHECK(decide(stream, kInbound).consumed == 50);
  CHECK(decide(Bytes{stream}.first(2), kInbound).kind == Kind::NeedMore);  // official clients: 2 | 48
  for (std::size_t size = 0; size < 50; ++size)
    CHECK(decide(Bytes{stream}.first(size), kInbound).kind == Kind::NeedMore);
  CHECK(decide(Bytes{stream}.first(50), kInbound).kind == Kind::Accept);
}

TEST_CASE("the answer stream of the listener: acknowledge, then its own handshake", "[peer]") {
  const auto acknowledge = from_hex(test::kP10);
  auto stream = acknowledge;
  const auto answer = from_hex(test::kP03);
  stream.insert(stream.end(), answer.begin(), answer.end());
  CHECK(refused(stream) == Refusal::NotIcq);  // an acknowledge comes after a handshake, never first
  CHECK(accepted(Bytes{stream}.subspan(acknowledge.size()), {.destination = kPeer}).source == kUser);
}

TEST_CASE("transfers on a pinhole for direct connections", "[peer][transfer]") {
  for (const auto* hex : {"4f465432", "4f465433", "4f444332"})
    CHECK(refused(from_hex(hex)) == Refusal::Transfer);
  for (const auto* hex : {"4f465431", "4f444331", "4f444333", "4f465444", "4f440000", "4f4632", "4f4f"})
    CHECK(refused(from_hex(hex)) == Refusal::NotIcq);
  for (const auto* hex : {"4f", "4f46", "4f44", "4f4654", "4f4443"})
    CHECK(decide(from_hex(hex), kInbound).kind == Kind::NeedMore);
}

TEST_CASE("OFT2 and ODC2 openings", "[peer][transfer]") {
  CHECK(looks_like_transfer(from_hex(test::kO01)) == Transfer::Oft);
  CHECK(looks_like_transfer(from_hex(test::kO02)) == Transfer::Oft);
  CHECK(looks_like_transfer(from_hex(test::kO04)) == Transfer::Odc);
  auto pidgin_prompt = changed(test::kO01, 8, "0000000000000000");  // vector O03
  std::fill_n(pidgin_prompt.begin() + 100, 3, std::byte{0});
  CHECK(looks_like_transfer(pidgin_prompt) == Transfer::Oft);
  for (const auto hex : {test::kO01, test::kO04}) {
    const auto bytes = from_hex(hex);
    for (std::size_t size = 0; size < 8; ++size)
      CHECK(looks_like_transfer(Bytes{bytes}.first(size)) == Transfer::NeedMore);
    CHECK(looks_like_transfer(Bytes{bytes}.first(8)) != Transfer::NeedMore);
  }
  for (const auto hex : {test::kO05, test::kO06, test::kO07, test::kP01, test::kP06, test::kB10, test::kG01})
    CHECK(looks_like_transfer(from_hex(hex)) == Transfer::No);
}

TEST_CASE("OFT and ODC: lengths and types", "[peer][transfer]") {
  const auto of = [](std::string_view hex) { return looks_like_transfer(from_hex(hex)); };
  for (const auto* type :
       {"0101", "0202", "0204", "0205", "0106", "0207", "1108", "1209", "120a", "120b", "120c"}) {
    CHECK(of(std::string{"4f4654320100"} + type) == Transfer::Oft);
    CHECK(of(std::string{"4f4654330100"} + type) == Transfer::Oft);
  }
  for (const auto* type : {"0000", "0100", "0102", "0201", "0203", "1208", "120d", "ffff"})
    CHECK(of(std::string{"4f4654320100"} + type) == Transfer::No);
  CHECK(of("4f46543200ff0101") == Transfer::No);
  CHECK(of("4f46543208000101") == Transfer::Oft);
  CHECK(of("4f46543208010101") == Transfer::No);
  CHECK(of("4f444332004c0001") == Transfer::Odc);
  CHECK(of("4f444332004b0001") == Transfer::No);
  CHECK(of("4f44433208000001") == Transfer::Odc);
  CHECK(of("4f44433208010001") == Transfer::No);
  CHECK(of("4f444332004c0002") == Transfer::No);
  CHECK(of("4f4443320100"
           "0101") == Transfer::No);
}

TEST_CASE("what a refused opening looked like", "[peer]") {
  const auto of = [](std::string_view hex) { return guess_protocol(from_hex(hex)); };
  CHECK(of(test::kB10) == "HTTP");
  CHECK(of("504f5354") == "HTTP");
  CHECK(of("48454144") == "HTTP");
  CHECK(of(test::kB11) == "TLS");
  CHECK(of(test::kB12) == "SSH");
  CHECK(of(test::kB14) == "BitTorrent");
  CHECK(of("050100") == "SOCKS");
  CHECK(of("0401") == "SOCKS");
  CHECK(of(test::kG01) == "FLAP");
  CHECK(of(test::kG16) == "FLAP");
  CHECK(of("524642203030332e3030380a") == "VNC");
  CHECK(of("03000013") == "RDP");
  CHECK(of(test::kP06).empty());
  CHECK(of("").empty());
  CHECK(of("47").empty());
}

TEST_CASE("every refusal has a name of its own", "[peer]") {
  std::set<std::string_view> names;
  for (const auto refusal :
       {Refusal::NotIcq, Refusal::BadVersion, Refusal::BadLength, Refusal::WrongUser, Refusal::PortMismatch,
        Refusal::OwnUin, Refusal::NoSourceUin, Refusal::OldVersion, Refusal::Transfer})
    names.insert(to_string(refusal));
  CHECK(names == std::set<std::string_view>{"not-icq", "bad-version", "bad-length", "wrong-user",
                                            "port-mismatch", "own-uin", "no-source-uin", "old-version",
                                            "transfer"});
}

}  // namespace
}  // namespace icqgate::peer
