// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/config.hpp"

namespace icqgate::config {

// Where a value or a key stands. Line 0: on the command line.
struct Place {
  std::string_view file;
  std::size_t line = 0;
  std::size_t column = 0;
  [[nodiscard]] bool on_command_line() const noexcept { return line == 0; }
};

// Collects errors, and no more than a reader bears: a file that is not text would give one per line.
class ErrorList {
 public:
  static constexpr std::size_t kMost = 20;

  void add(const Place& place, std::string message);
  // "port-range: '1-2': why; expected what"; "--port-range: ..." on the command line. Empty `why`: left out.
  void add_value(const Place& place, std::string_view key, std::string_view value, std::string_view why,
                 std::string_view expected);
  [[nodiscard]] bool empty() const noexcept { return errors_.empty(); }
  [[nodiscard]] bool full() const noexcept { return errors_.size() > kMost; }
  [[nodiscard]] std::vector<ConfigError> release() && noexcept { return std::move(errors_); }

 private:
  std::vector<ConfigError> errors_;
};

// In single quotes, cut to a length one can read; bytes that are not printable ASCII as \xNN, so that a
// message never moves a terminal's cursor.
[[nodiscard]] std::string quoted(std::string_view text);
// "port-range" or "--port-range".
[[nodiscard]] std::string spelt(const Place& place, std::string_view key);

}  // namespace icqgate::config
