// SPDX-License-Identifier: GPL-2.0-or-later
#include "config/key.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>
#include <vector>

#include "config/value.hpp"

namespace icqgate::config {
namespace {

using std::chrono::seconds;
using Wrong = std::optional<std::string>;

// `parse` is any of value.hpp's functions with its bounds; `store` says where the result goes.
template <class T, class Store>
Wrong keep(Value<T> value, Store store) {
  if (!value) return std::move(value).error();
  store(std::move(*value));
  return std::nullopt;
}

// A value written twice counts once.
template <class T, class Item>
void add(std::vector<T>& list, Item item) {
  if (std::ranges::find(list, item) == list.end()) list.push_back(std::move(item));
}

template <auto member, auto parse>
Wrong append(Config& config, std::string_view text) {
  return keep(parse(text), [&](auto value) { add(config.*member, std::move(value)); });
}

template <auto member, auto parse>
Wrong set(Config& config, std::string_view text) {
  return keep(parse(text), [&](auto value) { config.*member = std::move(value); });
}

template <auto member, std::int64_t low, std::int64_t high>
Wrong set_number(Config& config, std::string_view text) {
  return keep(parse_number(text, {low, high}), [&](std::int64_t value) {
    using Number = std::remove_reference_t<decltype(config.*member)>;
    static_assert(std::in_range<Number>(low) && std::in_range<Number>(high));
    config.*member = static_cast<Number>(value);
  });
}

template <auto member, int low>
Wrong set_duration(Config& config, std::string_view text) {
  return keep(parse_duration(text, seconds{low}), [&](seconds value) { config.*member = value; });
}

template <auto member>
Wrong add_port(Config& config, std::string_view text) {
  const auto port = parse_port(text);
  if (!port) return "";
  add(config.*member, *port);
  return std::nullopt;
}

Wrong set_port_range(Config& config, std::string_view text) {
  return keep(parse_ports(text, Port{1024}), [&](PortRange range) { config.port_range = range; });
}

Wrong add_port_deny(Config& config, std::string_view text) {
  constexpr std::uint32_t kMost = 1000;  // one entry each: whoever denies more wants another port-range
  const auto ports = parse_ports(text, Port{1});
  if (ports && ports->size() > kMost) return "more than 1000 ports, which a narrower port-range does better";
  return keep(ports, [&](PortRange range) {
    for (std::uint32_t port = range.first.get(); port <= range.last.get(); ++port)
      config.port_deny.insert(config.port_deny.end(), Port{static_cast<std::uint16_t>(port)});
  });
}

// `system` leaves the list empty; that no address stands beside it is seen when all is read.
Wrong add_resolver(Config& config, std::string_view text) {
  if (text == "system") return std::nullopt;
  return append<&Config::resolvers, parse_resolver>(config, text);
}

Wrong set_outbound(Config& config, std::string_view text) {
  if (text != "auto" && text != "check") return "";
  config.outbound = text == "auto" ? Outbound::Auto : Outbound::Check;
  return std::nullopt;
}

Wrong set_timeout_update(Config& config, std::string_view text) {
  if (text != "probe" && text != "replace") return "";
  config.timeout_update = text == "probe" ? TimeoutUpdate::Probe : TimeoutUpdate::Replace;
  return std::nullopt;
}

// As add_resolver().
Wrong add_dns_server(Config& config, std::string_view text) {
  if (text == "system") return std::nullopt;
  return append<&Config::dns_servers, parse_server_address>(config, text);
}

Wrong set_state(Config& config, std::string_view text) {
  if (text == "none") {
    config.state.clear();
    return std::nullopt;
  }
  return set<&Config::state, parse_file_path>(config, text);
}

Wrong add_dc_type(Config& config, std::string_view text) {
  return keep(parse_number(text, {0, 255}),
              [&](std::int64_t type) { config.dc_types.insert(static_cast<std::uint8_t>(type)); });
}

Wrong set_peer_check(Config& config, std::string_view text) {
  if (text == "strict") {
    config.peer_check = PeerCheck::Strict;
  } else if (text == "log") {
    config.peer_check = PeerCheck::Log;
  } else if (text == "off") {
    config.peer_check = PeerCheck::Off;
  } else {
    return "";
  }
  return std::nullopt;
}

Wrong set_policy(Config& config, std::string_view text) {
  if (text != "guard" && text != "gateway") return "";
  config.policy = text == "guard" ? nft::Policy::Guard : nft::Policy::Gateway;
  return std::nullopt;
}

Wrong add_proxy(Config& config, std::string_view text) {
  if (text != "gateway") return append<&Config::proxies, parse_proxy>(config, text);
  config.proxy_on_gateway = true;
  return std::nullopt;
}

Wrong set_proxy_port(Config& config, std::string_view text) {
  config.proxy_port = parse_port(text);
  return config.proxy_port ? std::nullopt : Wrong{""};
}

constexpr std::string_view kExpectDuration = "a duration such as 90, 90s, 5m, 2h or 1d, from 1s to 30d";
constexpr std::string_view kExpectKeep = "a duration such as 90, 90s, 5m, 2h or 1d, from 0 to 30d";
constexpr std::string_view kExpectInterface = "an interface name of 1-15 characters, which may end in *";
constexpr std::string_view kExpectQueue = "a queue number, 0-65535";
constexpr std::string_view kExpectYesNo = "yes or no";

constexpr auto kOnce = KeyKind::Once;
constexpr auto kRepeated = KeyKind::Repeated;
constexpr auto kYesNo = KeyKind::YesNo;

// clang-format off
constexpr std::array kKeys{
    Key{"login-host", "HOST[:PORT][!private]", "login server, by name or address; !private: the name may stand for private addresses", "login.icq.com",
        "NAME, NAME:PORT, ADDRESS, ADDRESS:PORT or [IPV6]:PORT; !private behind a name", kRepeated, append<&Config::login_hosts, parse_login_host>},
    Key{"login-port", "PORT", "TCP port of the login servers that name none", "5190",
        "a port, 1-65535", kRepeated, add_port<&Config::login_ports>},
    Key{"server-port", "PORT", "port that a login server may send clients to, beside login-port, 443 and 5190-5199", "",
        "a port, 1-65535", kRepeated, add_port<&Config::server_ports>},
    Key{"lan", "INTERFACE", "inside interface; a trailing * as in nft", "br-lan",
        kExpectInterface, kRepeated, append<&Config::lan, parse_interface>},
    Key{"wan", "INTERFACE", "outside interface; a trailing * as in nft", "eth0",
        kExpectInterface, kRepeated, append<&Config::wan, parse_interface>},
    Key{"client", "NETWORK", "who may use it; any address seen on the LAN side if absent", "",
        "an address or network of clients such as 192.168.1.0/24", kRepeated, append<&Config::clients, parse_client>},
    Key{"port-range", "FIRST-LAST", "the minimized range: pinholes are opened for these ports only", "20000-20099",
        "FIRST-LAST within 1024-65535", kOnce, set_port_range},
    Key{"port-deny", "PORT[-LAST]", "port never opened, beside the built-in list", "",
        "PORT or FIRST-LAST within 1-65535", kRepeated, add_port_deny},
    Key{"ports-per-client", "NUMBER", "pinholes one client may have at a time", "3",
        "a number, 1-64", kOnce, set_number<&Config::ports_per_client, 1, 64>},
    Key{"masquerade", "yes|no", "pinholes are DNAT from the WAN address, same port outside as inside", "no",
        kExpectYesNo, kYesNo, set<&Config::masquerade, parse_yes_no>},
    Key{"resolver", "system|ADDRESS[:PORT]", "DNS server to ask for the login hosts", "system",
        "system, ADDRESS, ADDRESS:PORT or [IPV6]:PORT", kRepeated, add_resolver},
    Key{"queries-per-minute", "NUMBER", "DNS queries that icqgate sends at most", "120",
        "a number, 1-6000", kOnce, set_number<&Config::queries_per_minute, 1, 6000>},
    Key{"hold-answers", "yes|no", "DNS answers to LAN clients for the login hosts wait until their addresses are allowed", "yes",
        kExpectYesNo, kYesNo, set<&Config::hold_answers, parse_yes_no>},
    Key{"dns-server", "system|ADDRESS", "DNS server whose answers to LAN clients count; system: those of `resolver`", "system",
        "system or an IP address", kRepeated, add_dns_server},
    Key{"ttl-min", "DURATION", "a DNS TTL below counts as this", "30s",
        kExpectDuration, kOnce, set_duration<&Config::ttl_min, 1>},
    Key{"ttl-max", "DURATION", "a DNS TTL above counts as this", "1h",
        kExpectDuration, kOnce, set_duration<&Config::ttl_max, 1>},
    Key{"keep", "DURATION", "how long an address stays after its TTL", "10m",
        kExpectKeep, kOnce, set_duration<&Config::keep, 0>},
    Key{"addresses-per-name", "NUMBER", "addresses of one login host and type (A, AAAA) kept at most", "64",
        "a number, 1-1024", kOnce, set_number<&Config::addresses_per_name, 1, 1024>},
    Key{"addresses-total", "NUMBER", "addresses of all login hosts kept at most", "1024",
        "a number, 1-65536", kOnce, set_number<&Config::addresses_total, 1, 65536>},
    Key{"table", "NAME", "nftables table of family inet, owned by icqgate", "icqgate",
        "a letter or _, then letters, digits, _ / or ., at most 31 in all", kOnce, set<&Config::table, parse_table>},
    Key{"priority", "NUMBER", "priority of the forward chain", "-5",
        "a number from -400 to 400", kOnce, set_number<&Config::priority, -400, 400>},
    Key{"mark-mask", "MASK", "packet and conntrack mark bits to use; of those set the lowest two", "0x06000000",
        "a 32-bit number, hexadecimal (0x06000000) or decimal, with two bits set or more", kOnce,
        set<&Config::mark_mask, parse_mark_mask>},
    Key{"queue-control", "NUMBER", "NFQUEUE number for login and BOS connections", "5190",
        kExpectQueue, kOnce, set_number<&Config::queue_control, 0, 65535>},
    Key{"queue-peer", "NUMBER", "NFQUEUE number for the first data of a peer connection", "5191",
        kExpectQueue, kOnce, set_number<&Config::queue_peer, 0, 65535>},
    Key{"queue-names", "NUMBER", "NFQUEUE number for held DNS answers and SYNs to unknown servers", "5192",
        kExpectQueue, kOnce, set_number<&Config::queue_names, 0, 65535>},
    Key{"owner", "yes|no", "the table belongs to the running service: no other program can change it", "no",
        kExpectYesNo, kYesNo, set<&Config::owner, parse_yes_no>},
    Key{"timeout-update", "probe|replace", "renew a timeout in place where the kernel can, or always replace the element", "probe",
        "probe or replace", kOnce, set_timeout_update},
    Key{"outbound", "auto|check", "connections of a client with a session to peers: take those that other tables drop, or all", "auto",
        "auto or check", kOnce, set_outbound},
    Key{"dc-type", "NUMBER", "type of direct connection in an announcement that opens its port; 1, 3, 4, 5 and 6 if absent", "",
        "a number, 0-255", kRepeated, add_dc_type},
    Key{"peer-check", "strict|log|off", "refuse peers that fail the check, only log them, or do not look", "strict",
        "strict, log or off", kOnce, set_peer_check},
    Key{"check-cookie", "yes|no", "refuse a peer whose cookie is not the known one", "yes",
        kExpectYesNo, kYesNo, set<&Config::check_cookie, parse_yes_no>},
    Key{"allow-old-versions", "yes|no", "let in peer handshakes of versions 2 to 5, which carry no cookie", "yes",
        kExpectYesNo, kYesNo, set<&Config::allow_old_versions, parse_yes_no>},
    Key{"pinhole-timeout", "DURATION", "kernel timeout of a pinhole, refreshed while the session lives", "2m",
        kExpectDuration, kOnce, set_duration<&Config::pinhole_timeout, 1>},
    Key{"session-idle", "DURATION", "a control flow silent for so long is over", "10m",
        kExpectDuration, kOnce, set_duration<&Config::session_idle, 1>},
    Key{"socket", "PATH", "control socket, for `icqgate status` and its like", "/run/icqgate/icqgate.sock",
        "an absolute path of at most 107 characters", kOnce, set<&Config::socket, parse_socket_path>},
    Key{"state", "PATH", "file with what a restart continues from; none: nothing is saved", "/var/lib/icqgate/state.json",
        "an absolute path of a file, or none", kOnce, set_state},
    Key{"flush-on-exit", "yes|no", "remove the table when the service ends", "no",
        kExpectYesNo, kYesNo, set<&Config::flush_on_exit, parse_yes_no>},
    Key{"policy", "guard|gateway", "emit: a table beside your own, or the whole forward filter of a small gateway", "guard",
        "guard or gateway", kOnce, set_policy},
    Key{"also-allow", "tcp|udp/PORT[-LAST]", "emit, policy gateway: what lan may reach at wan beside ICQ", "",
        "tcp/PORT, udp/PORT or a range such as tcp/8000-8100", kRepeated, append<&Config::also_allowed, parse_service>},
    Key{"map", "CLIENT=FIRST-LAST", "emit, profile masquerade: these ports of the outside address are that client's", "",
        "CLIENT=FIRST-LAST, an IPv4 address and ports within 1024-65535", kRepeated, append<&Config::maps, parse_map>},
    Key{"proxy", "ADDRESS|gateway", "emit, profiles socks and https: the proxy, or that it runs on this gateway", "",
        "an IP address, or gateway", kRepeated, add_proxy},
    Key{"proxy-port", "PORT", "emit: port where the proxy listens for clients; 1080 (socks) or 3128 (https) if absent", "",
        "a port, 1-65535", kOnce, set_proxy_port},
};
// clang-format on

// Levenshtein's distance, one row at a time.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const auto replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::span<const Key> keys() noexcept { return kKeys; }

const Key* find_key(std::string_view name) noexcept {
  const auto* const found = std::ranges::find(kKeys, name, &Key::name);
  return found == kKeys.end() ? nullptr : found;
}

std::optional<std::string_view> nearest_key(std::string_view name) {
  constexpr std::size_t kMostEdits = 3;
  // Three edits turn any three letters into any key of three: a suggestion keeps one letter at least.
  std::size_t least = std::min(kMostEdits + 1, name.size());
  std::optional<std::string_view> nearest;
  for (const Key& key : kKeys) {
    if (name.size() > key.name.size() + kMostEdits) continue;  // bounds the work for a line of garbage
    // A name cut short, as other tools take it ("--tab"), is nearer than any letters changed.
    const auto edits = name != key.name && key.name.starts_with(name) ? 1 : distance(name, key.name);
    if (edits >= least) continue;
    least = edits;
    nearest = key.name;
  }
  return nearest;
}

}  // namespace icqgate::config
