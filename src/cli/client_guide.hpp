// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "cli/emit_profile.hpp"
#include "config/config.hpp"
#include "nft/static_ruleset.hpp"

namespace icqgate::cli {

inline constexpr std::uint32_t kFewestPortsPerClient = 3;  // what the guides of the time asked for

// A part of port-range for each IPv4 address that `client` names, in the order of the addresses: of a network
// every host, without the network's own address and the broadcast address. No two overlap, and no port that
// is never opened (config::is_denied) is in one. The error is one sentence; it names the range that would do.
[[nodiscard]] Result<std::vector<nft::PortMap>, std::string> ports_of_clients(const config::Config& config,
                                                                              std::uint32_t each);

// What to enter in the clients for that profile, to be read by people; nothing of it changes from run to run.
// `per_client`: so many ports of port-range for each client. The error is one sentence that begins with the
// option it is about.
[[nodiscard]] Result<std::string, std::string> client_guide(const ProfileWords& profile,
                                                            const config::Config& config,
                                                            std::optional<std::uint32_t> per_client);

}  // namespace icqgate::cli
