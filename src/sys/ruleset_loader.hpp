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

// All tables of this network namespace, as `nft -s -a list ruleset` prints them and as the same with `-j`.
// Changes nothing. Another program's change between the two shows as rules in one and not in the other. The
// JSON may be cut short by such a change (nft 1.0.6): ask again. Reads all sets with their elements. Standard
// error is shut meanwhile: for one thread only.
struct RulesetListing {
  std::string json;
  std::string text;
};
[[nodiscard]] Result<RulesetListing, std::string> list_ruleset();

}  // namespace icqgate::sys
