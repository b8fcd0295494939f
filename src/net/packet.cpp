// SPDX-License-Identifier: GPL-2.0-or-later
#include "net/packet.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "net/ip.hpp"

namespace icqgate {
namespace {

constexpr std::size_t kIpv4HeaderSize = 20;
constexpr std::size_t kIpv6HeaderSize = 40;
constexpr std::size_t kTcpHeaderSize = 20;
constexpr std::size_t kUdpHeaderSize = 8;
constexpr int kMaxExtensionHeaders = 8;

auto failed(PacketError error) noexcept { return tl::make_unexpected(error); }

// Inside of the bytes that the packet's lengths promise but that were not captured: Truncated. Beyond what
// they promise: the headers contradict each other.
auto too_short(std::size_t needed, const IpLayer& ip) noexcept {
  return failed(needed > ip.body.size() + ip.missing ? PacketError::Malformed : PacketError::Truncated);
}

// Cuts padding off, or notes what is missing. `promised` and `header_size` count from the packet's start. 0
// is what packets of segmentation offload carry where their true length does not fit 16 bits: take what is
// there.
void set_body(IpLayer& ip, Bytes packet, std::size_t promised) noexcept {
  if (promised == 0) promised = packet.size();
  if (promised > packet.size()) ip.missing = promised - packet.size();
  ip.body = packet.first(std::min(promised, packet.size())).subspan(ip.header_size);
}

// RFC 791 3.1:
//   version u4 | header words u4 | tos u8 | total length u16 | id u16 | flags u3 | fragment offset u13
//   | ttl u8 | protocol u8 | checksum u16 | source u32 | destination u32 | options
Result<IpLayer, PacketError> parse_ipv4(Bytes packet) noexcept {
  if (packet.size() < kIpv4HeaderSize) return failed(PacketError::Truncated);
  const std::byte* const at = packet.data();
  IpLayer ip;
  ip.header_size = std::to_integer<std::size_t>(at[0] & std::byte{0x0f}) * 4;
  if (ip.header_size < kIpv4HeaderSize) return failed(PacketError::Malformed);
  const std::size_t total = load_u16be(at + 2);
  if (total != 0 && total < ip.header_size) return failed(PacketError::Malformed);
  if (packet.size() < ip.header_size) return failed(PacketError::Truncated);
  if ((load_u16be(at + 6) & 0x3fff) != 0)
    return failed(PacketError::Fragment);  // more fragments, or an offset
  ip.protocol = std::to_integer<std::uint8_t>(at[9]);
  set_body(ip, packet, total);
  return ip;
}

// RFC 8200 section 4, every extension header but the fragment header:
//   next header u8 | length u8, in units of 8 bytes, the first not counted | ...
// and the fragment header, 8 bytes:
//   next header u8 | reserved u8 | offset u13 | reserved u2 | more u1 | id u32
// Leaves the upper protocol in `next`. `end`: how far the packet's own length says that it reaches.
Result<std::size_t, PacketError> step_over_extensions(Bytes packet, std::size_t end,
                                                      std::uint8_t& next) noexcept {
  constexpr std::uint8_t kHopByHop = 0, kRouting = 43, kFragment = 44, kDestinationOptions = 60;
  std::size_t offset = kIpv6HeaderSize;
  for (int count = 0;; ++count) {
    if (next != kHopByHop && next != kRouting && next != kFragment && next != kDestinationOptions)
      return offset;
    // Hop-by-hop options anywhere else than first are an unknown header to every receiver (RFC 8200 4.3).
    if (count == kMaxExtensionHeaders || (next == kHopByHop && count > 0))
      return failed(PacketError::Malformed);
    if (end - offset < 8) return failed(PacketError::Malformed);
    if (packet.size() < offset + 8) return failed(PacketError::Truncated);
    const std::byte* const at = packet.data() + offset;
    std::size_t size = 8;
    if (next == kFragment) {
      if ((load_u16be(at + 2) & 0xfff9) != 0) return failed(PacketError::Fragment);
    } else {
      size += std::to_integer<std::size_t>(at[1]) * 8;
    }
    if (end - offset < size) return failed(PacketError::Malformed);
    if (packet.size() < offset + size) return failed(PacketError::Truncated);
    next = std::to_integer<std::uint8_t>(at[0]);
    offset += size;
  }
}

// RFC 8200 section 3:
//   version u4 | class u8 | label u20 | payload length u16 | next header u8 | hop limit u8
//   | source 16 bytes | destination 16 bytes
Result<IpLayer, PacketError> parse_ipv6(Bytes packet) noexcept {
  if (packet.size() < kIpv6HeaderSize) return failed(PacketError::Truncated);
  const std::byte* const at = packet.data();
  const std::size_t length = load_u16be(at + 4);
  const std::size_t promised = length == 0 ? 0 : kIpv6HeaderSize + length;
  IpLayer ip;
  ip.v4 = false;
  ip.protocol = std::to_integer<std::uint8_t>(at[6]);
  const std::size_t end = promised == 0 ? std::numeric_limits<std::size_t>::max() : promised;
  const auto header_size = step_over_extensions(packet, end, ip.protocol);
  if (!header_size) return failed(header_size.error());
  ip.header_size = *header_size;
  set_body(ip, packet, promised);
  return ip;
}

Ipv6 load_ipv6(const std::byte* at) noexcept {
  std::array<std::uint8_t, 16> octets;
  std::memcpy(octets.data(), at, octets.size());
  return Ipv6{octets};
}

// Addresses from the IP header, ports from where TCP and UDP both have them.
void load_endpoints(Bytes packet, const IpLayer& ip, Endpoint& source, Endpoint& destination) noexcept {
  const std::byte* const at = packet.data();
  if (ip.v4) {
    source.address = Ipv4{load_u32be(at + 12)};
    destination.address = Ipv4{load_u32be(at + 16)};
  } else {
    source.address = load_ipv6(at + 8);
    destination.address = load_ipv6(at + 24);
  }
  source.port = Port{load_u16be(ip.body.data())};
  destination.port = Port{load_u16be(ip.body.data() + 2)};
}

// RFC 9293 3.1:
//   source port u16 | destination port u16 | sequence u32 | acknowledgment u32 | header words u4
//   | reserved u4 | flags u8 | window u16 | checksum u16 | urgent pointer u16 | options
Result<Transport, PacketError> parse_tcp(Bytes packet, const IpLayer& ip) noexcept {
  const auto header_size = tcp_header_size(ip);
  if (!header_size) return failed(header_size.error());
  const std::byte* const at = ip.body.data();
  Result<Transport, PacketError> result{tl::in_place, std::in_place_type<TcpSegment>};
  auto& segment = *std::get_if<TcpSegment>(&*result);
  load_endpoints(packet, ip, segment.source, segment.destination);
  segment.sequence = load_u32be(at + 4);
  segment.acknowledgment = load_u32be(at + 8);
  segment.flags = std::to_integer<std::uint8_t>(at[13]);
  segment.window = load_u16be(at + 14);
  segment.payload = ip.body.subspan(*header_size);
  segment.missing = ip.missing;
  return result;
}

// RFC 768:
//   source port u16 | destination port u16 | length u16, header included | checksum u16
Result<Transport, PacketError> parse_udp(Bytes packet, const IpLayer& ip) noexcept {
  if (ip.body.size() < kUdpHeaderSize) return too_short(kUdpHeaderSize, ip);
  std::size_t length = load_u16be(ip.body.data() + 4);
  if (length == 0) length = ip.body.size() + ip.missing;  // as with IP's: longer than 16 bits can say
  if (length < kUdpHeaderSize) return failed(PacketError::Malformed);
  if (length > ip.body.size()) return too_short(length, ip);
  Result<Transport, PacketError> result{tl::in_place, std::in_place_type<UdpDatagram>};
  auto& datagram = *std::get_if<UdpDatagram>(&*result);
  load_endpoints(packet, ip, datagram.source, datagram.destination);
  datagram.payload = ip.body.first(length).subspan(kUdpHeaderSize);
  return result;
}

}  // namespace

Result<IpLayer, PacketError> parse_ip(Bytes packet) noexcept {
  if (packet.empty()) return failed(PacketError::Truncated);
  switch (std::to_integer<unsigned>(packet[0]) >> 4) {
    case 4:
      return parse_ipv4(packet);
    case 6:
      return parse_ipv6(packet);
    default:
      return failed(PacketError::Malformed);
  }
}

Result<std::size_t, PacketError> tcp_header_size(const IpLayer& ip) noexcept {
  if (ip.body.size() < kTcpHeaderSize) return too_short(kTcpHeaderSize, ip);
  const std::size_t size = std::to_integer<std::size_t>(ip.body[12] >> 4) * 4;
  if (size < kTcpHeaderSize) return failed(PacketError::Malformed);
  if (size > ip.body.size()) return too_short(size, ip);
  return size;
}

Result<Transport, PacketError> parse_packet(Bytes packet) noexcept {
  const auto ip = parse_ip(packet);
  if (!ip) return failed(ip.error());
  if (ip->protocol == kProtocolTcp) return parse_tcp(packet, *ip);
  if (ip->protocol == kProtocolUdp) return parse_udp(packet, *ip);
  return failed(PacketError::OtherProtocol);
}

}  // namespace icqgate
