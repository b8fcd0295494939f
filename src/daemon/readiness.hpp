// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#ifdef ICQGATE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

namespace icqgate::daemon {

// sd_notify(3), where there is a manager and we were built with its library.
inline void tell_systemd([[maybe_unused]] const char* state) {
#ifdef ICQGATE_SYSTEMD
  sd_notify(0, state);
#endif
}

}  // namespace icqgate::daemon
