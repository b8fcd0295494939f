// SPDX-License-Identifier: GPL-2.0-or-later
#include "net/address.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>

namespace icqgate {
namespace {

constexpr std::uint8_t kBitsV4 = 32;
constexpr std::uint8_t kBitsV6 = 128;

constexpr std::uint32_t mask_v4(unsigned length) noexcept {
  return length == 0 ? 0 : ~std::uint32_t{0} << (kBitsV4 - length);  // a shift by 32 is undefined
}

constexpr bool in(std::uint32_t address, std::uint32_t network, unsigned length) noexcept {
  return ((address ^ network) & mask_v4(length)) == 0;
}

using Octets = std::array<std::uint8_t, 16>;

// Whether the first `length` bits agree. `length` up to 128.
bool same_prefix(const Octets& a, const Octets& b, unsigned length) noexcept {
  const std::size_t whole = length / 8;
  if (std::memcmp(a.data(), b.data(), whole) != 0) return false;
  if (length % 8 == 0) return true;
  return (a[whole] ^ b[whole]) >> (8 - length % 8) == 0;
}

// The number in the whole of `text`: digits only, at most `max_digits` of them.
std::optional<std::uint32_t> parse_digits(std::string_view text, std::size_t max_digits) noexcept {
  if (text.empty() || text.size() > max_digits) return std::nullopt;
  std::uint32_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

// Every bit of the input reaches every bit of the result (the finaliser of splitmix64): tables that take the
// low bits, or a power of two of buckets, stay even for neighbouring addresses and ports.
constexpr std::uint64_t mix(std::uint64_t value) noexcept {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
  value = (value ^ value >> 27) * 0x94d049bb133111eb;
  return value ^ value >> 31;
}

std::uint64_t hash_address(const IpAddress& address) noexcept {
  if (const auto v4 = address.v4()) return mix(v4->get());
  std::array<std::uint64_t, 2> halves;
  const auto wire = address.wire();
  std::memcpy(halves.data(), wire.data(), sizeof halves);
  return mix(halves[1] ^ mix(halves[0] ^ 0x6a09e667f3bcc908));  // the constant keeps 0.0.0.0 and :: apart
}

}  // namespace

std::array<std::byte, 16> IpAddress::wire() const noexcept {
  std::array<std::byte, 16> bytes{};
  if (const auto* v6 = std::get_if<Ipv6>(&value_)) return std::bit_cast<std::array<std::byte, 16>>(v6->get());
  const std::uint32_t host = std::get_if<Ipv4>(&value_)->get();
  for (unsigned i = 0; i < 4; ++i) bytes[i] = static_cast<std::byte>(host >> (24 - 8 * i));
  return bytes;
}

bool Subnet::contains(const IpAddress& other) const noexcept {
  if (address.is_v4() != other.is_v4()) return false;
  if (address.is_v4()) return in(other.v4()->get(), address.v4()->get(), std::min(length, kBitsV4));
  return same_prefix(other.v6()->get(), address.v6()->get(), std::min(length, kBitsV6));
}

std::string to_string(const IpAddress& address) {
  if (const auto v4 = address.v4())
    return fmt::format("{}.{}.{}.{}", v4->get() >> 24, v4->get() >> 16 & 255, v4->get() >> 8 & 255,
                       v4->get() & 255);
  // glibc's inet_ntop writes RFC 5952's form, v4-mapped addresses with a dotted tail.
  std::array<char, INET6_ADDRSTRLEN> text{};
  const auto wire = address.wire();
  inet_ntop(AF_INET6, wire.data(), text.data(), text.size());
  return text.data();
}

std::string to_string(const Endpoint& endpoint) {
  const auto address = to_string(endpoint.address);
  const auto port = std::to_string(endpoint.port.get());
  return endpoint.address.is_v4() ? address + ":" + port : "[" + address + "]:" + port;
}

std::string to_string(const Subnet& subnet) {
  return to_string(subnet.address) + "/" + std::to_string(subnet.length);
}

std::optional<IpAddress> parse_address(std::string_view text) {
  std::array<char, INET6_ADDRSTRLEN> terminated{};
  if (text.size() >= terminated.size()) return std::nullopt;
  if (text.find('\0') != text.npos) return std::nullopt;  // inet_pton would stop there and be content
  std::copy(text.begin(), text.end(), terminated.begin());
  // glibc's inet_pton is strict already: four decimal parts, no leading zeros, no zone index.
  if (Octets octets; inet_pton(AF_INET, terminated.data(), octets.data()) == 1) {
    return make_ipv4(octets[0], octets[1], octets[2], octets[3]);
  }
  if (Octets octets; inet_pton(AF_INET6, terminated.data(), octets.data()) == 1) return Ipv6{octets};
  return std::nullopt;
}

std::optional<Subnet> parse_subnet(std::string_view text) {
  const auto slash = text.find('/');
  const auto address = parse_address(text.substr(0, slash));
  if (!address) return std::nullopt;
  const std::uint8_t bits = address->is_v4() ? kBitsV4 : kBitsV6;
  if (slash == text.npos) return Subnet{*address, bits};

  const auto digits = text.substr(slash + 1);
  const auto length = parse_digits(digits, 3);
  if (!length || *length > bits) return std::nullopt;
  if (digits.size() > 1 && digits.front() == '0') return std::nullopt;
  const Subnet subnet{*address, static_cast<std::uint8_t>(*length)};
  if (const auto v4 = address->v4()) {
    if ((v4->get() & ~mask_v4(*length)) != 0) return std::nullopt;
    return subnet;
  }
  Octets rest = address->v6()->get();
  if (*length < kBitsV6) rest[*length / 8] &= static_cast<std::uint8_t>(0xff >> (*length % 8));
  const auto host = rest.begin() + static_cast<std::ptrdiff_t>(*length / 8);
  if (std::any_of(host, rest.end(), [](std::uint8_t octet) { return octet != 0; })) return std::nullopt;
  return subnet;
}

std::optional<Port> parse_port(std::string_view text) {
  const auto value = parse_digits(text, 5);
  if (!value || *value == 0 || *value > 65535) return std::nullopt;
  return Port{static_cast<std::uint16_t>(*value)};
}

namespace {

Scope scope_of_v4(std::uint32_t a) noexcept {
  if (a == 0) return Scope::Unspecified;
  switch (a >> 24) {
    case 0:
      return Scope::Reserved;
    case 10:
      return Scope::Private;
    case 127:
      return Scope::Loopback;
    default:
      break;
  }
  if (in(a, 0xac100000, 12) || in(a, 0xc0a80000, 16)) return Scope::Private;
  if (in(a, 0xa9fe0000, 16)) return Scope::LinkLocal;
  if (in(a, 0xe0000000, 4)) return Scope::Multicast;
  if (in(a, 0xf0000000, 4)) return Scope::Reserved;  // 255.255.255.255 included
  // Documentation (RFC 5737), benchmarking (RFC 2544) and carrier NAT (RFC 6598) addresses count as Global:
  // they are what test networks use for "outside", and a carrier's 100.64/10 is outside of this gateway.
  return Scope::Global;
}

std::uint32_t embedded_v4(const Octets& octets, std::size_t at) noexcept {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = value << 8 | octets[at + i];
  return value;
}

constexpr Octets kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

Scope scope_of_v6(const Octets& a) noexcept {
  static constexpr Octets kZero{};
  static constexpr Octets kNat64{0x00, 0x64, 0xff, 0x9b};
  if (same_prefix(a, kZero, 127)) return a[15] == 0 ? Scope::Unspecified : Scope::Loopback;
  if (same_prefix(a, kMapped, 96)) return scope_of_v4(embedded_v4(a, 12));
  // Behind NAT64 (RFC 6052) and 6to4 (RFC 3056) an IPv6 address is but another way to write an IPv4 one; a
  // private target must not pass as Global by that detour (security.md S20).
  if (same_prefix(a, kNat64, 96)) return scope_of_v4(embedded_v4(a, 12));
  if (a[0] == 0x20 && a[1] == 0x02) return scope_of_v4(embedded_v4(a, 2));
  if (a[0] == 0xff) return Scope::Multicast;
  if ((a[0] & 0xfe) == 0xfc) return Scope::Private;
  if (a[0] == 0xfe && (a[1] & 0xc0) == 0x80) return Scope::LinkLocal;
  if (a[0] == 0xfe && (a[1] & 0xc0) == 0xc0) return Scope::Private;  // site-local, deprecated by RFC 3879
  // Global unicast is given out of 2000::/3 alone (RFC 3587), the documentation range 2001:db8::/32 included.
  return a[0] >> 5 == 1 ? Scope::Global : Scope::Reserved;
}

}  // namespace

bool is_v4_mapped(const IpAddress& address) noexcept {
  const auto six = address.v6();
  return six && same_prefix(six->get(), kMapped, 96);
}

Scope scope_of(const IpAddress& address) noexcept {
  if (const auto v4 = address.v4()) return scope_of_v4(v4->get());
  return scope_of_v6(address.v6()->get());
}

std::size_t EndpointHash::operator()(const Endpoint& endpoint) const noexcept {
  return static_cast<std::size_t>(mix(hash_address(endpoint.address) ^ endpoint.port.get()));
}

}  // namespace icqgate

std::size_t std::hash<icqgate::IpAddress>::operator()(const icqgate::IpAddress& address) const noexcept {
  return static_cast<std::size_t>(icqgate::hash_address(address));
}
