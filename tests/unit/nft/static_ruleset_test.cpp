// SPDX-License-Identifier: GPL-2.0-or-later
#include "nft/static_ruleset.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <iterator>
#include <sstream>

namespace icqgate::nft {
namespace {

StaticOptions options(Profile profile) {
  StaticOptions o;
  o.profile = profile;
  o.table.lan = {"lan0"};
  o.table.wan = {"wan0"};
  o.table.clients = {{make_ipv4(192, 168, 1, 0), 24}};
  o.addresses = {{{make_ipv4(192, 0, 2, 5), Port{5190}}, "login.icq.com"},
                 {{make_ipv4(192, 0, 2, 6), Port{5190}}, ""},
                 {{*parse_address("2001:db8::5"), Port{5190}}, "login.icq.com"}};
  o.maps = {{make_ipv4(192, 168, 1, 10), Port{24000}, Port{24009}},
            {make_ipv4(192, 168, 1, 11), Port{24010}, Port{24010}}};
  if (profile != Profile::Masquerade) o.maps.clear();
  if (has_proxy(profile)) o.proxies = {make_ipv4(192, 168, 1, 2)};
  return o;
}

constexpr Profile kAll[]{Profile::Direct,     Profile::Range, Profile::Outbound,
                         Profile::Masquerade, Profile::Socks, Profile::Https};

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

// The rules of a chain, its notes and its hook left out; all chains' for "".
std::vector<std::string> rules(const std::string& text, const std::string& chain = "") {
  std::vector<std::string> found;
  std::istringstream lines{text};
  bool within = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("\tchain ")) {
      within = chain.empty() || line == "\tchain " + chain + " {";
    } else if (line == "\t}") {
      within = false;
    } else if (within && line.find("\t\t# ") != 0 && line.find("\t\ttype ") != 0) {
      found.push_back(line);
    }
  }
  return found;
}

}  // namespace

TEST_CASE("every static rule says what it is for", "[nft][static]") {
  for (const Profile profile : kAll) {
    for (const Policy policy : {Policy::Guard, Policy::Gateway}) {
      auto o = options(profile);
      o.policy = policy;
      o.also_allowed = {{Transport::Udp, Port{53}, Port{53}}, {Transport::Tcp, Port{6000}, Port{6001}}};
      o.proxy_on_gateway = has_proxy(profile);
      const auto text = static_ruleset(o);
      CHECK(rules(text).size() > 5);
      for (const auto& rule : rules(text)) {
        CAPTURE(rule);
        const auto at = rule.find(" comment \"");
        REQUIRE(at != std::string::npos);
        CHECK(rule.size() - at < 128);
        CHECK(rule.ends_with('"'));
      }
      CHECK(std::ranges::count(text, '{') == std::ranges::count(text, '}'));
      CHECK(static_ruleset(o) == text);
      CHECK(has(text, "192.0.2.5 . 5190 comment \"login.icq.com\""));
      CHECK(has(text, "2001:db8::5 . 5190"));
    }
  }
}

TEST_CASE("the ports that each profile opens inward", "[nft][static]") {
  const auto direct = static_ruleset(options(Profile::Direct));
  CHECK(has(rules(direct, "to_lan").at(0), "ip daddr @clients4 tcp dport 1024-65535 goto pass"));
  const auto range = static_ruleset(options(Profile::Range));
  CHECK(has(rules(range, "to_lan").at(0), "ip daddr @clients4 tcp dport 20000-20099 goto pass"));
  CHECK_FALSE(has(range, "1024-65535"));
  CHECK_FALSE(has(static_ruleset(options(Profile::Outbound)), "to_lan"));
  CHECK_FALSE(has(static_ruleset(options(Profile::Https)), "to_"));
  const auto socks = static_ruleset(options(Profile::Socks));
  CHECK(has(rules(socks, "to_proxy").at(0), "tcp dport 20000-20099 goto pass"));
  CHECK_FALSE(has(socks, "to_lan"));
}

TEST_CASE("masquerade gives each client its own ports", "[nft][static]") {
  const auto text = static_ruleset(options(Profile::Masquerade));
  CHECK(has(text, "24000-24009 : 192.168.1.10"));
  CHECK(has(text, "192.168.1.11 . 24010 }"));
  CHECK(has(rules(text, "nat_in").at(0), "fib daddr type local dnat ip to tcp dport map @forwards"));
  CHECK(has(rules(text, "nat_out").at(0), "ip saddr @clients4 masquerade"));
  CHECK(has(rules(text, "to_lan").at(0), "ct status dnat ip daddr . tcp dport @mapped goto pass"));
  auto none = options(Profile::Masquerade);
  none.maps.clear();
  const auto without = static_ruleset(none);
  CHECK_FALSE(has(without, "dnat"));
  CHECK_FALSE(has(without, "to_lan"));
  CHECK(has(without, "masquerade"));
}

TEST_CASE("round the proxy there is no way", "[nft][static]") {
  for (const Profile profile : {Profile::Socks, Profile::Https}) {
    auto o = options(profile);
    o.proxy_port = Port{profile == Profile::Socks ? std::uint16_t{1080} : std::uint16_t{3128}};
    const auto text = static_ruleset(o);
    CHECK(has(rules(text, "from_lan").at(0), fmt::format("tcp dport {} goto pass", o.proxy_port.get())));
    const auto round = rules(text, "round_proxy");
    REQUIRE(round.size() == 4);
    CHECK(has(round[0], "ip saddr @proxy4 return"));
    for (std::size_t i = 1; i < round.size(); ++i) CHECK(has(round[i], "reject with tcp reset"));
    // Before anything is accepted for the mark that it has: another profile may have given that.
    CHECK(has(rules(text, "forward").at(0), "jump round_proxy"));
    // The server may have spoken first, to a conntrack that was not there before.
    CHECK_FALSE(has(round[1], "ct direction"));
    CHECK(has(text, "1024-65535") == (profile == Profile::Socks));
    CHECK_FALSE(has(text, "fib daddr type local"));
    o.proxies.clear();
    o.proxy_on_gateway = true;
    const auto here = static_ruleset(o);
    CHECK(rules(here, "from_lan").empty());
    CHECK(has(rules(here, "proxy_input").at(2),
              "iifname \"lan0\" ip saddr @clients4 fib daddr type local tcp"));
    CHECK_FALSE(has(here, "@proxy"));
  }
}

TEST_CASE("a guard drops nothing that is not ICQ, a gateway all that nothing allows", "[nft][static]") {
  for (const Profile profile : kAll) {
    auto o = options(profile);
    const auto guard = static_ruleset(o);
    CHECK_FALSE(has(guard, "policy drop"));
    CHECK(rules(guard, "forward").back().find("counter") == std::string::npos);
    o.policy = Policy::Gateway;
    o.also_allowed = {{Transport::Udp, Port{53}, Port{53}}, {Transport::Tcp, Port{6000}, Port{6001}}};
    const auto text = static_ruleset(o);
    CHECK(has(text, "hook forward priority -5; policy drop;"));
    const auto forward = rules(text, "forward");
    CHECK(has(forward.back(), "counter"));
    const bool proxy = has_proxy(profile);  // which may be elsewhere, and asks DNS as well
    CHECK(has(forward[forward.size() - 2], "tcp dport 6000-6001 accept"));
    CHECK(has(forward[forward.size() - (proxy ? 5 : 3)],
              "iifname \"lan0\" oifname \"wan0\" udp dport 53 accept"));
    if (proxy)
      CHECK(has(forward[forward.size() - 4],
                "iifname != { \"lan0\", \"wan0\" } ip saddr @proxy4 oifname \"wan0\" udp dport 53 accept"));
    CHECK(has(text, "ct state established accept"));
    CHECK_FALSE(has(text, "established,related"));
    CHECK(has(rules(text, "antispoof").at(0), "iifname \"wan0\" jump inside_only"));
  }
}

TEST_CASE("what a helper expects does not pass for the mark it inherits", "[nft][static][attack]") {
  for (const Profile profile : kAll) {
    const auto text = static_ruleset(options(profile));
    for (const char* const chain : {"forward", "proxy_input", "proxy_output"}) {
      const auto all = rules(text, chain);
      const auto accepts = std::ranges::find_if(all, [](const auto& rule) {
        return has(rule, "ct mark & 0x06000000 == 0x02000000") && has(rule, " accept");
      });
      if (all.empty()) continue;
      REQUIRE(accepts != all.end());
      REQUIRE(accepts != all.begin());
      CHECK(has(*std::prev(accepts),
                "meta l4proto { tcp, udp } ct state related ct mark & 0x06000000 == 0x02000000 ct mark set"));
    }
  }
}

TEST_CASE("denied ports are left out of the range", "[nft][static]") {
  for (const Profile profile : {Profile::Range, Profile::Socks}) {
    auto o = options(profile);
    const char* const chain = profile == Profile::Range ? "to_lan" : "to_proxy";
    o.table.first_port = Port{24040};
    o.table.last_port = Port{24044};
    o.denied = {Port{24041}};
    CHECK(has(rules(static_ruleset(o), chain).at(0), "tcp dport { 24040, 24042-24044 } goto pass"));
    o.denied = {Port{24040}, Port{24044}};
    CHECK(has(rules(static_ruleset(o), chain).at(0), "tcp dport 24041-24043 goto pass"));
    o.denied = {Port{24040}, Port{24041}, Port{24043}, Port{24044}};
    CHECK(has(rules(static_ruleset(o), chain).at(0), "tcp dport 24042 goto pass"));
  }
}

}  // namespace icqgate::nft
