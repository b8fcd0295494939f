// SPDX-License-Identifier: GPL-2.0-or-later
#include "config/ruleset_options.hpp"

namespace icqgate::config {

nft::RulesetOptions ruleset_options(const Config& config) {
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
          .check_peers = config.peer_check != PeerCheck::Off};
}

}  // namespace icqgate::config
