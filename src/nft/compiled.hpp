// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "nft/batch.hpp"
#include "nft/element.hpp"

namespace icqgate::nft {

// A table's contents as a value: what the kernel said of it in dumps, and what makes the same again. The
// attributes are the kernel's own bytes, those only that say what it is: no handles, use counts, positions,
// counter values. So two of them are equal if and only if the tables do the same.
using Attributes = std::vector<std::byte>;

struct CompiledElement {
  std::vector<std::byte> key;
  bool begins = true;  // false: the end of an interval, which is not part of it; sorts before a beginning
  Attributes attributes;
  friend auto operator<=>(const CompiledElement&, const CompiledElement&) = default;
};
struct CompiledSet {
  Attributes definition;
  // False: filled by the service or by the ruleset's own rules, and `elements` is empty.
  bool fixed = false;
  std::vector<CompiledElement> elements;  // sorted: a dump's order is that of a hash
  friend bool operator==(const CompiledSet&, const CompiledSet&) = default;
};
struct CompiledChain {
  Attributes hook;  // hook, priority and type: empty for one that is no base chain
  Attributes policy;
  std::vector<Attributes> rules;
  friend bool operator==(const CompiledChain&, const CompiledChain&) = default;
};
struct CompiledRuleset {
  std::map<std::string, CompiledSet> sets;
  std::map<std::string, Attributes> counters;  // named ones, the only objects of ours
  std::map<std::string, CompiledChain> chains;
  friend bool operator==(const CompiledRuleset&, const CompiledRuleset&) = default;
};

// Reads one from dumps. Order of calls: hand over every message that the answers to requests() bring, then
// those of a dump (dump_request) of each of fixed_sets(), then take().
class RulesetReader {
 public:
  explicit RulesetReader(std::string table) : table_{std::move(table)} {}
  // Dumps of sets, counters, chains and rules. The kernel may send those of other tables too: they are left
  // out.
  [[nodiscard]] std::vector<std::vector<std::byte>> requests() const;
  void read(Bytes message);
  [[nodiscard]] std::vector<std::string> fixed_sets() const;
  [[nodiscard]] CompiledRuleset take();

 private:
  std::string table_;
  CompiledRuleset ruleset_;
};

// Appends what makes the whole table, as new: whatever table of that name is there goes in the same
// transaction.
void put_table(Batch& batch, const CompiledRuleset& ruleset, std::uint32_t flags, std::string_view comment);

// Appends what makes `want` of `have`: only what differs. Base chains stay unless their own hook, priority or
// type is another; elements of the sets that the service fills stay. What it cannot keep of those:
struct Difference {
  bool any = false;
  std::vector<SetId> emptied;  // made anew or for the first time: nothing is in them
};
Difference put_difference(Batch& batch, const CompiledRuleset& have, const CompiledRuleset& want);

// Whether all of `want` is in `have` and in force there: what others added beside it, rules among ours
// included, does not count.
[[nodiscard]] bool holds(const CompiledRuleset& have, const CompiledRuleset& want);

}  // namespace icqgate::nft
