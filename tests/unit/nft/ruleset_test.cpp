// SPDX-License-Identifier: GPL-2.0-or-later
#include "nft/ruleset.hpp"

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <set>

#include "nft/element.hpp"

using namespace icqgate;
using namespace icqgate::nft;

namespace {

RulesetOptions options() {
  RulesetOptions o;
  o.lan = {"lan0"};
  o.wan = {"wan0"};
  o.clients = {*parse_subnet("192.168.1.0/24"), *parse_subnet("2001:db8:1::/64")};
  return o;
}
std::size_t count(const std::string& text, std::string_view what) {
  std::size_t found = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
  return found;
}
bool has(const std::string& text, std::string_view what) { return count(text, what) > 0; }

}  // namespace

TEST_CASE("the marks are the mask's lowest two bits", "[nft][ruleset]") {
  const auto usual = marks_of(0x06000000);
  CHECK(usual.mask == 0x06000000);
  CHECK(usual.verified == 0x02000000);
  CHECK(usual.pending == 0x04000000);
  CHECK(usual.watched == 0x06000000);
  for (const std::uint32_t mask : {0x3u, 0x80000001u, 0xffffffffu, 0xc0000000u, 0x00f0f000u, 0x10000100u}) {
    const auto marks = marks_of(mask);
    CAPTURE(mask);
    CHECK((marks.mask & ~mask) == 0);  // never another's bit
    CHECK(__builtin_popcount(marks.mask) == 2);
    CHECK((marks.verified | marks.pending) == marks.mask);
    CHECK((marks.verified & marks.pending) == 0);
    CHECK(marks.verified < marks.pending);
    CHECK(marks.watched == marks.mask);
    CHECK((mask & (marks.verified - 1)) == 0);  // the lowest
  }
}

TEST_CASE("every option that changes the rules changes the text", "[nft][ruleset]") {
  std::vector<RulesetOptions> all(19, options());
  all[1].table = "other";
  all[2].priority = -10;
  all[3].lan = {"lan0", "lan1"};
  all[4].wan = {"ppp*"};
  all[5].clients.clear();
  all[6].clients.pop_back();
  all[7].first_port = Port{20001};
  all[8].last_port = Port{20100};
  all[9].mark_mask = 0x03000000;
  all[10].masquerade = true;
  all[11].check_peers = false;
  all[12].lan = {"lan1"};
  all[13].clients[0] = *parse_subnet("192.168.1.0/25");
  all[14].held_names = {"login.icq.com"};
  all[15].held_names = {"login.icq.com", "login.example.net"};
  all[16].login_ports = {Port{443}, Port{5190}};
  all[17].login_ports.clear();
  all[18].queue_names = 77;
  std::set<std::string> texts;
  for (const auto& one : all) {
    texts.insert(dynamic_ruleset(one, Loading::Awake));
    CHECK(dynamic_ruleset(one, Loading::Awake) == dynamic_ruleset(one, Loading::Awake));
    CHECK(has(dynamic_ruleset(one, Loading::Awake), fmt::format("comment \"{}\"", kTableComment)));
  }
  CHECK(texts.size() == all.size());
}

TEST_CASE("a table that is put back message by message has no set without a name", "[nft][ruleset]") {
  auto o = options();
  o.lan = {"lan0", "lan1"};
  o.wan = {"wan0", "ppp*"};
  o.masquerade = true;
  o.login_ports = {Port{443}, Port{5190}};
  o.held_names = {"login.icq.com", "login.example.net"};
  const auto text = dynamic_ruleset(o, Loading::Awake);
  // The only braces within a line are those of elements, and of what a rule puts into a set.
  std::size_t inside = 0;
  for (std::size_t at = text.find('{'); at != std::string::npos; at = text.find('{', at + 1))
    if (text[at + 1] != '\n') {
      ++inside;
      const auto line = text.rfind('\n', at) + 1;
      const auto words = text.substr(line, at - line);
      CHECK((has(words, "elements = ") || has(words, "add @") || has(words, "update @") ||
             has(words, "delete @")));
    }
  CHECK(inside > 0);
}

TEST_CASE("DNS answers are picked by the encoded owner name", "[nft][ruleset]") {
  auto o = options();
  const auto hooks = [](const std::string& text) { return count(text, " hook "); };
  const auto without = dynamic_ruleset(o, Loading::Awake);
  CHECK_FALSE(has(without, "port 53"));
  o.held_names = {"login.icq.com", "a.b", "a-rather-long-label.messenger.example.org"};
  const auto text = dynamic_ruleset(o, Loading::Awake);
  CHECK(hooks(text) == hooks(without));  // a reload adds and removes no base chain
  // 5 l o g i n 3 i c q 3 c o m 0; no comparison is longer than 16 bytes.
  CHECK(has(text, "@th,160,120 0x056c6f67696e0369637103636f6d00 goto dns_hold"));
  CHECK(has(text, "@th,160,40 0x0161016200 goto dns_hold"));
  CHECK(
      has(text, "@th,160,128 0x13612d7261746865722d6c6f6e672d6c @th,288,128 0x6162656c096d657373656e676572"));
  CHECK(has(text, "@th,416,88 0x78616d706c65036f726700 goto dns_hold"));
  CHECK(has(text, "ip saddr @clients4 @th,80,1 0 @th,96,16 1 @th,160,120"));
  CHECK(has(text, "ip6 saddr @clients6 @th,80,1 0 @th,96,16 1 @th,160,120"));
}

TEST_CASE("how it is loaded is not part of what it is", "[nft][ruleset]") {
  auto asleep = dynamic_ruleset(options(), Loading::Dormant);
  const auto at = asleep.find("\tflags dormant\n");
  REQUIRE(at != std::string::npos);
  asleep.erase(at, std::string_view{"\tflags dormant\n"}.size());
  CHECK(asleep == dynamic_ruleset(options(), Loading::Awake));
}

TEST_CASE("the dynamic table", "[nft][ruleset]") {
  for (const bool masquerade : {false, true}) {
    auto o = options();
    o.masquerade = masquerade;
    const auto text = dynamic_ruleset(o, Loading::Awake);
    CHECK(count(text, "{") == count(text, "}"));
    CHECK(count(text, "table ") == 1);
    for (std::size_t set = 0; set < kSetCount; ++set) {
      const auto id = static_cast<SetId>(set);
      const std::string kind = id == SetId::Forwards ? "\tmap " : "\tset ";
      CHECK(count(text, kind + std::string{set_name(id)} + " {") ==
            (id == SetId::Forwards && !masquerade ? 0U : 1U));
    }
    CHECK(has(text, "nat hook prerouting") == masquerade);
    CHECK(has(text, std::string{"chain "} + kControlChain));
    CHECK(has(text, std::string{"chain "} + kPeerChain));
    CHECK_FALSE(has(text, "flush"));
    CHECK_FALSE(has(text, "policy drop"));  // other tables decide what is not ours
    // Marks of others stay: every write to a mark keeps the bits outside the mask.
    for (auto set = text.find("mark set"); set != std::string::npos; set = text.find("mark set", set + 1))
      CHECK(text.compare(set, 8 + 9, text[set - 2] == 'a' ? "mark set meta mar" : "mark set ct mark ") == 0);
  }
}

TEST_CASE("fail-closed and fail-open when nobody reads the queues", "[nft][ruleset]") {
  const auto chain = [](const std::string& text, const std::string& name) {
    const auto at = text.find("\tchain " + name + " {");
    return text.substr(at, text.find("\t}\n", at) - at);
  };
  auto o = options();
  const auto strict = dynamic_ruleset(o, Loading::Awake);
  CHECK(has(chain(strict, kPeerChain), "\t\tdrop\n"));
  CHECK_FALSE(has(chain(strict, kPeerChain), "accept"));
  CHECK(has(chain(strict, kControlChain), "\t\taccept\n"));
  o.check_peers = false;
  const auto off = chain(dynamic_ruleset(o, Loading::Awake), kPeerChain);
  CHECK_FALSE(has(off, "drop"));
  CHECK(has(off, fmt::format("ct mark set ct mark & {:#010x} | 0x02000000", ~0x06000000U)));
}

TEST_CASE("an element does not make a client of anybody", "[nft][ruleset]") {
  const std::string text = dynamic_ruleset(options(), Loading::Awake);
  CHECK(has(text, "ip saddr @clients4 ip daddr . tcp dport @login4 goto to_server"));
  CHECK(has(text, "ip6 saddr @clients6 ip6 daddr . tcp dport @login6 goto to_server"));
  CHECK(has(text, "ip saddr @clients4 ip saddr . ip daddr . tcp dport @servers4 goto to_server"));
  CHECK(has(text, "ip6 saddr @clients6 ip6 saddr . ip6 daddr . tcp dport @servers6 goto to_server"));
  CHECK(has(text, "ip saddr @clients4 ip saddr @sessions goto to_peer"));
}

TEST_CASE("without a list of clients anybody inside may use it", "[nft][ruleset]") {
  auto o = options();
  CHECK(has(dynamic_ruleset(o, Loading::Awake), "@clients4"));
  o.clients.clear();
  const auto text = dynamic_ruleset(o, Loading::Awake);
  CHECK_FALSE(has(text, "@clients4"));
  CHECK_FALSE(has(text, "@clients6"));
  CHECK_FALSE(has(text, "set clients"));
  // The port range is for IPv4 peers: what other tables let in over IPv6 is not ours to check.
  CHECK(has(text, "ct direction reply meta nfproto ipv4 tcp sport 20000-20099 goto checked"));
}

TEST_CASE("one port, several interfaces", "[nft][ruleset]") {
  auto o = options();
  o.first_port = o.last_port = Port{24567};
  o.lan = {"lan0", "wlan*"};
  const auto text = dynamic_ruleset(o, Loading::Awake);
  CHECK(has(text, "tcp dport 24567 "));
  CHECK_FALSE(has(text, "24567-24567"));
  CHECK(has(text, "iifname \"lan0\" oifname \"wan0\" goto from_lan"));
  CHECK(has(text, "iifname \"wlan*\" oifname \"wan0\" goto from_lan"));
}
