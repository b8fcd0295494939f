// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <variant>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "net/address.hpp"

namespace icqgate {

// One TCP segment as found in an IP packet. `payload` borrows the packet's bytes.
struct TcpSegment {
  static constexpr std::uint8_t kFin = 0x01, kSyn = 0x02, kRst = 0x04, kPsh = 0x08, kAck = 0x10;

  Endpoint source;
  Endpoint destination;
  std::uint32_t sequence = 0;
  std::uint32_t acknowledgment = 0;  // meaningful with kAck
  std::uint8_t flags = 0;
  std::uint16_t window = 0;
  Bytes payload;
  std::size_t missing =
      0;  // payload bytes that the IP header promises and the packet does not hold (cut capture)

  [[nodiscard]] bool has(std::uint8_t flag) const noexcept { return (flags & flag) == flag; }
};

// One UDP datagram as found in an IP packet. `payload` borrows the packet's bytes.
struct UdpDatagram {
  Endpoint source;
  Endpoint destination;
  Bytes payload;
};

enum class PacketError {
  Truncated,  // ends inside a header; for UDP also: before the datagram's end
  Malformed,  // a header contradicts itself
  Fragment,   // not the whole datagram: nothing above IP can be told (first fragments included)
  OtherProtocol,
};

using Transport = std::variant<TcpSegment, UdpDatagram>;

// An IPv4 or IPv6 packet, link header already removed -> what it carries. IPv6 extension headers (hop-by-hop,
// routing, destination options) are stepped over; an atomic fragment header as well; more than 8 headers:
// Malformed. Checksums are not looked at: the kernel's conntrack has done so, and offloaded packets carry
// none. Padding behind the IP length is not payload.
[[nodiscard]] Result<Transport, PacketError> parse_packet(Bytes packet) noexcept;

// The same packet with its payload cut and RST set (RFC 9293 3.5.2: acceptable to the receiver because it
// keeps sequence, acknowledgment and ACK flag): IP length, flags and both checksums made right; TCP options
// dropped. Nothing if the packet is no TCP segment. For an NFQUEUE verdict that replaces the packet.
[[nodiscard]] Result<std::vector<std::byte>, PacketError> cut_to_reset(Bytes packet);

// Link types of capture files (https://www.tcpdump.org/linktypes.html) that icqgate reads.
enum class LinkType {
  Null = 0,
  Ethernet = 1,
  Raw = 101,
  LinuxCooked = 113,
  RawIpv4 = 228,
  RawIpv6 = 229,
  LinuxCooked2 = 276,
};

// The IP packet inside a captured frame (VLAN tags, QinQ and PPPoE sessions stepped over), or OtherProtocol;
// Truncated if the frame ends before the packet starts. Borrows the frame.
[[nodiscard]] Result<Bytes, PacketError> strip_link(LinkType type, Bytes frame) noexcept;

}  // namespace icqgate
