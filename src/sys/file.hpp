// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <string>

#include "base/result.hpp"
#include "sys/error.hpp"

namespace icqgate::sys {

// The whole file, a pipe as well. More than `most` bytes: EFBIG, and nothing is returned.
[[nodiscard]] Result<std::string, SysError> read_file(const std::string& path, std::size_t most);

}  // namespace icqgate::sys
