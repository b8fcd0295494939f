// SPDX-License-Identifier: GPL-2.0-or-later
// What a batch makes looks as what a dump brings, so that the one reads the other.
#include "nft/compiled.hpp"

#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>

#include "nft/inspect.hpp"
#include "nft/ruleset.hpp"
#include "vectors.hpp"

using namespace icqgate;
using namespace icqgate::nft;
using icqgate::test::from_hex;

namespace {

std::vector<Attributes> messages_of(const std::vector<std::byte>& bytes) {
  std::vector<Attributes> all;
  for (std::size_t at = 0; at < bytes.size();) {
    nlmsghdr head{};
    REQUIRE(bytes.size() - at >= sizeof head);
    std::memcpy(&head, bytes.data() + at, sizeof head);
    REQUIRE(head.nlmsg_len <= bytes.size() - at);
    REQUIRE(head.nlmsg_len % 4 == 0);
    if (head.nlmsg_type >= NLMSG_MIN_TYPE + 2)  // no marker of the batch
      all.emplace_back(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                       bytes.begin() + static_cast<std::ptrdiff_t>(at + head.nlmsg_len));
    at += head.nlmsg_len;
  }
  return all;
}
int type_of(const Attributes& message) {
  nlmsghdr head{};
  std::memcpy(&head, message.data(), sizeof head);
  return head.nlmsg_type & 0xff;
}
std::vector<int> types_of(Batch& batch) {
  std::vector<int> types;
  for (const auto& one : messages_of(batch.finish())) types.push_back(type_of(one));
  return types;
}
std::size_t count(const std::vector<int>& types, int type) {
  return static_cast<std::size_t>(std::count(types.begin(), types.end(), type));
}

// Attributes as the kernel writes them: length and type in host order.
Attributes attribute(std::uint16_t type, Bytes value) {
  Attributes all(MNL_ALIGN(sizeof(nlattr) + value.size()));
  const nlattr head{static_cast<std::uint16_t>(sizeof(nlattr) + value.size()), type};
  std::memcpy(all.data(), &head, sizeof head);
  std::copy(value.begin(), value.end(), all.begin() + sizeof head);
  return all;
}
Attributes number(std::uint16_t type, std::uint8_t value) {
  return attribute(type, std::array{std::byte{0}, std::byte{0}, std::byte{0}, std::byte{value}});
}
Attributes rule(std::uint8_t what) { return attribute(NFTA_RULE_EXPRESSIONS, number(NFTA_LIST_ELEM, what)); }
CompiledElement element(std::uint8_t key, bool begins) {
  auto value = from_hex("c0a801");
  value.push_back(std::byte{key});
  auto all = attribute(NFTA_SET_ELEM_KEY, attribute(NFTA_DATA_VALUE, value));
  if (!begins) {
    const auto flags = number(NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
    all.insert(all.end(), flags.begin(), flags.end());
  }
  return {value, begins, all};
}

CompiledRuleset sample() {
  CompiledRuleset ruleset;
  ruleset.sets["login4"] = {number(NFTA_SET_FLAGS, NFT_SET_TIMEOUT), false, {}};
  ruleset.sets["admitted"] = {number(NFTA_SET_FLAGS, NFT_SET_TIMEOUT | NFT_SET_EVAL), false, {}};
  ruleset.sets["clients4"] = {
      number(NFTA_SET_FLAGS, NFT_SET_INTERVAL), true, {element(0, true), element(128, false)}};
  ruleset.counters["late"] = {};
  ruleset.chains["forward"] = {attribute(NFTA_CHAIN_HOOK, number(NFTA_HOOK_HOOKNUM, 2)),
                               number(NFTA_CHAIN_POLICY, 1),
                               {rule(1), rule(2)}};
  ruleset.chains["pass"] = {{}, {}, {rule(3)}};
  return ruleset;
}

CompiledRuleset read_back(const std::vector<Attributes>& messages, const std::string& table = "icqgate") {
  RulesetReader reader{table};
  for (const auto& one : messages) reader.read(one);
  return reader.take();
}

}  // namespace

TEST_CASE("what makes a table is what is read of it", "[nft][compiled]") {
  Batch batch{"icqgate"};
  put_table(batch, sample(), kPersist, kTableComment);
  const auto messages = messages_of(batch.finish());
  CHECK(read_back(messages) == sample());
  CHECK(read_back(messages, "another") == CompiledRuleset{});
  CHECK(type_of(messages[0]) == NFT_MSG_NEWTABLE);  // or the next fails where there is none
  CHECK(type_of(messages[1]) == NFT_MSG_DELTABLE);
  CHECK(type_of(messages[2]) == NFT_MSG_NEWTABLE);
  // What a rule names has to be there before it.
  const auto first_rule = std::find_if(messages.begin(), messages.end(),
                                       [](const auto& one) { return type_of(one) == NFT_MSG_NEWRULE; });
  CHECK(std::all_of(first_rule, messages.end(),
                    [](const auto& one) { return type_of(one) == NFT_MSG_NEWRULE; }));
  RulesetReader reader{"icqgate"};
  for (const auto& one : messages) reader.read(one);
  CHECK(reader.fixed_sets() == std::vector<std::string>{"clients4"});
}

TEST_CASE("the order of a dump's elements does not matter", "[nft][compiled]") {
  auto shuffled = sample();
  std::swap(shuffled.sets["clients4"].elements[0], shuffled.sets["clients4"].elements[1]);
  Batch batch{"icqgate"};
  put_table(batch, shuffled, 0, kTableComment);
  CHECK(read_back(messages_of(batch.finish())) == sample());
  // Where one interval ends and the next begins, the end comes first.
  CHECK(element(7, false) < element(7, true));
}

TEST_CASE("cut or damaged dumps are read within their bounds", "[nft][compiled]") {
  Batch batch{"icqgate"};
  put_table(batch, sample(), 0, kTableComment);
  for (const auto& message : messages_of(batch.finish())) {
    RulesetReader reader{"icqgate"};
    for (std::size_t size = 0; size < message.size(); ++size) {
      auto cut = message;
      cut.resize(size);
      reader.read(cut);
      (void)parse_event(cut);
    }
    for (std::size_t at = 0; at < message.size(); ++at)
      for (const int value : {0, 1, 0x7f, 0xff}) {
        auto damaged = message;
        damaged[at] = static_cast<std::byte>(value);
        reader.read(damaged);
        (void)parse_event(damaged);
      }
    (void)reader.take();
  }
}

TEST_CASE("a reload changes what differs and nothing else", "[nft][compiled]") {
  Batch batch{"icqgate"};
  const auto have = sample();
  auto want = have;
  SECTION("nothing") {
    const auto difference = put_difference(batch, have, want);
    CHECK_FALSE(difference.any);
    CHECK(batch.empty());
  }
  SECTION("a rule: the rules of its chain") {
    want.chains["forward"].rules[1] = rule(9);
    const auto difference = put_difference(batch, have, want);
    CHECK(difference.any);
    CHECK(difference.emptied.empty());
    CHECK(types_of(batch) == std::vector<int>{NFT_MSG_DELRULE, NFT_MSG_NEWRULE, NFT_MSG_NEWRULE});
  }
  SECTION("elements of a fixed set: all of them, no rule") {
    want.sets["clients4"].elements.pop_back();
    put_difference(batch, have, want);
    CHECK(types_of(batch) == std::vector<int>{NFT_MSG_DELSETELEM, NFT_MSG_NEWSETELEM});
  }
  SECTION("a policy: the chain stays") {
    want.chains["forward"].policy = number(NFTA_CHAIN_POLICY, 0);
    put_difference(batch, have, want);
    CHECK(types_of(batch) == std::vector<int>{NFT_MSG_NEWCHAIN});
  }
  SECTION("another hook: that chain anew") {
    want.chains["forward"].hook = attribute(NFTA_CHAIN_HOOK, number(NFTA_HOOK_HOOKNUM, 3));
    put_difference(batch, have, want);
    const auto types = types_of(batch);
    CHECK(count(types, NFT_MSG_DELCHAIN) == 1);
    CHECK(count(types, NFT_MSG_NEWCHAIN) == 1);
    CHECK(count(types, NFT_MSG_NEWRULE) == 3);
    CHECK(count(types, NFT_MSG_NEWSET) == 0);
  }
  SECTION("a set of the service's made anew: it is told") {
    want.sets["login4"].definition = number(NFTA_SET_FLAGS, 0);
    const auto difference = put_difference(batch, have, want);
    CHECK(difference.emptied == std::vector{SetId::Login4});
    const auto types = types_of(batch);
    // Rules that may name it go first, and come again last.
    CHECK(types == std::vector<int>{NFT_MSG_DELRULE, NFT_MSG_DELRULE, NFT_MSG_DELSET, NFT_MSG_NEWSET,
                                    NFT_MSG_NEWRULE, NFT_MSG_NEWRULE, NFT_MSG_NEWRULE});
  }
  SECTION("more: no rule of another chain is touched") {
    want.sets["forwards"] = {number(NFTA_SET_FLAGS, NFT_SET_TIMEOUT), false, {}};
    want.chains["nat_in"] = {attribute(NFTA_CHAIN_HOOK, number(NFTA_HOOK_HOOKNUM, 0)), {}, {rule(5)}};
    want.counters["other"] = {};
    const auto difference = put_difference(batch, have, want);
    CHECK(difference.emptied == std::vector{SetId::Forwards});
    CHECK(types_of(batch) ==
          std::vector<int>{NFT_MSG_NEWSET, NFT_MSG_NEWOBJ, NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE});
  }
  SECTION("less") {
    want.sets.erase("clients4");
    want.chains.erase("pass");
    want.counters.erase("late");
    put_difference(batch, have, want);
    CHECK(types_of(batch) == std::vector<int>{NFT_MSG_DELRULE, NFT_MSG_DELRULE, NFT_MSG_DELCHAIN,
                                              NFT_MSG_DELSET, NFT_MSG_DELOBJ, NFT_MSG_NEWRULE,
                                              NFT_MSG_NEWRULE});
  }
}

TEST_CASE("a table holds another if all of that is in force", "[nft][compiled]") {
  const auto want = sample();
  auto have = want;
  CHECK(holds(have, want));
  SECTION("more beside it") {
    have.sets["theirs"] = {};
    have.chains["theirs"] = {};
    have.chains["forward"].rules.insert(have.chains["forward"].rules.begin() + 1, rule(77));
    have.sets["clients4"].elements.push_back(element(200, true));
    CHECK(holds(have, want));
    CHECK_FALSE(holds(want, have));
  }
  SECTION("a rule less, or two in another order") {
    have.chains["forward"].rules.pop_back();
    CHECK_FALSE(holds(have, want));
    have.chains["forward"].rules = {rule(2), rule(1)};
    CHECK_FALSE(holds(have, want));
  }
  SECTION("anything else of it") {
    const int what = GENERATE(0, 1, 2, 3, 4, 5, 6);
    if (what == 0) have.sets.erase("login4");
    if (what == 1) have.sets["login4"].definition.clear();
    if (what == 2) have.sets["clients4"].elements.erase(have.sets["clients4"].elements.begin());
    if (what == 3) have.chains.erase("pass");
    if (what == 4) have.chains["forward"].policy.clear();
    if (what == 5) have.chains["forward"].hook.clear();
    if (what == 6) have.counters.clear();
    CHECK_FALSE(holds(have, want));
  }
}

TEST_CASE("events tell table, set, elements and program", "[nft][event]") {
  const Element gone = Element::login({make_ipv4(192, 0, 2, 5), Port{5190}});
  Batch batch{"icqgate"};
  batch.change({Change::Kind::Remove, gone, {}});
  batch.delete_table();
  const auto messages = messages_of(batch.finish());
  REQUIRE(messages.size() == 3);
  const auto added = parse_event(messages[0]);
  REQUIRE(added);
  CHECK(added->type == NFT_MSG_NEWSETELEM);
  CHECK(added->elements.empty());
  const auto removed = parse_event(messages[1]);
  REQUIRE(removed);
  CHECK(removed->type == NFT_MSG_DELSETELEM);
  CHECK(removed->table == "icqgate");
  CHECK(removed->set == "login4");
  CHECK(removed->elements == std::vector{gone});
  const auto table = parse_event(messages[2]);
  REQUIRE(table);
  CHECK(table->type == NFT_MSG_DELTABLE);
  auto other_family = messages[2];
  other_family[sizeof(nlmsghdr)] = std::byte{NFPROTO_IPV4};
  CHECK(parse_event(other_family)->table.empty());

  nlmsghdr head{};
  Attributes end(sizeof(nlmsghdr) + sizeof(nfgenmsg));
  const auto name = attribute(NFTA_GEN_PROC_NAME, std::as_bytes(std::span{"nft", 4}));
  end.insert(end.end(), name.begin(), name.end());
  head.nlmsg_len = static_cast<std::uint32_t>(end.size());
  head.nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN;
  std::memcpy(end.data(), &head, sizeof head);
  CHECK(parse_event(end)->program == "nft");
  CHECK(parse_event(end)->table.empty());
  CHECK_FALSE(parse_event({}));
}
