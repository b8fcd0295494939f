// SPDX-License-Identifier: GPL-2.0-or-later
// The bits of mark-mask in the hands of others: rules, ip rules. And the numbers of the queues.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "doctor/examine.hpp"
#include "doctor/needs.hpp"
#include "doctor/remedy.hpp"
#include "doctor/traffic.hpp"

namespace icqgate::doctor {

namespace {

constexpr std::uint32_t kAll = 0xffffffff;
constexpr int kBefore = -140;  // our chain `before` of hook prerouting takes our bits out of every packet

// What a statement writes into a mark: which bits it changes, and whether it is a value of its own choice.
struct Write {
  bool of_flow;
  std::uint32_t changed;
  bool whole;              // replaces all bits, not to mark anything with ours
  bool sets_none = false;  // a constant without any of ours
};

// The bits of `value` that are not just those of the mark itself.
std::uint32_t changed_by(const Json& value, bool of_flow) {
  for (const char* op : {"|", "^"}) {
    const Json& parts = member(value, op);
    if (parts.is_array() && parts.size() == 2) {
      const std::uint32_t set = parts[1].is_number_unsigned() ? parts[1].get<std::uint32_t>() : kAll;
      return changed_by(parts[0], of_flow) | set;
    }
  }
  const Json& masked = member(value, "&");
  if (masked.is_array() && masked.size() == 2) {
    const std::uint32_t kept = masked[1].is_number_unsigned() ? masked[1].get<std::uint32_t>() : 0;
    return changed_by(masked[0], of_flow) | ~kept;
  }
  const auto mark = mark_test(value);
  return mark && mark->of_flow == of_flow ? 0 : kAll;
}

std::optional<Write> write_of(const Json& statement, std::uint32_t mask) {
  const Json& mangle = member(statement, "mangle");
  const auto key = mark_test(member(mangle, "key"));
  if (!key) return std::nullopt;
  const Json& value = member(mangle, "value");
  const std::uint32_t changed = changed_by(value, key->of_flow);
  const bool constant = value.is_number_unsigned();
  return Write{key->of_flow, changed, changed == kAll, constant && (value.get<std::uint32_t>() & mask) == 0};
}

// A test in front: none of ours gets as far as the write.
bool guarded(const Rule& rule, std::uint32_t mask) {
  for (const Json& statement : rule.statements) {
    if (write_of(statement, mask)) return false;
    const Json& match = member(statement, "match");
    const auto mark = mark_test(member(match, "left"));
    const auto op = text_of(member(match, "op"));
    const Json& right = member(match, "right");
    if (mark && (mark->mask & mask) == mask && (op == "==" || op == "in") && right.is_number_unsigned() &&
        (right.get<std::uint32_t>() & mask) == 0)
      return true;
  }
  return false;
}

// A base chain and what of ICQ's passes it.
struct Entry {
  const Base* base;
  std::vector<Traffic> traffic;
};

bool before_ours(const Base& base, const config::Config& config) {
  return base.hook == "ingress" || base.hook == "prerouting" ||
         (base.hook == "forward" && base.priority < config.priority);
}

// Whether the rule can be true of some of that, as far as its tests tell; those of marks aside.
bool concerns(const Entry& entry, const Rule& rule, const Chain& chain, const Ruleset& ruleset,
              bool new_too) {
  return std::any_of(entry.traffic.begin(), entry.traffic.end(), [&](const Traffic& traffic) {
    if (!new_too && traffic.fresh.value_or(false)) return false;
    return std::all_of(rule.statements.begin(), rule.statements.end(), [&](const Json& statement) {
      const Json& match = member(statement, "match");
      if (match.is_null() || mark_test(member(match, "left"))) return true;
      return test(traffic, text_of(member(match, "op")), member(match, "left"), member(match, "right"),
                  ruleset, chain) != Truth::No;
    });
  });
}

// Where a change of the packet's mark meets one of ours.
bool meets_ours(const Base& base, const config::Config& config, bool sets_none) {
  if (base.hook == "forward") return !sets_none || base.priority >= config.priority;
  if (base.hook == "prerouting") return !sets_none && base.priority > kBefore;
  return base.hook == "postrouting" && base.priority <= 0;
}

// Flows of the host itself are none of ours.
bool sees_forwarded(const Base& base) { return base.hook != "input" && base.hook != "output"; }

bool accepts(const Rule& rule) {
  return std::any_of(rule.statements.begin(), rule.statements.end(), [](const Json& statement) {
    return statement.is_object() && (statement.contains("accept") || statement.contains("return"));
  });
}

struct Use {
  std::string what, follows;
  const Chain* chain;
  const Rule* rule;
  bool certain;
  bool moves;        // another mark-mask would do
  std::string test;  // what in front of the rule would do too
};

std::optional<Use> use_of(const Situation& situation, const Chain& chain, const Rule& rule,
                          const std::vector<const Entry*>& entries) {
  const std::uint32_t mask = nft::marks_of(situation.config.mark_mask).mask;
  const auto any = [&](auto wanted) {
    return std::any_of(entries.begin(), entries.end(), [&](const Entry* entry) { return wanted(*entry); });
  };
  const auto about_ours = [&](const Entry& entry, bool new_too) {
    return concerns(entry, rule, chain, situation.ruleset, new_too);
  };
  for (const Json& statement : rule.statements) {
    if (const auto write = write_of(statement, mask)) {
      if ((write->changed & mask) == 0 || guarded(rule, mask)) continue;
      // What is written before icqgate has seen a new flow is no matter.
      const bool matters = any([&](const Entry& entry) {
        return write->of_flow
                   ? sees_forwarded(*entry.base) &&
                         about_ours(entry, !before_ours(*entry.base, situation.config))
                   : meets_ours(*entry.base, situation.config, write->sets_none) && about_ours(entry, true);
      });
      if (!matters) continue;
      return Use{
          fmt::format("this rule {} the bits {:#010x} of {} mark", write->whole ? "overwrites" : "changes",
                      write->changed & mask, write->of_flow ? "ct" : "meta"),
          write->of_flow
              ? "connections that icqgate let in or watches lose their mark, and end, or others look "
                "like them"
              : "packets that icqgate let in look like others, or others like them",
          &chain,
          &rule,
          true,
          !write->whole,
          fmt::format("{} mark & {:#010x} == 0", write->of_flow ? "ct" : "meta", mask)};
    }
    const Json& match = member(statement, "match");
    const auto mark = mark_test(member(match, "left"));
    if (!mark || (mark->mask & mask) == 0) continue;
    if (!any([&](const Entry& entry) {
          return (mark->of_flow ? sees_forwarded(*entry.base)
                                : meets_ours(*entry.base, situation.config, false)) &&
                 about_ours(entry, true);
        }))
      continue;
    if ((mark->mask & ~mask) == 0) continue;  // asks for ours alone: written for icqgate, or a guard
    if (mark->mask == kAll) {
      // The whole mark: with our bits beside it the value is another one.
      const Json& right = member(match, "right");
      const bool ours = right.is_number_unsigned() && (right.get<std::uint32_t>() & ~mask) == 0;
      if (ours) continue;
      return Use{
          fmt::format("this rule asks for the whole of {} mark", mark->of_flow ? "ct" : "meta"),
          "on what icqgate allows, which has its bits set beside those of others, it may not match any more",
          &chain,
          &rule,
          false,
          false,
          ""};
    }
    if (accepts(rule) && member(match, "op") == "!=") continue;  // one rule for several programs' marks
    return Use{
        fmt::format("this rule tests the bits {:#010x} of {} mark, which are icqgate's, together with others",
                    mark->mask & mask, mark->of_flow ? "ct" : "meta"),
        "it may take what icqgate allows for something else, or the other way round",
        &chain,
        &rule,
        false,
        true,
        ""};
  }
  return std::nullopt;
}

// Every bit that somebody names.
std::uint32_t used_bits(const Situation& situation) {
  std::uint32_t used = 0;
  for (const auto& [name, chain] : situation.ruleset.chains) {
    for (const Rule& rule : chain.rules) {
      for (const Json& statement : rule.statements) {
        if (const auto write = write_of(statement, 0); write && !write->whole) used |= write->changed;
        const Json& match = member(statement, "match");
        const auto mark = mark_test(member(match, "left"));
        const Json& right = member(match, "right");
        if (mark && mark->mask != kAll) used |= mark->mask;
        if (mark && right.is_number_unsigned()) used |= right.get<std::uint32_t>();
        const Json& value = member(member(statement, "mangle"), "value");
        if (value.is_number_unsigned()) used |= value.get<std::uint32_t>();
      }
    }
  }
  for (const PolicyRule& rule : situation.facts.policy_rules) {
    if (rule.mask != kAll) used |= rule.mask;
    used |= rule.mark;
  }
  return used;
}

std::optional<std::uint32_t> free_mask(std::uint32_t used) {
  for (int bit = 30; bit > 0; --bit) {
    const std::uint32_t mask = 3u << bit;
    if ((mask & used) == 0) return mask;
  }
  return std::nullopt;
}

std::string other_mask(const Situation& situation) {
  const auto mask = free_mask(used_bits(situation));
  if (!mask) return "no two bits are free: give the other program fewer";
  return set_key(situation.facts, "mark-mask", fmt::format("{:#010x}", *mask)) +
         " && systemctl restart icqgate";
}

constexpr const char* kKeepMask =
    "the rules that accept icqgate's mark have to ask for the new mask too: run doctor again";

}  // namespace

std::vector<Finding> examine_marks(const Situation& situation) {
  std::vector<Finding> findings;
  const std::uint32_t mask = nft::marks_of(situation.config.mark_mask).mask;
  const auto reached = reached_from(situation.ruleset);
  std::map<Name, Entry> entries;
  for (const auto& [name, chain] : situation.ruleset.chains) {
    if (!chain.base) continue;
    Entry& entry = entries[name];
    entry = {&*chain.base, needed_at(chain, situation)};
  }
  for (const auto& [name, chain] : situation.ruleset.chains) {
    const auto from = reached.find(name);
    if (from == reached.end()) continue;
    std::vector<const Entry*> bases;
    for (const Name& base : from->second) bases.push_back(&entries.at(base));
    for (const Rule& rule : chain.rules) {
      const auto use = use_of(situation, chain, rule, bases);
      if (!use) continue;
      Finding finding{"mark",    use->certain, fmt::format("{}: {}", place_of(chain, rule), use->what),
                      rule.text, use->follows, "",
                      ""};
      if (use->moves) {
        finding.remedy = other_mask(situation);
        finding.keep = kKeepMask;
      } else if (!use->test.empty() && chain.tool == Tool::Nft) {
        finding.remedy = narrow(chain, rule, use->test);
        finding.keep = "the rule so changed where that table is made";
      } else if (!use->test.empty()) {
        finding.remedy = fmt::format(
            "give that rule a mask without icqgate's bits, as in --set-xmark VALUE/{0:#010x} or "
            "--nfmask {0:#010x} --ctmask {0:#010x}",
            ~mask);
      } else {
        finding.remedy =
            fmt::format("let that rule ask for its own bits only, as in mark & {:#010x} == VALUE", ~mask);
      }
      findings.push_back(std::move(finding));
      if (findings.size() >= 50) return findings;
    }
  }
  for (const PolicyRule& rule : situation.facts.policy_rules) {
    if ((rule.mask & mask) == 0) continue;
    const bool tests = rule.mask != kAll || (rule.mark & mask) != 0;
    if (!tests) continue;  // the whole mark, at routing: our bits are not in it yet
    findings.push_back({"mark", false,
                        fmt::format("ip rule {}: fwmark {:#x}/{:#x} uses the bits {:#010x} of mark-mask",
                                    rule.priority, rule.mark, rule.mask, rule.mask & mask),
                        "", "packets of ICQ may take the way of another mark, or others that of ICQ",
                        other_mask(situation), kKeepMask});
  }
  return findings;
}

std::vector<Finding> examine_queues(const Situation& situation) {
  std::vector<Finding> findings;
  const auto& config = situation.config;
  const Chain none{"", "", "", Tool::Nft, false, {}, {}};
  for (const auto& [name, chain] : situation.ruleset.chains) {
    for (const Rule& rule : chain.rules) {
      for (const Json& statement : rule.statements) {
        const Json& queue = member(statement, "queue");
        const auto numbers = spans_of(member(queue, "num"), situation.ruleset, none);
        if (!numbers) continue;
        const std::pair<const char*, std::uint16_t> ours[]{{"queue-control", config.queue_control},
                                                           {"queue-peer", config.queue_peer},
                                                           {"queue-names", config.queue_names}};
        for (const auto& [key, number] : ours) {
          if (inside({{number, number}}, *numbers) != Truth::Yes) continue;
          std::uint32_t next = std::max({config.queue_control, config.queue_peer, config.queue_names});
          next = std::max(next, numbers->back().last) + 1;
          findings.push_back(
              {"queue", true,
               fmt::format("{}: this rule sends packets to queue {}, which is icqgate's ({})",
                           place_of(chain, rule), number, key),
               rule.text, "packets that are none of ICQ's get into its queue, or ICQ's to another program",
               set_key(situation.facts, key, std::to_string(next > 65535 ? 1024 : next)) +
                   " && systemctl restart icqgate",
               ""});
        }
      }
    }
  }
  return findings;
}

}  // namespace icqgate::doctor
