// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>

#include "base/result.hpp"
#include "sys/error.hpp"
#include "sys/unique_fd.hpp"

namespace icqgate::sys {

// Makes this process the only one of its kind for `name` in its network namespace: a socket in the abstract
// namespace of unix(7), which the kernel keeps per network namespace and frees when the holder dies.
// EADDRINUSE: another holds it.
[[nodiscard]] Result<UniqueFd, SysError> lock_instance(const std::string& name);

}  // namespace icqgate::sys
