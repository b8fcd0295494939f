// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace icqgate::daemon {

struct JsonLimits {
  std::size_t depth;   // lists and objects within each other
  std::size_t values;  // in all
};

// Why a text can't be built in memory and read with trust, in one sentence; nullopt if it can. It is one JSON
// value within the limits, and no object has a key twice. Itself takes memory for one object's keys only: a
// text made to be large in memory is refused before it is.
[[nodiscard]] std::optional<std::string> json_fault(std::string_view text, const JsonLimits& limits);

}  // namespace icqgate::daemon
