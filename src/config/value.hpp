// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "config/config.hpp"

namespace icqgate::config {

// The text of one value -> what it means. The error says what is wrong with it ("the first port is above the
// last"); it is empty where "expected ..." alone, which the table of keys adds, says it all. Texts come
// trimmed and not empty.
template <class T>
using Value = Result<T, std::string>;

struct Bounds {
  std::int64_t low;
  std::int64_t high;
};
// Decimal, with a '-' where the bounds allow it.
[[nodiscard]] Value<std::int64_t> parse_number(std::string_view text, Bounds bounds);
[[nodiscard]] Value<bool> parse_yes_no(std::string_view text);
// "90", "90s", "5m", "2h", "1d"; from `low` to 30 days.
[[nodiscard]] Value<std::chrono::seconds> parse_duration(std::string_view text, std::chrono::seconds low);
// FIRST-LAST, or one port alone; from `lowest` to 65535.
[[nodiscard]] Value<PortRange> parse_ports(std::string_view text, Port lowest);
// Decimal or 0x..., 32 bits, two of them set or more.
[[nodiscard]] Value<std::uint32_t> parse_mark_mask(std::string_view text);
// A name as Linux takes it and nft can write it in quotes; a trailing * stands for the rest of the name.
[[nodiscard]] Value<std::string> parse_interface(std::string_view text);
[[nodiscard]] Value<std::string> parse_table(std::string_view text);
[[nodiscard]] Value<std::string> parse_socket_path(std::string_view text);
[[nodiscard]] Value<std::string> parse_file_path(std::string_view text);
// name, name:port, 192.0.2.1, 192.0.2.1:port, 2001:db8::1, [2001:db8::1], [2001:db8::1]:port; behind a name
// "!private".
[[nodiscard]] Value<LoginHost> parse_login_host(std::string_view text);
// The same with an address only; port 53 unless named.
[[nodiscard]] Value<Endpoint> parse_resolver(std::string_view text);
[[nodiscard]] Value<IpAddress> parse_server_address(std::string_view text);
// A network that clients can be in: not multicast, not loopback, not "everything".
[[nodiscard]] Value<Subnet> parse_client(std::string_view text);

// CLIENT=FIRST-LAST, an IPv4 address and ports from 1024 on.
[[nodiscard]] Value<nft::PortMap> parse_map(std::string_view text);
// "tcp/443", "udp/6000-6010".
[[nodiscard]] Value<nft::Service> parse_service(std::string_view text);
// An address that clients on other hosts can reach.
[[nodiscard]] Value<IpAddress> parse_proxy(std::string_view text);

// "30s", "5m", "2h", "1d": the form parse_duration() takes, in the largest unit that fits exactly.
[[nodiscard]] std::string to_string(std::chrono::seconds duration);

// Whether some interface name is matched by both.
[[nodiscard]] bool interfaces_overlap(std::string_view a, std::string_view b) noexcept;

}  // namespace icqgate::config
