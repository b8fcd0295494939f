// SPDX-License-Identifier: GPL-2.0-or-later
#include "net/packet.hpp"

namespace icqgate {
namespace {

auto failed(PacketError error) noexcept { return tl::make_unexpected(error); }

Result<Bytes, PacketError> whole(Bytes packet) noexcept {
  if (packet.empty()) return failed(PacketError::Truncated);
  return packet;
}

// PPPoE session (RFC 2516 section 4), then the PPP protocol number:
//   version u4 = 1 | type u4 = 1 | code u8 = 0 | session u16 | length u16 | protocol u16
Result<Bytes, PacketError> strip_pppoe(ByteReader reader) noexcept {
  const auto version_type = reader.u8();
  const auto code = reader.u8();
  const auto session_and_length = reader.u32be();
  const auto protocol = reader.u16be();
  if (!protocol || !session_and_length) return failed(PacketError::Truncated);
  if (*version_type != 0x11 || *code != 0) return failed(PacketError::OtherProtocol);
  if (*protocol != 0x0021 && *protocol != 0x0057) return failed(PacketError::OtherProtocol);
  return whole(reader.rest());
}

// What follows an EtherType field; a VLAN tag is `tag u16 | EtherType u16` behind its own EtherType (IEEE
// 802.1Q).
Result<Bytes, PacketError> strip_ether_type(std::uint16_t type, ByteReader reader) noexcept {
  while (type == 0x8100 || type == 0x88a8 || type == 0x9100) {
    const auto tag = reader.u16be();
    const auto inner = reader.u16be();
    if (!tag || !inner) return failed(PacketError::Truncated);
    type = *inner;
  }
  if (type == 0x8864) return strip_pppoe(reader);
  if (type != 0x0800 && type != 0x86dd) return failed(PacketError::OtherProtocol);
  return whole(reader.rest());
}

// Link headers that have an EtherType at `at` and end at `size`.
Result<Bytes, PacketError> strip_fixed(Bytes frame, std::size_t at, std::size_t size) noexcept {
  if (frame.size() < size) return failed(PacketError::Truncated);
  const auto type = ByteReader{frame.subspan(at)}.u16be();
  return strip_ether_type(*type, ByteReader{frame.subspan(size)});
}

// BSD loopback: the address family as u32 in the byte order of the machine that captured. The number of IPv6
// differs from system to system (24 NetBSD and OpenBSD, 28 FreeBSD, 30 macOS, 10 Linux).
Result<Bytes, PacketError> strip_null(Bytes frame) noexcept {
  ByteReader reader{frame};
  const auto big = ByteReader{frame}.u32be();
  const auto little = reader.u32le();
  if (!big || !little) return failed(PacketError::Truncated);
  for (const std::uint32_t family : {*big, *little}) {
    switch (family) {
      case 2:
      case 10:
      case 24:
      case 28:
      case 30:
        return whole(reader.rest());
      default:
        break;
    }
  }
  return failed(PacketError::OtherProtocol);
}

}  // namespace

Result<Bytes, PacketError> strip_link(LinkType type, Bytes frame) noexcept {
  switch (type) {
    case LinkType::Null:
      return strip_null(frame);
    case LinkType::Ethernet:
      return strip_fixed(frame, 12, 14);
    case LinkType::LinuxCooked:
      return strip_fixed(frame, 14, 16);
    case LinkType::LinuxCooked2:
      return strip_fixed(frame, 0, 20);
    case LinkType::Raw:
    case LinkType::RawIpv4:
    case LinkType::RawIpv6:
      return whole(frame);
  }
  return failed(PacketError::OtherProtocol);  // a number from a file, cast to LinkType
}

}  // namespace icqgate
