// SPDX-License-Identifier: GPL-2.0-or-later
#include "config/ruleset_options.hpp"

#include <set>
#include <string>
#include <variant>

namespace icqgate::config {

std::vector<Port> login_ports(const Config& config) {
  std::set<Port> ports;
  for (const auto& host : config.login_hosts) {
    if (host.port) {
      ports.insert(*host.port);
    } else {
      ports.insert(config.login_ports.begin(), config.login_ports.end());
    }
  }
  return {ports.begin(), ports.end()};
}

nft::RulesetOptions ruleset_options(const Config& config) {
  std::set<std::string> names;
  for (const auto& host : config.login_hosts) {
    if (const auto* name = std::get_if<dns::DomainName>(&host.host); name != nullptr && config.hold_answers)
      names.insert(*name);
  }
  return {.table = config.table,
          .priority = config.priority,
          .lan = config.lan,
          .wan = config.wan,
          .clients = config.clients,
          .first_port = config.port_range.first,
          .last_port = config.port_range.last,
          .mark_mask = config.mark_mask,
          .masquerade = config.masquerade,
          .queue_control = config.queue_control,
          .queue_peer = config.queue_peer,
          .check_outbound = config.outbound == Outbound::Check,
          .check_peers = config.peer_check != PeerCheck::Off,
          .queue_names = config.queue_names,
          .login_ports = login_ports(config),
          .held_names = {names.begin(), names.end()}};
}

}  // namespace icqgate::config
