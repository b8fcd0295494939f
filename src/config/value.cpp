// SPDX-License-Identifier: GPL-2.0-or-later
#include "config/value.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>

namespace icqgate::config {
namespace {

using std::chrono::seconds;

constexpr seconds kMostDuration = std::chrono::days{30};
constexpr std::size_t kMostInterface = 15;    // IFNAMSIZ without its NUL
constexpr std::size_t kMostTable = 31;        // far below what the kernel takes; nft's listings stay readable
constexpr std::size_t kMostSocketPath = 107;  // sun_path of Linux without its NUL

// Words that nft reads as its own where a table's name should stand.
constexpr std::array<std::string_view, 30> kNftWords{
    "accept", "add",   "arp",  "bridge", "chain",  "counter", "ct",  "delete", "drop", "flow",
    "inet",   "ip",    "ip6",  "jump",   "limit",  "list",    "log", "map",    "mark", "meta",
    "netdev", "queue", "rule", "set",    "socket", "table",   "tcp", "type",   "udp",  "vmap"};
static_assert(std::ranges::is_sorted(kNftWords));

// The same on every locale, unlike isalpha() and its kin.
constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
constexpr bool is_letter(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
constexpr bool is_visible(char c) noexcept { return c > ' ' && c < '\x7f'; }

template <class Number>
std::optional<Number> whole_number(std::string_view text, int base = 10) noexcept {
  Number number{};
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number, base);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return number;
}

tl::unexpected<std::string> wrong(std::string why = {}) { return tl::make_unexpected(std::move(why)); }

struct HostPort {
  std::string_view host;
  std::optional<Port> port;
  bool bracketed = false;
};

// One colon parts host and port; more than one is an IPv6 address, whose port needs brackets.
Value<HostPort> split_host_port(std::string_view text) {
  HostPort parts;
  std::optional<std::string_view> port;
  if (text.starts_with('[')) {
    const auto close = text.find(']');
    if (close == std::string_view::npos) return wrong("'[' without ']'");
    parts.host = text.substr(1, close - 1);
    parts.bracketed = true;
    const auto rest = text.substr(close + 1);
    if (!rest.empty() && !rest.starts_with(':')) return wrong("only ':PORT' may follow ']'");
    if (!rest.empty()) port = rest.substr(1);
  } else if (std::ranges::count(text, ':') == 1) {
    parts.host = text.substr(0, text.find(':'));
    port = text.substr(text.find(':') + 1);
  } else {
    parts.host = text;
  }
  if (!port) return parts;
  parts.port = parse_port(*port);
  if (!parts.port) return wrong("the part after ':' is not a port (1-65535)");
  return parts;
}

// "1.2.3" and "10.0.0.256" are valid names by their letters, and surely meant as addresses.
bool looks_like_ipv4(std::string_view host) noexcept {
  const auto last = host.substr(host.rfind('.') == std::string_view::npos ? 0 : host.rfind('.') + 1);
  return !last.empty() && std::ranges::all_of(last, is_digit);
}

std::optional<std::string> unusable(const IpAddress& address) {
  switch (scope_of(address)) {
    case Scope::Multicast:
      return "a multicast address";
    case Scope::Unspecified:
      return "the unspecified address";
    default:
      return std::nullopt;
  }
}

// The network of these many bits that the address is in.
IpAddress masked(const IpAddress& address, unsigned length) {
  if (const auto v4 = address.v4()) {
    const auto mask = length == 0 ? 0U : ~std::uint32_t{0} << (32 - length);
    return Ipv4{v4->get() & mask};
  }
  auto bytes = address.v6().value_or(Ipv6{}).get();
  for (unsigned i = 0; i < bytes.size(); ++i) {
    const unsigned kept = length > 8 * i ? std::min(8U, length - 8 * i) : 0U;
    bytes[i] = static_cast<std::uint8_t>(bytes[i] & (0xff00U >> kept));
  }
  return Ipv6{bytes};
}

std::string why_no_subnet(std::string_view text) {
  const auto slash = text.find('/');
  const auto address = parse_address(text.substr(0, slash));
  if (!address) return "not an IP address";
  const auto length =
      slash == std::string_view::npos ? std::nullopt : whole_number<unsigned>(text.substr(slash + 1));
  const unsigned most = address->is_v4() ? 32 : 128;
  if (!length || *length > most) return fmt::format("the prefix length must be 0-{}", most);
  return fmt::format("bits are set beyond the prefix length; did you mean {}/{}?",
                     icqgate::to_string(masked(*address, *length)), *length);
}

}  // namespace

Value<std::int64_t> parse_number(std::string_view text, Bounds bounds) {
  const auto number = whole_number<std::int64_t>(text);
  if (!number || *number < bounds.low || *number > bounds.high) return wrong();
  return *number;
}

Value<bool> parse_yes_no(std::string_view text) {
  if (text == "yes" || text == "true") return true;
  if (text == "no" || text == "false") return false;
  return wrong();
}

Value<seconds> parse_duration(std::string_view text, seconds low) {
  std::int64_t unit = 1;
  switch (text.empty() ? '\0' : text.back()) {
    case 's':
      break;
    case 'm':
      unit = 60;
      break;
    case 'h':
      unit = 3600;
      break;
    case 'd':
      unit = 86400;
      break;
    default:
      unit = 0;
  }
  if (unit != 0) text.remove_suffix(1);
  const auto number = whole_number<std::uint32_t>(text);
  if (!number) return wrong();
  const seconds duration{static_cast<std::int64_t>(*number) * std::max<std::int64_t>(unit, 1)};
  if (duration < low) return wrong("too short");
  if (duration > kMostDuration) return wrong("too long");
  return duration;
}

Value<PortRange> parse_ports(std::string_view text, Port lowest) {
  const auto dash = text.find('-');
  const auto first = parse_port(text.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : parse_port(text.substr(dash + 1));
  if (!first || !last) return wrong();
  if (*first > *last) return wrong("the first port is above the last");
  if (*first < lowest) return wrong(fmt::format("{} is below {}", first->get(), lowest.get()));
  return PortRange{*first, *last};
}

Value<std::uint32_t> parse_mark_mask(std::string_view text) {
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  const auto mask = whole_number<std::uint32_t>(hex ? text.substr(2) : text, hex ? 16 : 10);
  if (!mask) return wrong();
  if (std::popcount(*mask) < 2) return wrong("fewer than two bits are set");
  return *mask;
}

Value<std::string> parse_interface(std::string_view text) {
  if (text.size() > kMostInterface) return wrong(fmt::format("longer than {} characters", kMostInterface));
  if (text == "*") return wrong("it stands for every interface");
  if (text == "." || text == "..") return wrong("Linux takes no such name");
  const auto name = text.ends_with('*') ? text.substr(0, text.size() - 1) : text;
  for (const char c : name) {
    if (c == '*') return wrong("'*' may only stand at the end");
    // '/' and ':' are the kernel's rule; quote and backslash would leave nft's quotes.
    if (!is_visible(c) || c == '/' || c == ':' || c == '"' || c == '\\')
      return wrong("a character that no interface name has");
  }
  return std::string{text};
}

Value<std::string> parse_table(std::string_view text) {
  if (text.size() > kMostTable) return wrong(fmt::format("longer than {} characters", kMostTable));
  const auto inner = [](char c) { return is_letter(c) || is_digit(c) || c == '_' || c == '/' || c == '.'; };
  if (text.empty() || is_digit(text.front()) || text.front() == '/' || text.front() == '.' ||
      !std::ranges::all_of(text, inner))
    return wrong();
  if (std::ranges::binary_search(kNftWords, text)) return wrong("a word of nft's own language");
  return std::string{text};
}

Value<std::string> parse_socket_path(std::string_view text) {
  if (!text.starts_with('/') || text.ends_with('/')) return wrong();
  if (text.size() > kMostSocketPath) return wrong(fmt::format("longer than {} characters", kMostSocketPath));
  return std::string{text};
}

Value<std::string> parse_file_path(std::string_view text) {
  if (!text.starts_with('/') || text.ends_with('/')) return wrong();
  return std::string{text};
}

Value<LoginHost> parse_login_host(std::string_view text) {
  constexpr std::string_view kPrivate = "!private";
  const auto mark = text.find('!');
  const bool private_allowed = mark != std::string_view::npos;
  if (private_allowed && text.substr(mark) != kPrivate)
    return wrong("only '!private' may stand behind a host");
  text = text.substr(0, mark);
  const auto parts = split_host_port(text);
  if (!parts) return tl::make_unexpected(parts.error());
  if (const auto address = parse_address(parts->host)) {
    if (parts->bracketed && address->is_v4()) return wrong("brackets are for IPv6 addresses");
    if (auto why = unusable(*address)) return wrong(std::move(*why));
    if (const auto scope = scope_of(*address); scope == Scope::Loopback || scope == Scope::LinkLocal)
      return wrong("a loopback or link-local address is none of a server outside");
    if (private_allowed) return wrong("an address needs no '!private': it is allowed as it stands");
    return LoginHost{*address, parts->port};
  }
  if (parts->bracketed || parts->host.find(':') != std::string_view::npos)
    return wrong("not an IPv6 address");
  if (looks_like_ipv4(parts->host)) return wrong("not an IPv4 address");
  auto name = dns::parse_name(parts->host);
  if (!name) return wrong("not a host name");
  return LoginHost{std::move(*name), parts->port, private_allowed};
}

Value<Endpoint> parse_resolver(std::string_view text) {
  const auto parts = split_host_port(text);
  if (!parts) return tl::make_unexpected(parts.error());
  const auto address = parse_address(parts->host);
  if (!address) return wrong("not an IP address");
  if (parts->bracketed && address->is_v4()) return wrong("brackets are for IPv6 addresses");
  if (auto why = unusable(*address)) return wrong(std::move(*why));
  return Endpoint{*address, parts->port.value_or(Port{53})};
}

Value<IpAddress> parse_server_address(std::string_view text) {
  const auto address = parse_address(text);
  if (!address) return wrong("not an IP address");
  if (auto why = unusable(*address)) return wrong(std::move(*why));
  return *address;
}

Value<Subnet> parse_client(std::string_view text) {
  const auto subnet = parse_subnet(text);
  if (!subnet) return wrong(why_no_subnet(text));
  // Wider than a class A network or fc00::/7 is a slip of the pen, and would take in multicast.
  if (subnet->length < (subnet->address.is_v4() ? 8 : 7))
    return wrong("too wide; without 'client' every address seen on the LAN side may use it");
  if (auto why = unusable(subnet->address)) return wrong(std::move(*why));
  if (scope_of(subnet->address) == Scope::Loopback) return wrong("a loopback address");
  const auto v4 = subnet->address.v4();
  if (v4 && (v4->get() >> 24 == 0 || v4->get() >> 24 >= 240)) return wrong("no host has such an address");
  return *subnet;
}

Value<nft::PortMap> parse_map(std::string_view text) {
  const auto equals = text.find('=');
  if (equals == std::string_view::npos) return wrong("no '=' in it");
  const auto client = parse_address(text.substr(0, equals));
  if (!client) return wrong("what stands before '=' is not an IP address");
  const auto v4 = client->v4();
  if (!v4) return wrong("an IPv6 address; ICQ's peers know IPv4 only");
  if (scope_of(*client) != Scope::Global && scope_of(*client) != Scope::Private)
    return wrong("no client has such an address");
  const auto ports = parse_ports(text.substr(equals + 1), Port{1024});
  if (!ports)
    return wrong(ports.error().empty() ? "what stands behind '=' is no range of ports" : ports.error());
  return nft::PortMap{*v4, ports->first, ports->last};
}

Value<nft::Service> parse_service(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return wrong("no '/' in it");
  const auto transport = text.substr(0, slash);
  if (transport != "tcp" && transport != "udp") return wrong("neither tcp nor udp");
  const auto ports = parse_ports(text.substr(slash + 1), Port{1});
  if (!ports) return wrong(ports.error().empty() ? "what stands behind '/' is no port" : ports.error());
  return nft::Service{transport == "tcp" ? nft::Transport::Tcp : nft::Transport::Udp, ports->first,
                      ports->last};
}

Value<IpAddress> parse_proxy(std::string_view text) {
  auto address = parse_server_address(text);
  if (!address) return address;
  if (scope_of(*address) == Scope::Loopback || scope_of(*address) == Scope::LinkLocal)
    return wrong("a loopback or link-local address, which no other host reaches");
  return address;
}

std::string to_string(seconds duration) {
  const auto count = duration.count();
  if (count != 0 && count % 86400 == 0) return fmt::format("{}d", count / 86400);
  if (count != 0 && count % 3600 == 0) return fmt::format("{}h", count / 3600);
  if (count != 0 && count % 60 == 0) return fmt::format("{}m", count / 60);
  return fmt::format("{}s", count);
}

bool interfaces_overlap(std::string_view a, std::string_view b) noexcept {
  const bool open_a = a.ends_with('*');
  const bool open_b = b.ends_with('*');
  if (open_a) a.remove_suffix(1);
  if (open_b) b.remove_suffix(1);
  if (open_a && open_b) return a.starts_with(b) || b.starts_with(a);
  if (open_a) return b.starts_with(a);
  if (open_b) return a.starts_with(b);
  return a == b;
}

}  // namespace icqgate::config
