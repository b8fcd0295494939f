// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/engine.hpp"

namespace icqgate::daemon {

struct QueueStatus {
  std::uint16_t number = 0;
  std::string lane;  // "control" or "peer"
  std::uint64_t received = 0;
  std::uint64_t lost = 0;  // the reader was too slow
  std::uint64_t waiting = 0;
  std::uint64_t dropped = 0;  // the queue was full
};

struct ServiceStatus {
  std::string table;
  std::string queue_form;
  std::string timeout_update;  // "in place" or "replace"
  bool owner = false;          // the table belongs to the running service
  std::string state;           // the state file; "": none
  std::string state_problem;   // why it can't be written, its path included; "": it can
  std::chrono::seconds uptime{0};
};

// What `icqgate status --json` prints. Holds no cookie, password or text of anybody.
[[nodiscard]] std::string status_json(const engine::Snapshot& snapshot, const ServiceStatus& service,
                                      engine::TimePoint now, const std::vector<QueueStatus>& queues,
                                      const std::map<std::string, std::uint64_t>& kernel_counters);

}  // namespace icqgate::daemon
