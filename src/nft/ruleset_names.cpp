// SPDX-License-Identifier: GPL-2.0-or-later
// The rules that pick DNS answers and SYNs out for the service (held answers, missed servers). All other
// packets see one or two comparisons more.
#include <algorithm>
#include <string>
#include <string_view>

#include "nft/ruleset_words.hpp"

namespace icqgate::nft {
namespace {

// A DNS message from the transport header on, in bits: UDP header 64 | id 16 | QR 1, other flags 15 |
// QDCOUNT 16 | three other counts | owner name of the question, a length before each label and 0 at the end
// (RFC 1035, 4.1).
constexpr const char* kId = "@th,64,16";
constexpr const char* kQuery = "@th,80,1 0 @th,96,16 1";
constexpr const char* kAnswer = "@th,80,1 1 @th,96,16 1";
constexpr std::size_t kNameAt = 160;
// A client, or a resolver for many, asks for a login host now and then; whoever asks more only loses the
// hold.
constexpr const char* kTooManyQuestions = "limit rate over 50/second burst 100 packets";

std::string encoded(std::string_view name) {
  std::string wire;
  for (std::size_t from = 0; from < name.size();) {
    const std::size_t dot = std::min(name.find('.', from), name.size());
    wire += static_cast<char>(dot - from);
    wire += name.substr(from, dot - from);
    from = dot + 1;
  }
  return wire + '\0';
}

// The question's owner name is this one, byte by byte: another case of its letters only loses the hold. The
// kernel refuses to load more than 16 bytes of a packet for one comparison (EOVERFLOW).
std::string name_is(std::string_view name) {
  constexpr std::size_t kMost = 16;
  const std::string wire = encoded(name);
  std::string text;
  for (std::size_t at = 0; at < wire.size(); at += kMost) {
    const auto part = std::string_view{wire}.substr(at, kMost);
    text += fmt::format("@th,{},{} 0x", kNameAt + 8 * at, 8 * part.size());
    for (const char byte : part) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
    text += ' ';
  }
  return text;
}

}  // namespace

void name_sets(std::string& out) {
  for (const auto& [set, family] : {std::pair{"dns_asked4", "ip"}, {"dns_asked6", "ip6"}})
    out += fmt::format(
        "\tset {} {{\n\t\tcomment \"clients who asked for a login host, and the query's id\"\n"
        "\t\ttypeof {} saddr . udp sport . {}\n\t\tsize 65536\n\t\tflags dynamic,timeout\n\t\ttimeout "
        "10s\n\t}}\n\n",
        set, family, kId);
  for (const auto& [set, type] : {std::pair{"dns_asking4", "ipv4_addr"}, {"dns_asking6", "ipv6_addr"}})
    out += fmt::format(
        "\tset {} {{\n\t\tcomment \"how often each client asked\"\n\t\ttype {}\n\t\tsize 65536\n"
        "\t\tflags dynamic,timeout\n\t\ttimeout 10s\n\t}}\n\n",
        set, type);
  for (const auto& [set, type] : {std::pair{"missed4", "ipv4_addr"}, {"missed6", "ipv6_addr"}})
    out += fmt::format(
        "\tset {} {{\n\t\tcomment \"client . unknown server: told to the service a moment ago\"\n"
        "\t\ttype {} . {}\n\t\tsize 4096\n\t\tflags dynamic,timeout\n\t\ttimeout 10s\n\t}}\n\n",
        set, type, type);
}

void name_chains(std::string& out, const RulesetOptions& options, const Words& w) {
  // Without names to hold the chains are there all the same, empty: a reload that adds a name must not add a
  // base chain, and none that takes the last one must delete one, which would drop what waits in the queues.
  const bool held = !options.held_names.empty();
  if (held) {
    Chain{out, "dns_asked", "who asked is remembered with port and id; one client can't have all the room"}
        .rule(fmt::format("update @dns_asking4 {{ ip saddr {} }} accept", kTooManyQuestions))
        .rule(fmt::format("update @dns_asking6 {{ ip6 saddr {} }} accept", kTooManyQuestions))
        .rule(fmt::format("update @dns_asked4 {{ ip saddr . udp sport . {} }}", kId))
        .rule(fmt::format("update @dns_asked6 {{ ip6 saddr . udp sport . {} }}", kId));
    {
      Chain query{out, "dns_query", "questions of the clients"};
      for (const auto& name : options.held_names) {
        query.note(name);
        if (w.limited) {
          query.rule(fmt::format("{}{} {}goto dns_asked", w.client("saddr"), kQuery, name_is(name)));
          query.rule(fmt::format("{}{} {}goto dns_asked", w.client6("saddr"), kQuery, name_is(name)));
        } else {
          query.rule(fmt::format("{} {}goto dns_asked", kQuery, name_is(name)));
        }
      }
    }
    Chain{out, "dns_hold", "an answer that a client waits for: no second one counts"}
        .rule(fmt::format("delete @dns_asked4 {{ ip daddr . udp dport . {} }} goto {}", kId, kNamesChain))
        .rule(fmt::format("delete @dns_asked6 {{ ip6 daddr . udp dport . {} }} goto {}", kId, kNamesChain));
    {
      Chain name{out, "dns_name", ""};
      for (const auto& held_name : options.held_names)
        name.note(held_name).rule(fmt::format("{}goto dns_hold", name_is(held_name)));
    }
    Chain{out, "dns_answer", "whoever sends it: asked for, by that client, under that id"}
        .rule(fmt::format("{} ip daddr . udp dport . {} @dns_asked4 goto dns_name", kAnswer, kId))
        .rule(fmt::format("{} ip6 daddr . udp dport . {} @dns_asked6 goto dns_name", kAnswer, kId));
    {
      Chain forwarded{out, "dns_forwarded", "answers from outside: those of our own resolvers only"};
      for (const auto& lan : options.lan) forwarded.rule(fmt::format("iifname \"{}\" accept", lan));
      forwarded.rule("ct direction reply ip saddr @dns_servers4 goto dns_answer")
          .rule("ct direction reply ip6 saddr @dns_servers6 goto dns_answer");
    }
  }
  {
    Chain chain{out, "not_tcp", "DNS answers may be held; all else is none of ours"};
    if (held)
      for (const auto& lan : options.lan)
        chain.rule(fmt::format("udp sport 53 oifname \"{}\" goto dns_forwarded", lan));
    chain.rule("accept");
  }
  {
    Chain chain{out, "dns_in", held ? "questions of the clients, whoever is asked" : ""};
    chain.hook("filter hook prerouting priority mangle + 11");
    if (held)
      for (const auto& lan : options.lan)
        chain.rule(fmt::format("udp dport 53 iifname \"{}\" goto dns_query", lan));
  }
  Chain chain{out, "dns_out", "answers of a resolver on the gateway itself"};
  chain.hook("filter hook output priority filter");
  if (held)
    for (const auto& lan : options.lan)
      chain.rule(fmt::format("udp sport 53 oifname \"{}\" goto dns_answer", lan));
}

void miss_rules(Chain& chain, const RulesetOptions& options, const Words& w) {
  if (options.login_ports.empty()) return;
  chain.note("A login server that is not known yet? The service looks, and the SYN starts anew, from above.");
  for (const Port port : options.login_ports)
    for (const bool v4 : {true, false})
      chain.rule(fmt::format(
          "{} tcp dport {} {} {}{} saddr . {} daddr != @{} limit rate 20/second burst 50 packets add @{} {{ "
          "{} saddr . {} daddr }} goto {}",
          kOpening, port.get(), w.packet_is(0), v4 ? w.client("saddr") : w.client6("saddr"),
          v4 ? "ip" : "ip6", v4 ? "ip" : "ip6", v4 ? "missed4" : "missed6", v4 ? "missed4" : "missed6",
          v4 ? "ip" : "ip6", v4 ? "ip" : "ip6", kNamesChain));
}

}  // namespace icqgate::nft
