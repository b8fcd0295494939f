// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>

namespace icqgate::doctor {

// One thing of the host that is in ICQ's way. `what`, `follows`, `remedy` and `keep` are one line each.
struct Finding {
  std::string kind;     // for programs: "drop", "flowtable", "dnat", "mark" ...
  bool certain = true;  // false: the words say "may"
  std::string what;     // what is wrong, and where
  std::string rule;     // the rule as nft or iptables lists it; "" if it is none
  std::string follows;  // what follows for ICQ
  std::string remedy;   // a command line that works as it stands; a sentence where only a person can decide
  std::string keep;     // how the remedy outlives a restart; "" if it does
};

}  // namespace icqgate::doctor
