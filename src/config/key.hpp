// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "config/config.hpp"

namespace icqgate::config {

enum class KeyKind : std::uint8_t {
  Once,
  Repeated,  // may be given again, and takes several values parted by commas
  YesNo,     // on the command line it may stand without a value, for yes
};

// One key of the configuration: of the file, and as an option of the command line.
struct Key {
  std::string_view name;
  std::string_view placeholder;    // of the value, in --help
  std::string_view help;           // one sentence without its full stop
  std::string_view default_value;  // as one would write it; what an absent key means ("": nothing)
  std::string_view expected;       // ends the error about a wrong value: "expected ..."
  KeyKind kind;
  // Puts one value (trimmed, not empty) in its place. What is wrong with it otherwise; see Value.
  std::optional<std::string> (*apply)(Config&, std::string_view);
};

// Every key, in the order of --help.
[[nodiscard]] std::span<const Key> keys() noexcept;
[[nodiscard]] const Key* find_key(std::string_view name) noexcept;
// The known key that a misspelt one most likely means: cut short, or at most three letters added, left out or
// changed.
[[nodiscard]] std::optional<std::string_view> nearest_key(std::string_view name);

}  // namespace icqgate::config
