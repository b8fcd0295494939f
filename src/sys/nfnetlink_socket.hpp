// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "sys/error.hpp"
#include "sys/handles.hpp"

namespace icqgate::sys {

// What the wrappers of this folder share: plain steps over one nfnetlink socket.
//
// The kernel works a request off inside sendto(): when that returns, the answers are already in the receive
// buffer. So nothing here waits in practice; the bounds are for a kernel that does otherwise.

// Non-blocking, close-on-exec, bound to a port id of the kernel's choice.
[[nodiscard]] Result<MnlSocket, SysError> open_nfnetlink();

// Past the limits of net.core.[rw]mem_max where CAP_NET_ADMIN allows it, up to them otherwise.
void raise_receive_buffer(const mnl_socket& socket, int bytes) noexcept;
void raise_send_buffer(const mnl_socket& socket, int bytes) noexcept;

// Subscribes to a multicast group (NFNLGRP_...).
[[nodiscard]] Result<Done, SysError> join_group(mnl_socket& socket, int group) noexcept;

// One datagram, whole or an error.
[[nodiscard]] Result<Done, SysError> send_datagram(const mnl_socket& socket, Bytes datagram) noexcept;

// The next datagram, written into `buffer`; the returned bytes borrow it. EAGAIN: nothing came within `wait`
// (zero: does not wait). ENOBUFS: the kernel had more to say than the buffer holds, something is lost.
// EMSGSIZE: the datagram was larger than `buffer`, it is lost.
[[nodiscard]] Result<Bytes, SysError> receive_datagram(const mnl_socket& socket, std::span<std::byte> buffer,
                                                       std::chrono::milliseconds wait) noexcept;

// Throws away what is left from earlier requests.
void discard_pending(const mnl_socket& socket, std::span<std::byte> buffer) noexcept;

// The messages of a datagram, one by one; stops at the first that does not fit.
template <class Handler>
void for_each_message(Bytes datagram, Handler&& handler) {
  const auto* message = reinterpret_cast<const nlmsghdr*>(datagram.data());
  int rest = static_cast<int>(datagram.size());
  while (mnl_nlmsg_ok(message, rest)) {
    handler(message);
    message = mnl_nlmsg_next(message, &rest);
  }
}

// The errno value inside an NLMSG_ERROR message; 0: an acknowledgment.
[[nodiscard]] int error_code(const nlmsghdr* message) noexcept;

// Sends one request (a whole message, header included) and hands each message of its answer to `handler`,
// until the acknowledgment, the end of the dump or, if the request has neither NLM_F_ACK nor NLM_F_DUMP, the
// first message. Errors: what the kernel answered; ETIMEDOUT; EINTR for a dump that changed while it was read
// (ask again).
[[nodiscard]] Result<Done, SysError> request(const mnl_socket& socket, Bytes message,
                                             std::span<std::byte> buffer, std::chrono::milliseconds wait,
                                             const std::function<void(const nlmsghdr*)>& handler = {});

// What an event subscription does when its descriptor is readable: hands over each message of at most
// `datagrams` datagrams. Returns the number of messages. ENOBUFS is counted in `lost` and not an error.
[[nodiscard]] Result<std::size_t, SysError> drain_events(const mnl_socket& socket,
                                                         std::span<std::byte> buffer, std::size_t datagrams,
                                                         std::uint64_t& lost,
                                                         const std::function<void(const nlmsghdr*)>& handler);

// Room for the largest datagram the kernel sends in a dump or an event.
inline constexpr std::size_t kDatagramSize = 0x10000;

}  // namespace icqgate::sys
