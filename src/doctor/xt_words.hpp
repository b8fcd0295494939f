// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace icqgate::doctor {

// The JSON of a rule of iptables-nft only names what is an xtables match or target ({"xt": {"type": "match",
// "name": "conntrack"}}); the text has it in nft's words. Puts into `statements` what libnftables would say
// of those words, for the ones that matter here; others stay as they are. Older and newer forms of the JSON,
// {"xt": null} included, are left alone: nobody knows then what the rule does.
void translate_xt(nlohmann::json& statements, const std::string& text);

// "1,2-4" or "{ 1, 2-4 }" as {"set": [1, {"range": [2, 4]}]}; null if it is none. Also "1:4" of iptables.
[[nodiscard]] nlohmann::json ports_of_words(const std::string& words);

}  // namespace icqgate::doctor
