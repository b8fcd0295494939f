// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "config/config.hpp"

namespace icqgate::cli {

// What another firewall of this host needs so that it passes what icqgate allows: the lines that accept the
// mark, where they go, how to check that they are there, how to undo them. `firewall`: one of
// integration_names(); nothing for any other word. Same configuration, same bytes.
//
// The text is a shell script (for nftables a fragment to be included in a chain): all that is not to be done
// at once stands in comments, indented by three blanks below the headings "# check" and "# undo".
[[nodiscard]] std::optional<std::string> integration(std::string_view firewall, const config::Config& config);

// "nftables, firewalld, ...", for messages and --help.
[[nodiscard]] std::string integration_names();

}  // namespace icqgate::cli
