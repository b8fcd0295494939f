// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "config/config.hpp"
#include "nft/ruleset.hpp"

namespace icqgate::config {

// What of the configuration the ruleset is made of.
[[nodiscard]] nft::RulesetOptions ruleset_options(const Config& config);

}  // namespace icqgate::config
