// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>

#include "cli/emit_profile.hpp"
#include "config/config.hpp"

namespace icqgate::cli {

// The comment above a printed ruleset: what it was made from, how to test, load and remove it, what to know.
// Nothing that changes from run to run but `resolved`, the time of --resolve ("" without it).
[[nodiscard]] std::string emit_header(const ProfileWords& profile, const config::Config& config,
                                      const std::string& resolved);

}  // namespace icqgate::cli
