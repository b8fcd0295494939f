// SPDX-License-Identifier: GPL-2.0-or-later
#include <catch2/catch.hpp>

#include "net/packet.hpp"
#include "packet_builder.hpp"

using namespace icqgate;
using namespace icqgate::test;

namespace {

using Octets = std::vector<std::byte>;

const Octets kPacket = tcp("192.168.1.20", 1, "192.0.2.1", 2).payload("x").bytes();

// The bytes of `head` as 16-bit words, then the packet.
Octets frame(std::initializer_list<std::uint16_t> head) {
  ByteWriter writer;
  for (const auto word : head) writer.u16be(word);
  writer.bytes(kPacket);
  return std::move(writer).release();
}
Octets ethernet(std::initializer_list<std::uint16_t> behind_addresses) {
  ByteWriter writer;
  for (std::uint16_t word = 1; word <= 6; ++word) writer.u16be(word);
  writer.bytes(frame(behind_addresses));
  return std::move(writer).release();
}

// The packet comes out, and every cut inside the link header, or right behind it, is seen.
void check_stripped(LinkType type, const Octets& whole) {
  const auto packet = strip_link(type, whole);
  REQUIRE(packet);
  CHECK(packet->data() + packet->size() == whole.data() + whole.size());
  CHECK(packet->size() == kPacket.size());
  for (std::size_t cut = 0; cut <= whole.size() - kPacket.size(); ++cut) {
    const auto stripped = strip_link(type, Bytes{whole}.first(cut));
    REQUIRE_FALSE(stripped);
    CHECK(stripped.error() == PacketError::Truncated);
  }
}

void check_other(LinkType type, const Octets& whole) {
  const auto stripped = strip_link(type, whole);
  REQUIRE_FALSE(stripped);
  CHECK(stripped.error() == PacketError::OtherProtocol);
}

}  // namespace

TEST_CASE("Ethernet, with tags and PPPoE", "[net][link]") {
  check_stripped(LinkType::Ethernet, ethernet({0x0800}));
  check_stripped(LinkType::Ethernet, ethernet({0x86dd}));
  check_stripped(LinkType::Ethernet, ethernet({0x8100, 7, 0x0800}));
  check_stripped(LinkType::Ethernet, ethernet({0x88a8, 7, 0x8100, 8, 0x86dd}));
  check_stripped(LinkType::Ethernet, ethernet({0x9100, 7, 0x9100, 8, 0x8100, 9, 0x0800}));
  check_stripped(LinkType::Ethernet, ethernet({0x8864, 0x1100, 1, 44, 0x0021}));
  check_stripped(LinkType::Ethernet, ethernet({0x8864, 0x1100, 1, 44, 0x0057}));
  check_stripped(LinkType::Ethernet, ethernet({0x8100, 7, 0x8864, 0x1100, 1, 44, 0x0021}));
}

TEST_CASE("Ethernet frames without an IP packet", "[net][link]") {
  check_other(LinkType::Ethernet, ethernet({0x0806}));  // ARP
  check_other(LinkType::Ethernet, ethernet({0x0026}));  // a length: 802.3
  check_other(LinkType::Ethernet, ethernet({0x8100, 7, 0x0806}));
  check_other(LinkType::Ethernet, ethernet({0x8863, 0x1109, 0, 4, 0x0101}));   // PPPoE discovery
  check_other(LinkType::Ethernet, ethernet({0x8864, 0x1100, 1, 44, 0xc021}));  // LCP
  check_other(LinkType::Ethernet, ethernet({0x8864, 0x1101, 1, 44, 0x0021}));  // no session data
  check_other(LinkType::Ethernet, ethernet({0x8864, 0x2100, 1, 44, 0x0021}));  // another version
}

TEST_CASE("Linux cooked captures", "[net][link]") {
  check_stripped(LinkType::LinuxCooked, frame({4, 1, 6, 1, 2, 3, 0, 0x0800}));
  check_stripped(LinkType::LinuxCooked, frame({4, 1, 6, 1, 2, 3, 0, 0x8100, 7, 0x86dd}));
  check_other(LinkType::LinuxCooked, frame({0x0800, 1, 6, 1, 2, 3, 0, 0x0806}));
  check_stripped(LinkType::LinuxCooked2, frame({0x0800, 0, 0, 2, 1, 0x0406, 1, 2, 3, 0}));
  check_stripped(LinkType::LinuxCooked2,
                 frame({0x8864, 0, 0, 2, 1, 0x0406, 1, 2, 3, 0, 0x1100, 1, 44, 0x0021}));
  check_other(LinkType::LinuxCooked2, frame({0x0806, 0, 0, 2, 1, 0x0406, 1, 2, 3, 0x0800}));
}

TEST_CASE("loopback captures in either byte order", "[net][link]") {
  for (const std::uint16_t family : std::initializer_list<std::uint16_t>{2, 10, 24, 28, 30}) {
    check_stripped(LinkType::Null, frame({0, family}));
    check_stripped(LinkType::Null, frame({static_cast<std::uint16_t>(family << 8), 0}));
  }
  check_other(LinkType::Null, frame({0, 0}));
  check_other(LinkType::Null, frame({0, 7}));
  check_other(LinkType::Null, frame({2, 2}));
}

TEST_CASE("raw captures are the packet itself", "[net][link]") {
  for (const auto type : {LinkType::Raw, LinkType::RawIpv4, LinkType::RawIpv6}) check_stripped(type, kPacket);
}

TEST_CASE("a link type that icqgate does not read", "[net][link]") {
  check_other(static_cast<LinkType>(127), kPacket);
  check_other(static_cast<LinkType>(-1), kPacket);
}
