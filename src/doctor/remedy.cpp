// SPDX-License-Identifier: GPL-2.0-or-later
#include "doctor/remedy.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace icqgate::doctor {

namespace {

// As one word of a shell.
std::string shell(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string{"'\\''"} : std::string{c};
  return quoted + "'";
}

// A path: quoted only where a shell would take it for something else.
std::string shell_path(const std::string& path) {
  const bool plain = std::all_of(path.begin(), path.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '/' ||
           c == '.' || c == '-' || c == '_';
  });
  return plain && !path.empty() && path.front() != '-' ? path : shell(path);
}

std::string iptables_table(const Chain& chain) { return chain.table.substr(0, chain.table.find(' ')); }

// "iptables-nft", "ip6tables-legacy -t mangle"
std::string iptables(const Chain& chain) {
  std::string command = chain.family == "ip6" ? "ip6tables" : "iptables";
  command += chain.tool == Tool::IptablesLegacy ? "-legacy" : "-nft";
  const auto table = iptables_table(chain);
  return table == "filter" ? command : command + " -t " + table;
}

bool is_firewalld(const Chain& chain) { return chain.table == "firewalld"; }

// The user's own chain of a firewall that makes the others anew, if the base chain goes there.
std::string own_chain(const Ruleset& ruleset, const Chain& base) {
  constexpr std::array<const char*, 3> kLeftToPeople{"DOCKER-USER", "ufw-before-forward",
                                                     "ufw6-before-forward"};
  if (base.tool == Tool::Nft) return base.name;
  for (const char* name : kLeftToPeople) {
    const Chain* const chain = ruleset.chain(base, name);
    if (chain == nullptr || base.base->hook != "forward") continue;
    for (const Rule& rule : base.rules)
      for (const Json& statement : rule.statements)
        if (target_of(statement) == name) return name;
  }
  return base.name;
}

// A firewalld that keeps its table for itself has to be told not to, or nobody can add a rule.
std::string unlocked(const Chain& chain, const std::string& command) {
  if (!chain.owned || !is_firewalld(chain)) return command;
  return "sed -i 's/^NftablesTableOwner=.*/NftablesTableOwner=no/' /etc/firewalld/firewalld.conf && "
         "systemctl restart "
         "firewalld && " +
         command;
}

}  // namespace

std::string place_of(const Chain& chain) {
  std::string place = fmt::format("table {} {}, chain {}", chain.family, chain.table, chain.name);
  if (chain.base) place += fmt::format(" (hook {}, priority {})", chain.base->hook, chain.base->priority);
  return place;
}

std::string place_of(const Chain& chain, const Rule& rule) {
  std::string place = fmt::format("table {} {}, chain {}", chain.family, chain.table, chain.name);
  if (rule.handle != 0) place += fmt::format(", handle {}", rule.handle);
  return place;
}

std::string accept_mark(const Ruleset& ruleset, const Chain& base, std::uint32_t mask) {
  if (base.tool == Tool::Nft)
    return unlocked(
        base, fmt::format("nft insert rule {} {} {} {}", base.family, base.table, base.name,
                          shell(fmt::format("meta mark & {:#010x} != 0 accept comment \"icqgate\"", mask))));
  return fmt::format("{} -I {} -m mark ! --mark 0x0/{:#010x} -j ACCEPT", iptables(base),
                     own_chain(ruleset, base), mask);
}

std::string accept_traffic(const Chain& base, const std::vector<const Traffic*>& traffic) {
  std::string commands;
  for (const Traffic* one : traffic) {
    if (!commands.empty()) commands += " && ";
    commands += base.tool == Tool::Nft
                    ? fmt::format("nft insert rule {} {} {} {}", base.family, base.table, base.name,
                                  shell(one->accept + " accept comment \"icqgate\""))
                    : fmt::format("{} -I {} {} -j ACCEPT", iptables(base), base.name, one->iptables);
  }
  return unlocked(base, commands);
}

std::string narrow(const Chain& chain, const Rule& rule, const std::string& test) {
  return unlocked(chain, fmt::format("nft replace rule {} {} {} handle {} {}", chain.family, chain.table,
                                     chain.name, rule.handle, shell(test + ' ' + rule.text)));
}

std::string add_key(const Facts& facts, const std::string& key, const std::string& value) {
  return fmt::format("printf '\\n%s\\n' {} >> {}", shell(key + " = " + value), shell_path(facts.config_file));
}

std::string set_key(const Facts& facts, const std::string& key, const std::string& value) {
  return fmt::format("sed -i '/^[[:space:]]*{}[[:space:]]*=/d' {} && {}", key, shell_path(facts.config_file),
                     add_key(facts, key, value));
}

std::string keep(const Chain& base, std::uint32_t mask) {
  if (is_firewalld(base)) return "again after every reload of firewalld, which makes its table anew";
  if (base.owned)
    return "the table belongs to a running program, and only that can change it: in its own configuration";
  if (base.table == "fw4")
    return fmt::format("in /usr/share/nftables.d/chain-pre/{}/icqgate.nft: meta mark & {:#010x} != 0 accept",
                       base.name, mask);
  if (base.tool == Tool::Nft) return "the same rule in the file that loads that table (/etc/nftables.conf)";
  for (const Rule& rule : base.rules)
    for (const Json& statement : rule.statements)
      if (const auto target = target_of(statement); target.starts_with("ufw"))
        return fmt::format(
            "in /etc/ufw/before{}.rules, first of the ufw{}-before-forward lines: -A "
            "ufw{}-before-forward -m mark ! --mark 0x0/{:#010x} -j ACCEPT",
            base.family == "ip6" ? "6" : "", base.family == "ip6" ? "6" : "", base.family == "ip6" ? "6" : "",
            mask);
  return "where your iptables rules are kept (netfilter-persistent save, or the script that makes them)";
}

}  // namespace icqgate::doctor
