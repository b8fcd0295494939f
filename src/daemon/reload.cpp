// SPDX-License-Identifier: GPL-2.0-or-later
// SIGHUP: another configuration, taken whole or not at all.
#include <fmt/ranges.h>

#include "config/restart.hpp"
#include "daemon/readiness.hpp"
#include "daemon/service.hpp"
#include "daemon/surroundings.hpp"
#include "sys/log.hpp"

namespace icqgate::daemon {

void Service::reload() {
  tell_systemd("RELOADING=1");
  const auto stays = [](std::string_view why) {
    sys::log_error("not reloaded, the running configuration stays: {}", why);
    tell_systemd("READY=1");
  };
  const auto read = read_config_();
  if (!read) {
    for (const std::string& error : read.error()) sys::log_error("{}", error);
    return stays(read.error().size() == 1 ? "one error" : fmt::format("{} errors", read.error().size()));
  }
  const config::Config& next = *read;
  if (next == config_) {
    sys::log_notice("reloaded: nothing differs");
    tell_systemd("READY=1");
    return;
  }
  if (const auto keys = config::restart_keys(config_, next); !keys.empty())
    return stays(fmt::format("{} can only change with a restart (connections and open ports survive one)",
                             fmt::join(keys, ", ")));
  // The rules first: if the kernel does not take them, nothing else has changed yet.
  const auto changed = table_.reconfigure(next, {});
  if (!changed) return stays("the kernel does not take the ruleset: " + changed.error());
  const bool other_resolvers = next.resolvers != config_.resolvers;
  config_ = next;
  engine_.surroundings(read_surroundings(config_));
  if (other_resolvers) resolver_->use(config_.resolvers);
  trust_dns_servers();
  step(engine::Reconfigured{config_});
  if (other_resolvers) step(engine::ResolverChanged{});
  look_around();
  sys::log_notice("reloaded{}", *changed ? "" : "; the ruleset is the same");
  tell_systemd("READY=1");
}

}  // namespace icqgate::daemon
