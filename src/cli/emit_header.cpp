// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/emit_header.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <variant>
#include <vector>

#include "config/static_options.hpp"

namespace icqgate::cli {

namespace {

using nft::Profile;

template <class List, class Show>
std::string words(const List& list, Show show) {
  std::string text;
  for (const auto& one : list) text += (text.empty() ? "" : ", ") + std::string{show(one)};
  return text;
}

std::string same(const std::string& text) { return text; }

std::string host_words(const config::LoginHost& host) {
  const auto* address = std::get_if<IpAddress>(&host.host);
  if (address != nullptr) return host.port ? to_string(Endpoint{*address, *host.port}) : to_string(*address);
  const auto& name = std::get<dns::DomainName>(host.host);
  return (host.port ? fmt::format("{}:{}", name, host.port->get()) : name) +
         (host.private_allowed ? "!private" : "");
}

std::string service_words(const nft::Service& service) {
  return fmt::format("{}/{}", service.transport == nft::Transport::Tcp ? "tcp" : "udp",
                     nft::ports_in_words(service.first, service.last));
}

std::string map_words(const nft::PortMap& map) {
  return fmt::format("{}={}", to_string(IpAddress{map.client}), nft::ports_in_words(map.first, map.last));
}

std::string option_lines(const ProfileWords& profile, const config::Config& config) {
  std::string out;
  const auto line = [&out](std::string_view key, const std::string& value) {
    out += fmt::format("# {:<11} {}\n", key, value);
  };
  line("login-host", words(config.login_hosts, host_words));
  line("login-port", words(config.login_ports, [](Port one) { return std::to_string(one.get()); }));
  line("lan", words(config.lan, same));
  line("wan", words(config.wan, same));
  line("client",
       config.clients.empty() ? "any" : words(config.clients, [](const Subnet& s) { return to_string(s); }));
  if (!profile.profile || profile.profile == Profile::Range || profile.profile == Profile::Socks)
    line("port-range", fmt::format("{}-{}", config.port_range.first.get(), config.port_range.last.get()));
  if (profile.profile == Profile::Masquerade)
    line("map", config.maps.empty() ? "none" : words(config.maps, map_words));
  if (profile.profile && nft::has_proxy(*profile.profile)) {
    auto proxies = words(config.proxies, [](const IpAddress& one) { return to_string(one); });
    if (config.proxy_on_gateway) proxies += proxies.empty() ? "gateway" : ", gateway";
    line("proxy", proxies);
    line("proxy-port", std::to_string(config::static_options(config, *profile.profile, {}).proxy_port.get()));
  }
  if (profile.profile) {
    const bool gateway = config.policy == nft::Policy::Gateway;
    line("policy", gateway ? "gateway" : "guard");
    if (gateway)
      line("also-allow", config.also_allowed.empty() ? "none" : words(config.also_allowed, service_words));
  }
  line("table",
       fmt::format("{}, priority {}, mark-mask {:#010x}", config.table, config.priority, config.mark_mask));
  if (!profile.profile) line("masquerade", config.masquerade ? "yes" : "no");
  return out;
}

std::string mark_lines(const config::Config& config) {
  return fmt::format(
      "# What it allows has the mark: a table of yours that drops by default has to pass it, with\n"
      "#   meta mark & {:#010x} != 0 accept\n",
      nft::marks_of(config.mark_mask).mask);
}

std::string advice(const ProfileWords& profile, const config::Config& config, bool resolved) {
  std::string out;
  if (!profile.profile) {
    return mark_lines(config) +
           "# `icqgate run` loads this itself, adds to the chains control_queue and peer_queue the rules "
           "that "
           "send packets\n"
           "# to its queues, and fills the sets. Without it nothing is open: control_queue passes, "
           "peer_queue "
           "drops.\n";
  }
  if (config.policy == nft::Policy::Gateway) {
    out +=
        "# The whole forward filter: what nothing here allows is dropped, IPv6 included. What the gateway "
        "itself receives\n"
        "# and sends is not filtered: that is another table's.\n";
  } else {
    out += mark_lines(config);
  }
  if (profile.profile == Profile::Masquerade)
    out += "# In each client of `map`: its own listening ports, no proxy.\n";
  if (profile.profile == Profile::Range)
    out += "# A server that a login server sends clients to has to be a login-host itself.\n";
  const bool names = std::any_of(config.login_hosts.begin(), config.login_hosts.end(), [](const auto& host) {
    return std::holds_alternative<dns::DomainName>(host.host);
  });
  if (names && !resolved)
    out +=
        "# Login servers known by name are not in the sets: --resolve puts today's addresses in, or add them "
        "by hand.\n";
  return out;
}

}  // namespace

std::string emit_header(const ProfileWords& profile, const config::Config& config,
                        const std::string& resolved) {
  return fmt::format("# icqgate {}, profile {}: {}\n#\n", ICQGATE_VERSION, profile.name, profile.what) +
         option_lines(profile, config) + resolved +
         fmt::format(
             "#\n# test    nft --check -f FILE\n# load    nft -f FILE    (again as well: it replaces the "
             "table)\n# remove  nft delete table inet {}\n#\n",
             config.table) +
         advice(profile, config, !resolved.empty()) + '\n';
}

}  // namespace icqgate::cli
