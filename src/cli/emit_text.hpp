// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <boost/program_options.hpp>
#include <string>

#include "base/result.hpp"
#include "cli/arguments.hpp"
#include "cli/emit_profile.hpp"
#include "config/config.hpp"

namespace icqgate::cli {

// What `emit` prints beside rulesets: the guide to the clients' settings, the configuration of a proxy.
void add_text_options(boost::program_options::options_description& own);
[[nodiscard]] bool asks_for_text(const Arguments& given);
// The error is one sentence for wrong_usage().
[[nodiscard]] Result<std::string, std::string> emitted_text(const Arguments& given,
                                                            const ProfileWords& profile,
                                                            const config::Config& config);

}  // namespace icqgate::cli
