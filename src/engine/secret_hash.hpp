// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <functional>

#include "base/bytes.hpp"

namespace icqgate::engine {

// What is kept of a login cookie: enough to know it again, too little to use it. A client that forges a
// collision reaches nothing: what the cookie stands for is bound to its address as well.
[[nodiscard]] inline std::uint64_t secret_hash(Bytes secret) noexcept {
  return std::hash<std::string_view>{}(as_text(secret));
}

}  // namespace icqgate::engine
