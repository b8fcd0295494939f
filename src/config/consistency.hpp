// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "config/error_list.hpp"

namespace icqgate::config {

struct Given {
  std::string text;
  Place place;
};

// What was said about each key, as far as it counts: defaults are not in it, nor what the command line
// replaced.
struct Said {
  std::map<std::string_view, std::vector<Given>> values;  // by Key::name; valid ones, in order
  std::set<std::string_view> wrong;                       // keys with a value that was refused
};

// What no value shows by itself: pairs of keys that contradict each other. A key with a refused value is left
// out.
void check_consistency(const Config& config, const Said& said, ErrorList& errors);

}  // namespace icqgate::config
