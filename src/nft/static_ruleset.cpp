// SPDX-License-Identifier: GPL-2.0-or-later
#include "nft/static_ruleset.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "nft/ruleset_words.hpp"

namespace icqgate::nft {
namespace {

constexpr const char* kInterval = "\t\tflags interval\n";
constexpr const char* kAllPorts =
    "1024-65535";  // where ICQ's peers listen, if nobody has minimized the range

// Builds the table top down: what a chain jumps to stands before it.
class Table {
 public:
  explicit Table(const StaticOptions& options)
      : o_{options}, w_{options.table}, lan_{w_.lan}, wan_{w_.wan}, gateway_{o_.policy == Policy::Gateway} {
    std::vector<std::string> ports;
    ports.reserve(o_.table.login_ports.size());
    for (const Port port : o_.table.login_ports) ports.push_back(std::to_string(port.get()));
    login_ports_ = joined(ports, false);
    std::vector<std::string> mapped;
    mapped.reserve(o_.maps.size());
    for (const PortMap& map : o_.maps) mapped.push_back(ports_in_words(map.first, map.last));
    mapped_ports_ = joined(mapped, false);
    open_ports_ = open_ports();
  }

  std::string text() && {
    out_ = fmt::format("table inet {} {{\n", o_.table.table);
    login_sets();
    if (w_.limited) client_sets();
    if (has_proxy(o_.profile)) proxy_sets();
    if (!o_.maps.empty()) map_sets();
    Chain{out_, "pass", "what is allowed has the mark, and its flow as well"}.rule(
        fmt::format("{} {} accept", w_.ct_set(w_.marks.verified), w_.allow()), "ICQ");
    antispoof();
    if (has_proxy(o_.profile)) {
      from_proxy();
      if (o_.profile == Profile::Socks) to_proxy();
      to_proxy_from_lan();
      round_proxy();
      proxy_here();
    } else {
      from_lan();
      if (peer_ports() != nullptr) to_lan();
    }
    if (gateway_) passing_icmp();
    forward();
    if (o_.profile == Profile::Masquerade) nat();
    return closed(std::move(out_));
  }

 private:
  [[nodiscard]] std::string opening(const std::string& where) const {
    return fmt::format("ct state new {} {}", kOpening, where);
  }
  // The port range without what is denied, as nft writes it.
  [[nodiscard]] std::string open_ports() const {
    std::vector<std::string> runs;
    std::uint32_t first = o_.table.first_port.get();
    const auto end_before = [&](std::uint32_t next) {
      if (first < next)
        runs.push_back(ports_in_words(Port{static_cast<std::uint16_t>(first)},
                                      Port{static_cast<std::uint16_t>(next - 1)}));
      first = next + 1;
    };
    for (const Port denied : o_.denied) end_before(denied.get());
    end_before(o_.table.last_port.get() + 1u);
    return joined(runs, false);
  }
  // Conntrack gives a connection that a helper expects (FTP, IRC) the mark of the one that announced it. (Not
  // so ICMP errors: to them the mark is that of the very connection.)
  void flows_allowed_before(Chain& chain) const {
    chain
        .rule(fmt::format("meta l4proto {{ tcp, udp }} ct state related {} {}", w_.ct_is(w_.marks.verified),
                          w_.ct_set(0)),
              "a helper's connection inherits the mark, and is none of ICQ's")
        .rule(fmt::format("{} {} accept", w_.ct_is(w_.marks.verified), w_.allow()),
              "flows allowed before, both ways");
  }
  // The ports that peers come in by, as nft writes them; nullptr: no listening port.
  [[nodiscard]] const char* peer_ports() const {
    switch (o_.profile) {
      case Profile::Direct:
        return kAllPorts;
      case Profile::Range:
      case Profile::Socks:
        return open_ports_.c_str();
      case Profile::Masquerade:
        return o_.maps.empty() ? nullptr : mapped_ports_.c_str();
      default:
        return nullptr;
    }
  }
  // Calls `with("ip", "4")` and `with("ip6", "6")`: for the families that the proxy has an address of.
  template <class With>
  void each_family(With with) const {
    if (std::ranges::any_of(o_.proxies, [](const auto& one) { return one.is_v4(); })) with("ip", "4");
    if (std::ranges::any_of(o_.proxies, [](const auto& one) { return !one.is_v4(); })) with("ip6", "6");
  }
  [[nodiscard]] std::string client(std::string_view family, const char* direction) const {
    return family == "ip" ? w_.client(direction) : w_.client6(direction);
  }

  // What it is for stands above it, not in it: nft's JSON had no comments of sets before 1.0.9, nor
  // auto-merge.
  void set(const std::string& name, const char* what, const char* type, const char* flags,
           const std::vector<std::string>& elements, const char* kind = "set") {
    out_ += fmt::format("\t# {}\n\t{} {} {{\n\t\ttype {}\n{}", what, kind, name, type, flags);
    if (!elements.empty())
      out_ += fmt::format("\t\telements = {{ {} }}\n", fmt::join(elements, ",\n\t\t             "));
    out_ += "\t}\n\n";
  }

  // A network within another of the list is left out: an interval set takes no overlap.
  void client_sets() {
    const auto one = [&](const char* name, const char* what, const char* type, bool v4) {
      std::vector<std::string> elements;
      for (const Subnet& client : o_.table.clients) {
        const auto holds = [&](const Subnet& other) {
          return other != client && other.length <= client.length && other.contains(client.address);
        };
        if (client.address.is_v4() == v4 && std::ranges::none_of(o_.table.clients, holds))
          elements.push_back(to_string(client));
      }
      set(name, what, type, kInterval, elements);
    };
    one("clients4", "who may use it (IPv4)", "ipv4_addr", true);
    one("clients6", "who may use it (IPv6)", "ipv6_addr", false);
  }

  void login_sets() {
    const auto one = [&](const char* name, const char* type, bool v4) {
      std::vector<std::string> elements;
      for (const auto& [server, comment] : o_.addresses) {
        if (server.address.is_v4() != v4) continue;
        elements.push_back(fmt::format("{} . {}", to_string(server.address), server.port.get()));
        if (!comment.empty()) elements.back() += fmt::format(" comment \"{}\"", comment);
      }
      set(name, "login servers", type, "", elements);
    };
    one("login4", "ipv4_addr . inet_service", true);
    one("login6", "ipv6_addr . inet_service", false);
  }

  void proxy_sets() {
    each_family([this](std::string_view, std::string_view digit) {
      std::vector<std::string> elements;
      for (const IpAddress& proxy : o_.proxies)
        if (proxy.is_v4() == (digit == "4")) elements.push_back(to_string(proxy));
      set(fmt::format("proxy{}", digit), "the proxy", digit == "4" ? "ipv4_addr" : "ipv6_addr", "", elements);
    });
  }

  void map_sets() {
    std::vector<std::string> forwards;
    std::vector<std::string> mapped;
    for (const PortMap& map : o_.maps) {
      const auto ports = ports_in_words(map.first, map.last);
      const auto address = to_string(IpAddress{map.client});
      forwards.push_back(fmt::format("{} : {}", ports, address));
      mapped.push_back(fmt::format("{} . {}", address, ports));
    }
    set("forwards", "outside port : client, who has the same port", "inet_service : ipv4_addr", kInterval,
        forwards, "map");
    set("mapped", "client . its listening ports", "ipv4_addr . inet_service", kInterval, mapped);
  }

  // Nobody outside may come with an inside address. A guard looks at ICQ's connections and ports alone.
  void antispoof() {
    {
      Chain chain{out_, "inside_only", "from outside: drops what says that it comes from inside"};
      if (w_.limited)
        chain.rule("ip saddr @clients4 drop", "a client's address, from outside")
            .rule("ip6 saddr @clients6 drop", "a client's address, from outside");
      chain.rule(fmt::format("fib saddr oifname {} drop", lan_), "the way back to it leads inside")
          .rule("fib saddr type local drop", "an address of this gateway's own");
    }
    Chain chain{out_, "antispoof", ""};
    chain.hook("filter hook prerouting priority mangle + 5");
    if (gateway_) {
      chain.rule(fmt::format("iifname {} jump inside_only", wan_), "all that comes from outside")
          .rule(fmt::format("iifname {} fib daddr type unicast fib saddr . iif oif missing drop", lan_),
                "from inside, with an address that is not reached there");
    } else {
      chain.rule(fmt::format("iifname {} {} jump inside_only", wan_, w_.ct_is(w_.marks.verified)),
                 "ICQ connections");
      if (const char* const ports = peer_ports())
        chain.rule(fmt::format("iifname {} meta nfproto ipv4 tcp dport {} jump inside_only", wan_, ports),
                   "ICQ listening ports");
    }
    if (!has_proxy(o_.profile)) return;
    each_family([&](std::string_view family, std::string_view digit) {
      chain.rule(
          fmt::format("{} saddr @proxy{} {} fib saddr . iif oif missing drop", family, digit, kOpening),
          "the proxy's address, from where the proxy is not");
    });
  }

  void from_lan() {
    const bool range = o_.profile == Profile::Range;
    Chain{out_, "from_lan", "new connections of the clients"}
        .rule(fmt::format("{}ip daddr . tcp dport @login4 goto pass", w_.client("saddr")), "login servers")
        .rule(fmt::format("{}ip6 daddr . tcp dport @login6 goto pass", w_.client6("saddr")), "login servers")
        .rule(fmt::format("meta nfproto ipv4 {}tcp dport {} goto pass", w_.client("saddr"),
                          range ? w_.ports : kAllPorts),
              range ? "peers, who listen in the same range"
                    : "peers, who listen anywhere above the well-known ports");
  }

  void to_lan() {
    Chain chain{out_, "to_lan", "new connections of peers to the clients' listening ports"};
    if (o_.profile == Profile::Masquerade)
      chain.rule("ct status dnat ip daddr . tcp dport @mapped goto pass",
                 "to a client's own ports, and only by the outside address");
    else
      chain.rule(fmt::format("meta nfproto ipv4 {}tcp dport {} goto pass", w_.client("daddr"), peer_ports()),
                 "peers");
  }

  void from_proxy() {
    Chain chain{out_, "from_proxy", "new connections of the proxy to the outside"};
    chain.rule("ip daddr . tcp dport @login4 goto pass", "login servers")
        .rule("ip6 daddr . tcp dport @login6 goto pass", "login servers")
        .rule(fmt::format("tcp dport {} goto pass", login_ports_),
              "servers that a login server sends clients to");
    if (o_.profile == Profile::Socks)
      chain.rule(fmt::format("meta nfproto ipv4 tcp dport {} goto pass", kAllPorts),
                 "peers, who listen anywhere above the well-known ports");
  }

  void to_proxy() {
    Chain{out_, "to_proxy", "new connections of peers to the proxy, which listens for a client (BIND)"}.rule(
        fmt::format("meta nfproto ipv4 tcp dport {} goto pass", peer_ports()), "peers");
  }

  void to_proxy_from_lan() {
    Chain chain{out_, "from_lan", "new connections of the clients"};
    each_family([&](std::string_view family, std::string_view digit) {
      chain.rule(fmt::format("{}{} daddr @proxy{} tcp dport {} goto pass", client(family, "saddr"), family,
                             digit, o_.proxy_port.get()),
                 "the proxy");
    });
    if (o_.proxies.empty()) chain.note("the proxy is this gateway: see the chain proxy_input");
  }

  // Whatever its state: a connection round the proxy that is older than the table ends as well.
  void round_proxy() {
    Chain chain{out_, "round_proxy", "from inside to ICQ servers, and not through the proxy"};
    each_family([&](std::string_view family, std::string_view digit) {
      chain.rule(fmt::format("{} saddr @proxy{} return", family, digit),
                 "the proxy's own, older than this table");
    });
    chain.rule("ip daddr . tcp dport @login4 reject with tcp reset", "round the proxy to a login server")
        .rule("ip6 daddr . tcp dport @login6 reject with tcp reset", "round the proxy to a login server")
        .rule(fmt::format("ct direction original oifname {} tcp dport {} reject with tcp reset", wan_,
                          login_ports_),
              "round the proxy to a login port");
  }

  // The proxy on this gateway: what it does passes input and output, not forward.
  void proxy_here() {
    {
      Chain chain{out_, "proxy_input", "where the proxy runs on this gateway"};
      chain.hook(fmt::format("filter hook input priority {}", o_.table.priority));
      flows_allowed_before(chain);
      const auto clients = [&](std::string_view family, const std::string& to) {
        chain.rule(
            opening(fmt::format("iifname {} {}{} tcp dport {} goto pass", lan_,
                                family.empty() ? "" : client(family, "saddr"), to, o_.proxy_port.get())),
            "clients to the proxy");
      };
      if (o_.proxy_on_gateway) {
        if (w_.limited) {
          clients("ip", "fib daddr type local");
          clients("ip6", "fib daddr type local");
        } else {
          clients("", "fib daddr type local");
        }
      }
      each_family([&](std::string_view family, std::string_view digit) {
        clients(family, fmt::format("{} daddr @proxy{}", family, digit));
      });
      if (o_.profile == Profile::Socks) {
        if (o_.proxy_on_gateway)
          chain.rule(opening(fmt::format("iifname {} fib daddr type local jump to_proxy", wan_)),
                     "peers to the proxy");
        each_family([&](std::string_view family, std::string_view digit) {
          chain.rule(opening(fmt::format("iifname {} {} daddr @proxy{} jump to_proxy", wan_, family, digit)),
                     "peers to the proxy");
        });
      }
    }
    Chain chain{out_, "proxy_output", "where the proxy runs on this gateway"};
    chain.hook(fmt::format("filter hook output priority {}", o_.table.priority));
    flows_allowed_before(chain);
    if (o_.proxy_on_gateway)
      chain.rule(opening(fmt::format("oifname {} jump from_proxy", wan_)), "this gateway, so the proxy");
    each_family([&](std::string_view family, std::string_view digit) {
      chain.rule(opening(fmt::format("oifname {} {} saddr @proxy{} jump from_proxy", wan_, family, digit)),
                 "the proxy");
    });
  }

  void passing_icmp() {
    Chain{out_, "passing_icmp", "what IP does not work without (RFC 1812, RFC 4890)"}
        .rule("icmp type { destination-unreachable, time-exceeded, parameter-problem } accept", "IPv4 errors")
        .rule(fmt::format("iifname {} oifname {} icmp type echo-request accept", lan_, wan_), "ping, outward")
        .rule(
            "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } "
            "accept",
            "IPv6 errors")
        .rule("icmpv6 type { echo-request, echo-reply } accept", "ping, which IPv6's tunnels need both ways");
  }

  void forward() {
    Chain chain{out_, "forward", ""};
    chain.hook(fmt::format("filter hook forward priority {}", o_.table.priority),
               gateway_ ? "drop" : "accept");
    // First of all: another profile, or the service, may have marked what goes round the proxy.
    if (has_proxy(o_.profile))
      chain.rule(fmt::format("iifname {} meta l4proto tcp jump round_proxy", lan_),
                 "clients who go round the proxy");
    flows_allowed_before(chain);
    if (has_proxy(o_.profile)) {
      each_family([&](std::string_view family, std::string_view digit) {
        chain.rule(opening(fmt::format("iifname != {} {} saddr @proxy{} oifname {} jump from_proxy", wan_,
                                       family, digit, wan_)),
                   "the proxy");
        if (o_.profile == Profile::Socks)
          chain.rule(opening(fmt::format("iifname {} {} daddr @proxy{} jump to_proxy", wan_, family, digit)),
                     "peers to the proxy");
      });
      if (!o_.proxies.empty())
        chain.rule(opening(fmt::format("iifname {} jump from_lan", lan_)), "clients to the proxy");
    } else {
      chain.rule(opening(fmt::format("iifname {} oifname {} jump from_lan", lan_, wan_)), "clients outward");
      if (peer_ports() != nullptr)
        chain.rule(opening(fmt::format("iifname {} oifname {} jump to_lan", wan_, lan_)), "peers inward");
    }
    if (!gateway_) return;
    chain.rule("ct state established accept", "what was allowed, both ways")
        .rule("meta l4proto { icmp, ipv6-icmp } ct state related accept", "errors that belong to it")
        .rule("ct state invalid drop", "of no connection that could be allowed")
        .rule("meta l4proto { icmp, ipv6-icmp } jump passing_icmp", "errors and ping");
    auto both = o_.table.lan;
    both.insert(both.end(), o_.table.wan.begin(), o_.table.wan.end());
    const auto sides = joined(both, true);
    for (const Service& service : o_.also_allowed) {
      const char* const transport = service.transport == Transport::Tcp ? "tcp" : "udp";
      const auto ports = ports_in_words(service.first, service.last);
      chain.rule(fmt::format("iifname {} oifname {} {} dport {} accept", lan_, wan_, transport, ports),
                 fmt::format("also allowed: {}/{}", transport, ports));
      if (has_proxy(o_.profile))
        each_family([&](std::string_view family, std::string_view digit) {
          chain.rule(fmt::format("iifname != {} {} saddr @proxy{} oifname {} {} dport {} accept", sides,
                                 family, digit, wan_, transport, ports),
                     fmt::format("the same of a proxy elsewhere: {}/{}", transport, ports));
        });
    }
    chain.rule("counter", "what nothing above allows is dropped");
  }

  void nat() {
    if (!o_.maps.empty())
      Chain{out_, "nat_in", "same port outside as inside"}
          .hook("nat hook prerouting priority dstnat")
          .rule(fmt::format("iifname {} fib daddr type local dnat ip to tcp dport map @forwards", wan_),
                "peers to the client whose ports these are");
    // A guard leaves who is no client alone.
    const auto whose = gateway_ ? std::string{} : w_.client("saddr");
    Chain{out_, "nat_out", "what nobody else has masqueraded before"}
        .hook("nat hook postrouting priority srcnat + 5")
        .rule(fmt::format("meta nfproto ipv4 iifname {} oifname {} {}masquerade", lan_, wan_, whose),
              "the LAN, behind the outside address");
  }

  const StaticOptions& o_;
  const Words w_;
  const std::string& lan_;
  const std::string& wan_;
  const bool gateway_;
  std::string login_ports_, mapped_ports_, open_ports_;
  std::string out_;
};

}  // namespace

std::string ports_in_words(Port first, Port last) {
  return first == last ? std::to_string(first.get()) : fmt::format("{}-{}", first.get(), last.get());
}

std::string static_ruleset(const StaticOptions& options) { return Table{options}.text(); }

}  // namespace icqgate::nft
