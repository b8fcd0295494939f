// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>

#include "base/result.hpp"
#include "sys/error.hpp"

namespace icqgate::sys {

enum class DryRun { No, Yes };

// Gives ruleset text to libnftables as `nft -f` would (`nft --check -f` for a dry run): one transaction, all
// or nothing. The error is libnftables' own text, several lines with the place marked. Not for the running
// service: reads all sets of the tables named first, 350 ms beside a large set.
[[nodiscard]] Result<Done, std::string> load_ruleset(const std::string& text, DryRun dry_run);

}  // namespace icqgate::sys
