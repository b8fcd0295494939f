// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/emit_profile.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "config/key.hpp"

namespace icqgate::cli {

namespace {

using nft::Profile;

constexpr std::array<ProfileWords, 7> kProfiles{{
    {"direct", Profile::Direct, "login servers, peers out, peers in on all of 1024-65535"},
    {"range", Profile::Range, "login servers, peers out and in on port-range only"},
    {"outbound", Profile::Outbound, "login servers, peers out: no listening port"},
    {"masquerade", Profile::Masquerade,
     "outbound behind the outside address, and ports of it for each client of map"},
    {"socks", Profile::Socks, "clients reach a SOCKS proxy only; it reaches login servers and peers"},
    {"https", Profile::Https, "clients reach an HTTPS proxy only; it reaches login servers"},
    {"dynamic", std::nullopt, "the table that `icqgate run` installs, to read and review"},
}};

// Options that some profiles only know what to do with, and those profiles.
struct Scope {
  std::string_view option;
  bool of_file;  // a key of the configuration, too
  bool (*fits)(std::optional<Profile>);
  std::string_view expected;
};
constexpr std::array<Scope, 9> kScopes{{
    {"port-range", true,
     [](std::optional<Profile> p) { return !p || p == Profile::Range || p == Profile::Socks; },
     "profile range, socks or dynamic"},
    {"wide", false,
     [](std::optional<Profile> p) {
       return p == Profile::Range || p == Profile::Socks || p == Profile::Masquerade;
     },
     "profile range, masquerade or socks"},
    {"masquerade", true, [](std::optional<Profile> p) { return !p || p == Profile::Masquerade; },
     "profile masquerade or dynamic"},
    {"map", true, [](std::optional<Profile> p) { return p == Profile::Masquerade; }, "profile masquerade"},
    {"proxy", true, [](std::optional<Profile> p) { return p && nft::has_proxy(*p); },
     "profile socks or https"},
    {"proxy-port", true, [](std::optional<Profile> p) { return p && nft::has_proxy(*p); },
     "profile socks or https"},
    {"policy", true, [](std::optional<Profile> p) { return p.has_value(); }, "any profile but dynamic"},
    {"also-allow", true, [](std::optional<Profile> p) { return p.has_value(); }, "any profile but dynamic"},
    {"resolve", false, [](std::optional<Profile> p) { return p.has_value(); },
     "any profile but dynamic, whose sets `icqgate run` fills"},
}};

// Keys that all profiles heed. What is neither here nor above is the service's, so of profile dynamic at
// most.
constexpr std::array<std::string_view, 9> kOfAll{"login-host", "login-port", "lan",       "wan",     "client",
                                                 "table",      "priority",   "mark-mask", "resolver"};

bool on_command_line(const Arguments& given, std::string_view key) {
  const auto option = fmt::format("--{}", key);
  return std::ranges::any_of(given.configuration, [&](const std::string& word) {
    return word == option || word.starts_with(option + "=");
  });
}

std::string wide_words(std::string_view what, std::uint64_t ports) {
  return fmt::format("{} opens {} ports; expected at most {}, or --wide", what, thousands(ports),
                     thousands(kMostPorts));
}

// For how many: "any client behind br-lan", "256 clients".
std::string whom(const config::Config& config) {
  if (config.clients.empty()) return fmt::format("any client behind {}", fmt::join(config.lan, ", "));
  double count = 0;
  for (const Subnet& subnet : config.clients) {
    if (!subnet.address.is_v4()) continue;  // peers are IPv4 only
    double size = 1;
    for (int bits = subnet.length; bits < 32; ++bits) size *= 2;
    count += size;
  }
  return fmt::format("{} client{}", thousands(static_cast<std::uint64_t>(count)), count == 1 ? "" : "s");
}

std::uint32_t size_of(const nft::PortMap& map) { return map.last.get() - map.first.get() + 1u; }

std::string range_of(const config::Config& config) {
  return nft::ports_in_words(config.port_range.first, config.port_range.last);
}

std::optional<std::string> too_wide(const ProfileWords& profile, const config::Config& config) {
  if (profile.profile == Profile::Range || profile.profile == Profile::Socks) {
    if (config.port_range.size() > kMostPorts)
      return wide_words(fmt::format("port-range: '{}'", range_of(config)), config.port_range.size());
  } else if (profile.profile == Profile::Masquerade) {
    for (const auto& map : config.maps)
      if (size_of(map) > kMostPorts)
        return wide_words(fmt::format("map: '{}={}'", to_string(IpAddress{map.client}),
                                      nft::ports_in_words(map.first, map.last)),
                          size_of(map));
    std::uint64_t all = 0;
    for (const auto& map : config.maps) all += size_of(map);
    if (all > kMostPorts) return wide_words("map: in all it", all);
  }
  return std::nullopt;
}

std::optional<std::string> denied_map(const config::Config& config) {
  for (const auto& map : config.maps)
    for (std::uint32_t number = map.first.get(); number <= map.last.get(); ++number)
      if (const Port port{static_cast<std::uint16_t>(number)}; config::is_denied(port, config))
        return fmt::format(
            "map: '{}={}': port {} is never opened (port-deny, or another service's); expected ports without "
            "it",
            to_string(IpAddress{map.client}), nft::ports_in_words(map.first, map.last), number);
  return std::nullopt;
}

}  // namespace

std::span<const ProfileWords> profiles() noexcept { return kProfiles; }

const ProfileWords* find_profile(std::string_view name) noexcept {
  const auto* const found = std::ranges::find(kProfiles, name, &ProfileWords::name);
  return found == kProfiles.end() ? nullptr : found;
}

std::string profile_names() {
  std::string text;
  for (const auto& one : kProfiles)
    text += fmt::format("{}{}", text.empty() ? "" : &one == &kProfiles.back() ? " or " : ", ", one.name);
  return text;
}

std::string thousands(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, 1, ',');
  return text;
}

std::optional<std::string> misfit(const ProfileWords& profile, const config::Config& config,
                                  const Arguments& given) {
  for (const Scope& scope : kScopes) {
    const bool said =
        scope.of_file ? on_command_line(given, scope.option) : given.has(std::string{scope.option}.c_str());
    if (said && !scope.fits(profile.profile))
      return fmt::format("--{}: has no effect in profile {}; expected {}", scope.option, profile.name,
                         scope.expected);
  }
  if (!profile.profile) return std::nullopt;
  for (const config::Key& key : config::keys()) {
    const bool known = std::ranges::find(kOfAll, key.name) != kOfAll.end() ||
                       std::ranges::find(kScopes, key.name, &Scope::option) != kScopes.end();
    if (!known && on_command_line(given, key.name))
      return fmt::format("--{}: has no effect in profile {}; expected profile dynamic", key.name,
                         profile.name);
  }
  if (on_command_line(given, "also-allow") && config.policy != nft::Policy::Gateway)
    return "--also-allow: has no effect with policy guard, which drops nothing; expected --policy gateway";
  if (nft::has_proxy(*profile.profile) && config.proxies.empty() && !config.proxy_on_gateway)
    return fmt::format(
        "--proxy: missing; profile {} expects the proxy's address, or `gateway` if it runs here",
        profile.name);
  if (!given.has("wide"))
    if (auto wide = too_wide(profile, config)) return wide;
  return profile.profile == Profile::Masquerade ? denied_map(config) : std::nullopt;
}

std::string opened_in_words(const ProfileWords& profile, const config::Config& config) {
  if (!profile.profile) return {};
  switch (*profile.profile) {
    case Profile::Direct:
      return fmt::format("warning: profile direct opens {} ports (1024-65535) for {}",
                         thousands(65536 - 1024), whom(config));
    case Profile::Range:
    case Profile::Socks: {
      const auto ports = config.port_range.size() - config::denied_ports(config).size();
      return fmt::format("profile {} opens {} port{} ({}) for {}", profile.name, thousands(ports),
                         ports == 1 ? "" : "s", range_of(config),
                         profile.profile == Profile::Socks ? "the proxy" : whom(config));
    }
    case Profile::Masquerade: {
      std::uint64_t ports = 0;
      std::set<Ipv4> clients;
      for (const auto& map : config.maps) {
        ports += size_of(map);
        clients.insert(map.client);
      }
      if (ports == 0) return "profile masquerade opens no port: no --map names a client";
      return fmt::format("profile masquerade opens {} port{} of the outside address for {} client{}",
                         thousands(ports), ports == 1 ? "" : "s", clients.size(),
                         clients.size() == 1 ? "" : "s");
    }
    default:
      return {};
  }
}

}  // namespace icqgate::cli
