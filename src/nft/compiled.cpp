// SPDX-License-Identifier: GPL-2.0-or-later
#include "nft/compiled.hpp"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "nft/attributes.hpp"

namespace icqgate::nft {
namespace {

constexpr std::size_t kMostTypes = 32;  // more than any message here has

// Appends the attribute as it stands.
void keep(Attributes& to, const nlattr* attribute) {
  if (attribute == nullptr) return;
  const auto* start = reinterpret_cast<const std::byte*>(attribute);
  to.insert(to.end(), start, start + attribute->nla_len);
  to.resize(MNL_ALIGN(to.size()));
}

template <std::size_t Count>
Attributes only(const std::array<const nlattr*, Count>& all, std::initializer_list<std::size_t> types) {
  Attributes kept;
  for (const std::size_t type : types) keep(kept, all[type]);
  return kept;
}

void put(Attributes& to, std::uint16_t type, Bytes value) {
  const nlattr head{static_cast<std::uint16_t>(sizeof(nlattr) + value.size()), type};
  const auto* start = reinterpret_cast<const std::byte*>(&head);
  to.insert(to.end(), start, start + sizeof head);
  to.insert(to.end(), value.begin(), value.end());
  to.resize(MNL_ALIGN(to.size()));
}
void put(Attributes& to, std::uint16_t type, const std::string& text) {
  put(to, type, std::as_bytes(std::span{text.c_str(), text.size() + 1}));
}
void put_u32(Attributes& to, std::uint16_t type, std::uint32_t value) {
  const std::uint32_t wire = to_be32(value);
  put(to, type, std::as_bytes(std::span{&wire, 1}));
}

Attributes named(std::uint16_t type, const std::string& name, const Attributes& more = {}) {
  Attributes all;
  put(all, type, name);
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

Attributes request(std::uint16_t type, std::uint16_t table_type, const std::string& table) {
  nlmsghdr header{};
  header.nlmsg_type = nft_type(type);
  header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  header.nlmsg_seq = 1;
  const nfgenmsg extra{.nfgen_family = NFPROTO_INET, .version = NFNETLINK_V0, .res_id = 0};
  Attributes bytes(sizeof header + sizeof extra);
  put(bytes, table_type, table);
  header.nlmsg_len = static_cast<std::uint32_t>(bytes.size());
  std::copy_n(reinterpret_cast<const std::byte*>(&header), sizeof header, bytes.begin());
  std::copy_n(reinterpret_cast<const std::byte*>(&extra), sizeof extra, bytes.begin() + sizeof header);
  return bytes;
}

void new_set(Batch& batch, const std::string& name, const CompiledSet& set, std::uint32_t id) {
  Attributes all = named(NFTA_SET_NAME, name, set.definition);
  put_u32(all, NFTA_SET_ID, id);  // has to be there and to be another for each of a transaction
  batch.message(NFT_MSG_NEWSET, NLM_F_CREATE, all);
}

void fill_set(Batch& batch, const std::string& name, const CompiledSet& set) {
  constexpr std::size_t kMost = 0x8000;  // of a message; the list is one attribute, of 64 KiB at most
  for (auto next = set.elements.begin(); next != set.elements.end();) {
    Attributes list;
    for (; next != set.elements.end() && list.size() < kMost; ++next)
      put(list, NFTA_LIST_ELEM | NLA_F_NESTED, next->attributes);
    Attributes all = named(NFTA_SET_ELEM_LIST_SET, name);
    put(all, NFTA_SET_ELEM_LIST_ELEMENTS | NLA_F_NESTED, list);
    batch.message(NFT_MSG_NEWSETELEM, NLM_F_CREATE, all);
  }
}

void new_counter(Batch& batch, const std::string& name, const Attributes& counter) {
  Attributes all = named(NFTA_OBJ_NAME, name, counter);
  put_u32(all, NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER);
  put(all, NFTA_OBJ_DATA | NLA_F_NESTED, Bytes{});
  batch.message(NFT_MSG_NEWOBJ, NLM_F_CREATE, all);
}

void delete_counter(Batch& batch, const std::string& name) {
  Attributes all = named(NFTA_OBJ_NAME, name);
  put_u32(all, NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER);
  batch.message(NFT_MSG_DELOBJ, 0, all);
}

void new_chain(Batch& batch, const std::string& name, const CompiledChain& chain) {
  Attributes all = named(NFTA_CHAIN_NAME, name, chain.hook);
  all.insert(all.end(), chain.policy.begin(), chain.policy.end());
  batch.message(NFT_MSG_NEWCHAIN, NLM_F_CREATE, all);
}

void add_rules(Batch& batch, const std::string& name, const CompiledChain& chain) {
  for (const Attributes& rule : chain.rules)
    batch.message(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, named(NFTA_RULE_CHAIN, name, rule));
}

// Calls `visit(name, have or nullptr, want or nullptr)` for each name in either.
template <class Value, class Visit>
void each_of_both(const std::map<std::string, Value>& have, const std::map<std::string, Value>& want,
                  Visit visit) {
  for (const auto& [name, value] : have) {
    const auto found = want.find(name);
    visit(name, &value, found == want.end() ? nullptr : &found->second);
  }
  for (const auto& [name, value] : want)
    if (!have.contains(name)) visit(name, static_cast<const Value*>(nullptr), &value);
}

}  // namespace

std::vector<std::vector<std::byte>> RulesetReader::requests() const {
  return {request(NFT_MSG_GETSET, NFTA_SET_TABLE, table_), request(NFT_MSG_GETOBJ, NFTA_OBJ_TABLE, table_),
          request(NFT_MSG_GETCHAIN, NFTA_CHAIN_TABLE, table_),
          request(NFT_MSG_GETRULE, NFTA_RULE_TABLE, table_)};
}

void RulesetReader::read(Bytes message) {
  std::array<const nlattr*, kMostTypes> all{};
  each_of_message(message, [&all](const nlattr* attribute) {
    if (const auto type = mnl_attr_get_type(attribute); type < all.size()) all[type] = attribute;
  });
  // The first attribute of each of these messages is the table's name.
  if (string_of(all[NFTA_TABLE_NAME]) != table_ ||
      std::to_integer<int>(message[sizeof(nlmsghdr)]) != NFPROTO_INET)
    return;
  switch (reinterpret_cast<const nlmsghdr*>(message.data())->nlmsg_type & 0xff) {
    case NFT_MSG_NEWSET: {
      const std::string name = string_of(all[NFTA_SET_NAME]);
      CompiledSet& set = ruleset_.sets[name];
      set.definition =
          only(all, {NFTA_SET_FLAGS, NFTA_SET_KEY_TYPE, NFTA_SET_KEY_LEN, NFTA_SET_DATA_TYPE,
                     NFTA_SET_DATA_LEN, NFTA_SET_OBJ_TYPE, NFTA_SET_POLICY, NFTA_SET_DESC, NFTA_SET_TIMEOUT,
                     NFTA_SET_GC_INTERVAL, NFTA_SET_EXPR, NFTA_SET_EXPRESSIONS, NFTA_SET_USERDATA});
      set.fixed = !set_by_name(name) && (u32_of(all[NFTA_SET_FLAGS]) & NFT_SET_EVAL) == 0;
      return;
    }
    case NFT_MSG_NEWSETELEM: {
      const auto set = ruleset_.sets.find(string_of(all[NFTA_SET_ELEM_LIST_SET]));
      if (set == ruleset_.sets.end() || all[NFTA_SET_ELEM_LIST_ELEMENTS] == nullptr) return;
      each_nested(all[NFTA_SET_ELEM_LIST_ELEMENTS], [&](const nlattr* entry) {
        const auto fields = attributes<NFTA_SET_ELEM_MAX + 1>(entry);
        const Bytes key = value_of(fields[NFTA_SET_ELEM_KEY]);
        set->second.elements.push_back(
            {{key.begin(), key.end()},
             (u32_of(fields[NFTA_SET_ELEM_FLAGS]) & NFT_SET_ELEM_INTERVAL_END) == 0,
             only(fields, {NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_KEY_END, NFTA_SET_ELEM_DATA, NFTA_SET_ELEM_FLAGS,
                           NFTA_SET_ELEM_USERDATA})});
      });
      return;
    }
    case NFT_MSG_NEWOBJ:
      if (u32_of(all[NFTA_OBJ_TYPE]) == NFT_OBJECT_COUNTER)
        ruleset_.counters[string_of(all[NFTA_OBJ_NAME])] = only(all, {NFTA_OBJ_USERDATA});
      return;
    case NFT_MSG_NEWCHAIN: {
      CompiledChain& chain = ruleset_.chains[string_of(all[NFTA_CHAIN_NAME])];
      chain.hook = only(all, {NFTA_CHAIN_HOOK, NFTA_CHAIN_TYPE});
      chain.policy = only(all, {NFTA_CHAIN_POLICY});
      return;
    }
    case NFT_MSG_NEWRULE:
      ruleset_.chains[string_of(all[NFTA_RULE_CHAIN])].rules.push_back(
          only(all, {NFTA_RULE_EXPRESSIONS, NFTA_RULE_USERDATA}));
      return;
    default:
      return;
  }
}

std::vector<std::string> RulesetReader::fixed_sets() const {
  std::vector<std::string> names;
  for (const auto& [name, set] : ruleset_.sets)
    if (set.fixed) names.push_back(name);
  return names;
}

CompiledRuleset RulesetReader::take() {
  for (auto& [name, set] : ruleset_.sets) std::sort(set.elements.begin(), set.elements.end());
  return std::exchange(ruleset_, {});
}

void put_table(Batch& batch, const CompiledRuleset& ruleset, std::uint32_t flags, std::string_view comment) {
  batch.message(NFT_MSG_NEWTABLE, NLM_F_CREATE, {});  // or the deletion of one that is not there would fail
  batch.delete_table();
  batch.new_table(flags, comment);
  put_difference(batch, {}, ruleset);
}

Difference put_difference(Batch& batch, const CompiledRuleset& have, const CompiledRuleset& want) {
  const std::size_t before = batch.messages();
  Difference difference;
  // A set, counter or chain can go only when no rule names it any more. Which rules do is not looked for:
  // such a reload is rare, and flushing all rules and adding them again is one transaction as well.
  bool all_rules = false;
  each_of_both(have.sets, want.sets, [&](const auto&, const CompiledSet* old, const CompiledSet* now) {
    if (old && (!now || now->definition != old->definition)) all_rules = true;
  });
  each_of_both(have.counters, want.counters, [&](const auto&, const Attributes* old, const Attributes* now) {
    if (old && (!now || *now != *old)) all_rules = true;
  });
  each_of_both(have.chains, want.chains,
               [&](const auto&, const CompiledChain* old, const CompiledChain* now) {
                 if (old && (!now || now->hook != old->hook)) all_rules = true;
               });
  const auto stays = [all_rules](const CompiledChain* old, const CompiledChain* now) {
    return old && now && !all_rules && old->rules == now->rules;
  };

  each_of_both(have.chains, want.chains,
               [&](const std::string& name, const CompiledChain* old, const CompiledChain* now) {
                 if (old && !old->rules.empty() && !stays(old, now))
                   batch.message(NFT_MSG_DELRULE, 0, named(NFTA_RULE_CHAIN, name));  // all of the chain
               });
  each_of_both(have.chains, want.chains,
               [&](const std::string& name, const CompiledChain* old, const CompiledChain* now) {
                 if (old && (!now || now->hook != old->hook))
                   batch.message(NFT_MSG_DELCHAIN, 0, named(NFTA_CHAIN_NAME, name));
               });
  std::uint32_t id = 0;
  each_of_both(
      have.sets, want.sets, [&](const std::string& name, const CompiledSet* old, const CompiledSet* now) {
        const bool same = old && now && old->definition == now->definition;
        if (old && !same) batch.message(NFT_MSG_DELSET, 0, named(NFTA_SET_NAME, name));
        if (!now) return;
        if (!same) {
          new_set(batch, name, *now, ++id);
          if (const auto known = set_by_name(name)) difference.emptied.push_back(*known);
        } else if (old->elements != now->elements && !old->elements.empty()) {
          batch.message(NFT_MSG_DELSETELEM, 0, named(NFTA_SET_ELEM_LIST_SET, name));  // all of the set
        }
        if (!same || old->elements != now->elements) fill_set(batch, name, *now);
      });
  each_of_both(have.counters, want.counters,
               [&](const std::string& name, const Attributes* old, const Attributes* now) {
                 const bool same = old && now && *old == *now;
                 if (old && !same) delete_counter(batch, name);
                 if (now && !same) new_counter(batch, name, *now);
               });
  each_of_both(have.chains, want.chains,
               [&](const std::string& name, const CompiledChain* old, const CompiledChain* now) {
                 if (!now) return;
                 if (!old || old->hook != now->hook) {
                   new_chain(batch, name, *now);
                 } else if (old->policy != now->policy) {
                   batch.message(NFT_MSG_NEWCHAIN, 0, named(NFTA_CHAIN_NAME, name, now->policy));
                 }
               });
  each_of_both(have.chains, want.chains,
               [&](const std::string& name, const CompiledChain* old, const CompiledChain* now) {
                 if (now && !stays(old, now)) add_rules(batch, name, *now);
               });
  difference.any = batch.messages() != before;
  return difference;
}

bool holds(const CompiledRuleset& have, const CompiledRuleset& want) {
  const auto found = [](const auto& in, const std::string& name) {
    const auto at = in.find(name);
    return at == in.end() ? nullptr : &at->second;
  };
  for (const auto& [name, set] : want.sets) {
    const auto* there = found(have.sets, name);
    if (there == nullptr || there->definition != set.definition ||
        !std::includes(there->elements.begin(), there->elements.end(), set.elements.begin(),
                       set.elements.end()))
      return false;
  }
  for (const auto& [name, counter] : want.counters) {
    const auto* there = found(have.counters, name);
    if (there == nullptr || *there != counter) return false;
  }
  for (const auto& [name, chain] : want.chains) {
    const auto* there = found(have.chains, name);
    if (there == nullptr || there->hook != chain.hook || there->policy != chain.policy) return false;
    auto next = chain.rules.begin();
    for (const Attributes& rule : there->rules)
      if (next != chain.rules.end() && rule == *next) ++next;
    if (next != chain.rules.end()) return false;
  }
  return true;
}

}  // namespace icqgate::nft
