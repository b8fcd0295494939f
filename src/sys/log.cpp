// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/log.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <iterator>
#include <string>

namespace icqgate::sys {

namespace {

std::atomic<LogLevel> highest_level{LogLevel::Info};

// sd-daemon(3): the variable is inherited by children whose stderr may go elsewhere, so it counts only if it
// names this very stream, as "device:inode".
bool to_journal() {
  const char* const stream = std::getenv("JOURNAL_STREAM");
  struct stat file{};
  if (stream == nullptr || fstat(STDERR_FILENO, &file) != 0) return false;
  return fmt::format("{}:{}", file.st_dev, file.st_ino) == stream;
}

std::string_view word(LogLevel level) noexcept {
  if (level == LogLevel::Error) return "error: ";
  if (level == LogLevel::Warning) return "warning: ";
  return "";
}

}  // namespace

void set_log_level(LogLevel highest) noexcept { highest_level = highest; }
bool logs(LogLevel level) noexcept { return level <= highest_level.load(std::memory_order_relaxed); }

void log(LogLevel level, std::string_view line) {
  if (!logs(level)) return;
  static const bool journal = to_journal();
  std::string text = journal ? fmt::format("<{}>", static_cast<int>(level)) : std::string{word(level)};
  for (const char c : line) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\t') || byte == 0x7f) {
      fmt::format_to(std::back_inserter(text), "\\x{:02x}", byte);
    } else {
      text += c;
    }
  }
  text += '\n';
  // Nowhere to report a failed write of a report.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace icqgate::sys
