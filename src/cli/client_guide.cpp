// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/client_guide.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>
#include <variant>

#include "config/static_options.hpp"

namespace icqgate::cli {
namespace {

using config::Config;
using config::PortRange;
using nft::Profile;

using Kind = std::optional<nft::Profile>;  // none: dynamic

// Where peers come in on ports of port-range: at the client itself, or at the SOCKS server.
bool shares_range(Kind kind) { return !kind || kind == Profile::Range || kind == Profile::Socks; }

// How many hosts a network has; more than kMostHosts can't all have ports, however few.
constexpr std::uint64_t kMostHosts = 65536;
std::uint64_t hosts_of(const Subnet& network) {
  const std::uint64_t size = std::uint64_t{1} << (32 - network.length);
  return network.length >= 31 ? size : size - 2;  // /31: both are hosts (RFC 3021)
}

// The lowest run of `each` ports from `from` on in which none is denied.
std::optional<PortRange> run_of(std::uint32_t from, std::uint32_t each, const Config& config) {
  std::uint32_t first = from;
  for (std::uint32_t port = from; port <= 65535; ++port) {
    if (config::is_denied(Port{static_cast<std::uint16_t>(port)}, config)) {
      first = port + 1;
    } else if (port - first + 1 == each) {
      return PortRange{Port{static_cast<std::uint16_t>(first)}, Port{static_cast<std::uint16_t>(port)}};
    }
  }
  return std::nullopt;
}

struct Row {
  std::string what, value;
};

void table(std::string& out, const std::vector<Row>& rows) {
  std::size_t width = 0;
  for (const auto& row : rows) width = std::max(width, row.what.size());
  for (const auto& row : rows) {
    std::string_view rest = row.value;
    std::string_view what = row.what;
    while (true) {  // one line of the value each
      const auto end = rest.find('\n');
      out += fmt::format("  {:<{}}  {}\n", what, width, rest.substr(0, end));
      if (end == std::string_view::npos) break;
      rest.remove_prefix(end + 1);
      what = {};
    }
  }
}

// One line for each server; of a name it counts that it is entered as one.
std::string servers(const Config& config) {
  std::string out;
  bool names = false;
  for (const auto& host : config.login_hosts) {
    const auto* const address = std::get_if<IpAddress>(&host.host);
    names = names || address == nullptr;
    std::string ports;
    if (host.port) {
      ports = fmt::format("{}", host.port->get());
    } else {
      for (const Port port : config.login_ports)
        ports += fmt::format("{}{}", ports.empty() ? "" : " or ", port.get());
    }
    out +=
        fmt::format("{}{}, port {}", out.empty() ? "" : "\n",
                    address != nullptr ? to_string(*address) : std::get<dns::DomainName>(host.host), ports);
  }
  return names ? out + "\n(by name, not by address: addresses change)" : out;
}

bool logs_in_on(const Config& config, std::uint16_t port) {
  return std::ranges::any_of(config.login_hosts, [&](const auto& host) {
    return host.port ? host.port->get() == port
                     : std::ranges::find(config.login_ports, Port{port}) != config.login_ports.end();
  });
}

// What TLS would cost. 443 is where Miranda and libpurple try it.
std::string no_encryption(Kind kind, const Config& config) {
  if (!kind) return "off: icqgate can't read it, and opens nothing";
  return logs_in_on(config, 443) ? "as you like" : "off: it goes to port 443, which is not let out";
}

std::string proxy_words(Profile profile, const Config& config) {
  const auto options = config::static_options(config, profile, {});
  const auto where = fmt::format(
      "{}, port {}; no user, no password",
      options.proxies.empty() ? "this gateway's inside address" : to_string(options.proxies.front()),
      options.proxy_port.get());
  if (profile == Profile::Https) return "HTTPS: " + where;
  return "SOCKS5: " + where + "\n(SOCKS4 where the client looks names up itself: Dante knows no SOCKS4a)";
}

// What every client needs, whichever it is. `ports`: where peers come in; "" if nowhere.
std::vector<Row> everybody(Kind kind, const Config& config, const std::string& ports) {
  const bool proxy = kind && nft::has_proxy(*kind);
  std::vector<Row> rows{{"Server", servers(config)}, {"Proxy", proxy ? proxy_words(*kind, config) : "none"}};
  if (kind == Profile::Direct) {
    rows.push_back({"Listening ports", "any of 1024-65535: leave them as they are"});
    rows.push_back({"Behind a firewall", "no: peers reach the client's own address"});
  } else if (kind == Profile::Socks) {
    rows.push_back({"Listening ports", fmt::format("on the SOCKS server (BIND): {}", ports)});
    rows.push_back({"Behind a firewall", "yes, with the SOCKS server above"});
  } else if (kind == Profile::Https) {
    rows.push_back({"Listening ports", "none: an HTTPS proxy only connects"});
    rows.push_back({"Behind a firewall", "yes, with the HTTPS proxy above"});
  } else if (ports.empty()) {
    rows.push_back({"Listening ports", "none: peers can't connect to the client, it connects to them"});
    rows.push_back({"Behind a firewall", "yes"});
  } else {
    rows.push_back({"Listening ports", ports});
    rows.push_back(
        {"Behind a firewall", "no. Where the ports can be entered only with it: yes, with these ports"});
  }
  rows.push_back({"Encryption", no_encryption(kind, config)});
  return rows;
}

// Peers come in at the client, by `ports`.
std::vector<Row> listeners(Kind kind, const std::string& ports) {
  std::vector<Row> rows{
      {"ICQ 2000b-2003b",
       fmt::format("it takes another port at each start, mostly within 15000-30000:\nset its range to {}",
                   ports)},
      {"Licq", fmt::format("ports low and high: {}\nbehind a firewall: off{}", ports,
                           kind ? "" : " (on, it announces type 2: see dc-type)")},
      {"climm", fmt::format("a fixed one of {}, not a random one", ports)},
      {"Miranda", fmt::format("port range: {}, for messages and files; direct connections on", ports)}};
  if (!kind) {
    rows.push_back({"Pidgin, libpurple",
                    "nothing to set: it has no listening port for messages, and those of its\n"
                    "file transfers are not opened"});
    rows.push_back({"Kopete", "as Pidgin"});
  } else {
    rows.push_back({"Pidgin, libpurple",
                    fmt::format("port range: {} instead of 5190-5290 (files and direct IM only)", ports)});
    rows.push_back({"Kopete", fmt::format("port range: {} instead of 5190-5199 (files only)", ports)});
  }
  return rows;
}

std::vector<Row> by_client(Kind kind, const std::string& ports) {
  std::vector<Row> rows;
  if (kind == Profile::Direct) {
    rows = {{"All of them", "as they come; direct connections on, behind a firewall: off"}};
  } else if (kind == Profile::Socks) {
    rows = {{"ICQ 2000b-2003b", "SOCKS5; a peer reaches it by a port that it binds on the SOCKS server"},
            {"Others", fmt::format("where a range of ports can be set: {}", ports)},
            {"Those without BIND", "connect to peers, and are not reached by them"}};
  } else if (!ports.empty()) {
    rows = listeners(kind, ports);
  } else {
    const bool https = kind == Profile::Https;
    rows = {{"ICQ 2000b-2003b", https ? "HTTPS, not HTTP: that goes elsewhere, not to the server"
                                      : "it works without incoming connections"},
            {"Licq", "no listening port: behind a firewall: on"},
            {"climm", "no listening port: it then says so (type 1, port 0)"},
            {"Miranda", "no listening port: direct connections off"},
            {"Pidgin, libpurple", https ? "nothing to set but the proxy"
                                        : "nothing to set; it can receive files from who listens"}};
  }
  rows.push_back({"ICQ 98, ICQ 99", "not served: they speak UDP 4000"});
  return rows;
}

void list_ports(std::string& out, std::string_view title, const std::vector<nft::PortMap>& list) {
  std::size_t width = 6;
  for (const auto& one : list) width = std::max(width, to_string(IpAddress{one.client}).size());
  out += fmt::format("\n{}\n  {:<{}}  PORTS\n", title, "CLIENT", width);
  for (const auto& one : list)
    out += fmt::format("  {:<{}}  {}\n", to_string(IpAddress{one.client}), width,
                       nft::ports_in_words(one.first, one.last));
}

}  // namespace

Result<std::vector<nft::PortMap>, std::string> ports_of_clients(const Config& config, std::uint32_t each) {
  const auto error = [](std::string text) { return tl::make_unexpected(std::move(text)); };
  if (each < kFewestPortsPerClient)
    return error(fmt::format("--per-client: '{}': expected {} or more ports", each, kFewestPortsPerClient));
  std::set<Ipv4> hosts;
  std::uint64_t count = 0;
  for (const Subnet& network : config.clients) {
    const auto base = network.address.v4();
    if (!base) continue;  // peers are IPv4 only
    count = hosts_of(network);
    if (count <= kMostHosts) {
      const std::uint32_t first = base->get() + (network.length >= 31 ? 0 : 1);
      for (std::uint32_t n = 0; n < count; ++n) hosts.insert(Ipv4{first + n});
      count = hosts.size();
    }
    if (count > kMostHosts) break;
  }
  if (count == 0)
    return error(
        "--per-client: no client has an IPv4 address to give ports to; expected client = ADDRESS or NETWORK");

  std::vector<nft::PortMap> list;
  std::uint32_t from = config.port_range.first.get();
  bool fits = count <= kMostHosts;
  if (fits) {
    for (const auto& host : hosts) {
      const auto run = run_of(from, each, config);
      fits = run.has_value();
      if (!fits) break;
      list.push_back({host, run->first, run->last});
      from = run->last.get() + 1u;
    }
  }
  const auto needed = fmt::format("--per-client: {} clients with {} ports each need a port-range of {} ports",
                                  count, each, count * each);
  if (!fits)
    return error(fmt::format("{}, more than there are from {} on; name fewer clients", needed,
                             config.port_range.first.get()));
  if (from - 1 > config.port_range.last.get())
    return error(fmt::format("{}; {} has {}: expected {}-{}", needed,
                             nft::ports_in_words(config.port_range.first, config.port_range.last),
                             config.port_range.size(), config.port_range.first.get(), from - 1));
  return list;
}

Result<std::string, std::string> client_guide(const ProfileWords& profile, const Config& config,
                                              std::optional<std::uint32_t> per_client) {
  const Kind kind = profile.profile;
  std::vector<nft::PortMap> list;
  if (kind == Profile::Masquerade) list = config.maps;
  if (per_client) {
    if (!shares_range(kind))
      return tl::make_unexpected(fmt::format(
          "--per-client: profile {} {}; expected profile range, socks or dynamic", profile.name,
          kind == Profile::Masquerade ? "gives out ports by --map" : "has no port-range to share out"));
    auto shared = ports_of_clients(config, *per_client);
    if (!shared) return tl::make_unexpected(std::move(shared.error()));
    list = std::move(*shared);
  }
  std::string ports;
  if (!list.empty())
    ports = "its ports below";
  else if (shares_range(kind))
    ports = nft::ports_in_words(config.port_range.first, config.port_range.last);

  std::string out =
      fmt::format("What to enter in the ICQ clients: profile {}\n\nIn every client\n", profile.name);
  table(out, everybody(kind, config, ports));
  out += "\nClient by client\n";
  table(out, by_client(kind, ports));
  if (!list.empty())
    list_ports(out,
               kind == Profile::Socks        ? "Ports on the SOCKS server"
               : kind == Profile::Masquerade ? "Ports of each client (others have none)"
                                             : "Ports of each client",
               list);
  else if (!kind && config.masquerade)
    out +=
        "\nOutside all of them have one address: no two clients may use the same port. --per-client 3 "
        "shares\n"
        "port-range out among them.\n";
  else if (kind == Profile::Masquerade)
    out += "\nA client that --map gives ports to can listen on them.\n";
  return out;
}

}  // namespace icqgate::cli
