// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "doctor/examine.hpp"

namespace icqgate::doctor {

// A real listing of tests/unit/doctor/listings (see `refresh` there).
inline std::string listing(const std::string& name) {
  std::ifstream file{std::string{ICQGATE_TEST_DATA} + "/unit/doctor/listings/" + name};
  INFO(name);
  REQUIRE(file);
  return {std::istreambuf_iterator<char>{file}, {}};
}

// A gateway: br-lan 192.168.1.0/24, eth0 198.51.100.1; login.example.org on 5190.
struct Gateway {
  Ruleset ruleset;
  config::Config config;
  Facts facts;

  explicit Gateway(const std::vector<std::string>& options = {}) {
    std::vector<std::string> arguments{"--lan",    "br-lan",         "--wan",        "eth0",
                                       "--client", "192.168.1.0/24", "--login-host", "login.example.org"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    auto parsed = config::parse("", "", arguments);
    REQUIRE(parsed);
    config = *parsed;
    facts.interfaces = {"lo", "br-lan", "eth0"};
    facts.wan_addresses = {{0xc6336401, 0xc6336401}};
    facts.lan_networks = {{0xc0a80100, 0xc0a801ff}};
    facts.name_servers = {make_ipv4(192, 0, 2, 53)};
  }

  Gateway& load(const std::string& name) {
    auto read = read_ruleset(listing(name + ".json"), listing(name + ".text"), config.table);
    REQUIRE(read);
    ruleset = std::move(*read);
    return *this;
  }

  // Chains and rules as libnftables' JSON has them, in a table inet t.
  Gateway& chain(const std::string& name, const std::string& type, const std::string& hook, int priority,
                 const std::string& policy, const std::vector<std::string>& rules) {
    Chain& chain = ruleset.chains[{"inet", "t", name}];
    chain.family = "inet";
    chain.table = "t";
    chain.name = name;
    if (!hook.empty()) chain.base = Base{type, hook, priority, policy == "drop", {}};
    for (const auto& rule : rules) {
      const Json statements = Json::parse(rule);
      chain.rules.push_back(
          {chain.rules.size() + 1, statements, "rule " + std::to_string(chain.rules.size() + 1)});
    }
    return *this;
  }
  Gateway& forward(const std::vector<std::string>& rules, const std::string& policy = "accept",
                   int priority = 0) {
    return chain("forward", "filter", "forward", priority, policy, rules);
  }

  [[nodiscard]] std::vector<Finding> findings() const { return examine({ruleset, config, facts}); }
  [[nodiscard]] std::vector<Finding> of(const std::string& kind) const {
    auto all = findings();
    std::erase_if(all, [&](const Finding& one) { return one.kind != kind; });
    return all;
  }
};

// "drop, mark": what was found, for one comparison.
inline std::string kinds(const std::vector<Finding>& findings) {
  std::string list;
  for (const Finding& one : findings) list += (list.empty() ? "" : ", ") + one.kind;
  return list;
}

inline const std::string kMarkLine =
    R"([{"match":{"op":"!=","left":{"&":[{"meta":{"key":"mark"}},100663296]},"right":0}},{"accept":null}])";

}  // namespace icqgate::doctor
