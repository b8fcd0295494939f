// SPDX-License-Identifier: GPL-2.0-or-later
#include "config/restart.hpp"

namespace icqgate::config {

std::vector<std::string_view> restart_keys(const Config& now, const Config& next) {
  std::vector<std::string_view> keys;
  const auto compare = [&](std::string_view key, auto member) {
    if (now.*member != next.*member) keys.push_back(key);
  };
  compare("masquerade", &Config::masquerade);
  compare("table", &Config::table);
  compare("priority", &Config::priority);
  compare("mark-mask", &Config::mark_mask);
  compare("queue-control", &Config::queue_control);
  compare("queue-peer", &Config::queue_peer);
  compare("queue-names", &Config::queue_names);
  compare("owner", &Config::owner);
  compare("timeout-update", &Config::timeout_update);
  compare("socket", &Config::socket);
  compare("state", &Config::state);
  return keys;
}

}  // namespace icqgate::config
