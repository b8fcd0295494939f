// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>

#include "base/result.hpp"
#include "config/config.hpp"
#include "doctor/facts.hpp"
#include "doctor/ruleset.hpp"

namespace icqgate::cli {

// What the host says, read and not changed. `config_file`: the one that remedies name; "": the default one.
// Interfaces, listeners and sysctls, which is what `check` needs:
[[nodiscard]] doctor::Facts configuration_facts(const config::Config& config, const std::string& config_file);
// All of it; asks DNS for the login hosts, and the kernel whether it would take our ruleset. Needs
// CAP_NET_ADMIN.
[[nodiscard]] doctor::Facts host_facts(const config::Config& config, const std::string& config_file);

// The tables of others, those of iptables-legacy included. `facts` learns of those that can't be read. The
// error is one sentence.
[[nodiscard]] Result<doctor::Ruleset, std::string> foreign_ruleset(const config::Config& config,
                                                                   doctor::Facts& facts);

}  // namespace icqgate::cli
