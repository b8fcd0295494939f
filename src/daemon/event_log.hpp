// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <array>
#include <cstdint>

#include "engine/event.hpp"

namespace icqgate::daemon {

// Writes what the engine reports to the log, a line each. A flood of refusals must not become a flood of
// lines: beyond a bound per second they are counted, and the count is told once it is over.
class EventLog {
 public:
  void write(const engine::Report& report, engine::TimePoint now);

 private:
  static constexpr std::uint32_t kPerSecond = 20;
  engine::TimePoint second_{};
  std::array<std::uint32_t, 2> written_{};  // lines, warnings: none of these is lost among what matters less
  std::uint64_t left_out_ = 0;
};

}  // namespace icqgate::daemon
