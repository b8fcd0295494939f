// SPDX-License-Identifier: GPL-2.0-or-later
#include "doctor/needs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <variant>

#include "config/ruleset_options.hpp"

namespace icqgate::doctor {

namespace {

constexpr int kBefore = -140;     // our chain `before`: from here on a packet has none of our marks
constexpr int kConntrack = -200;  // before it, nobody knows a flow

std::vector<std::string> existing(const std::vector<std::string>& patterns, const Facts& facts) {
  std::vector<std::string> names;
  for (const auto& pattern : patterns) {
    bool any = false;
    for (const auto& name : facts.interfaces) {
      const bool wild = pattern.ends_with('*');
      if (wild ? name.starts_with(pattern.substr(0, pattern.size() - 1)) : name == pattern) {
        names.push_back(name);
        any = true;
      }
    }
    if (!any) names.push_back(pattern);
  }
  return names;
}

std::string quoted(const std::vector<std::string>& patterns) {
  std::string list;
  for (const auto& one : patterns) list += (list.empty() ? "\"" : ", \"") + one + '"';
  return patterns.size() == 1 ? list : "{ " + list + " }";
}

std::optional<Spans> spans_of_subnets(const std::vector<Subnet>& subnets) {
  Spans spans;
  for (const Subnet& subnet : subnets) {
    const auto address = subnet.address.v4();
    if (!address) continue;
    const std::uint32_t rest = subnet.length == 0    ? 0xffffffff
                               : subnet.length >= 32 ? 0
                                                     : 0xffffffff >> subnet.length;
    spans.push_back({address->get() & ~rest, address->get() | rest});
  }
  if (spans.empty()) return std::nullopt;
  return spans;
}

std::optional<Spans> clients(const Situation& situation) {
  if (auto spans = spans_of_subnets(situation.config.clients)) return spans;
  if (situation.facts.lan_networks.empty()) return std::nullopt;
  return situation.facts.lan_networks;
}

std::optional<Spans> gateway(const Situation& situation) {
  if (situation.facts.wan_addresses.empty()) return std::nullopt;
  return situation.facts.wan_addresses;
}

Spans login_spans(const config::Config& config) {
  Spans spans;
  for (const Port port : config::login_ports(config)) spans.push_back({port.get(), port.get()});
  return spans;
}

std::string words(const Spans& ports) {
  std::string list;
  for (const Span& one : ports)
    list += (list.empty() ? "" : ", ") + (one.first == one.last ? fmt::format("{}", one.first)
                                                                : fmt::format("{}-{}", one.first, one.last));
  return ports.size() == 1 ? list : "{ " + list + " }";
}

std::string iptables_words(const Spans& ports) {
  std::string list;
  for (const Span& one : ports)
    list += (list.empty() ? "" : ",") + (one.first == one.last ? fmt::format("{}", one.first)
                                                               : fmt::format("{}:{}", one.first, one.last));
  return list;
}

struct Where {
  bool from_lan, to_wan_known;  // the interface it leaves by is known at this hook
  bool with_device;             // an ingress chain has but one
};

// What names the way in the words of a rule.
void put_words(Traffic& traffic, const config::Config& config, const Where& where,
               const std::string& ports_nft, const std::string& ports_iptables) {
  const auto& in = where.from_lan ? config.lan : config.wan;
  const auto& out = where.from_lan ? config.wan : config.lan;
  if (where.with_device) traffic.accept += "iifname " + quoted(in) + ' ';
  if (where.to_wan_known) traffic.accept += "oifname " + quoted(out) + ' ';
  traffic.accept += ports_nft;
  const auto device = [](const std::string& pattern) {
    return pattern.ends_with('*') ? pattern.substr(0, pattern.size() - 1) + '+' : pattern;
  };
  if (in.size() == 1 && where.with_device) traffic.iptables += "-i " + device(in[0]) + ' ';
  if (out.size() == 1 && where.to_wan_known) traffic.iptables += "-o " + device(out[0]) + ' ';
  traffic.iptables += ports_iptables;
}

std::vector<Traffic> forwarded(const Situation& situation, bool out_known, bool with_device,
                               bool before_nat) {
  const auto& config = situation.config;
  const auto lan = existing(config.lan, situation.facts), wan = existing(config.wan, situation.facts);
  const Spans range{{config.port_range.first.get(), config.port_range.last.get()}};
  const Spans logins = login_spans(config);
  const Where inside{true, out_known, with_device}, outside{false, out_known, with_device};
  const auto ways = [&](Traffic& traffic, bool from_lan) {
    traffic.in = from_lan ? lan : wan;
    if (out_known) traffic.out = from_lan ? wan : lan;
    traffic.mask = nft::marks_of(config.mark_mask).mask;
  };
  std::vector<Traffic> all;
  {
    Traffic login;
    login.name = fmt::format("connections of clients to login servers (TCP {})", words(logins));
    login.source = clients(situation);
    login.destination_port = logins;
    login.fresh = true;
    login.dnat = false;
    ways(login, true);
    put_words(login, config, inside, "tcp dport " + words(logins),
              "-p tcp -m multiport --dports " + iptables_words(logins));
    all.push_back(login);
  }
  {
    Traffic answers;
    answers.name = "answers of login servers";
    answers.source_port = logins;
    if (!before_nat || !config.masquerade) answers.destination = clients(situation);
    answers.fresh = false;
    answers.dnat = false;
    ways(answers, false);
    put_words(answers, config, outside, "tcp sport " + words(logins),
              "-p tcp -m multiport --sports " + iptables_words(logins));
    all.push_back(answers);
  }
  {
    Traffic peers;
    peers.name = fmt::format("connections of peers to the clients' ports {}", range_words(config));
    peers.destination_port = range;
    peers.destination = before_nat && config.masquerade ? gateway(situation) : clients(situation);
    peers.fresh = true;
    peers.dnat = config.masquerade && !before_nat;
    ways(peers, false);
    put_words(peers, config, outside, "tcp dport " + words(range), "-p tcp --dport " + iptables_words(range));
    all.push_back(peers);
  }
  {
    Traffic answers;
    answers.name = "answers of clients to peers";
    answers.source = clients(situation);
    answers.source_port = range;
    answers.fresh = false;
    answers.dnat = config.masquerade;
    ways(answers, true);
    put_words(answers, config, inside, "tcp sport " + words(range),
              "-p tcp --sport " + iptables_words(range));
    all.push_back(answers);
  }
  return all;
}

bool has_names(const config::Config& config) {
  return std::any_of(config.login_hosts.begin(), config.login_hosts.end(),
                     [](const auto& host) { return !std::holds_alternative<IpAddress>(host.host); });
}

// The addresses of the servers that the gateway itself asks; none if they are on the gateway.
Spans asked_servers(const Situation& situation) {
  Spans spans;
  const auto put = [&](const IpAddress& address) {
    if (const auto v4 = address.v4(); v4 && scope_of(address) != Scope::Loopback)
      spans.push_back({v4->get(), v4->get()});
  };
  for (const Endpoint& server : situation.config.resolvers) put(server.address);
  if (situation.config.resolvers.empty())
    for (const IpAddress& server : situation.facts.name_servers) put(server);
  return spans;
}

std::vector<Traffic> of_the_resolver(const Situation& situation, bool questions) {
  const Spans servers = asked_servers(situation);
  if (!has_names(situation.config) || servers.empty()) return {};
  Traffic traffic;
  traffic.protocol = "udp";
  traffic.mask = nft::marks_of(situation.config.mark_mask).mask;
  traffic.fresh = questions;
  traffic.dnat = false;
  (questions ? traffic.destination : traffic.source) = servers;
  (questions ? traffic.destination_port : traffic.source_port) = Spans{{53, 53}};
  traffic.name = questions ? "icqgate's questions to DNS" : "the answers of DNS to icqgate";
  traffic.accept = questions ? "udp dport 53" : "udp sport 53 ct state established";
  traffic.iptables = questions ? "-p udp --dport 53" : "-p udp --sport 53 -m conntrack --ctstate ESTABLISHED";
  return {traffic};
}

}  // namespace

std::string range_words(const config::Config& config) {
  return fmt::format("{}-{}", config.port_range.first.get(), config.port_range.last.get());
}

std::vector<Traffic> needed_at(const Chain& base, const Situation& situation) {
  const Base& at = *base.base;
  if (at.hook == "input") return of_the_resolver(situation, false);
  if (at.hook == "output") return of_the_resolver(situation, true);
  const bool passing = at.hook == "forward" || at.hook == "postrouting";
  const bool ingress = at.hook == "ingress";
  if (!passing && at.hook != "prerouting" && !ingress) return {};

  auto all = forwarded(situation, passing, !ingress, !passing);
  if (ingress)
    std::erase_if(all, [&](const Traffic& traffic) {
      return std::none_of(traffic.in->begin(), traffic.in->end(), [&](const std::string& name) {
        return std::find(at.devices.begin(), at.devices.end(), name) != at.devices.end();
      });
    });
  const auto marks = nft::marks_of(situation.config.mark_mask);
  for (Traffic& traffic : all) {
    if (at.hook == "postrouting" || (at.hook == "forward" && at.priority > situation.config.priority)) {
      traffic.marks = std::vector<std::uint32_t>{marks.verified, marks.watched};
    } else if (at.hook == "forward" ? at.priority < situation.config.priority
                                    : at.hook == "prerouting" && at.priority > kBefore) {
      traffic.marks = std::vector<std::uint32_t>{0};
    }
    if (!*traffic.fresh)
      traffic.flow_marks = std::vector<std::uint32_t>{marks.verified, marks.watched, marks.pending};
    if (ingress || (at.hook == "prerouting" && at.priority <= kConntrack)) {
      traffic.fresh.reset();
      traffic.dnat.reset();
      traffic.flow_marks.reset();
    }
  }
  if (situation.facts.ipv6_forward) {
    Traffic login = all.empty() ? Traffic{} : all.front();
    if (!login.name.empty() && login.name.starts_with("connections of clients")) {
      login.v6 = true;
      login.name += " over IPv6";
      login.source.reset();
      all.push_back(login);
    }
  }
  std::erase_if(all, [&](const Traffic& traffic) {
    return (base.family == "ip" && traffic.v6) || (base.family == "ip6" && !traffic.v6);
  });
  return all;
}

Traffic unmarked_outbound(const Situation& situation) {
  Traffic traffic = forwarded(situation, true, true, false).front();
  traffic.name = "connections of clients to peers";
  traffic.destination_port.reset();
  traffic.marks = std::vector<std::uint32_t>{0};
  return traffic;
}

Traffic to_be_translated(const Situation& situation) {
  Traffic traffic = forwarded(situation, false, true, true)[2];
  traffic.marks = std::vector<std::uint32_t>{0};
  return traffic;
}

}  // namespace icqgate::doctor
