// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <vector>

#include "config/config.hpp"
#include "doctor/facts.hpp"
#include "doctor/finding.hpp"
#include "doctor/ruleset.hpp"

namespace icqgate::doctor {

struct Situation {
  const Ruleset& ruleset;  // of the others
  const config::Config& config;
  const Facts& facts;
};

// Everything that is in ICQ's way, the host's part first.
[[nodiscard]] std::vector<Finding> examine(const Situation& situation);

// What of it follows from the configuration alone, whatever other tables hold: interfaces that do not exist,
// ports of port-range that are taken.
[[nodiscard]] std::vector<Finding> examine_configuration(const config::Config& config, const Facts& facts);

// Its parts.
[[nodiscard]] std::vector<Finding> examine_host(const config::Config& config, const Facts& facts);
[[nodiscard]] std::vector<Finding> examine_filters(const Situation& situation);
[[nodiscard]] std::vector<Finding> examine_translation(const Situation& situation);
[[nodiscard]] std::vector<Finding> examine_marks(const Situation& situation);
[[nodiscard]] std::vector<Finding> examine_queues(const Situation& situation);

}  // namespace icqgate::doctor
