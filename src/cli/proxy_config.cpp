// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/proxy_config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "config/ruleset_options.hpp"
#include "config/static_options.hpp"

namespace icqgate::cli {
namespace {

using config::Config;

constexpr std::string_view kAnywhere = "0.0.0.0/0";

// Sorted, without those that others contain: Squid warns of them.
std::vector<Subnet> outermost(const std::vector<Subnet>& networks) {
  std::vector<Subnet> list;
  for (const Subnet& one : networks) {
    const bool within = std::ranges::any_of(networks, [&](const Subnet& other) {
      return other.length < one.length && other.contains(one.address);
    });
    if (!within && std::ranges::find(list, one) == list.end()) list.push_back(one);
  }
  std::ranges::sort(list);
  return list;
}

enum class Family { V4, Both };
std::vector<Subnet> client_networks(const Config& config, Family family) {
  std::vector<Subnet> list;
  for (const Subnet& client : config.clients)
    if (client.address.is_v4() || family == Family::Both) list.push_back(client);
  return outermost(list);
}

// Networks whose login server has a private address have private peers, too.
bool is_private_network(const Config& config) {
  return std::ranges::any_of(config.login_hosts, [](const auto& host) {
    const auto* const address = std::get_if<IpAddress>(&host.host);
    return host.private_allowed || (address != nullptr && scope_of(*address) == Scope::Private);
  });
}

// What a client must not reach through the proxy: other clients, the proxy's host, private addresses, and
// those where no server and no peer is (RFC 6890).
std::vector<Subnet> inside_networks(const Config& config, Family family) {
  auto list = client_networks(config, family);
  for (const IpAddress& address : config.proxies)
    if (address.is_v4() || family == Family::Both)
      list.push_back({address, static_cast<std::uint8_t>(address.is_v4() ? 32 : 128)});
  list.insert(list.end(), {{make_ipv4(0, 0, 0, 0), 8},
                           {make_ipv4(127, 0, 0, 0), 8},
                           {make_ipv4(169, 254, 0, 0), 16},
                           {make_ipv4(224, 0, 0, 0), 3}});
  if (!is_private_network(config))
    for (const auto* const network :
         {"10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"})
      if (const auto subnet = *parse_subnet(network); subnet.address.is_v4() || family == Family::Both)
        list.push_back(subnet);
  if (family == Family::Both)
    for (const auto* const network : {"::/128", "::1/128", "fe80::/10", "ff00::/8"})
      list.push_back(*parse_subnet(network));
  return outermost(list);
}

// With the length always: both daemons take that.
std::string text_of(const Subnet& network) {
  return fmt::format("{}/{}", to_string(network.address), network.length);
}

std::vector<IpAddress> addresses_of(const Config& config, bool v4) {
  std::vector<IpAddress> list;
  for (const IpAddress& address : config.proxies)
    if (address.is_v4() == v4) list.push_back(address);
  return list;
}

std::string dante_ports(const config::PortRange& range) {
  return range.first == range.last ? fmt::format("port = {}", range.first.get())
                                   : fmt::format("port {} - {}", range.first.get(), range.last.get());
}

std::string dante(const Config& config, Port port) {
  std::vector<std::string> clients;
  for (const Subnet& client : client_networks(config, Family::V4)) clients.push_back(text_of(client));
  const auto own = addresses_of(config, true);
  const std::string internal = to_string(own.front());
  const std::string external = to_string(own.back());
  const std::string bound = fmt::format("{}/32 {}", external, dante_ports(config.port_range));
  const auto first = config.port_range.first.get();
  const auto last = config.port_range.last.get();
  std::string out = fmt::format(
      "# icqgate {}, profile socks: danted.conf of Dante 1.4\n#\n"
      "# A client that asks for a port of its own (BIND) gets it within port-range, {}-{}. If it leaves the\n"
      "# choice to the server, or the port is taken, the kernel chooses, and Dante refuses what is not of "
      "the "
      "range.\n"
      "# So let the kernel choose from it, on a host that does nothing else:\n"
      "#   sysctl -w net.ipv4.ip_local_port_range=\"{} {}\"\n\n",
      ICQGATE_VERSION, first, last, first, last);
  out += fmt::format(
      "logoutput: syslog\n"
      "internal: {} port = {}\n"
      "external: {}\n"
      "clientmethod: none\n"
      "socksmethod: none\n"
      "user.unprivileged: nobody\n",
      internal, port.get(), external);

  // The first rule that fits decides.
  const auto rule = [&](std::string_view verdict, std::string_view from, const std::string& to,
                        std::string_view command) {
    out += fmt::format("{} {{\n  from: {} to: {}\n", verdict, from, to);
    if (!command.empty()) out += fmt::format("  command: {}\n", command);
    out += verdict.ends_with("block") ? "  log: connect error\n}\n" : "  log: error\n}\n";
  };
  const auto note = [&](std::string_view text) { out += fmt::format("\n# {}\n", text); };
  note("Who may use it.");
  for (const auto& client : clients) rule("client pass", client, internal + "/32", "");
  rule("client block", kAnywhere, std::string{kAnywhere}, "");
  note("Peers come in on the ports that clients bind here, and on no others.");
  for (const auto& client : clients) rule("socks pass", client, bound, "bind");
  for (const auto& client : clients) rule("socks pass", kAnywhere, client, "bindreply");
  note("Two clients meet at a port that one of them has bound. Nothing else inside is reached through here.");
  for (const auto& client : clients) rule("socks pass", client, bound, "connect");
  for (const Subnet& network : inside_networks(config, Family::V4))
    rule("socks block", kAnywhere, text_of(network), "connect");
  note("Login servers by their port, and peers, who listen on 1024-65535. The ruleset says which servers.");
  for (const auto& client : clients) {
    for (const Port low : config::login_ports(config))
      if (low.get() < 1024)
        rule("socks pass", client, fmt::format("{} port = {}", kAnywhere, low.get()), "connect");
    rule("socks pass", client, fmt::format("{} port 1024 - 65535", kAnywhere), "connect");
  }
  rule("socks block", kAnywhere, std::string{kAnywhere}, "");
  return out;
}

std::string squid(const Config& config, Port port) {
  std::string listens;
  for (const bool v4 : {true, false})
    if (const auto own = addresses_of(config, v4); !own.empty())
      listens += fmt::format("http_port {}\n", to_string(Endpoint{own.front(), port}));
  std::string clients;
  for (const Subnet& client : client_networks(config, Family::Both)) clients += ' ' + text_of(client);
  std::string inside;
  for (const Subnet& network : inside_networks(config, Family::Both)) inside += ' ' + text_of(network);
  std::string ports;
  for (const Port one : config::login_ports(config)) ports += fmt::format(" {}", one.get());
  return fmt::format(
      "# icqgate {}, profile https: squid.conf of Squid 5\n\n"
      "{}\n"
      "# Tunnels (CONNECT) of the clients to login servers, by their port; the ruleset says which servers. "
      "Nothing\n"
      "# inside is reached through here, and nothing else is served.\n"
      "acl icq_clients src{}\n"
      "acl icq_ports port{}\n"
      "acl icq_tunnel method CONNECT\n"
      "acl inside dst{}\n"
      "http_access allow icq_clients icq_tunnel icq_ports !inside\n"
      "http_access deny all\n\n"
      "cache deny all\n"
      "pinger_enable off\n",
      ICQGATE_VERSION, listens, clients, ports, inside);
}

}  // namespace

Result<std::string, std::string> proxy_config(std::string_view program, const ProfileWords& profile,
                                              const Config& config) {
  const auto error = [&](std::string_view what) {
    return tl::make_unexpected(fmt::format("--proxy-config: '{}': {}", program, what));
  };
  const bool socks = program == "dante";
  if (!socks && program != "squid")
    return error("no proxy that is known; expected dante (profile socks) or squid (profile https)");
  const auto wanted = socks ? nft::Profile::Socks : nft::Profile::Https;
  if (profile.profile != wanted)
    return error(socks ? "a SOCKS server; expected --profile socks"
                       : "an HTTPS proxy; expected --profile https");
  if (socks ? addresses_of(config, true).empty() : config.proxies.empty())
    return error(
        fmt::format("the {}address it listens on is not said; expected --proxy ADDRESS (or INSIDE,OUTSIDE)",
                    socks ? "IPv4 " : ""));
  if (client_networks(config, socks ? Family::V4 : Family::Both).empty())
    return error(
        fmt::format("who may use it is not said; expected --client NETWORK{}", socks ? " (IPv4)" : ""));
  const Port port = config::static_options(config, wanted, {}).proxy_port;
  return socks ? dante(config, port) : squid(config, port);
}

}  // namespace icqgate::cli
