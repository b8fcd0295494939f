// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"
#include "config/config.hpp"
#include "nft/static_ruleset.hpp"

namespace icqgate::cli {

// The login servers that the configuration names by address, each with its ports, in ascending order.
[[nodiscard]] std::vector<nft::StaticAddress> literal_addresses(const config::Config& config);

// Those that it names by name, asked for now, with the owner name as comment, in ascending order. The error
// names the first login host without an address. What can be no server outside (loopback, multicast ...)
// does not count.
[[nodiscard]] Result<std::vector<nft::StaticAddress>, std::string> resolved_addresses(
    const config::Config& config);

}  // namespace icqgate::cli
