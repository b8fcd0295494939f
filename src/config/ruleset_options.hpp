// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <vector>

#include "config/config.hpp"
#include "nft/ruleset.hpp"

namespace icqgate::config {

// The ports that login hosts are on, ascending: each one's own, or login-port.
[[nodiscard]] std::vector<Port> login_ports(const Config& config);

// What of the configuration the ruleset is made of.
[[nodiscard]] nft::RulesetOptions ruleset_options(const Config& config);

}  // namespace icqgate::config
