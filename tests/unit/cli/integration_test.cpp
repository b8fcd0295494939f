// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/integration.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

using icqgate::cli::integration;
using icqgate::cli::integration_names;
using icqgate::config::Config;

namespace {

Config configured(const std::string& text) {
  const auto config = icqgate::config::parse(text, "test.conf");
  REQUIRE(config);
  return *config;
}

std::string lines(const std::string& firewall, const std::string& text = "") {
  const auto printed = integration(firewall, configured(text));
  REQUIRE(printed);
  return *printed;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

const std::vector<std::string> kAll{"nftables", "firewalld", "ufw", "docker", "fw4", "iptables"};

}  // namespace

TEST_CASE("every firewall's lines say what to add, how to check and how to undo", "[cli][integration]") {
  for (const auto& name : kAll) {
    INFO(name);
    const std::string text = lines(name);
    for (const char* heading : {"\n# add: ", "\n# check", "\n# undo"}) {
      INFO(heading);
      CHECK(has(text, heading));
    }
    CHECK(text.back() == '\n');
    for (const char* word : {"@NFT@", "@XT@", "@MASK@", "@NAME@", "@FIREWALL@"}) CHECK_FALSE(has(text, word));
    CHECK(lines(name) == text);
    CHECK(has(integration_names(), name));
  }
}

TEST_CASE("a firewall that nobody knows has no lines", "[cli][integration]") {
  for (const char* name : {"", "shorewall", "UFW", "ufw ", "nft"}) CHECK_FALSE(integration(name, Config{}));
}

TEST_CASE("the mark is the lowest two bits of mark-mask, in every line", "[cli][integration]") {
  for (const auto& name : kAll) {
    INFO(name);
    const std::string text = lines(name, "mark-mask = 0xf0\n");
    CHECK(has(text, "0x00000030"));
    CHECK_FALSE(has(text, "0x000000f0"));
    CHECK_FALSE(has(text, "0x06000000"));
  }
}

TEST_CASE("the lines name the configured sides", "[cli][integration]") {
  CHECK(has(lines("ufw", "lan = br0, br1\nwan = ppp*\n"),
            "# lan br0, br1, wan ppp*, mark-mask 0x06000000, masq"));
}

TEST_CASE("what is DNATed, and what is rejected, is told where it matters", "[cli][integration]") {
  for (const char* name : {"firewalld", "fw4"}) {
    INFO(name);
    CHECK(has(lines(name, "masquerade = yes\n"), "With masquerade = yes"));
    CHECK_FALSE(has(lines(name), "With masquerade = yes"));
    CHECK(has(lines(name), "outbound = check"));
    CHECK_FALSE(has(lines(name, "outbound = check\n"), "outbound = check"));
  }
  CHECK_FALSE(has(lines("ufw", "masquerade = yes\n"), "With masquerade"));
}
