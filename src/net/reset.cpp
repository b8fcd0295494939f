// SPDX-License-Identifier: GPL-2.0-or-later
#include "net/ip.hpp"
#include "net/packet.hpp"

namespace icqgate {
namespace {

constexpr std::size_t kTcpHeaderSize = 20;

// Sum of big-endian 16-bit words (RFC 1071), not yet folded. An odd size counts as if a zero byte followed.
std::uint32_t sum_words(Bytes bytes, std::uint32_t sum) noexcept {
  for (; bytes.size() >= 2; bytes = bytes.subspan(2)) sum += load_u16be(bytes.data());
  if (!bytes.empty()) sum += std::to_integer<std::uint32_t>(bytes[0]) << 8;
  return sum;
}

std::uint16_t checksum(std::uint32_t sum) noexcept {
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

}  // namespace

Result<std::vector<std::byte>, PacketError> cut_to_reset(Bytes packet) {
  const auto ip = parse_ip(packet);
  if (!ip) return tl::make_unexpected(ip.error());
  if (ip->protocol != kProtocolTcp) return tl::make_unexpected(PacketError::OtherProtocol);
  if (const auto size = tcp_header_size(*ip); !size) return tl::make_unexpected(size.error());

  // IPv4 options and IPv6 extension headers stay: the kernel has noted their places before it queued the
  // packet.
  const std::size_t total = ip->header_size + kTcpHeaderSize;
  std::vector<std::byte> reset(packet.begin(), packet.begin() + static_cast<std::ptrdiff_t>(total));

  std::byte* const tcp = reset.data() + ip->header_size;
  const bool acknowledges = (std::to_integer<unsigned>(tcp[13]) & TcpSegment::kAck) != 0;
  if (!acknowledges) {
    store_u16be(tcp + 8, 0);
    store_u16be(tcp + 10, 0);
  }
  tcp[12] = std::byte{kTcpHeaderSize / 4 << 4};
  tcp[13] = static_cast<std::byte>(TcpSegment::kRst | (acknowledges ? TcpSegment::kAck : 0));
  store_u16be(tcp + 14, 0);  // window
  store_u16be(tcp + 16, 0);  // checksum, for now
  store_u16be(tcp + 18, 0);  // urgent pointer
  // The pseudo header (RFC 9293 3.1, RFC 8200 8.1) sums up alike in both families: addresses, size, protocol.
  const Bytes whole{reset};
  const Bytes addresses = ip->v4 ? whole.subspan(12, 8) : whole.subspan(8, 32);
  store_u16be(tcp + 16, checksum(sum_words(whole.subspan(ip->header_size),
                                           sum_words(addresses, kTcpHeaderSize + kProtocolTcp))));

  if (ip->v4) {
    store_u16be(reset.data() + 2, static_cast<std::uint16_t>(total));
    store_u16be(reset.data() + 10, 0);
    store_u16be(reset.data() + 10, checksum(sum_words(whole.first(ip->header_size), 0)));
  } else {
    store_u16be(reset.data() + 4, static_cast<std::uint16_t>(total - 40));
  }
  return reset;
}

}  // namespace icqgate
