// SPDX-License-Identifier: GPL-2.0-or-later
// The host beside its ruleset: interfaces, sysctls, listeners, the kernel's modules, DNS.
#include <fmt/format.h>

#include <algorithm>
#include <variant>

#include "doctor/examine.hpp"
#include "doctor/needs.hpp"
#include "doctor/remedy.hpp"

namespace icqgate::doctor {

namespace {

constexpr const char* kKeepSysctl = "the same line, without `sysctl -w`, in a file of /etc/sysctl.d/";

Finding finding(std::string kind, std::string what, std::string follows, std::string remedy,
                std::string keep = "", bool certain = true) {
  return {std::move(kind),    certain,           std::move(what), "",
          std::move(follows), std::move(remedy), std::move(keep)};
}

bool listed(const std::vector<std::string>& list, const std::string& one) {
  return std::find(list.begin(), list.end(), one) != list.end();
}

std::string words(const std::vector<std::string>& list) {
  std::string text;
  for (const auto& one : list) text += (text.empty() ? "" : ", ") + one;
  return text;
}

void interfaces(const config::Config& config, const Facts& facts, std::vector<Finding>& findings) {
  for (const auto& missing : facts.missing_interfaces) {
    const bool lan = listed(config.lan, missing);
    std::vector<std::string> others;
    for (const auto& name : facts.interfaces)
      if (name != "lo" && !listed(config.lan, name) && !listed(config.wan, name)) others.push_back(name);
    const std::string key = lan ? "lan" : "wan";
    std::string remedy = fmt::format(
        "write the name of the interface that is {} as {} = NAME into {}, and systemctl reload icqgate",
        lan ? "inside" : "outside", key, facts.config_file);
    if (others.size() == 1) {  // else only a person knows which one is meant
      auto named = lan ? config.lan : config.wan;
      std::replace(named.begin(), named.end(), missing, others.front());
      remedy = set_key(facts, key, words(named)) + " && systemctl reload icqgate";
    }
    findings.push_back(finding("interface",
                               fmt::format("{} = {}: there is no such interface{}", key, missing,
                                           others.empty() ? "" : "; there are " + words(others)),
                               lan ? "clients behind it are not served" : "nothing passes to or from outside",
                               std::move(remedy)));
  }
}

// The gateway's own listeners. Only with masquerade is a port of the gateway one of ICQ's.
void listeners(const config::Config& config, const Facts& facts, std::vector<Finding>& findings) {
  if (!config.masquerade) return;
  std::vector<Endpoint> told;
  for (const Endpoint& listener : facts.listeners) {
    const auto v4 = listener.address.v4();
    const bool wild = scope_of(listener.address) == Scope::Unspecified;
    const bool outside = v4 && inside({{v4->get(), v4->get()}}, facts.wan_addresses) == Truth::Yes;
    if (!config.port_range.contains(listener.port) || config::is_denied(listener.port, config)) continue;
    if (!wild && !outside) continue;
    if (std::any_of(told.begin(), told.end(), [&](const Endpoint& one) { return one.port == listener.port; }))
      continue;
    told.push_back(listener);
    findings.push_back(finding(
        "listener",
        fmt::format("a program of the gateway listens on {}, a port of port-range {}", to_string(listener),
                    range_words(config)),
        fmt::format(
            "while a client of ICQ has port {} open, connections from outside get to the client, not to that "
            "program",
            listener.port.get()),
        add_key(facts, "port-deny", std::to_string(listener.port.get())) + " && systemctl reload icqgate"));
  }
}

void own_ports(const config::Config& config, const Facts& facts, std::vector<Finding>& findings) {
  if (!config.masquerade) return;
  const Spans range{{config.port_range.first.get(), config.port_range.last.get()}};
  const Spans taken = common(range, {facts.ephemeral});
  if (taken.empty() || inside(taken, facts.reserved) == Truth::Yes) return;
  const std::string reserved =
      (facts.reserved_words.empty() ? "" : facts.reserved_words + ",") + range_words(config);
  findings.push_back(finding("ephemeral",
                             fmt::format("port-range {} overlaps net.ipv4.ip_local_port_range {}-{}",
                                         range_words(config), facts.ephemeral.first, facts.ephemeral.last),
                             "a connection of the gateway's own, or a program of it, may have taken the port "
                             "that a client announces: that "
                             "peer's packets then go astray",
                             fmt::format("sysctl -w net.ipv4.ip_local_reserved_ports={}", reserved),
                             kKeepSysctl, false));
}

void forwarding(const Facts& facts, std::vector<Finding>& findings) {
  if (!facts.ip_forward)
    findings.push_back(finding("forward", "net.ipv4.ip_forward is 0",
                               "the host forwards nothing, so no client gets out",
                               "sysctl -w net.ipv4.ip_forward=1", kKeepSysctl));
  if (facts.ways_out > 1)
    for (const auto& [interface, mode] : facts.rp_filter)
      if (mode == 1)
        findings.push_back(finding(
            "rp-filter",
            fmt::format("{} interfaces have a default route, and net.ipv4.conf.{}.rp_filter is strict (1)",
                        facts.ways_out, interface),
            "what comes in by one and would be answered by the other may be dropped, without a trace in any "
            "table",
            fmt::format("sysctl -w net.ipv4.conf.{}.rp_filter=2", interface), kKeepSysctl, false));
}

void conntrack(const Facts& facts, std::vector<Finding>& findings) {
  if (!facts.conntrack)
    findings.push_back(finding("conntrack",
                               "this kernel has no conntrack (no net.netfilter.nf_conntrack_max)",
                               "icqgate knows no connection, and does not start", "modprobe nf_conntrack",
                               "nf_conntrack in a file of /etc/modules-load.d/"));
  if (facts.most_flows != 0 && facts.flows >= facts.most_flows / 10 * 9)
    findings.push_back(finding(
        "conntrack",
        fmt::format("conntrack holds {} of at most {} connections", facts.flows, facts.most_flows),
        "when it is full the kernel drops what is new, ICQ's too",
        fmt::format("sysctl -w net.netfilter.nf_conntrack_max={}", facts.most_flows * 4), kKeepSysctl));
}

void queues(const config::Config& config, const Facts& facts, std::vector<Finding>& findings) {
  if (!facts.queue_statement && !facts.queue_target)
    findings.push_back(finding("queue", "this kernel has neither nft_queue nor xt_NFQUEUE with nft_compat",
                               "icqgate can't look at a packet, and does not start", "modprobe nft_queue",
                               "nft_queue in a file of /etc/modules-load.d/"));
  if (facts.service_running) return;
  const std::pair<const char*, std::uint16_t> ours[]{{"queue-control", config.queue_control},
                                                     {"queue-peer", config.queue_peer},
                                                     {"queue-names", config.queue_names}};
  std::uint32_t next = std::max({config.queue_control, config.queue_peer, config.queue_names});
  for (const auto& [key, number] : ours) {
    if (std::find(facts.queues.begin(), facts.queues.end(), number) == facts.queues.end()) continue;
    do {
      next = next >= 65535 ? 1024 : next + 1;
    } while (std::find(facts.queues.begin(), facts.queues.end(), next) != facts.queues.end());
    findings.push_back(finding("queue", fmt::format("queue {} ({}) is read by another program", number, key),
                               "icqgate can't have it, and does not start",
                               set_key(facts, key, std::to_string(next))));
  }
}

void names(const config::Config& config, const Facts& facts, std::vector<Finding>& findings) {
  const bool asks = std::any_of(config.login_hosts.begin(), config.login_hosts.end(), [](const auto& host) {
    return !std::holds_alternative<IpAddress>(host.host);
  });
  if (!asks) return;
  constexpr const char* kFollows =
      "the addresses of the login servers stay unknown, and no client gets to them";
  const std::string remedy = fmt::format(
      "write the address of a DNS server that answers as resolver = ADDRESS into {}, and systemctl reload "
      "icqgate",
      facts.config_file);
  if (config.resolvers.empty() && facts.name_servers.empty()) {
    findings.push_back(
        finding("dns", "resolver = system, and /etc/resolv.conf names no server", kFollows, remedy));
  } else if (!facts.resolver_fault.empty()) {
    findings.push_back(finding("dns", "DNS: " + facts.resolver_fault, kFollows,
                               remedy + "; or the name of login-host is not the right one"));
  }
}

void ruleset(const config::Config& config, const Facts& facts, std::vector<Finding>& findings) {
  if (facts.foreign_table)
    findings.push_back(finding(
        "table", fmt::format("there is a table inet {} that icqgate did not make", config.table),
        "icqgate leaves it alone, and does not start", set_key(facts, "table", config.table + "_gateway")));
  if (!facts.ruleset_fault.empty())
    findings.push_back(
        finding("ruleset", "the kernel does not take icqgate's ruleset: " + facts.ruleset_fault,
                "icqgate does not start",
                "a kernel with nf_tables, nft_ct, nft_nat, nft_reject and nft_limit (icqgate check says "
                "more)"));
  for (const auto& table : facts.unread_tables)
    findings.push_back(finding(
        "legacy", fmt::format("iptables-legacy has a table {}, and no iptables-legacy-save reads it", table),
        "its rules may drop what icqgate allows, unseen by nft", "apt-get install iptables", "", false));
}

}  // namespace

std::vector<Finding> examine_configuration(const config::Config& config, const Facts& facts) {
  std::vector<Finding> findings;
  interfaces(config, facts, findings);
  listeners(config, facts, findings);
  own_ports(config, facts, findings);
  return findings;
}

std::vector<Finding> examine_host(const config::Config& config, const Facts& facts) {
  std::vector<Finding> findings = examine_configuration(config, facts);
  forwarding(facts, findings);
  conntrack(facts, findings);
  queues(config, facts, findings);
  ruleset(config, facts, findings);
  names(config, facts, findings);
  return findings;
}

std::vector<Finding> examine(const Situation& situation) {
  std::vector<Finding> findings = examine_host(situation.config, situation.facts);
  for (const auto part : {&examine_filters, &examine_translation, &examine_marks, &examine_queues}) {
    auto more = part(situation);
    findings.insert(findings.end(), std::make_move_iterator(more.begin()),
                    std::make_move_iterator(more.end()));
  }
  return findings;
}

}  // namespace icqgate::doctor
