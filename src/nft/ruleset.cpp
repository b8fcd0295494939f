// SPDX-License-Identifier: GPL-2.0-or-later
#include "nft/ruleset.hpp"

#include <fmt/format.h>

#include "nft/ruleset_words.hpp"

namespace icqgate::nft {

std::string closed(std::string table) {
  if (table.ends_with("\n\n")) table.pop_back();
  return table + "}\n";
}

namespace {

void client_sets(std::string& out, const Words& w) {
  if (!w.limited) return;
  const auto one = [&out](const char* name, const char* type, const std::string& elements,
                          const char* family) {
    out += fmt::format(
        "\tset {} {{\n\t\tcomment \"who may use it ({})\"\n\t\ttype {}\n\t\tflags interval\n\t\tauto-merge\n",
        name, family, type);
    if (!elements.empty()) out += fmt::format("\t\telements = {{ {} }}\n", elements);
    out += "\t}\n\n";
  };
  one("clients4", "ipv4_addr", w.clients4, "IPv4");
  one("clients6", "ipv6_addr", w.clients6, "IPv6");
}

void timed_set(std::string& out, const char* name, const char* type, const char* comment) {
  out += fmt::format("\tset {} {{\n\t\tcomment \"{}\"\n\t\ttype {}\n\t\tflags timeout\n\t}}\n\n", name,
                     comment, type);
}

// Segments of a TCP handshake carry no payload: they stay in the kernel. The set must have a name: nft 1.0.6
// aborts when it lists an anonymous concatenation with a 4-bit field (mergesort.c, "ilen > 0"). IPv4 only: so
// are peers.
void bare_set(std::string& out) {
  std::string elements;
  for (int words = 5; words <= 15; ++words)
    elements += fmt::format("{}5 . {} . {}", words == 5 ? "" : ", ", words, 20 + 4 * words);
  out += fmt::format(
      "\tset bare4 {{\n\t\tcomment \"TCP segments without payload\"\n\t\ttypeof ip hdrlength . tcp doff . ip "
      "length\n"
      "\t\telements = {{ {} }}\n\t}}\n\n",
      elements);
}

void dynamic_sets(std::string& out, const RulesetOptions& options, const Words& w) {
  timed_set(out, "login4", "ipv4_addr . inet_service", "login servers");
  timed_set(out, "login6", "ipv6_addr . inet_service", "login servers");
  timed_set(out, "servers4", "ipv4_addr . ipv4_addr . inet_service",
            "client . server a login server sent it to");
  timed_set(out, "servers6", "ipv6_addr . ipv6_addr . inet_service",
            "client . server a login server sent it to");
  timed_set(out, "sessions", "ipv4_addr", "clients with a session");
  timed_set(out, "pinholes", "ipv4_addr . inet_service", "client . announced listening port");
  timed_set(out, "returns", "ipv4_addr . ipv4_addr . inet_service",
            "peer . client . port named to that peer");
  timed_set(out, "peers", "ipv4_addr . ipv4_addr . inet_service",
            "client . listening peer the server told it of");
  for (const auto& [name, type] : {std::pair{"dns_servers4", "ipv4_addr"}, {"dns_servers6", "ipv6_addr"}})
    out += fmt::format(
        "\tset {} {{\n\t\tcomment \"whose DNS answers to clients count\"\n\t\ttype {}\n\t}}\n\n", name, type);
  if (options.masquerade)
    out +=
        "\tmap forwards {\n\t\tcomment \"outside port : client . port\"\n"
        "\t\ttype inet_service : ipv4_addr . inet_service\n\t\tflags timeout\n\t}\n\n";
  out +=
      "\tset admitted {\n\t\tcomment \"peer connections that may still prove themselves\"\n"
      "\t\ttype ipv4_addr . inet_service . ipv4_addr . inet_service\n\t\tsize 262144\n\t\tflags "
      "dynamic,timeout\n"
      "\t\ttimeout 30s\n\t\tgc-interval 5s\n\t}\n\n"
      "\tset first_syn {\n\t\tcomment \"outbound SYNs left to the other tables\"\n"
      "\t\ttype ipv4_addr . inet_service . ipv4_addr . inet_service\n\t\tsize 65536\n\t\tflags "
      "dynamic,timeout\n"
      "\t\ttimeout 30s\n\t}\n\n"
      "\tset second_syn {\n\t\tcomment \"the same, to a login port, when sent again\"\n"
      "\t\ttype ipv4_addr . inet_service . ipv4_addr . inet_service\n\t\tsize 65536\n\t\tflags "
      "dynamic,timeout\n"
      "\t\ttimeout 30s\n\t}\n\n";
  name_sets(out);
  client_sets(out, w);
  bare_set(out);
  for (const auto& [name, comment] :
       {std::pair{"no_pinhole", "new connections to the port range without a pinhole: dropped"},
        std::pair{"late", "first data after the deadline, or of a connection never admitted: reset"},
        std::pair{"refused", "refused by inspection: reset"}})
    out += fmt::format("\tcounter {} {{\n\t\tcomment \"{}\"\n\t}}\n\n", name, comment);
}

void queue_chains(std::string& out, const RulesetOptions& options, const Words& w) {
  Chain{out, kControlChain,
        fmt::format("`run` puts here: queue num {} bypass (fail-open)", options.queue_control)}
      .rule("accept");
  Chain{out, kNamesChain,
        fmt::format("`run` puts here: queue num {} bypass (fail-open)", options.queue_names)}
      .rule("accept");
  Chain peer{out, kPeerChain,
             options.check_peers
                 ? fmt::format("`run` puts here: queue num {} (fail-closed)", options.queue_peer)
                 : std::string{"peer-check = off: the pinhole alone decides"}};
  if (options.check_peers) {
    peer.rule("drop");
  } else {
    peer.rule(fmt::format("{} goto pass", w.ct_set(w.marks.verified)));
  }
}

constexpr std::string_view kTuple = "ip saddr . tcp sport . ip daddr . tcp dport";

void forward_chains(std::string& out, const RulesetOptions& options, const Words& w) {
  const Marks& m = w.marks;
  Chain{out, "pass", "what icqgate allows has its mark: other tables of this host test for it"}.rule(
      fmt::format("{} accept", w.allow()));

  Chain{out, "control", "a flow that is inspected in passing, both directions"}.rule(
      fmt::format("{} goto {}", w.allow(), kControlChain));

  Chain{out, "checked", "a flow that must prove itself: handshakes of TCP pass, payload is inspected"}
      .rule("ip hdrlength . tcp doff . ip length @bare4 goto pass")
      .note("all else, and only what comes of it passes")
      .rule(fmt::format("goto {}", kPeerChain));

  Chain{out, "to_server", "from its first segment on a flow to a server is watched; older ones only pass"}
      .note(
          "If nobody sees its first segment, the packet keeps this mark, and `after` has the flow only pass.")
      .rule(fmt::format("{} {} {} goto {}", kOpening, w.ct_set(m.watched), w.packet_set(m.watched),
                        kControlChain))
      .note("of a flow that began unseen")
      .rule("goto pass");

  Chain{out, "pending", "its SYN carries nothing yet"}
      .rule("ip hdrlength . tcp doff . ip length != @bare4 drop")
      .note("from now on this flow has to prove itself")
      .rule(fmt::format("{} goto pass", w.ct_set(m.pending)));

  {
    Chain chain{out, "to_peer", "a client with a session opens a connection to somebody's listening port"};
    if (options.check_outbound) {
      if (!options.login_ports.empty())
        chain.note(
            "On a login port it may be a server that DNS is being asked about: the third SYN is soon "
            "enough.");
      for (const Port port : options.login_ports)
        chain
            .rule(fmt::format("tcp dport {} {} @first_syn {} != @second_syn add @second_syn {{ {} }} drop",
                              port.get(), kTuple, kTuple, kTuple))
            .rule(fmt::format("tcp dport {} {} != @first_syn add @first_syn {{ {} }} drop", port.get(),
                              kTuple, kTuple));
      chain.note("outbound = check: each has to prove that it is ICQ").rule("goto pending");
    } else {
      chain.note("a peer whom the server told the client of")
          .rule("ip saddr . ip daddr . tcp dport @peers goto pending")
          .note(
              "Others are left to the other tables first. What they pass is not ours to police (see "
              "`after`); if")
          .note("the SYN comes again they dropped it, and it needs our mark: then it must prove to be ICQ.")
          .note(
              "On a login port it may be a server that DNS is being asked about: there the third SYN is soon "
              "enough.");
      for (const Port port : options.login_ports)
        chain.rule(fmt::format("tcp dport {} {} @first_syn {} != @second_syn add @second_syn {{ {} }} accept",
                               port.get(), kTuple, kTuple, kTuple));
      chain.note("the second SYN")
          .rule(fmt::format("{} @first_syn goto pending", kTuple))
          .note("the first: remembered")
          .rule(fmt::format("add @first_syn {{ {} }}", kTuple));
    }
  }

  {
    Chain chain{out, "from_lan", ""};
    // Whoever is no client any more since a reload starts nothing: an element that names him may live longer.
    chain
        .note(
            "flows that are inspected already: control connections, and those that have not proved "
            "themselves")
        .rule(fmt::format("{} goto control", w.ct_is(m.watched)))
        .rule(fmt::format("{} goto checked", w.ct_is(m.pending)))
        .note(
            "A listener goes on talking on a connection that conntrack has forgotten: taken for a new one, "
            "it would")
        .note("let the peer in as the one who answers.")
        .rule(fmt::format("ct direction original ct state new tcp flags & (fin | syn | rst | ack) != syn "
                          "meta nfproto ipv4 {}tcp sport {} drop",
                          w.client("saddr"), w.ports))
        .note("what a listening client answers to a peer that has not proved itself yet")
        .rule(fmt::format("ct direction reply meta nfproto ipv4 {}tcp sport {} goto checked",
                          w.client("saddr"), w.ports))
        .note("other answers are none of ours")
        .rule("ct direction reply accept")
        .note("to the login servers, and to those that they sent this client to")
        .rule(fmt::format("{}ip daddr . tcp dport @login4 goto to_server", w.client("saddr")))
        .rule(fmt::format("{}ip6 daddr . tcp dport @login6 goto to_server", w.client6("saddr")))
        .rule(fmt::format("{}ip saddr . ip daddr . tcp dport @servers4 goto to_server", w.client("saddr")))
        .rule(
            fmt::format("{}ip6 saddr . ip6 daddr . tcp dport @servers6 goto to_server", w.client6("saddr")));
    miss_rules(chain, options, w);
    chain.note("to anybody else, as peers do")
        .rule(fmt::format("{} tcp dport 1024-65535 {}ip saddr @sessions goto to_peer", kOpening,
                          w.client("saddr")));
  }

  Chain{out, "admit", "a SYN to an open port; with payload (Fast Open) it is none of ours"}
      .rule("ip hdrlength . tcp doff . ip length != @bare4 drop")
      .note("it has so long to prove itself")
      .rule("update @admitted { ip saddr . tcp sport . ip daddr . tcp dport } goto pass")
      .note("that set is full: a flood; it has to prove itself all the same, only without a deadline")
      .rule("goto pending");

  {
    Chain chain{out, "to_listener", "into the port range: only by a pinhole, and only what proves itself"};
    if (w.limited)
      chain.note("nobody outside may come with an inside address").rule("ip saddr @clients4 drop");
    chain.note("an announced port; or one that a client has named to this very peer; nothing else")
        .rule(fmt::format("{} ip daddr . tcp dport @pinholes goto admit", kOpening))
        .rule(fmt::format("{} ip saddr . ip daddr . tcp dport @returns goto admit", kOpening))
        .rule(fmt::format("{} counter name no_pinhole drop", kOpening))
        .note("of no connection at all: scans")
        .rule("ct state new ip hdrlength . tcp doff . ip length @bare4 counter name no_pinhole drop")
        .note("handshakes of TCP pass; the first data is inspected, if it comes in time")
        .rule("ip hdrlength . tcp doff . ip length @bare4 goto pass")
        .rule(fmt::format("ip saddr . tcp sport . ip daddr . tcp dport @admitted goto {}", kPeerChain))
        .rule("counter name late reject with tcp reset");
  }

  Chain{out, "to_lan", "flows that are inspected already, as in from_lan"}
      .rule(fmt::format("{} goto control", w.ct_is(m.watched)))
      .rule(fmt::format("{} goto checked", w.ct_is(m.pending)))
      .note("peers to clients")
      .rule(fmt::format("ct direction original {}tcp dport {} meta nfproto ipv4 goto to_listener",
                        w.client("daddr"), w.ports))
      .note("answers on flows to servers that are older than this table")
      .rule(fmt::format("ct direction reply {}ip saddr . tcp sport @login4 goto pass", w.client("daddr")))
      .rule(fmt::format("ct direction reply {}ip6 saddr . tcp sport @login6 goto pass", w.client6("daddr")))
      .rule("ct direction reply ip daddr . ip saddr . tcp sport @servers4 goto pass")
      .rule("ct direction reply ip6 daddr . ip6 saddr . tcp sport @servers6 goto pass");

  Chain forward{out, "forward", ""};
  forward.hook(fmt::format("filter hook forward priority {}", options.priority))
      .note("held DNS answers; else only TCP is looked at")
      .rule("meta l4proto != tcp goto not_tcp")
      .note("the service has refused this packet's flow")
      .rule(fmt::format("{} counter name refused reject with tcp reset", w.packet_is(m.pending)))
      .note("a flow that has proved itself, or only passes")
      .rule(fmt::format("{} tcp flags & (fin | syn | rst | ack) != syn {} accept", w.ct_is(m.verified),
                        w.allow()))
      .note("a new connection on the ports of one that proved itself has to do so anew")
      .rule(fmt::format("{} {}", w.ct_is(m.verified), w.ct_set(0)));
  forward.note("between inside and outside, and nowhere else");
  w.each_pair(options.lan, options.wan, [&](const auto& pair) { forward.rule(pair + " goto from_lan"); });
  w.each_pair(options.wan, options.lan, [&](const auto& pair) { forward.rule(pair + " goto to_lan"); });
}

void nat_chains(std::string& out, const RulesetOptions& options, const Words& w) {
  {
    Chain in{out, "nat_in", "pinholes of masqueraded clients, same port outside as inside"};
    in.hook("nat hook prerouting priority dstnat");
    for (const auto& wan : options.wan)
      in.rule(fmt::format("iifname \"{}\" fib daddr type local dnat ip to tcp dport map @forwards", wan));
  }
  Chain chain{out, "nat_out", "for what is ours and nobody else has masqueraded before"};
  chain.hook("nat hook postrouting priority srcnat + 5");
  w.each_pair(options.lan, options.wan, [&](const auto& pair) {
    chain.rule(fmt::format("meta nfproto ipv4 meta l4proto tcp {} ct mark & {:#010x} != 0 masquerade", pair,
                           w.marks.mask));
  });
}

// Everything of the table but its head.
std::string dynamic_body(const RulesetOptions& options) {
  const Words w{options};
  std::string out;
  dynamic_sets(out, options, w);
  queue_chains(out, options, w);
  name_chains(out, options, w);
  forward_chains(out, options, w);
  Chain{out, "before",
        "rules that restore a packet mark from the ct mark bring ours along, where it means something else"}
      .hook("filter hook prerouting priority mangle + 10")
      .rule(fmt::format("meta mark & {:#010x} != 0 meta mark set meta mark & {:#010x}", w.marks.mask,
                        ~w.marks.mask));
  Chain{out, "after", "what the verdict of an inspected packet said of its flow"}
      .hook("filter hook postrouting priority filter")
      .rule(fmt::format("meta l4proto tcp {} {}", w.packet_is(w.marks.watched), w.ct_set(w.marks.verified)))
      .rule(fmt::format("meta l4proto tcp {} {}", w.packet_is(w.marks.pending), w.ct_set(0)))
      .note("The other tables let this one out by themselves: it is watched for the port it names, and never")
      .note("refused for what it is not.")
      .rule(fmt::format("{} {} ip saddr . tcp sport . ip daddr . tcp dport @first_syn delete "
                        "@first_syn {{ ip saddr . tcp sport . ip daddr . tcp dport }} {}",
                        w.packet_is(0), kOpening, w.ct_set(w.marks.watched)));
  if (options.masquerade) nat_chains(out, options, w);
  return out;
}

}  // namespace

Marks marks_of(std::uint32_t mask) noexcept {
  const std::uint32_t low = mask & (~mask + 1);
  const std::uint32_t rest = mask & ~low;
  const std::uint32_t high = rest & (~rest + 1);
  return Marks{.mask = low | high, .verified = low, .pending = high, .watched = low | high};
}

std::string dynamic_ruleset(const RulesetOptions& options, Loading loading) {
  std::string out = fmt::format("table inet {} {{\n\tcomment \"{}\"\n", options.table, kTableComment);
  if (loading == Loading::Dormant) out += "\tflags dormant\n";
  return closed(out + '\n' + dynamic_body(options));
}

}  // namespace icqgate::nft
