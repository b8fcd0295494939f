// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <functional>
#include <thread>

#include "base/result.hpp"
#include "sys/error.hpp"

namespace icqgate::sys {

// A thread that takes no signal: those stay with the others. Error: there is none to be had (TasksMax= or the
// like).
[[nodiscard]] Result<std::thread, SysError> start_thread(std::function<void()> work);

}  // namespace icqgate::sys
