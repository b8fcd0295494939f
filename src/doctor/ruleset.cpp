// SPDX-License-Identifier: GPL-2.0-or-later
#include "doctor/ruleset.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "doctor/xt_words.hpp"

namespace icqgate::doctor {

namespace {

constexpr std::array<std::string_view, 5> kIptablesTables{"filter", "nat", "mangle", "raw", "security"};
constexpr std::array<std::string_view, 5> kIptablesChains{"PREROUTING", "INPUT", "FORWARD", "OUTPUT",
                                                          "POSTROUTING"};

template <class List>
bool holds(const List& list, std::string_view one) {
  return std::find(list.begin(), list.end(), one) != list.end();
}

std::string_view trimmed(std::string_view line) {
  const auto first = line.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return line.substr(first, line.find_last_not_of(" \t") - first + 1);
}

// "table inet filter { # handle 3" -> {"inet", "filter"}
std::pair<std::string, std::string> words_after(std::string_view line, std::string_view keyword) {
  line.remove_prefix(keyword.size());
  const auto space = line.find(' ');
  if (space == std::string_view::npos) return {};
  const auto rest = line.substr(space + 1);
  return {std::string{line.substr(0, space)}, std::string{rest.substr(0, rest.find(' '))}};
}

// What only the text says.
struct Texts {
  std::map<std::tuple<std::string, std::string, std::uint64_t>, std::string> rules;
  std::set<std::pair<std::string, std::string>> owned, dormant;
  std::map<Name, std::vector<std::string>>
      devices;  // of chains of hook ingress: nft 1.0.6 has none in its JSON
};

// type filter hook ingress device "eth0" priority 0; ... devices = { eth0, eth1 } priority 0; ...
std::vector<std::string> devices_of(std::string_view line) {
  const auto from = line.find(" device"), to = line.find(" priority ");
  std::vector<std::string> devices;
  if (from == std::string_view::npos || to == std::string_view::npos || to < from) return devices;
  line = line.substr(from + 1, to - from - 1);
  line.remove_prefix(std::min(line.find(' '), line.size()));
  while (!line.empty()) {
    const auto length = std::min(line.find_first_of(" ,\"={}"), line.size());
    if (length > 0) devices.emplace_back(line.substr(0, length));
    line.remove_prefix(std::min(length + 1, line.size()));
  }
  return devices;
}

Texts read_texts(std::string_view text) {
  Texts texts;
  std::string family, table, chain, rule;
  int depth = 0;  // 1: in a table, 2: in something of it
  bool in_chain = false;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const auto line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || (line.front() == '#' && rule.empty())) continue;
    if (depth == 0) {
      if (!line.starts_with("table ")) continue;
      std::tie(family, table) = words_after(line, "table ");
      depth = 1;
    } else if (depth == 1) {
      if (line == "}") {
        depth = 0;
      } else if (line.starts_with("flags ")) {
        if (line.find("owner") != std::string_view::npos) texts.owned.insert({family, table});
        if (line.find("dormant") != std::string_view::npos) texts.dormant.insert({family, table});
      } else if (line.find('{') != std::string_view::npos) {
        depth = 2;
        in_chain = line.starts_with("chain ");
        if (in_chain) chain = words_after(line, "chain ").first;
      }
    } else if (rule.empty() && line == "}") {
      depth = 1;
    } else if (in_chain) {
      if (rule.empty() && line.starts_with("type "))
        if (auto devices = devices_of(line); !devices.empty())
          texts.devices[{family, table, chain}] = std::move(devices);
      constexpr std::string_view kHandle = " # handle ";
      const auto at = line.rfind(kHandle);
      if (!rule.empty()) rule += ' ';
      rule += line.substr(0, at);
      std::uint64_t handle = 0;
      if (at != std::string_view::npos) {
        const auto digits = line.substr(at + kHandle.size());
        std::from_chars(digits.data(), digits.data() + digits.size(), handle);
        texts.rules[{family, table, handle}] = rule;
      }
      // "type filter hook ...; policy ...;" and a chain's comment have no handle; a long set goes on
      if (handle != 0 || line.back() == ';' || line.starts_with("comment \"")) rule.clear();
    }
  }
  return texts;
}

Base base_of(const Json& chain) {
  Base base{text_of(member(chain, "type")),
            text_of(member(chain, "hook")),
            0,
            text_of(member(chain, "policy")) == "drop",
            {}};
  if (const Json& priority = member(chain, "prio"); priority.is_number_integer())
    base.priority = priority.get<int>();
  const Json& device = member(chain, "dev");
  if (device.is_string()) base.devices.push_back(text_of(device));
  if (device.is_array())
    for (const Json& one : device) base.devices.push_back(text_of(one));
  return base;
}

// nft 1.0.6 prints a table's flags from memory it has freed: bytes that are no text.
std::string plain(std::string_view json) {
  std::string text{json};
  for (char& c : text)
    if (static_cast<unsigned char>(c) >= 0x80 || (static_cast<unsigned char>(c) < 0x20 && c != '\n')) c = '?';
  return text;
}

bool changes_by_itself(const Json& set) {
  const Json& flags = member(set, "flags");
  const auto lives = [](const Json& flag) { return flag == "timeout" || flag == "dynamic"; };
  return lives(flags) || (flags.is_array() && std::any_of(flags.begin(), flags.end(), lives));
}

}  // namespace

const Json& member(const Json& object, const char* key) {
  static const Json none;
  if (!object.is_object()) return none;
  const auto found = object.find(key);
  return found == object.end() ? none : *found;
}

std::string text_of(const Json& value) { return value.is_string() ? value.get<std::string>() : ""; }

std::string target_of(const Json& statement) {
  const Json& jump = member(statement, "jump");
  return text_of(member(jump.is_null() ? member(statement, "goto") : jump, "target"));
}

const Chain* Ruleset::chain(const Chain& beside, const std::string& name) const {
  const auto found = chains.find({beside.family, beside.table, name});
  return found == chains.end() ? nullptr : &found->second;
}

Result<Ruleset, std::string> read_ruleset(std::string_view json, std::string_view text,
                                          const std::string& our_table) {
  const Json listing = Json::parse(plain(json), nullptr, false);
  const Json& items = member(listing, "nftables");
  if (!items.is_array()) return tl::make_unexpected(std::string{"the listing of the ruleset is no JSON"});
  const Texts texts = read_texts(text);
  Ruleset ruleset;
  for (const Json& item : items) {
    if (!item.is_object() || item.empty()) continue;
    const std::string kind = item.begin().key();
    const Json& what = item.begin().value();
    const std::string family = text_of(member(what, "family")), table = text_of(member(what, "table")),
                      name = text_of(member(what, "name"));
    if (family == "inet" && table == our_table) continue;
    if (texts.dormant.contains({family, table})) continue;
    if (kind == "chain") {
      Chain& chain = ruleset.chains[{family, table, name}];
      chain.family = family;
      chain.table = table;
      chain.name = name;
      chain.owned = texts.owned.contains({family, table});
      if (what.contains("hook")) chain.base = base_of(what);
      if (const auto named = texts.devices.find({family, table, name});
          chain.base && named != texts.devices.end())
        chain.base->devices = named->second;
    } else if (kind == "set" || kind == "map") {
      if (!changes_by_itself(what)) ruleset.elements[{family, table, name}] = member(what, "elem");
    } else if (kind == "rule") {
      const auto found = ruleset.chains.find({family, table, text_of(member(what, "chain"))});
      const Json& handle = member(what, "handle");
      if (found == ruleset.chains.end() || !handle.is_number_unsigned()) continue;
      Rule rule{handle.get<std::uint64_t>(), member(what, "expr"), {}};
      if (const auto words = texts.rules.find({family, table, rule.handle}); words != texts.rules.end())
        rule.text = words->second;
      translate_xt(rule.statements, rule.text);
      found->second.rules.push_back(std::move(rule));
    }
  }
  // iptables-nft knows its tables by their names; a base chain named as its own is what tells them from
  // others.
  std::set<std::pair<std::string, std::string>> of_iptables;
  for (const auto& [key, chain] : ruleset.chains)
    if (chain.base && (chain.family == "ip" || chain.family == "ip6") &&
        holds(kIptablesTables, chain.table) && holds(kIptablesChains, chain.name))
      of_iptables.insert({chain.family, chain.table});
  for (auto& [key, chain] : ruleset.chains)
    if (of_iptables.contains({chain.family, chain.table})) chain.tool = Tool::IptablesNft;
  return ruleset;
}

std::map<Name, std::set<Name>> reached_from(const Ruleset& ruleset) {
  std::map<Name, std::set<Name>> reached;
  std::vector<std::pair<Name, Name>> open;  // chain, base
  for (const auto& [name, chain] : ruleset.chains)
    if (chain.base) open.emplace_back(name, name);
  while (!open.empty()) {
    const auto [at, base] = open.back();
    open.pop_back();
    const auto found = ruleset.chains.find(at);
    if (found == ruleset.chains.end() || !reached[at].insert(base).second) continue;
    const auto go = [&](const Json& statement) {
      if (const auto target = target_of(statement); !target.empty())
        open.push_back({{found->second.family, found->second.table, target}, base});
    };
    for (const Rule& rule : found->second.rules) {
      for (const Json& statement : rule.statements) {
        go(statement);
        const Json& data = member(member(statement, "vmap"), "data");
        const Json* list = &member(data, "set");
        if (const auto named = text_of(data); named.starts_with('@'))
          if (const auto map =
                  ruleset.elements.find({found->second.family, found->second.table, named.substr(1)});
              map != ruleset.elements.end())
            list = &map->second;
        if (list->is_array())
          for (const Json& pair : *list)
            if (pair.is_array() && pair.size() == 2) go(pair[1]);
      }
    }
  }
  return reached;
}

}  // namespace icqgate::doctor
