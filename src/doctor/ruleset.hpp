// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "base/result.hpp"

namespace icqgate::doctor {

using Json = nlohmann::json;

// What a table is changed with: its rules as text, and whose command a remedy has to be.
enum class Tool { Nft, IptablesNft, IptablesLegacy };

struct Rule {
  std::uint64_t handle = 0;  // 0: of an iptables-legacy chain, which has none
  Json statements;           // an array, as libnftables' "expr"; xt ones translated where their text allows
  std::string text;          // as listed, without counters' numbers
};

struct Base {
  std::string type;  // filter, nat, route
  std::string hook;  // prerouting, forward ...
  int priority = 0;
  bool drops = false;                // policy
  std::vector<std::string> devices;  // of hook ingress and egress
};

struct Chain {
  std::string family, table, name;
  Tool tool = Tool::Nft;
  bool owned = false;  // the table belongs to a running program: nobody else can change it
  std::optional<Base> base;
  std::vector<Rule> rules;
};

using Name = std::tuple<std::string, std::string, std::string>;  // family, table, chain or set

// All tables but ours, and but those that are dormant.
struct Ruleset {
  std::map<Name, Chain> chains;
  std::map<Name, Json> elements;  // of named sets and maps without timeouts or updates from packets

  [[nodiscard]] const Chain* chain(const Chain& beside, const std::string& name) const;
};

// From the two listings of `nft -s -a list ruleset`, with and without `-j`: the JSON says what a rule is, the
// text how it is called, what an xt statement does, and a table's flags (wrong in the JSON of nft 1.0.6). The
// error is one sentence.
[[nodiscard]] Result<Ruleset, std::string> read_ruleset(std::string_view json, std::string_view text,
                                                        const std::string& our_table);

// Adds what `iptables-legacy-save` (family "ip") or `ip6tables-legacy-save` ("ip6") says.
void add_iptables_save(Ruleset& ruleset, std::string_view text, const std::string& family);

// Every chain with the base chains from which a packet may come there, itself included.
[[nodiscard]] std::map<Name, std::set<Name>> reached_from(const Ruleset& ruleset);

[[nodiscard]] inline Name name_of(const Chain& chain) { return {chain.family, chain.table, chain.name}; }

// Access without exceptions: null where there is none.
[[nodiscard]] const Json& member(const Json& object, const char* key);
[[nodiscard]] std::string text_of(const Json& value);
// The chain of {"jump": {"target": NAME}} or goto; "" if it is neither.
[[nodiscard]] std::string target_of(const Json& statement);

}  // namespace icqgate::doctor
