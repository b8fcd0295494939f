// SPDX-License-Identifier: GPL-2.0-or-later
// Rules of others that send connections to the port range elsewhere.
#include <fmt/format.h>

#include <algorithm>

#include "doctor/examine.hpp"
#include "doctor/needs.hpp"
#include "doctor/remedy.hpp"
#include "doctor/walk.hpp"

namespace icqgate::doctor {

namespace {

// The ports of the range that the rule itself names; all of them if it names none.
Spans ports_of(const Hit& hit, const Situation& situation) {
  Spans ports{{situation.config.port_range.first.get(), situation.config.port_range.last.get()}};
  const auto narrow_to = [&](const Json& key, const Json& values) {
    if (member(member(key, "payload"), "field") != "dport") return;
    if (const auto spans = spans_of(values, situation.ruleset, *hit.chain)) ports = common(ports, *spans);
  };
  for (const Json& statement : hit.rule->statements) {
    const Json& match = member(statement, "match");
    if (member(match, "op") != "!=") narrow_to(member(match, "left"), member(match, "right"));
    for (const char* part : {"addr", "port"}) {
      const Json& map = member(member(member(statement, "dnat"), part), "map");
      if (map.is_null()) continue;
      Json keys = Json::array();
      const Json* list = &member(member(map, "data"), "set");
      if (const auto named = text_of(member(map, "data")); named.starts_with('@')) {
        const auto found =
            situation.ruleset.elements.find({hit.chain->family, hit.chain->table, named.substr(1)});
        if (found == situation.ruleset.elements.end()) continue;
        list = &found->second;
      }
      if (list->is_array())
        for (const Json& pair : *list)
          if (pair.is_array() && pair.size() == 2) keys.push_back(pair[0]);
      if (member(member(member(map, "key"), "payload"), "field") == "dport" && keys.empty()) return {};
      narrow_to(member(map, "key"), {{"set", keys}});
    }
  }
  return ports;
}

std::string words(const Spans& ports) {
  std::string list;
  for (const Span& one : ports)
    list += (list.empty() ? "" : ", ") + (one.first == one.last ? fmt::format("{}", one.first)
                                                                : fmt::format("{}-{}", one.first, one.last));
  return list;
}

bool all_denied(const Spans& ports, const config::Config& config) {
  for (const Span& span : ports)
    for (std::uint32_t port = span.first; port <= span.last; ++port)
      if (!config::is_denied(Port{static_cast<std::uint16_t>(port)}, config)) return false;
  return true;
}

}  // namespace

std::vector<Finding> examine_translation(const Situation& situation) {
  std::vector<Finding> findings;
  const Traffic traffic = to_be_translated(situation);
  const bool hidden = situation.config.masquerade;
  for (const auto& [name, base] : situation.ruleset.chains) {
    if (!base.base || base.base->hook != "prerouting" || base.family == "ip6") continue;
    for (const Hit& hit : walk(situation.ruleset, base, traffic)) {
      if (hit.deed != Deed::Translate || hit.rule == nullptr) continue;
      const Spans ports = ports_of(hit, situation);
      if (ports.empty() || all_denied(ports, situation.config)) continue;
      std::uint32_t count = 0;
      for (const Span& one : ports) count += one.last - one.first + 1;
      Finding finding;
      finding.kind = "dnat";
      finding.certain = hit.known;
      finding.what = fmt::format("{}: this rule {} connections to port{} {} of port-range elsewhere",
                                 place_of(*hit.chain, *hit.rule), hit.known ? "sends" : "may send",
                                 count == 1 ? "" : "s", words(ports));
      finding.rule = hit.rule->text;
      finding.follows = fmt::format(
          "a peer that calls a client of ICQ there {} out where that rule sends it{}",
          hit.known ? "comes" : "may come",
          hidden ? "; or, where icqgate's own rule comes first, that port is ICQ's for a time" : "");
      // Few: another port serves ICQ as well. All: a rule made for everything, from which ICQ is to be left
      // out.
      if (count < situation.config.port_range.size() && count <= 16) {
        std::string list;
        for (const Span& one : ports)
          for (std::uint32_t port = one.first; port <= one.last; ++port)
            list += (list.empty() ? "" : ", ") + std::to_string(port);
        finding.remedy = add_key(situation.facts, "port-deny", list) + " && systemctl reload icqgate";
      } else {
        finding.remedy = accept_traffic(base, {&traffic});
        finding.keep = "the same rule where that table is made";
      }
      findings.push_back(std::move(finding));
      if (findings.size() >= 50) return findings;
    }
  }
  return findings;
}

}  // namespace icqgate::doctor
