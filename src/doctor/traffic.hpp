// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "doctor/ruleset.hpp"
#include "doctor/spans.hpp"
#include "nft/ruleset.hpp"

namespace icqgate::doctor {

// What is known of one kind of packets that ICQ needs. Absent: not known, a test of it is Truth::Unknown.
struct Traffic {
  std::string name;      // "new connections of peers to 20000-20099"
  std::string accept;    // the tests of an nft rule that picks it, without a mark
  std::string iptables;  // the same for iptables
  bool v6 = false;
  const char* protocol = "tcp";
  std::optional<std::vector<std::string>> in, out;  // interfaces
  std::optional<Spans> source_port, destination_port;
  std::optional<Spans> source, destination;              // IPv4
  std::optional<bool> fresh;                             // conntrack: new, or established
  std::optional<bool> dnat;                              // conntrack's status
  std::optional<std::vector<std::uint32_t>> marks;       // within our mask: what the packet may have
  std::optional<std::vector<std::uint32_t>> flow_marks;  // the same of ct mark
  std::uint32_t mask = 0;                                // ours
};

// The spans of the right side of a match: numbers, addresses, ranges, prefixes, sets of them. nullopt: none
// of these, or a set that is not known.
[[nodiscard]] std::optional<Spans> spans_of(const Json& value, const Ruleset& ruleset, const Chain& chain);

// `left OP right` as JSON has it.
[[nodiscard]] Truth test(const Traffic& traffic, const std::string& op, const Json& left, const Json& right,
                         const Ruleset& ruleset, const Chain& chain);

// {"meta": {"key": "mark"}} or {"&": [that, MASK]}, also with "ct": which of them and the mask. nullopt:
// neither.
struct MarkTest {
  bool of_flow = false;
  std::uint32_t mask = 0xffffffff;
};
[[nodiscard]] std::optional<MarkTest> mark_test(const Json& left);

}  // namespace icqgate::doctor
