// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/emit_text.hpp"

#include <fmt/format.h>

#include "cli/client_guide.hpp"
#include "cli/proxy_config.hpp"
#include "config/value.hpp"

namespace icqgate::cli {

namespace po = boost::program_options;

void add_text_options(po::options_description& own) {
  own.add_options()("client-guide", "print what to enter in the ICQ clients instead of a ruleset")(
      "per-client", po::value<std::string>()->value_name("NUMBER"),
      "with --client-guide: so many ports of port-range for each client of client, 3 or more")(
      "proxy-config", po::value<std::string>()->value_name("dante|squid"),
      "print the proxy's own configuration instead: dante of profile socks, squid of https");
}

bool asks_for_text(const Arguments& given) {
  return given.has("client-guide") || given.has("per-client") || given.has("proxy-config");
}

Result<std::string, std::string> emitted_text(const Arguments& given, const ProfileWords& profile,
                                              const config::Config& config) {
  const auto error = [](std::string text) { return tl::make_unexpected(std::move(text)); };
  const char* const asked = given.has("proxy-config") ? "proxy-config" : "client-guide";
  for (const char* const other : {"client-guide", "check", "resolve", "format"})
    if (given.has(other) && other != std::string_view{asked})
      return error(fmt::format("--{}: has no effect with --{}", other, asked));
  const auto each = given.text("per-client");
  if (each && !given.has("client-guide")) return error("--per-client: expected together with --client-guide");
  if (const auto program = given.text("proxy-config")) return proxy_config(*program, profile, config);
  std::optional<std::uint32_t> number;
  if (each) {
    const auto parsed = config::parse_number(*each, {kFewestPortsPerClient, 65536 - 1024});
    if (!parsed)
      return error(fmt::format("--per-client: '{}': expected a number of ports, {} or more", *each,
                               kFewestPortsPerClient));
    number = static_cast<std::uint32_t>(*parsed);
  }
  return client_guide(profile, config, number);
}

}  // namespace icqgate::cli
