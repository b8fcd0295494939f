// SPDX-License-Identifier: GPL-2.0-or-later
// The packet builder against bytes made elsewhere: it may not agree with the parser by sharing a mistake.
#include <array>
#include <catch2/catch.hpp>

#include "packet_builder.hpp"

using namespace icqgate;
using namespace icqgate::test;

TEST_CASE("the Internet checksum of RFC 1071's example", "[net][builder]") {
  const std::array<std::uint8_t, 8> example{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  CHECK(internet_sum(std::as_bytes(std::span{example})) == 0xddf2);
}

TEST_CASE("a built segment, byte by byte", "[net][builder]") {
  // Checksums of this packet as tshark 4.0 calls them correct.
  const std::array<std::uint8_t, 45> wire{0x45, 0,    0, 45, 0x12, 0x34, 0,   0,   64,   6,    0xe4, 0xd9,
                                          192,  168,  1, 20, 192,  0,    2,   1,   0x0f, 0xa0, 0x14, 0x46,
                                          0,    0,    0, 1,  0,    0,    0,   2,   0x50, 0x10, 0xff, 0xff,
                                          0xc4, 0x56, 0, 0,  'h',  'e',  'l', 'l', 'o'};
  const auto built = tcp("192.168.1.20", 4000, "192.0.2.1", 5190).seq(1).ack(2).payload("hello").bytes();
  CHECK(std::equal(built.begin(), built.end(), wire.begin(), wire.end(),
                   [](std::byte a, std::uint8_t b) { return std::to_integer<std::uint8_t>(a) == b; }));
}
