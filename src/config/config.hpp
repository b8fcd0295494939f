// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "dns/message.hpp"
#include "net/address.hpp"
#include "nft/static_ruleset.hpp"

namespace icqgate::config {

struct PortRange {
  Port first{20000};
  Port last{20099};
  [[nodiscard]] bool contains(Port port) const noexcept { return first <= port && port <= last; }
  [[nodiscard]] std::uint32_t size() const noexcept { return last.get() - first.get() + 1u; }
  friend bool operator==(const PortRange&, const PortRange&) = default;
};

struct LoginHost {
  std::variant<IpAddress, dns::DomainName> host;
  std::optional<Port> port;      // absent: every login-port
  bool private_allowed = false;  // "!private": its name may stand for private addresses (security.md S20)
  friend bool operator==(const LoginHost&, const LoginHost&) = default;
};

enum class PeerCheck { Strict, Log, Off };
// Outbound connections of a client with a session: Auto leaves them to the other tables first; Check takes
// all.
enum class Outbound { Auto, Check };
// How an element's timeout is renewed: as a probe of the kernel says, or always by replacing the element.
enum class TimeoutUpdate { Probe, Replace };

// The configuration. Every member is a key of the file and an option --key of run, check, emit
// and trace.
struct Config {
  std::vector<LoginHost> login_hosts;  // login-host   (default: login.icq.com)
  std::vector<Port> login_ports;       // login-port   (default: 5190)
  std::vector<Port> server_ports;  // server-port  more ports that a login server may send clients to, beside
                                   //              login-port, 443 and 5190-5199 (default: none)
  std::vector<std::string> lan;    // lan          (default: br-lan); a trailing * as in nft
  std::vector<std::string> wan;    // wan          (default: eth0)
  std::vector<Subnet> clients;     // client       (default: none = any address seen on the LAN side)
  PortRange port_range;            // port-range   (20000-20099)
  std::set<Port> port_deny;        // port-deny    (beside the built-in list)
  std::uint32_t ports_per_client = 3;      // ports-per-client, 1..64
  bool masquerade = false;                 // masquerade   yes|no
  std::vector<Endpoint> resolvers;         // resolver     system (empty here) or address[:port]
  std::uint32_t queries_per_minute = 120;  // queries-per-minute  that icqgate sends at most, 1..6000
  bool hold_answers = true;                // hold-answers yes|no: DNS answers to LAN clients, for login hosts
  std::vector<IpAddress> dns_servers;      // dns-server   whose answers to LAN clients count; empty: those
                                           //              that `resolver` stands for
  std::chrono::seconds ttl_min{30};        // ttl-min      seconds, or 30s 5m 2h 1d
  std::chrono::seconds ttl_max{3600};      // ttl-max
  std::chrono::seconds keep{600};          // keep         how long an address stays after its TTL
  std::uint32_t addresses_per_name = 64;   // addresses-per-name  1..1024, of one type; and in all:
  std::uint32_t addresses_total = 1024;    // addresses-total     1..65536, of all names
  std::string table = "icqgate";           // table        a name as nft takes it
  std::int32_t priority = -5;              // priority     of the forward chain
  std::uint32_t mark_mask = 0x06000000;    // mark-mask    at least two bits; the lowest two are used
  std::uint16_t queue_control = 5190;      // queue-control
  std::uint16_t queue_peer = 5191;         // queue-peer
  std::uint16_t queue_names = 5192;        // queue-names  held DNS answers, and SYNs to unknown servers
  bool owner = false;                      // owner        yes|no: the table belongs to the running service
  TimeoutUpdate timeout_update = TimeoutUpdate::Probe;  // timeout-update probe | replace
  Outbound outbound = Outbound::Auto;                   // outbound     auto | check
  std::set<std::uint8_t> dc_types;                      // dc-type      that open a port (none: 1, 3, 4, 5, 6)
  PeerCheck peer_check = PeerCheck::Strict;             // peer-check   strict | log | off
  bool check_cookie = true;                             // check-cookie yes|no (protocol.md 4.5)
  bool allow_old_versions = true;             // allow-old-versions yes|no: peer handshakes of versions 2 to 5
  std::chrono::seconds pinhole_timeout{120};  // pinhole-timeout  kernel timeout of a pinhole, refreshed while
                                              //                  the session lives
  std::chrono::seconds session_idle{600};     // session-idle     a control flow silent for so long is over
  std::string socket = "/run/icqgate/icqgate.sock";  // socket       of `icqgate status`
  std::string state =
      "/var/lib/icqgate/state.json";  // state        what a restart continues from; "": nothing
  bool flush_on_exit = false;         // flush-on-exit yes|no
  // Of `emit` alone; `run` takes them and does nothing with them.
  nft::Policy policy = nft::Policy::Guard;  // policy       guard | gateway
  std::vector<nft::Service> also_allowed;   // also-allow   tcp/PORT[-LAST] or udp/..., from lan to wan
  std::vector<nft::PortMap> maps;           // map          CLIENT=FIRST-LAST
  std::vector<IpAddress> proxies;           // proxy        its addresses, or
  bool proxy_on_gateway = false;            //              gateway: it is this one, under any address
  std::optional<Port> proxy_port;           // proxy-port   (default: 1080 of socks, 3128 of https)

  friend bool operator==(const Config&, const Config&) = default;
};

// One thing wrong, where, and what was expected instead.
struct ConfigError {
  std::string file;        // "" on the command line
  std::size_t line = 0;    // from 1; 0 on the command line
  std::size_t column = 0;  // from 1, of the value (or of the key if that is wrong); 0 on the command line
  std::string message;  // "port-range: '30000-20000': the first port is above the last; expected FIRST-LAST
                        // within 1024-65535"
};
// "file:line:column: message"; on the command line the message alone, which starts with "--key: ".
[[nodiscard]] std::string to_string(const ConfigError& error);

// `text` (of `file`; both may be empty: no file) and then the command line, which replaces what the file says
// key by key (repeatable keys as a whole). Every error found is returned, not only the first; values are
// trimmed; '#' starts a comment; an empty value is an error. Repeatable keys take several values parted by
// commas; any other key given twice is an error. After 20 errors the list ends with "more errors not shown".
// Unknown keys are errors and name the nearest known one. Checks across keys too: ttl-min above ttl-max,
// equal queues, an interface both lan and wan, maps that overlap or are of no client.
[[nodiscard]] Result<Config, std::vector<ConfigError>> parse(std::string_view text, std::string_view file,
                                                             const std::vector<std::string>& arguments = {});

// Splits arguments into those that are configuration options (with their values) and the rest, in order, so
// that a subcommand can take its own. "--key value" and "--key=value"; a yes-or-no option that another option
// or the end follows means yes ("--flush-on-exit"). Any other option without its value goes to
// `configuration` alone, where parse() names it. "--" ends the options: it and all behind it go to `rest`.
struct SplitArguments {
  std::vector<std::string> configuration;
  std::vector<std::string> rest;
};
[[nodiscard]] SplitArguments split_arguments(const std::vector<std::string>& arguments);

// "  --port-range FIRST-LAST   the minimized range ... (default 20000-20099)\n" ...: for --help.
[[nodiscard]] std::string options_help();

// Ports no pinhole is ever opened for, whatever the range (security.md S8): all below 1024, port-deny, and a
// built-in list of databases, remote desktops, shells and the like. 5190, where libpurple listens first, is
// on it unless the range starts or ends within 5180..5299: then the operator named it.
[[nodiscard]] bool is_denied(Port port, const Config& config) noexcept;
// Those of port-range, ascending.
[[nodiscard]] std::vector<Port> denied_ports(const Config& config);

}  // namespace icqgate::config
