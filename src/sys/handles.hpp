// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <libmnl/libmnl.h>

#include <memory>

#include "base/close_with.hpp"

namespace icqgate::sys {

// One alias per C type; no bare handle outlives the line that got it. Types of one file only have their alias
// there: libnetfilter_conntrack's headers bring an older <linux/netfilter/nfnetlink.h> along that hides the
// kernel's own.
using MnlSocket = std::unique_ptr<mnl_socket, CloseWith<&mnl_socket_close>>;

}  // namespace icqgate::sys
