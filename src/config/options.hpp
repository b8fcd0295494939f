// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

#include "config/error_list.hpp"
#include "config/key.hpp"

namespace icqgate::config {

// One option of the command line, not yet judged. A YesNo key without a value has "yes".
struct Option {
  const Key* key = nullptr;  // never null
  std::string value;
};

// In the order given. What is no option of the configuration, or lacks its value, goes to `errors`.
[[nodiscard]] std::vector<Option> parse_options(const std::vector<std::string>& arguments, ErrorList& errors);

}  // namespace icqgate::config
