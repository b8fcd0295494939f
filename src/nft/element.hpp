// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <array>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "net/address.hpp"

namespace icqgate::nft {

// The sets and the map of the table (design.md 4). Names as in the ruleset text.
enum class SetId : std::uint8_t {
  Login4,  // address . port: login servers, from DNS or the configuration
  Login6,
  Servers4,  // client . address . port: servers that a login server sent this client to
  Servers6,
  Sessions,     // client: has a session that the server has accepted
  Pinholes,     // client . port: announced listening ports
  Returns,      // peer . client . port: listening ports named to one peer
  Peers,        // client . peer . port: listening peers that the server told this client of
  Forwards,     // map, masquerade only: port -> client . port
  DnsServers4,  // address: servers whose answers to LAN clients count; the two sets without timeouts
  DnsServers6,
};
inline constexpr std::size_t kSetCount = 11;
[[nodiscard]] std::string_view set_name(SetId set) noexcept;
// False: its elements stay until they are taken out.
[[nodiscard]] bool has_timeouts(SetId set) noexcept;
[[nodiscard]] std::optional<SetId> set_by_name(std::string_view name) noexcept;

// One element: the key as the kernel stores it (each field of a concatenation padded to 4 bytes, network
// order) and, for the map, its data. Build it with the functions below only.
class Element {
 public:
  static constexpr std::size_t kMaxKey = 40;  // ipv6 . ipv6 . port

  [[nodiscard]] SetId set() const noexcept { return set_; }
  [[nodiscard]] Bytes key() const noexcept { return Bytes{key_}.first(key_size_); }
  [[nodiscard]] Bytes data() const noexcept { return Bytes{data_}.first(data_size_); }

  friend bool operator==(const Element& a, const Element& b) noexcept {
    return a.set_ == b.set_ && a.key_ == b.key_ && a.data_ == b.data_;
  }
  friend std::strong_ordering operator<=>(const Element& a, const Element& b) noexcept;

  static Element login(const Endpoint& server);
  // Both addresses are of one family.
  static Element server(const IpAddress& client, const Endpoint& server);
  static Element session(Ipv4 client);
  static Element pinhole(Ipv4 client, Port port);
  static Element returning(Ipv4 peer, Ipv4 client, Port port);
  static Element peer(Ipv4 client, Ipv4 peer, Port port);
  static Element forward(Port outside, Ipv4 client, Port port);
  static Element dns_server(const IpAddress& server);
  // From a kernel dump; nullopt if the sizes are not those of the set.
  static std::optional<Element> from_kernel(SetId set, Bytes key, Bytes data);

 private:
  Element() = default;
  Element& put(const IpAddress& address);
  Element& put(Port port);

  SetId set_ = SetId::Login4;
  std::uint8_t key_size_ = 0;
  std::uint8_t data_size_ = 0;
  std::array<std::byte, kMaxKey> key_{};
  std::array<std::byte, 8> data_{};
};

// "192.168.1.20 . 24567" as nft prints it; a map element as "24567 : 192.168.1.20 . 24567".
[[nodiscard]] std::string to_string(const Element& element);

}  // namespace icqgate::nft
