// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/thread.hpp"

#include <csignal>
#include <optional>
#include <system_error>

namespace icqgate::sys {

Result<std::thread, SysError> start_thread(std::function<void()> work) {
  // It starts with the signal mask of the one that makes it.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::optional<std::thread> thread;
  int code = 0;
  try {
    thread.emplace(std::move(work));
  } catch (const std::system_error& error) {
    code = error.code().value();
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (!thread) return tl::make_unexpected(SysError{"thread", code});
  return std::move(*thread);
}

}  // namespace icqgate::sys
