// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/nfnetlink_socket.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>

namespace icqgate::sys {

Result<MnlSocket, SysError> open_nfnetlink() {
  MnlSocket socket{mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK)};
  if (!socket) return tl::make_unexpected(SysError{"mnl_socket_open2", errno});
  if (mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0) {
    return tl::make_unexpected(SysError{"mnl_socket_bind", errno});
  }
  return socket;
}

namespace {
void raise_buffer(const mnl_socket& socket, int forced, int limited, int bytes) noexcept {
  const int fd = mnl_socket_get_fd(&socket);
  if (setsockopt(fd, SOL_SOCKET, forced, &bytes, sizeof bytes) == 0) return;
  // Cut to net.core.[rw]mem_max without a word; a smaller buffer is a reason to count losses, not to stop.
  (void)setsockopt(fd, SOL_SOCKET, limited, &bytes, sizeof bytes);
}
}  // namespace

void raise_receive_buffer(const mnl_socket& socket, int bytes) noexcept {
  raise_buffer(socket, SO_RCVBUFFORCE, SO_RCVBUF, bytes);
}

void raise_send_buffer(const mnl_socket& socket, int bytes) noexcept {
  raise_buffer(socket, SO_SNDBUFFORCE, SO_SNDBUF, bytes);
}

Result<Done, SysError> join_group(mnl_socket& socket, int group) noexcept {
  if (mnl_socket_setsockopt(&socket, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) < 0) {
    return tl::make_unexpected(SysError{"NETLINK_ADD_MEMBERSHIP", errno});
  }
  return Done{};
}

Result<Done, SysError> send_datagram(const mnl_socket& socket, Bytes datagram) noexcept {
  while (mnl_socket_sendto(&socket, datagram.data(), datagram.size()) < 0) {
    if (errno != EINTR) return tl::make_unexpected(SysError{"mnl_socket_sendto", errno});
  }
  return Done{};
}

Result<Bytes, SysError> receive_datagram(const mnl_socket& socket, std::span<std::byte> buffer,
                                         std::chrono::milliseconds wait) noexcept {
  const int fd = mnl_socket_get_fd(&socket);
  bool waited = wait.count() <= 0;
  while (true) {
    iovec part{buffer.data(), buffer.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    const ssize_t size = recvmsg(fd, &header, MSG_DONTWAIT);
    if (size >= 0) {
      if (header.msg_flags & MSG_TRUNC) return tl::make_unexpected(SysError{"recvmsg", EMSGSIZE});
      return Bytes{buffer.data(), static_cast<std::size_t>(size)};
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN || waited) return tl::make_unexpected(SysError{"recvmsg", errno});
    pollfd readable{fd, POLLIN, 0};
    (void)poll(&readable, 1, static_cast<int>(wait.count()));  // whatever it says, the next recvmsg() knows
    waited = true;
  }
}

void discard_pending(const mnl_socket& socket, std::span<std::byte> buffer) noexcept {
  // Bounded: a socket without subscriptions holds no more than a receive buffer full of small answers.
  for (int i = 0; i < 100'000; ++i) {
    const auto datagram = receive_datagram(socket, buffer, {});
    if (!datagram && datagram.error().code == EAGAIN) return;
  }
}

int error_code(const nlmsghdr* message) noexcept {
  if (mnl_nlmsg_get_payload_len(message) < sizeof(nlmsgerr)) return EBADMSG;
  return -static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(message))->error;
}

Result<Done, SysError> request(const mnl_socket& socket, Bytes message, std::span<std::byte> buffer,
                               std::chrono::milliseconds wait,
                               const std::function<void(const nlmsghdr*)>& handler) {
  if (message.size() < sizeof(nlmsghdr)) return tl::make_unexpected(SysError{"request", EINVAL});
  nlmsghdr asked;
  std::copy_n(message.begin(), sizeof asked, reinterpret_cast<std::byte*>(&asked));
  const bool has_end = (asked.nlmsg_flags & NLM_F_ACK) != 0 || (asked.nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;

  discard_pending(socket, buffer);
  if (const auto sent = send_datagram(socket, message); !sent) return sent;

  bool ended = false, interrupted = false;
  int failure = 0;
  while (!ended) {
    const auto datagram = receive_datagram(socket, buffer, wait);
    if (!datagram) {
      const int code = datagram.error().code == EAGAIN ? ETIMEDOUT : datagram.error().code;
      return tl::make_unexpected(SysError{"answer", code});
    }
    for_each_message(*datagram, [&](const nlmsghdr* answer) {
      if (answer->nlmsg_seq != asked.nlmsg_seq) return;
      if (answer->nlmsg_flags & NLM_F_DUMP_INTR) interrupted = true;
      if (answer->nlmsg_type == NLMSG_ERROR) {
        failure = error_code(answer);
        ended = true;
      } else if (answer->nlmsg_type == NLMSG_DONE) {
        ended = true;
        if (mnl_nlmsg_get_payload_len(answer) >= sizeof(int)) {  // a dump that failed under way says so here
          failure = -*static_cast<const int*>(mnl_nlmsg_get_payload(answer));
        }
      } else if (answer->nlmsg_type >= NLMSG_MIN_TYPE) {
        if (handler) handler(answer);
        if (!has_end) ended = true;
      }
    });
  }
  if (failure != 0) return tl::make_unexpected(SysError{"answer", failure});
  if (interrupted) return tl::make_unexpected(SysError{"dump", EINTR});
  return Done{};
}

Result<std::size_t, SysError> drain_events(const mnl_socket& socket, std::span<std::byte> buffer,
                                           std::size_t datagrams, std::uint64_t& lost,
                                           const std::function<void(const nlmsghdr*)>& handler) {
  std::size_t messages = 0;
  for (std::size_t i = 0; i < datagrams; ++i) {
    const auto datagram = receive_datagram(socket, buffer, {});
    if (!datagram) {
      const int code = datagram.error().code;
      if (code == EAGAIN) break;
      if (code != ENOBUFS && code != EMSGSIZE) return tl::make_unexpected(datagram.error());
      ++lost;
      continue;
    }
    for_each_message(*datagram, [&](const nlmsghdr* message) {
      if (message->nlmsg_type < NLMSG_MIN_TYPE) return;
      ++messages;
      handler(message);
    });
  }
  return messages;
}

}  // namespace icqgate::sys
