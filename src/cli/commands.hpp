// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

namespace icqgate::cli {

// One subcommand each. `arguments`: what stands behind the subcommand's name. Results on stdout, diagnostics
// on stderr; the return value is the exit code: 0 done, 1 failed, 2 wrong usage (design.md 2).
int emit(const std::vector<std::string>& arguments);
int check(const std::vector<std::string>& arguments);
int doctor(const std::vector<std::string>& arguments);  // 1: it found something
int status(const std::vector<std::string>& arguments);
int trace(const std::vector<std::string>& arguments);

}  // namespace icqgate::cli
