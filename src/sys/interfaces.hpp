// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "net/address.hpp"
#include "sys/error.hpp"

namespace icqgate::sys {

// One address of one interface.
struct InterfaceAddress {
  std::string name;
  unsigned index = 0;
  Subnet subnet;      // the network it is on, host bits zero
  IpAddress address;  // link-local ones included
};

// As in nft: a name, or its beginning followed by one `*`.
[[nodiscard]] bool matches_interface(std::string_view pattern, std::string_view name) noexcept;

// The addresses of all interfaces that match at least one pattern, up or not, in the kernel's order. An
// interface without an address does not appear.
[[nodiscard]] Result<std::vector<InterfaceAddress>, SysError> interface_addresses(
    const std::vector<std::string>& patterns);

// Those of the patterns that no interface has now, with addresses or without, in their order.
[[nodiscard]] Result<std::vector<std::string>, SysError> missing_interfaces(
    const std::vector<std::string>& patterns);

}  // namespace icqgate::sys
