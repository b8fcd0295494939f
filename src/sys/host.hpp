// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "net/address.hpp"
#include "sys/error.hpp"

namespace icqgate::sys {

// What this network namespace says of itself. Nothing here changes anything.

// Of "net/ipv4/ip_forward" and the like, without the line's end. nullopt: this kernel has no such sysctl.
[[nodiscard]] std::optional<std::string> sysctl(const std::string& name);
[[nodiscard]] std::optional<std::uint64_t> sysctl_number(const std::string& name);

// Sockets in state LISTEN, of both families; one that listens on [::] may take IPv4 as well.
[[nodiscard]] std::vector<Endpoint> tcp_listeners();
// The same from the text of /proc/net/tcp or /proc/net/tcp6.
[[nodiscard]] std::vector<Endpoint> parse_listeners(std::string_view text);

[[nodiscard]] std::vector<std::string> interface_names();
// Those with an IPv4 default route in the main table.
[[nodiscard]] std::vector<std::string> default_routes();

// Numbers of the NFQUEUEs that somebody reads.
[[nodiscard]] std::vector<std::uint16_t> bound_queues();

// The IPv4 `ip rule`s that test a mark.
struct MarkRule {
  std::uint32_t priority = 0, mark = 0, mask = 0, table = 0;
};
[[nodiscard]] Result<std::vector<MarkRule>, SysError> mark_rules();

// Runs a program without arguments and reads what it writes, to its end; nullopt: it is not there, failed, or
// wrote more than `most` bytes. `path` is absolute; the environment is empty.
[[nodiscard]] std::optional<std::string> output_of(const std::string& path, std::size_t most);

}  // namespace icqgate::sys
