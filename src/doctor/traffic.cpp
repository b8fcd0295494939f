// SPDX-License-Identifier: GPL-2.0-or-later
#include "doctor/traffic.hpp"

#include <algorithm>

#include "net/address.hpp"

namespace icqgate::doctor {

namespace {

std::optional<std::uint32_t> number_of(const Json& value) {
  if (value.is_number_unsigned() && value.get<std::uint64_t>() <= 0xffffffff)
    return value.get<std::uint32_t>();
  if (!value.is_string()) return std::nullopt;
  const auto address = parse_address(value.get<std::string>());
  if (!address || !address->is_v4()) return std::nullopt;
  return address->v4()->get();
}

// The words of a right side: one, a list (flags), a set, or a named set.
std::optional<std::vector<std::string>> words_of(const Json& value, const Ruleset& ruleset,
                                                 const Chain& chain) {
  const Json* list = &value;
  if (const auto text = text_of(value); text.starts_with('@')) {
    const auto found = ruleset.elements.find({chain.family, chain.table, text.substr(1)});
    if (found == ruleset.elements.end()) return std::nullopt;
    list = &found->second;
  } else if (value.is_string()) {
    return std::vector<std::string>{text};
  } else if (value.is_object()) {
    list = &member(value, "set");
  }
  if (!list->is_array()) return std::nullopt;
  std::vector<std::string> words;
  for (const Json& one : *list) {
    const Json& element = member(one, "elem");
    const Json& plain = element.is_null() ? one : member(element, "val");
    if (!plain.is_string()) return std::nullopt;
    words.push_back(plain.get<std::string>());
  }
  return words;
}

bool covers(const std::string& pattern, const std::string& name) {
  if (!pattern.ends_with('*')) return pattern == name;
  return name.starts_with(pattern.substr(0, pattern.size() - 1));
}

Truth share(std::size_t hits, std::size_t all) {
  return hits == 0 ? Truth::No : hits == all ? Truth::Yes : Truth::Some;
}

Truth of_interfaces(const std::optional<std::vector<std::string>>& ours,
                    const std::optional<std::vector<std::string>>& tested) {
  if (!ours || !tested) return Truth::Unknown;
  std::size_t hits = 0;
  for (const auto& name : *ours)
    if (std::any_of(tested->begin(), tested->end(), [&](const auto& one) { return covers(one, name); }))
      ++hits;
  return share(hits, ours->size());
}

Truth of_spans(const std::optional<Spans>& ours, const std::optional<Spans>& tested) {
  if (!ours || !tested) return Truth::Unknown;
  return inside(*ours, *tested);
}

bool has(const std::vector<std::string>& words, const char* word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

Truth of_conntrack(const Traffic& traffic, const std::string& key,
                   const std::optional<std::vector<std::string>>& words) {
  if (!words) return Truth::Unknown;
  if (key == "state") {
    if (!traffic.fresh) return Truth::Unknown;
    return has(*words, *traffic.fresh ? "new" : "established") ? Truth::Yes : Truth::No;
  }
  if (key == "status" && *words == std::vector<std::string>{"dnat"} && traffic.dnat)
    return *traffic.dnat ? Truth::Yes : Truth::No;
  return Truth::Unknown;
}

// Bits of others may be set or not: what is decided by ours alone is certain.
Truth of_mark(const std::optional<std::vector<std::uint32_t>>& marks, std::uint32_t ours, std::uint32_t mask,
              const std::optional<Spans>& tested) {
  if (!marks || !tested || (mask & ours) == 0) return Truth::Unknown;
  std::size_t hits = 0;
  for (const std::uint32_t mark : *marks) {
    const std::uint32_t masked = mark & mask;
    hits += std::any_of(tested->begin(), tested->end(), [&](const Span& span) {
      if (span.first != span.last) return span.first <= masked && masked <= span.last;
      return (span.first & ours & mask) == masked;
    });
  }
  const Truth truth = share(hits, marks->size());
  return truth == Truth::Yes && (mask & ~ours) != 0 ? Truth::Some : truth;
}

Truth of_payload(const Traffic& traffic, const std::string& protocol, const std::string& field,
                 const Json& right, const Ruleset& ruleset, const Chain& chain) {
  if (protocol == "ip" || protocol == "ip6") {
    if ((protocol == "ip6") != traffic.v6) return Truth::No;
    if (field == "protocol" || field == "nexthdr") {
      const auto words = words_of(right, ruleset, chain);
      if (!words) return Truth::Unknown;
      return has(*words, traffic.protocol) ? Truth::Yes : Truth::No;
    }
    if (field != "saddr" && field != "daddr") return Truth::Unknown;
    if (traffic.v6) return Truth::Unknown;
    return of_spans(field == "saddr" ? traffic.source : traffic.destination, spans_of(right, ruleset, chain));
  }
  if (protocol == "tcp" || protocol == "udp" || protocol == "th") {
    if (protocol != "th" && protocol != traffic.protocol) return Truth::No;
    if (field != "sport" && field != "dport") return Truth::Unknown;
    return of_spans(field == "sport" ? traffic.source_port : traffic.destination_port,
                    spans_of(right, ruleset, chain));
  }
  if (protocol == "icmp" || protocol == "icmpv6" || protocol == "arp" || protocol == "igmp") return Truth::No;
  return Truth::Unknown;
}

// A field of another protocol tests that protocol first: there its opposite is as untrue.
bool of_other_protocol(const Traffic& traffic, const std::string& protocol) {
  if (protocol == "ip" || protocol == "ip6") return (protocol == "ip6") != traffic.v6;
  return protocol != "th" && protocol != traffic.protocol;
}

}  // namespace

std::optional<MarkTest> mark_test(const Json& left) {
  const Json& masked = member(left, "&");
  if (masked.is_array() && masked.size() == 2) {
    auto inner = mark_test(masked[0]);
    if (!inner || !masked[1].is_number_unsigned()) return std::nullopt;
    inner->mask &= static_cast<std::uint32_t>(masked[1].get<std::uint64_t>());
    return inner;
  }
  if (member(member(left, "meta"), "key") == "mark") return MarkTest{};
  if (member(member(left, "ct"), "key") == "mark") return MarkTest{.of_flow = true};
  return std::nullopt;
}

std::optional<Spans> spans_of(const Json& value, const Ruleset& ruleset, const Chain& chain) {
  if (const auto number = number_of(value)) return Spans{{*number, *number}};
  if (const auto text = text_of(value); text.starts_with('@')) {
    const auto found = ruleset.elements.find({chain.family, chain.table, text.substr(1)});
    if (found == ruleset.elements.end()) return std::nullopt;
    if (found->second.is_null()) return Spans{};  // an empty set
    return spans_of({{"set", found->second}}, ruleset, chain);
  }
  if (const Json& range = member(value, "range"); range.is_array() && range.size() == 2) {
    const auto first = number_of(range[0]), last = number_of(range[1]);
    if (!first || !last) return std::nullopt;
    return Spans{{*first, *last}};
  }
  if (const Json& prefix = member(value, "prefix"); prefix.is_object()) {
    const auto address = number_of(member(prefix, "addr"));
    const Json& length = member(prefix, "len");
    if (!address || !length.is_number_unsigned() || length.get<std::uint64_t>() > 32) return std::nullopt;
    const auto bits = length.get<unsigned>();
    const std::uint32_t rest = bits == 0 ? 0xffffffff : bits == 32 ? 0 : 0xffffffff >> bits;
    return Spans{{*address & ~rest, *address | rest}};
  }
  const Json& list = value.is_array() ? value : member(value, "set");
  if (!list.is_array()) return std::nullopt;
  Spans all;
  for (const Json& one : list) {
    const Json& element = member(one, "elem");
    const auto part = spans_of(element.is_null() ? one : member(element, "val"), ruleset, chain);
    if (!part) return std::nullopt;
    all.insert(all.end(), part->begin(), part->end());
  }
  return all;
}

Truth test(const Traffic& traffic, const std::string& op, const Json& left, const Json& right,
           const Ruleset& ruleset, const Chain& chain) {
  const bool negated = op == "!=";
  if (!negated && op != "==" && op != "in") return Truth::Unknown;
  const auto answer = [&](Truth truth) { return negated ? !truth : truth; };
  if (const auto mark = mark_test(left)) {
    const auto& marks = mark->of_flow ? traffic.flow_marks : traffic.marks;
    return answer(of_mark(marks, traffic.mask, mark->mask, spans_of(right, ruleset, chain)));
  }
  if (const Json& meta = member(left, "meta"); meta.is_object()) {
    const auto key = text_of(member(meta, "key"));
    const auto words = words_of(right, ruleset, chain);
    if (key == "iifname" || key == "iif") return answer(of_interfaces(traffic.in, words));
    if (key == "oifname" || key == "oif") return answer(of_interfaces(traffic.out, words));
    if (!words) return Truth::Unknown;
    if (key == "l4proto") return answer(has(*words, traffic.protocol) ? Truth::Yes : Truth::No);
    if (key == "nfproto") return answer(has(*words, traffic.v6 ? "ipv6" : "ipv4") ? Truth::Yes : Truth::No);
    return Truth::Unknown;
  }
  if (const Json& ct = member(left, "ct"); ct.is_object())
    return answer(of_conntrack(traffic, text_of(member(ct, "key")), words_of(right, ruleset, chain)));
  if (const Json& payload = member(left, "payload"); payload.is_object()) {
    const auto protocol = text_of(member(payload, "protocol")), field = text_of(member(payload, "field"));
    const Truth truth = of_payload(traffic, protocol, field, right, ruleset, chain);
    return truth == Truth::No && of_other_protocol(traffic, protocol) ? truth : answer(truth);
  }
  return Truth::Unknown;
}

}  // namespace icqgate::doctor
