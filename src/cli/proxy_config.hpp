// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "cli/emit_profile.hpp"
#include "config/config.hpp"

namespace icqgate::cli {

// The configuration of the proxy that a profile is made for, to be used as it is: `program` is "dante"
// (danted.conf of Dante 1.4, profile socks) or "squid" (squid.conf of Squid 5, profile https). It listens at
// the addresses of `proxy`; of two IPv4 addresses the first is the clients' side, the last the outside. The
// clients have to be named: a proxy for everybody is not what the profile means. The error is one sentence
// that begins with the option it is about.
[[nodiscard]] Result<std::string, std::string> proxy_config(std::string_view program,
                                                            const ProfileWords& profile,
                                                            const config::Config& config);

}  // namespace icqgate::cli
