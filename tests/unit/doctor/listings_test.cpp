// SPDX-License-Identifier: GPL-2.0-or-later
// Whole rulesets of real firewalls, as nft lists them.
#include <catch2/catch.hpp>
#include <functional>
#include <iterator>
#include <utility>

#include "doctor/xt_words.hpp"
#include "situation.hpp"

namespace icqgate::doctor {
namespace {

using Catch::Contains;

Chain& chain_of(Gateway& gateway, const Name& name) {
  const auto found = gateway.ruleset.chains.find(name);
  REQUIRE(found != gateway.ruleset.chains.end());
  return found->second;
}

void put_mark_line(Gateway& gateway, const Name& name) {
  auto& rules = chain_of(gateway, name).rules;
  rules.insert(rules.begin(), {999, Json::parse(kMarkLine), "meta mark & 0x06000000 != 0 accept"});
}

TEST_CASE("plain nft: sets, maps, verdict maps", "[doctor][listing]") {
  Gateway gateway;
  gateway.load("plain");
  const auto found = gateway.findings();
  REQUIRE(kinds(found) == "drop, dnat");
  CHECK_THAT(found[0].follows, Contains("peers") && !Contains("login"));  // 5190 is accepted by the map
  put_mark_line(gateway, {"inet", "filter", "forward"});
  CHECK(kinds(gateway.findings()) == "dnat");
  Gateway hidden{{"--masquerade", "yes"}};
  hidden.load("plain");
  put_mark_line(hidden, {"inet", "filter", "forward"});
  const auto dnat = hidden.findings();
  REQUIRE(kinds(dnat) == "dnat");
  CHECK_THAT(dnat[0].what, Contains("to port 20007 of port-range"));
  CHECK_THAT(dnat[0].remedy, Contains("'port-deny = 20007'"));
  Gateway denied{{"--masquerade", "yes", "--port-deny", "20007"}};
  denied.load("plain");
  put_mark_line(denied, {"inet", "filter", "forward"});
  CHECK(denied.findings().empty());
}

TEST_CASE("a dormant table and our own are none", "[doctor][listing]") {
  Gateway gateway;
  gateway.load("plain");
  CHECK(gateway.ruleset.chains.count({"inet", "qos", "forward"}) == 0);
  Gateway own{{"--table", "filter"}};
  own.load("plain");
  CHECK(own.of("drop").empty());
}

TEST_CASE("firewalld", "[doctor][listing]") {
  Gateway gateway;
  gateway.load("firewalld");
  const auto found = gateway.findings();
  REQUIRE(kinds(found) == "drop");
  CHECK_THAT(found[0].what, Contains("rejects"));
  CHECK(found[0].rule == "reject with icmpx admin-prohibited");
  CHECK(found[0].remedy ==
        "nft insert rule inet firewalld filter_FORWARD 'meta mark & 0x06000000 != 0 accept comment "
        "\"icqgate\"'");
  CHECK_THAT(found[0].keep, Contains("reload of firewalld"));
  put_mark_line(gateway, {"inet", "firewalld", "filter_FORWARD"});
  CHECK(gateway.of("drop").empty());
  chain_of(gateway, {"inet", "firewalld", "filter_FORWARD"})
      .rules.erase(chain_of(gateway, {"inet", "firewalld", "filter_FORWARD"}).rules.begin());
  chain_of(gateway, {"inet", "firewalld", "filter_FORWARD"}).owned = true;
  CHECK_THAT(gateway.of("drop").at(0).remedy, Contains("NftablesTableOwner=no"));
}

TEST_CASE("OpenWrt's fw4", "[doctor][listing]") {
  Gateway gateway;
  gateway.load("fw4");
  const auto found = gateway.findings();
  REQUIRE(kinds(found) == "drop");
  CHECK_THAT(found[0].follows, Contains("peers") && !Contains("login"));
  CHECK_THAT(found[0].keep, Contains("/usr/share/nftables.d/chain-pre/forward/icqgate.nft"));
  put_mark_line(gateway, {"inet", "fw4", "forward"});
  CHECK(gateway.findings().empty());
}

TEST_CASE("ufw, by iptables-nft", "[doctor][listing]") {
  Gateway gateway;
  gateway.load("ufw");
  const auto found = gateway.findings();
  REQUIRE(kinds(found) == "drop");
  CHECK(found[0].certain);
  CHECK(found[0].remedy == "iptables-nft -I ufw-before-forward -m mark ! --mark 0x0/0x06000000 -j ACCEPT");
  CHECK_THAT(found[0].keep, Contains("/etc/ufw/before.rules"));
  put_mark_line(gateway, {"ip", "filter", "ufw-before-forward"});
  CHECK(gateway.findings().empty());
}

TEST_CASE("Docker's tables, with the mark line and without", "[doctor][listing]") {
  for (const char* masquerade : {"no", "yes"}) {
    Gateway gateway{{"--masquerade", masquerade}};
    gateway.load("docker");
    const auto found = gateway.findings();
    REQUIRE(kinds(found) == "drop");
    CHECK(found[0].remedy == "iptables-nft -I DOCKER-USER -m mark ! --mark 0x0/0x06000000 -j ACCEPT");
    put_mark_line(gateway, {"ip", "filter", "DOCKER-USER"});
    CHECK(gateway.findings().empty());
  }
}

TEST_CASE("iptables-nft: what the JSON calls xt is read from the text", "[doctor][listing]") {
  Gateway gateway{{"--masquerade", "yes"}};
  gateway.load("iptables");
  const auto drop = gateway.of("drop");
  REQUIRE(drop.size() == 1);
  CHECK_THAT(drop[0].follows, Contains("peers") && !Contains("answers"));
  CHECK(drop[0].remedy == "iptables-nft -I FORWARD -m mark ! --mark 0x0/0x06000000 -j ACCEPT");
  const auto dnat = gateway.of("dnat");
  REQUIRE(dnat.size() == 2);
  CHECK_THAT(dnat[0].remedy, Contains("'port-deny = 20010'"));
  CHECK_THAT(dnat[1].remedy, Contains("'port-deny = 20020, 20021'"));
  const auto mark = gateway.of("mark");
  REQUIRE(mark.size() ==
          1);  // the MARK in prerouting comes before ours and is taken out; the CONNMARK is not
  CHECK_THAT(mark[0].what, Contains("overwrites the bits 0x06000000 of ct mark"));
  const auto queue = gateway.of("queue");
  REQUIRE(queue.size() == 1);
  CHECK_THAT(queue[0].what, Contains("queue 5191"));
}

TEST_CASE("iptables-legacy, as iptables-legacy-save prints it", "[doctor][listing]") {
  for (const char* name : {"docker", "ufw"}) {
    Gateway gateway;
    add_iptables_save(gateway.ruleset, listing(std::string{name} + ".iptables"), "ip");
    const auto found = gateway.findings();
    INFO(name);
    REQUIRE(kinds(found) == "drop");
    CHECK_THAT(found[0].remedy,
               Contains("iptables-legacy -I ") && Contains("--mark 0x0/0x06000000 -j ACCEPT"));
  }
  Gateway gateway{{"--masquerade", "yes"}};
  add_iptables_save(gateway.ruleset, listing("iptables.iptables"), "ip");
  CHECK(gateway.of("drop").size() == 1);
  CHECK(gateway.of("dnat").size() == 2);
  Gateway marked;
  add_iptables_save(
      marked.ruleset,
      "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -m mark ! --mark 0x0/0x6000000 -j ACCEPT\nCOMMIT\n", "ip");
  CHECK(marked.findings().empty());
}

TEST_CASE("a listing cut short or none is an error, not a clean host", "[doctor][listing]") {
  const auto json = listing("plain.json");
  CHECK_FALSE(read_ruleset(json.substr(0, json.size() / 2), "", "icqgate"));
  CHECK_FALSE(read_ruleset("", "", "icqgate"));
  CHECK(read_ruleset(R"({"nftables":[]})", "", "icqgate"));
  CHECK(read_ruleset(R"({"nftables":[1,{"rule":3},{"chain":{"name":7}},{"rule":{"family":"ip"}}]})", "",
                     "icqgate"));
}

// Every value of it, in turn replaced.
void each_replaced(Json& value, std::size_t& number, const std::function<void()>& look) {
  static const Json strange[]{nullptr, -1, 4294967296.5, "x", "@none", Json::array({1}), Json::object()};
  if (value.is_structured())
    for (auto& part : value) each_replaced(part, number, look);
  if (++number % 5 != 0) return;
  const Json before = std::exchange(value, strange[number / 5 % std::size(strange)]);
  look();
  value = before;
}

TEST_CASE("a listing in which something is not as known is survived", "[doctor][listing]") {
  for (const char* name : {"plain", "iptables", "firewalld"}) {
    const auto text = listing(std::string{name} + ".text");
    Json json = Json::parse(listing(std::string{name} + ".json"));
    Gateway gateway{{"--masquerade", "yes"}};
    std::size_t number = 0, read = 0;
    each_replaced(json, number, [&] {
      auto ruleset = read_ruleset(json.dump(), text, "icqgate");
      if (!ruleset) return;
      ++read;
      gateway.ruleset = std::move(*ruleset);
      (void)gateway.findings();
    });
    CHECK(read > 50);
    for (std::size_t cut = 0; cut < text.size(); cut += 23) {
      auto ruleset = read_ruleset(json.dump(), std::string_view{text}.substr(0, cut), "icqgate");
      REQUIRE(ruleset);
      gateway.ruleset = std::move(*ruleset);
      (void)gateway.findings();
      Ruleset saved;
      add_iptables_save(saved, std::string_view{text}.substr(cut), "ip");
    }
  }
  const auto save = listing("ufw.iptables");
  for (std::size_t cut = 0; cut < save.size(); cut += 7) {
    Gateway gateway;
    add_iptables_save(gateway.ruleset, std::string_view{save}.substr(0, cut), "ip");
    (void)gateway.findings();
  }
}

}  // namespace
}  // namespace icqgate::doctor
