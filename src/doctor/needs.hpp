// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

#include "doctor/examine.hpp"
#include "doctor/traffic.hpp"

namespace icqgate::doctor {

// The kinds of packets that ICQ needs to pass that base chain, as they look there.
[[nodiscard]] std::vector<Traffic> needed_at(const Chain& base, const Situation& situation);

// Connections of clients to peers as the first SYN shows them under outbound = auto: without a mark.
[[nodiscard]] Traffic unmarked_outbound(const Situation& situation);

// New connections of peers as a nat chain of hook prerouting sees them.
[[nodiscard]] Traffic to_be_translated(const Situation& situation);

[[nodiscard]] std::string range_words(const config::Config& config);  // "20000-20099"

}  // namespace icqgate::doctor
