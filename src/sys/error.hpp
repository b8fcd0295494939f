// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <system_error>

namespace icqgate::sys {

// What the kernel said no to, and why.
struct SysError {
  const char* operation;  // a literal: the call that failed, in the words of its manual page
  int code;               // an errno value
};

// "mnl_socket_open2: Operation not permitted"
[[nodiscard]] inline std::string to_string(const SysError& error) {
  return std::string{error.operation} + ": " + std::generic_category().message(error.code);
}

// The value of a Result that has nothing to say beyond success.
struct Done {};

}  // namespace icqgate::sys
