// SPDX-License-Identifier: GPL-2.0-or-later
#include "oscar/snac.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <string_view>
#include <vector>

#include "oscar/flap.hpp"
#include "vectors.hpp"

namespace icqgate::oscar {
namespace {

using test::from_hex;

// A vector's SNAC, and the bytes it borrows from.
struct Packet {
  std::vector<std::byte> wire;
  Snac snac;
};

Packet packet(std::string_view hex) {
  Packet result;
  result.wire = from_hex(hex);
  const auto flap = parse_flap(result.wire);
  REQUIRE(flap);
  const auto snac = parse_snac(flap->payload);
  REQUIRE(snac);
  result.snac = *snac;
  return result;
}

std::vector<std::uint16_t> types(Bytes tlvs) {
  std::vector<std::uint16_t> found;
  TlvReader reader{tlvs};
  while (const auto tlv = reader.next()) found.push_back(tlv->type);
  return found;
}

bool equal(std::optional<Bytes> bytes, std::string_view hex) {
  return bytes && std::ranges::equal(*bytes, from_hex(hex));
}

using Types = std::vector<std::uint16_t>;

TEST_CASE("SNAC headers of the vectors", "[oscar][snac]") {
  struct Expected {
    std::string_view hex;
    std::uint16_t family, subtype, flags;
    std::uint32_t request;
    std::size_t body;
  };
  for (const auto& [hex, family, subtype, flags, request, body] : {
           Expected{test::kG04, 0x17, 0x03, 0, 0x80000002, 84},
           Expected{test::kG05, 0x17, 0x03, 0, 0x80000003, 49},
           Expected{test::kG07, 0x17, 0x06, 0, 0x00000001, 18},
           Expected{test::kG08, 0x17, 0x07, 0, 0x00000001, 12},
           Expected{test::kG09, 0x17, 0x02, 0, 0x00000002, 92},
           Expected{test::kG11, 0x01, 0x05, 0, 0x8ecdb197, 48},
           Expected{test::kG12, 0x01, 0x05, 0, 0x8ecdb198, 51},
           Expected{test::kG13, 0x01, 0x12, 0, 0x8eccc4e0, 52},
           Expected{test::kG14, 0x01, 0x12, 0, 0x8eccc4e1, 39},
           Expected{test::kG15, 0x01, 0x0f, 0, 0x80000010, 74},
           Expected{test::kG16, 0x01, 0x1e, 0, 0x0000001e, 55},
           Expected{test::kG17, 0x01, 0x1e, 0, 0x0000001f, 8},
           Expected{test::kG18, 0x01, 0x1e, 0, 0x00000020, 55},
           Expected{test::kG19, 0x01, 0x1e, 0, 0x00000021, 55},
           Expected{test::kG20, 0x01, 0x1e, 0x8000, 0x00000022, 49},
           Expected{test::kG21, 0x03, 0x0b, 0, 0x80000030, 84},
           Expected{test::kG22, 0x04, 0x06, 0, 0x00000040, 130},
           Expected{test::kG23, 0x04, 0x07, 0, 0x80000041, 111},
           Expected{test::kG24, 0x04, 0x06, 0, 0x00000050, 106},
           Expected{test::kG25, 0x04, 0x06, 0, 0x00000060, 196},
           Expected{test::kG28, 0x04, 0x0b, 0, 0x00000061, 140},
           Expected{test::kC01, 0x01, 0x1e, 0, 0x00000031, 49},
           Expected{test::kC02, 0x01, 0x1e, 0, 0x00000032, 24},
           Expected{test::kC03, 0x01, 0x1e, 0, 0x00000033, 27},
       }) {
    const auto [wire, snac] = packet(hex);
    CHECK(snac.is(family, subtype));
    CHECK_FALSE(snac.is(family, static_cast<std::uint16_t>(subtype + 1)));
    CHECK_FALSE(snac.is(static_cast<std::uint16_t>(family + 1), subtype));
    CHECK(snac.flags == flags);
    CHECK(snac.request == request);
    CHECK(snac.body.size() == body);
  }
}

TEST_CASE("flag 0x8000: the block is stepped over", "[oscar][snac]") {
  const auto [wire, snac] = packet(test::kG20);
  CHECK(types(snac.body) == Types{0x06, 0x0c});

  const auto empty_block = from_hex("0001001e80000000002200000006000400000000");
  const auto with_empty = parse_snac(empty_block);
  REQUIRE(with_empty);
  CHECK(types(with_empty->body) == Types{0x06});

  const auto only_block = from_hex("0001001e8000000000220004aabbccdd");
  REQUIRE(parse_snac(only_block));
  CHECK(parse_snac(only_block)->body.empty());
}

TEST_CASE("flag 0x8000 with a block longer than the SNAC is refused", "[oscar][snac]") {
  const auto wire = from_hex(test::kC04);
  const auto snac = parse_snac(parse_flap(wire)->payload);
  REQUIRE_FALSE(snac);
  CHECK(snac.error() == SnacError::BadBlock);
  for (const auto* hex : {"0001001e800000000022", "0001001e80000000002200", "0001001e8000000000220001",
                          "0001001e800000000022000501020304"}) {
    const auto cut = parse_snac(from_hex(hex));
    REQUIRE_FALSE(cut);
    CHECK(cut.error() == SnacError::BadBlock);
  }
}

TEST_CASE("a SNAC cut inside its header is truncated", "[oscar][snac]") {
  const auto wire = from_hex(test::kG16);
  const auto payload = Bytes{wire}.subspan(6);
  for (std::size_t cut = 0; cut < 10; ++cut) {
    const auto snac = parse_snac(payload.first(cut));
    REQUIRE_FALSE(snac);
    CHECK(snac.error() == SnacError::Truncated);
  }
  for (std::size_t cut = 10; cut <= payload.size(); ++cut) {
    const auto snac = parse_snac(payload.first(cut));
    REQUIRE(snac);
    CHECK(snac->body.size() == cut - 10);
  }
}

TEST_CASE("TLVs of the login vectors", "[oscar][snac]") {
  const auto [key_request, snac] = packet(test::kG07);
  CHECK(types(snac.body) == Types{0x01, 0x4b, 0x5a});
  CHECK(equal(find_tlv(snac.body, 0x01), "313030303031"));
  CHECK(equal(find_tlv(snac.body, 0x5a), ""));
  CHECK_FALSE(find_tlv(snac.body, 0x02));

  // The key is no TLV: u16 length, bytes.
  const auto [key_wire, key] = packet(test::kG08);
  ByteReader reader{key.body};
  CHECK(reader.u16be() == 10);
  CHECK(as_text(reader.rest()) == "1234567890");

  const auto roasted = from_hex(test::kG02);
  CHECK(types(Bytes{roasted}.subspan(10)) ==
        Types{0x01, 0x02, 0x03, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x14, 0x0f, 0x0e});
  const auto [md5_wire, md5] = packet(test::kG09);
  CHECK(types(md5.body) == Types{0x01, 0x03, 0x25, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x14, 0x0f, 0x0e});
  const auto [reply_wire, reply] = packet(test::kG04);
  CHECK(types(reply.body) == Types{0x8e, 0x01, 0x05, 0x06, 0x11});
}

// ICBM: cookie 8, channel u16, u8 n, UIN; then TLVs, in (04,07) after the user info (protocol.md 5.1).
TEST_CASE("TLV structure of the ICBM vectors", "[oscar][snac]") {
  struct Expected {
    std::string_view hex;
    Types outer, inner;
    std::size_t extension;  // size of inner TLV 0x2711
  };
  for (const auto& [hex, outer, inner, extension] : {
           Expected{test::kG22, {0x05, 0x03}, {0x0a, 0x0f, 0x02, 0x16, 0x03, 0x05, 0x17, 0x2711, 0x2712}, 17},
           Expected{test::kG24, {0x05, 0x03}, {0x0a, 0x0f, 0x03, 0x05, 0x2711}, 27},
           Expected{test::kG25, {0x05}, {0x0a, 0x0f, 0x03, 0x05, 0x2711}, 121},
       }) {
    const auto [wire, snac] = packet(hex);
    ByteReader reader{snac.body};
    CHECK(equal(reader.take(8), "a1a2a3a4a5a6a700"));
    CHECK(reader.u16be() == 2);
    CHECK(reader.u8() == 6);
    CHECK(as_text(*reader.take(6)) == "200002");
    CHECK(types(reader.rest()) == outer);
    const auto rendezvous = find_tlv(reader.rest(), 0x05);
    REQUIRE(rendezvous);
    CHECK(types(rendezvous->subspan(26)) == inner);
    CHECK(find_tlv(rendezvous->subspan(26), 0x2711)->size() == extension);
  }

  const auto [wire, snac] = packet(test::kG23);
  ByteReader reader{snac.body};
  REQUIRE(reader.take(8 + 2 + 1 + 6));
  CHECK(reader.u16be() == 0);
  CHECK(reader.u16be() == 1);
  TlvReader counted{reader.rest()};
  CHECK(counted.next()->type == 0x01);
  const auto rendezvous = find_tlv(counted.rest(), 0x05);
  REQUIRE(rendezvous);
  CHECK(types(rendezvous->subspan(26)) == Types{0x0a, 0x02, 0x16, 0x03, 0x04, 0x05, 0x17, 0x10});
  CHECK(equal(find_tlv(rendezvous->subspan(26), 0x05), "1234"));
  CHECK(equal(find_tlv(rendezvous->subspan(26), 0x10), ""));

  // (04,0B): no TLVs, the relay data follows the reason.
  const auto [answer_wire, answer] = packet(test::kG28);
  ByteReader direct{answer.body};
  REQUIRE(direct.take(8 + 2 + 1 + 6));
  CHECK(direct.u16be() == 3);
  CHECK(direct.u16le() == 0x1b);
  CHECK(direct.rest().size() == 119);
}

TEST_CASE("a TLV that runs past the end stops the walk and keeps what was read", "[oscar][snac]") {
  const auto [wire, snac] = packet(test::kC02);
  TlvReader reader{snac.body};
  const auto status = reader.next();
  REQUIRE(status);
  CHECK(status->type == 0x06);
  CHECK(reader.clean());
  CHECK_FALSE(reader.next());
  CHECK_FALSE(reader.clean());
  CHECK_FALSE(reader.next());
  CHECK_FALSE(reader.clean());
  CHECK(reader.rest().size() == 16);
  CHECK_FALSE(find_tlv(snac.body, 0x0c));
  CHECK(find_tlv(snac.body, 0x06));
}

TEST_CASE("one to three trailing bytes are clean", "[oscar][snac]") {
  for (const auto* hex : {"000600020001", "00060002000100", "0006000200010000", "000600020001000c00"}) {
    const auto bytes = from_hex(hex);
    TlvReader reader{bytes};
    REQUIRE(reader.next());
    CHECK_FALSE(reader.next());
    CHECK(reader.clean());
    CHECK(reader.rest().size() == bytes.size() - 6);
  }
}

TEST_CASE("cut anywhere, a TLV walk yields the TLVs that are whole", "[oscar][snac]") {
  const auto [wire, snac] = packet(test::kG16);  // TLVs end at 8, 14, 55
  for (std::size_t cut = 0; cut <= snac.body.size(); ++cut) {
    TlvReader reader{snac.body.first(cut)};
    std::size_t whole = 0;
    while (reader.next()) ++whole;
    CHECK(whole == (cut >= 55 ? 3U : cut >= 14 ? 2U : cut >= 8 ? 1U : 0U));
    const std::size_t rest = cut - (cut >= 55 ? 55 : cut >= 14 ? 14 : cut >= 8 ? 8 : 0);
    CHECK(reader.clean() == (rest < 4));
  }
}

TEST_CASE("of doubled TLVs the first is found, unknown ones are walked over", "[oscar][snac]") {
  const auto bytes = from_hex("fffe0003aabbcc000a0004cb007105000a00040a00000900050000");
  CHECK(types(bytes) == Types{0xfffe, 0x0a, 0x0a, 0x05});
  CHECK(equal(find_tlv(bytes, 0x0a), "cb007105"));
  CHECK(equal(find_tlv(bytes, 0x05), ""));
  CHECK_FALSE(find_tlv(bytes, 0x06));
  CHECK_FALSE(find_tlv({}, 0x06));
}

TEST_CASE("the largest TLV", "[oscar][snac]") {
  std::vector<std::byte> bytes = from_hex("0006ffff");
  bytes.resize(4 + 65535);
  REQUIRE(find_tlv(bytes, 0x06));
  CHECK(find_tlv(bytes, 0x06)->size() == 65535);
  bytes.pop_back();
  CHECK_FALSE(find_tlv(bytes, 0x06));
}

}  // namespace
}  // namespace icqgate::oscar
