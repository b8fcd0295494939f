// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

namespace icqgate::daemon {

// `icqgate run`: the dynamic service in the foreground, until SIGTERM or SIGINT. Exit code as for the other
// subcommands. `arguments`: what stands behind "run".
int run(const std::vector<std::string>& arguments);

}  // namespace icqgate::daemon
