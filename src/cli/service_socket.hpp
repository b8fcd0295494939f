// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>

#include "base/result.hpp"

namespace icqgate::cli {

// Sends a word to the running service and reads its answer to the end. The error is the system's words; a
// service that says nothing for 5 s counts as not answering.
[[nodiscard]] Result<std::string, std::string> ask_service(const std::string& path, const std::string& word);

}  // namespace icqgate::cli
