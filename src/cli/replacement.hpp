// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>

namespace icqgate::cli {

// What stands before a table in a ruleset's text so that the table replaces the one of that name: the first
// line makes sure that there is one to delete. All of a file is one transaction.
[[nodiscard]] inline std::string replacement_of(const std::string& table) {
  return "table inet " + table + "\ndelete table inet " + table + "\n\n";
}

}  // namespace icqgate::cli
