// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "doctor/traffic.hpp"

namespace icqgate::doctor {

// What a chain does to that traffic.
enum class Deed { Drop, Reject, NoTrack, Flow, Translate, Queue };
struct Hit {
  Deed deed;
  const Chain* chain = nullptr;
  const Rule* rule = nullptr;  // null: the policy
  bool certain = true;  // of all that traffic; else of some of it, or unless a rule before lets it pass
  bool known = true;    // false: the rule has tests besides that nobody can judge from here
};

// Follows that traffic through a base chain, as the kernel would, rule by rule: what happens to it on its way
// up to where it is certainly accepted or dropped.
[[nodiscard]] std::vector<Hit> walk(const Ruleset& ruleset, const Chain& base, const Traffic& traffic);

}  // namespace icqgate::doctor
