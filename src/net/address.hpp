// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/strong.hpp"

namespace icqgate {

using Port = Strong<struct PortTag, std::uint16_t>;                 // host order
using Ipv4 = Strong<struct Ipv4Tag, std::uint32_t>;                 // host order: 192.0.2.1 is 0xc0000201
using Ipv6 = Strong<struct Ipv6Tag, std::array<std::uint8_t, 16>>;  // as on the wire

// One IP address of either family. IPv4 sorts before IPv6. A v4-mapped IPv6 address stays IPv6.
class IpAddress {
 public:
  constexpr IpAddress() noexcept = default;                        // 0.0.0.0
  constexpr IpAddress(Ipv4 address) noexcept : value_{address} {}  // NOLINT(google-explicit-constructor)
  constexpr IpAddress(const Ipv6& address) noexcept
      : value_{address} {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] constexpr bool is_v4() const noexcept { return value_.index() == 0; }
  [[nodiscard]] constexpr std::optional<Ipv4> v4() const noexcept {
    if (const auto* a = std::get_if<Ipv4>(&value_)) return *a;
    return std::nullopt;
  }
  [[nodiscard]] constexpr std::optional<Ipv6> v6() const noexcept {
    if (const auto* a = std::get_if<Ipv6>(&value_)) return *a;
    return std::nullopt;
  }
  // Network-order bytes: 4 or 16 of the returned array are meaningful, as is_v4() says.
  [[nodiscard]] std::array<std::byte, 16> wire() const noexcept;

  friend constexpr auto operator<=>(const IpAddress&, const IpAddress&) noexcept = default;

 private:
  std::variant<Ipv4, Ipv6> value_{Ipv4{}};
};

struct Endpoint {
  IpAddress address;
  Port port;
  friend constexpr auto operator<=>(const Endpoint&, const Endpoint&) noexcept = default;
};

// A network: the first `length` bits of `address` count; the rest are zero (parse_subnet refuses others).
struct Subnet {
  IpAddress address;
  std::uint8_t length = 0;  // 0..32 or 0..128
  [[nodiscard]] bool contains(const IpAddress& other) const noexcept;
  friend constexpr auto operator<=>(const Subnet&, const Subnet&) noexcept = default;
};

// What an address is by itself, whatever network it is met in (RFC 6890). V4-mapped IPv6 counts as the IPv4
// in it.
enum class Scope { Global, Private, LinkLocal, Loopback, Multicast, Unspecified, Reserved };
[[nodiscard]] Scope scope_of(const IpAddress& address) noexcept;
// ::ffff:0:0/96
[[nodiscard]] bool is_v4_mapped(const IpAddress& address) noexcept;

// Text forms: dotted quad; RFC 5952 for IPv6. Endpoints as 192.0.2.1:5190 and [2001:db8::1]:5190.
[[nodiscard]] std::string to_string(const IpAddress& address);
[[nodiscard]] std::string to_string(const Endpoint& endpoint);
[[nodiscard]] std::string to_string(const Subnet& subnet);

// Strict: the whole text or nullopt. No leading zeros ("010"), no shortened IPv4, no zone index.
[[nodiscard]] std::optional<IpAddress> parse_address(std::string_view text);
// "192.0.2.0/24" or a bare address (a host: /32 or /128). nullopt as well if host bits are set.
[[nodiscard]] std::optional<Subnet> parse_subnet(std::string_view text);
// Decimal 1..65535, 1 to 5 digits.
[[nodiscard]] std::optional<Port> parse_port(std::string_view text);

[[nodiscard]] constexpr Ipv4 make_ipv4(std::uint8_t a, std::uint8_t b, std::uint8_t c,
                                       std::uint8_t d) noexcept {
  return Ipv4{static_cast<std::uint32_t>(a) << 24 | static_cast<std::uint32_t>(b) << 16 |
              static_cast<std::uint32_t>(c) << 8 | d};
}

// Keys for hash maps.
struct EndpointHash {
  std::size_t operator()(const Endpoint& endpoint) const noexcept;
};

}  // namespace icqgate

template <>
struct std::hash<icqgate::IpAddress> {
  std::size_t operator()(const icqgate::IpAddress& address) const noexcept;
};
