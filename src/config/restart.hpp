// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string_view>
#include <vector>

#include "config/config.hpp"

namespace icqgate::config {

// The keys that differ and that a running service can't change: the table's name and hooks, marks that flows
// carry, the queues, files. Empty: a reload will do.
[[nodiscard]] std::vector<std::string_view> restart_keys(const Config& now, const Config& next);

}  // namespace icqgate::config
