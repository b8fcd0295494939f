// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "doctor/spans.hpp"
#include "net/address.hpp"

namespace icqgate::doctor {

struct PolicyRule {  // ip rule
  std::uint32_t priority = 0;
  std::uint32_t mark = 0, mask = 0;
  std::string table;
  friend bool operator==(const PolicyRule&, const PolicyRule&) = default;
};

// What the host says beside its ruleset. Every default is that of a host on which nothing is wrong.
struct Facts {
  std::string config_file = "/etc/icqgate/icqgate.conf";
  std::vector<std::string> interfaces;          // that exist
  std::vector<std::string> missing_interfaces;  // of lan and wan, as configured
  Spans wan_addresses;                          // IPv4, of the gateway itself
  Spans lan_networks;                           // IPv4
  bool ip_forward = true;
  bool ipv6_forward = false;
  bool conntrack = true;
  std::uint64_t flows = 0, most_flows = 0;  // conntrack's; 0: not known
  bool queue_statement = true;              // nft_queue
  bool queue_target = true;                 // xt_NFQUEUE through nft_compat
  bool service_running = false;             // the queues are icqgate's own then
  std::vector<std::uint16_t> queues;        // that somebody reads
  std::vector<Endpoint> listeners;          // TCP
  Span ephemeral{32768, 60999};             // net.ipv4.ip_local_port_range
  Spans reserved;                           // net.ipv4.ip_local_reserved_ports
  std::string reserved_words;               // the same as the kernel writes it
  std::map<std::string, int> rp_filter;     // of the interfaces of lan and wan, the one in force
  unsigned ways_out = 1;                    // interfaces with a default route
  std::vector<PolicyRule> policy_rules;     // IPv4, those with a mark
  std::vector<IpAddress> name_servers;      // of /etc/resolv.conf
  std::string resolver_fault;               // why no login host's name could be looked up; "" if it could
  std::string ruleset_fault;                // why the kernel does not take our ruleset; "" if it does
  bool foreign_table = false;               // a table of our name that icqgate did not make
  std::vector<std::string> unread_tables;   // of iptables-legacy, where no program could read them
};

}  // namespace icqgate::doctor
