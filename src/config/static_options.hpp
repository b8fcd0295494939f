// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <vector>

#include "config/config.hpp"
#include "nft/static_ruleset.hpp"

namespace icqgate::config {

// What the configuration says to a static ruleset of that profile.
[[nodiscard]] nft::StaticOptions static_options(const Config& config, nft::Profile profile,
                                                std::vector<nft::StaticAddress> addresses);

}  // namespace icqgate::config
