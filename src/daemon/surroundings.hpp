// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "config/config.hpp"
#include "engine/engine.hpp"

namespace icqgate::daemon {

// The networks inside and all addresses of this host, as they are now.
[[nodiscard]] engine::Surroundings read_surroundings(const config::Config& config);

}  // namespace icqgate::daemon
