// SPDX-License-Identifier: GPL-2.0-or-later
#include "config/static_options.hpp"

#include <utility>

#include "config/ruleset_options.hpp"

namespace icqgate::config {

nft::StaticOptions static_options(const Config& config, nft::Profile profile,
                                  std::vector<nft::StaticAddress> addresses) {
  constexpr Port kSocks{1080};
  constexpr Port kSquid{3128};  // what Squid, the proxy that most have, listens on
  nft::StaticOptions options;
  options.profile = profile;
  options.policy = config.policy;
  options.table = ruleset_options(config);
  options.addresses = std::move(addresses);
  // A file serves all profiles: what this one has no use for is left out.
  if (profile == nft::Profile::Masquerade) options.maps = config.maps;
  options.denied = denied_ports(config);
  if (nft::has_proxy(profile)) {
    options.proxies = config.proxies;
    options.proxy_on_gateway = config.proxy_on_gateway;
    options.proxy_port = config.proxy_port.value_or(profile == nft::Profile::Https ? kSquid : kSocks);
  }
  if (config.policy == nft::Policy::Gateway) options.also_allowed = config.also_allowed;
  return options;
}

}  // namespace icqgate::config
