// SPDX-License-Identifier: GPL-2.0-or-later
#include "config/error_list.hpp"

#include <fmt/format.h>

namespace icqgate::config {

void ErrorList::add(const Place& place, std::string message) {
  if (full()) return;
  if (errors_.size() == kMost) message = "more errors not shown";
  errors_.push_back({std::string{place.file}, place.line, place.column, std::move(message)});
}

void ErrorList::add_value(const Place& place, std::string_view key, std::string_view value,
                          std::string_view why, std::string_view expected) {
  add(place, fmt::format("{}: {}: {}{}expected {}", spelt(place, key), quoted(value), why,
                         why.empty() ? "" : "; ", expected));
}

std::string quoted(std::string_view text) {
  constexpr std::size_t kMostShown = 60;
  std::string shown = "'";
  for (const char c : text.substr(0, kMostShown)) {
    if (c < ' ' || c > '~') {
      shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      shown += c;
    }
  }
  shown += text.size() > kMostShown ? "...'" : "'";
  return shown;
}

std::string spelt(const Place& place, std::string_view key) {
  return fmt::format("{}{}", place.on_command_line() ? "--" : "", key);
}

std::string to_string(const ConfigError& error) {
  if (error.line == 0) return error.file.empty() ? error.message : error.file + ": " + error.message;
  const auto* const parting = error.file.empty() ? "" : ":";
  return fmt::format("{}{}{}:{}: {}", error.file, parting, error.line, error.column, error.message);
}

}  // namespace icqgate::config
