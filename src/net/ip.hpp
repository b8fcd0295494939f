// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "net/packet.hpp"

namespace icqgate {

constexpr std::uint8_t kProtocolTcp = 6;
constexpr std::uint8_t kProtocolUdp = 17;

// Big-endian numbers at a place that the caller has checked to be there.
[[nodiscard]] inline std::uint16_t load_u16be(const std::byte* at) noexcept {
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(at[0]) << 8 | std::to_integer<unsigned>(at[1]));
}
[[nodiscard]] inline std::uint32_t load_u32be(const std::byte* at) noexcept {
  return static_cast<std::uint32_t>(load_u16be(at)) << 16 | load_u16be(at + 2);
}
inline void store_u16be(std::byte* at, std::uint16_t value) noexcept {
  at[0] = static_cast<std::byte>(value >> 8);
  at[1] = static_cast<std::byte>(value & 0xff);
}

// The IP layer of one packet: what it carries, and where the transport header starts. Without the addresses:
// those are read into their place in the result at once, since copies of them were most of the cost of
// parse_packet.
struct IpLayer {
  bool v4 = true;
  std::uint8_t protocol = 0;
  std::size_t header_size = 0;  // options or extension headers included
  std::size_t missing = 0;      // bytes promised by the IP length behind the end of the packet
  Bytes body;                   // transport header and payload, without padding; borrows the packet
};

// Fails as parse_packet does; any protocol is a success.
[[nodiscard]] Result<IpLayer, PacketError> parse_ip(Bytes packet) noexcept;

// The transport header's size if `body` holds a sound TCP header.
[[nodiscard]] Result<std::size_t, PacketError> tcp_header_size(const IpLayer& ip) noexcept;

}  // namespace icqgate
