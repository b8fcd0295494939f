// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

#include "doctor/examine.hpp"
#include "doctor/traffic.hpp"

namespace icqgate::doctor {

// "table inet filter, chain forward"; with its hook and priority for a base chain.
[[nodiscard]] std::string place_of(const Chain& chain);
[[nodiscard]] std::string place_of(const Chain& chain, const Rule& rule);

// Command lines. A chain of iptables is changed with iptables of the same kind.
// The rule that accepts our mark, first in the base chain (or in the chain that its firewall leaves to
// people).
[[nodiscard]] std::string accept_mark(const Ruleset& ruleset, const Chain& base, std::uint32_t mask);
// A rule that accepts each of these, first in the base chain.
[[nodiscard]] std::string accept_traffic(const Chain& base, const std::vector<const Traffic*>& traffic);
// That rule with one more test in front of it.
[[nodiscard]] std::string narrow(const Chain& chain, const Rule& rule, const std::string& test);
// The key of the configuration file set to that value (or, for a repeatable one, added).
[[nodiscard]] std::string set_key(const Facts& facts, const std::string& key, const std::string& value);
[[nodiscard]] std::string add_key(const Facts& facts, const std::string& key, const std::string& value);

// Where a change of that chain has to be written down to stay.
[[nodiscard]] std::string keep(const Chain& base, std::uint32_t mask);

}  // namespace icqgate::doctor
