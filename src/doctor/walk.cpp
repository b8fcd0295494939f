// SPDX-License-Identifier: GPL-2.0-or-later
#include "doctor/walk.hpp"

#include <array>
#include <optional>
#include <string_view>

namespace icqgate::doctor {

namespace {

constexpr int kDeepest = 16;              // jumps within each other: the kernel's own limit
constexpr std::size_t kMost = 1'000'000;  // rules looked at, for one kind of traffic

// Statements that let a packet go on to the next one.
constexpr std::array<std::string_view, 13> kPassing{"counter",        "log",  "mangle",  "set", "ct helper",
                                                    "ct timeout",     "last", "secmark", "dup", "comment",
                                                    "ct expectation", "map",  "continue"};

enum class Way { On, Return, Accept, Drop };

class Walk {
 public:
  Walk(const Ruleset& ruleset, const Traffic& traffic) : ruleset_{ruleset}, traffic_{traffic} {}

  std::vector<Hit> through(const Chain& base) {
    const Way way = chain(base, Truth::Yes, 0);
    if (way != Way::Accept && way != Way::Drop && base.base->drops)
      hits_.push_back({Deed::Drop, &base, nullptr, !perhaps_accepted_, true});
    return std::move(hits_);
  }

 private:
  // `path`: how much of the traffic comes here.
  Way chain(const Chain& chain, Truth path, int depth) {
    if (depth >= kDeepest) return Way::On;
    for (const Rule& rule : chain.rules) {
      if (++looked_at_ > kMost) return Way::Return;
      if (const Way way = this->rule(chain, rule, path, depth); way != Way::On) return way;
    }
    return Way::On;
  }

  Way rule(const Chain& chain, const Rule& rule, Truth path, int depth) {
    Truth truth = Truth::Yes;
    for (const Json& statement : rule.statements) {
      if (!statement.is_object() || statement.empty()) continue;
      const std::string& kind = statement.begin().key();
      const Json& what = statement.begin().value();
      if (kind == "match") {
        truth = both(truth, test(traffic_, text_of(member(what, "op")), member(what, "left"),
                                 member(what, "right"), ruleset_, chain));
      } else if (kind == "vmap") {
        if (const Way way = vmap(chain, rule, what, path, truth, depth); way != Way::On) return way;
      } else if (const auto way = verdict(chain, rule, statement, path, truth, depth)) {
        if (*way != Way::On) return *way;
      } else if (kind == "xt" && text_of(member(what, "type")) == "target") {
        perhaps_accepted_ = true;
        return Way::On;
      } else if (kind == "limit" || kind == "xt" || !passing(kind)) {
        truth = both(truth, Truth::Unknown);
      }
      if (truth == Truth::No) return Way::On;
    }
    return Way::On;
  }

  static bool passing(std::string_view kind) {
    for (const auto one : kPassing)
      if (kind == one) return true;
    return false;
  }

  Way vmap(const Chain& chain, const Rule& rule, const Json& map, Truth path, Truth truth, int depth) {
    const Json& data = member(map, "data");
    const Json* list = &member(data, "set");
    if (const auto named = text_of(data); named.starts_with('@')) {
      const auto found = ruleset_.elements.find({chain.family, chain.table, named.substr(1)});
      if (found == ruleset_.elements.end()) {
        perhaps_accepted_ = true;  // or dropped: a map that changes by itself
        return Way::On;
      }
      list = &found->second;
    }
    if (!list->is_array()) return Way::On;
    for (const Json& pair : *list) {
      if (!pair.is_array() || pair.size() != 2) continue;
      const Json& element = member(pair[0], "elem");
      const Truth here =
          both(truth, test(traffic_, "==", member(map, "key"),
                           element.is_null() ? pair[0] : member(element, "val"), ruleset_, chain));
      if (here == Truth::No) continue;
      if (const auto way = verdict(chain, rule, pair[1], path, here, depth); way && *way != Way::On)
        return *way;
    }
    return Way::On;
  }

  void hit(Deed deed, const Chain& chain, const Rule& rule, Truth path, Truth truth) {
    const Truth all = both(path, truth);
    hits_.push_back({deed, &chain, &rule, all == Truth::Yes && !perhaps_accepted_, all != Truth::Unknown});
  }

  // nullopt: no verdict. Way::On: the packet, or some of it, goes on to the next rule.
  std::optional<Way> verdict(const Chain& chain, const Rule& rule, const Json& statement, Truth path,
                             Truth truth, int depth) {
    if (!statement.is_object() || statement.empty()) return std::nullopt;
    const std::string& kind = statement.begin().key();
    const bool all = truth == Truth::Yes;
    if (kind == "accept") {
      if (!all || path != Truth::Yes) perhaps_accepted_ = true;
      return all ? Way::Accept : Way::On;
    }
    if (kind == "drop" || kind == "reject") {
      hit(kind == "drop" ? Deed::Drop : Deed::Reject, chain, rule, path, truth);
      return all ? Way::Drop : Way::On;
    }
    if (kind == "dnat" || kind == "redirect" || kind == "tproxy") {
      hit(Deed::Translate, chain, rule, path, truth);
      return all ? Way::Accept : Way::On;
    }
    if (kind == "masquerade" || kind == "snat") return all ? Way::Accept : Way::On;
    if (kind == "queue") {
      hit(Deed::Queue, chain, rule, path, truth);
      perhaps_accepted_ = true;  // what its reader says
      return all ? Way::Accept : Way::On;
    }
    if (kind == "flow" || kind == "notrack") {
      hit(kind == "flow" ? Deed::Flow : Deed::NoTrack, chain, rule, path, truth);
      return std::nullopt;
    }
    if (kind == "return") return all ? Way::Return : Way::On;
    if (kind != "jump" && kind != "goto") return std::nullopt;
    const Chain* const next = ruleset_.chain(chain, target_of(statement));
    if (next == nullptr) return Way::On;
    Way way = this->chain(*next, both(path, truth), depth + 1);
    if (way == Way::Return || way == Way::On) way = kind == "goto" ? Way::Return : Way::On;
    if (all) return way;
    if (way == Way::Accept) perhaps_accepted_ = true;
    return Way::On;
  }

  const Ruleset& ruleset_;
  const Traffic& traffic_;
  std::vector<Hit> hits_;
  bool perhaps_accepted_ = false;  // some of it, by a rule before
  std::size_t looked_at_ = 0;
};

}  // namespace

std::vector<Hit> walk(const Ruleset& ruleset, const Chain& base, const Traffic& traffic) {
  return Walk{ruleset, traffic}.through(base);
}

}  // namespace icqgate::doctor
