// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "engine/event.hpp"

namespace icqgate::cli {

// Writes events to stdout, a line each.
class ReportLines {
 public:
  enum class Form { Text, RelativeText, Json };
  explicit ReportLines(Form form) noexcept : form_{form} {}

  // Text: "12:00:01.234567  pinhole-opened      sentence", the date (UTC) in a line of its own before the
  // first event of a day; relative: seconds since the capture's start in place of both. JSON: one object per
  // line: time (seconds since the epoch), event, and of client, uin, port, remote, remote_port, peer_uin,
  // version, reason, text those that the report has.
  void write(std::chrono::microseconds time, std::string_view event, const std::string& sentence,
             const engine::Report& report);
  // What the relative form counts from.
  void start(std::chrono::microseconds time) {
    if (!start_) start_ = time;
  }

 private:
  Form form_;
  std::optional<std::chrono::microseconds> start_;
  std::optional<std::int64_t> day_;  // since the epoch, of the last line
};

}  // namespace icqgate::cli
