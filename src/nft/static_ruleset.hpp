// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nft/ruleset.hpp"

namespace icqgate::nft {

// The profiles of `emit` that need no service (design: a section of ICQ's own page for administrators each).
enum class Profile { Direct, Range, Outbound, Masquerade, Socks, Https };

// Guard: a table beside the administrator's own. It marks what it allows, and drops nothing that is not ICQ.
// Gateway: the whole forward filter of a small gateway, which drops what nothing allows.
enum class Policy { Guard, Gateway };

// Ports of the gateway's outside address that are a client's: the same ports outside as inside.
struct PortMap {
  Ipv4 client;
  Port first;
  Port last;
  friend bool operator==(const PortMap&, const PortMap&) = default;
};

// What a gateway lets out beside ICQ, from lan to wan.
enum class Transport { Tcp, Udp };
struct Service {
  Transport transport = Transport::Tcp;
  Port first;
  Port last;
  friend bool operator==(const Service&, const Service&) = default;
};

struct StaticAddress {
  Endpoint server;
  std::string comment;
};

struct StaticOptions {
  Profile profile = Profile::Outbound;
  Policy policy = Policy::Guard;
  RulesetOptions table;                  // login_ports, clients, interfaces, port range, names and numbers
  std::vector<StaticAddress> addresses;  // login servers to put in
  std::vector<PortMap> maps;             // Masquerade; none overlap
  // Socks and Https: where the proxy is. Its addresses, or this gateway (under any address), or both.
  std::vector<IpAddress> proxies;
  bool proxy_on_gateway = false;
  Port proxy_port{1080};
  std::vector<Service> also_allowed;  // Gateway
  std::vector<Port> denied;           // Range and Socks: of the port range, ascending; never all of it
};

// The table, complete. Every rule says in a comment what it is for.
[[nodiscard]] std::string static_ruleset(const StaticOptions& options);

[[nodiscard]] constexpr bool has_proxy(Profile profile) noexcept {
  return profile == Profile::Socks || profile == Profile::Https;
}

// "24000-24009", or "24000" for one alone.
[[nodiscard]] std::string ports_in_words(Port first, Port last);

}  // namespace icqgate::nft
