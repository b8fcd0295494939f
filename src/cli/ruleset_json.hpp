// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"

namespace icqgate::cli {

// The table of a static ruleset, as nft::static_ruleset() writes it, in the JSON that `nft -j -f` takes
// (libnftables-json(5)), with what replaces a table of that name before it. libnftables could translate the
// text only with the kernel's help and root's rights. Notes (#) are left out; the comments of rules are not.
// The error names the line that there are no words for here.
[[nodiscard]] Result<std::string, std::string> ruleset_json(std::string_view table);

}  // namespace icqgate::cli
