// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <fmt/format.h>

#include <string_view>

namespace icqgate::sys {

// syslog's numbers, as sd-daemon(3) wants them.
enum class LogLevel { Error = 3, Warning = 4, Notice = 5, Info = 6, Debug = 7 };

// Lines above this level are left out. Starts at Info.
void set_log_level(LogLevel highest) noexcept;
[[nodiscard]] bool logs(LogLevel level) noexcept;

// One line to stderr in one write. Under journald (stderr is the stream JOURNAL_STREAM names) it starts with
// "<N>", else with the level in words from Warning on. Control characters are shown as \xNN: text from the
// network may be in it, and must not make lines of its own.
void log(LogLevel level, std::string_view line);

template <class... Arguments>
void log_error(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  if (logs(LogLevel::Error)) log(LogLevel::Error, fmt::format(format, std::forward<Arguments>(arguments)...));
}
template <class... Arguments>
void log_warning(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  if (logs(LogLevel::Warning))
    log(LogLevel::Warning, fmt::format(format, std::forward<Arguments>(arguments)...));
}
template <class... Arguments>
void log_notice(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  if (logs(LogLevel::Notice))
    log(LogLevel::Notice, fmt::format(format, std::forward<Arguments>(arguments)...));
}
template <class... Arguments>
void log_info(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  if (logs(LogLevel::Info)) log(LogLevel::Info, fmt::format(format, std::forward<Arguments>(arguments)...));
}
template <class... Arguments>
void log_debug(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  if (logs(LogLevel::Debug)) log(LogLevel::Debug, fmt::format(format, std::forward<Arguments>(arguments)...));
}

}  // namespace icqgate::sys
