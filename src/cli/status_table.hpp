// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace icqgate::cli {

// The service's status for people: sections with aligned columns. What the object lacks shows as "-"; it may
// come from another version of the service.
[[nodiscard]] std::string status_table(const nlohmann::ordered_json& status);

// "45s", "1m 20s", "2h 5m", "3d 4h".
[[nodiscard]] std::string readable(std::chrono::seconds duration);

}  // namespace icqgate::cli
