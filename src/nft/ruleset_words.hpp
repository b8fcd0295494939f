// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

#include "nft/ruleset.hpp"

// What the ruleset's parts are written with. Of this folder only.
namespace icqgate::nft {

[[nodiscard]] inline std::string joined(const std::vector<std::string>& items, bool quoted) {
  std::string text;
  for (const auto& item : items) {
    if (!text.empty()) text += ", ";
    text += quoted ? '"' + item + '"' : item;
  }
  return items.size() == 1 ? text : "{ " + text + " }";
}

// The words that recur: marks as nft expressions, interfaces, ports.
struct Words {
  explicit Words(const RulesetOptions& options)
      : marks{marks_of(options.mark_mask)},
        lan{joined(options.lan, true)},
        wan{joined(options.wan, true)},
        ports{options.first_port == options.last_port
                  ? fmt::format("{}", options.first_port.get())
                  : fmt::format("{}-{}", options.first_port.get(), options.last_port.get())} {
    for (const Subnet& client : options.clients) {
      auto& text = client.address.is_v4() ? clients4 : clients6;
      if (!text.empty()) text += ", ";
      text += to_string(client);
    }
    limited = !options.clients.empty();
  }

  [[nodiscard]] std::string ct_is(std::uint32_t value) const {
    return fmt::format("ct mark & {:#010x} == {:#010x}", marks.mask, value);
  }
  [[nodiscard]] std::string ct_set(std::uint32_t value) const {
    return fmt::format("ct mark set ct mark & {:#010x} | {:#010x}", ~marks.mask, value);
  }
  [[nodiscard]] std::string packet_is(std::uint32_t value) const {
    return fmt::format("meta mark & {:#010x} == {:#010x}", marks.mask, value);
  }
  [[nodiscard]] std::string packet_set(std::uint32_t value) const {
    return fmt::format("meta mark set meta mark & {:#010x} | {:#010x}", ~marks.mask, value);
  }
  [[nodiscard]] std::string allow() const { return packet_set(marks.verified); }
  // " ip saddr @clients4" where the configuration limits the clients.
  [[nodiscard]] std::string client(const char* direction) const {
    return limited ? fmt::format("ip {} @clients4 ", direction) : "";
  }
  [[nodiscard]] std::string client6(const char* direction) const {
    return limited ? fmt::format("ip6 {} @clients6 ", direction) : "";
  }

  // Calls `with("iifname \"lan0\" oifname \"wan0\"")` for each pair. The dynamic ruleset has no anonymous
  // sets: it is put back and compared message by message, and such a set has no name to do that by.
  template <class With>
  void each_pair(const std::vector<std::string>& from, const std::vector<std::string>& to, With with) const {
    for (const auto& in : from)
      for (const auto& out : to) with(fmt::format("iifname \"{}\" oifname \"{}\"", in, out));
  }

  Marks marks;
  std::string lan, wan, ports, clients4, clients6;
  bool limited = false;
};

inline constexpr const char* kOpening = "tcp flags & (fin | syn | rst | ack) == syn";

// A chain of the text, closed by the destructor.
class Chain {
 public:
  Chain(std::string& out, const char* name, const std::string& what) : out_{out} {
    out_ += fmt::format("\tchain {} {{\n", name);
    if (!what.empty()) note(what);
  }
  Chain(const Chain&) = delete;
  Chain& operator=(const Chain&) = delete;
  ~Chain() { out_ += "\t}\n\n"; }
  Chain& hook(const std::string& text, const char* policy = "accept") {
    out_ += fmt::format("\t\ttype {}; policy {};\n", text, policy);
    return *this;
  }
  Chain& note(const std::string& text) {
    out_ += fmt::format("\t\t# {}\n", text);
    return *this;
  }
  Chain& rule(const std::string& text) {
    out_ += fmt::format("\t\t{}\n", text);
    return *this;
  }
  // nft takes 128 bytes of comment; no quote may be in it.
  Chain& rule(const std::string& text, const std::string& comment) {
    return rule(fmt::format("{} comment \"{}\"", text, comment));
  }

 private:
  std::string& out_;
};

// The table's end, without the empty line behind its last chain.
[[nodiscard]] std::string closed(std::string table);

// Parts of the dynamic ruleset about names (ruleset_names.cpp).
void name_sets(std::string& out);
void name_chains(std::string& out, const RulesetOptions& options, const Words& w);
// Rules of from_lan.
void miss_rules(Chain& chain, const RulesetOptions& options, const Words& w);

}  // namespace icqgate::nft
