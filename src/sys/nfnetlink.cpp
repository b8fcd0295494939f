// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/nfnetlink.hpp"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <optional>
#include <utility>

#include "sys/nfnetlink_socket.hpp"

namespace icqgate::sys {

namespace {

constexpr std::chrono::milliseconds kWait{1000};
constexpr std::size_t kSendBuffer = 4 * 1024 * 1024;
// An acknowledgment takes some 800 bytes of this: room for those of 10,000 messages.
constexpr int kReceiveBuffer = 8 * 1024 * 1024;
constexpr std::size_t kEventsPerCall = 256;

// Messages of a batch that ask for an acknowledgment. The two batch markers are left out: older kernels
// answer them only on failure.
std::size_t acknowledgments_asked(Bytes batch) {
  std::size_t count = 0;
  for_each_message(batch, [&](const nlmsghdr* message) {
    const bool marker =
        message->nlmsg_type == NFNL_MSG_BATCH_BEGIN || message->nlmsg_type == NFNL_MSG_BATCH_END;
    if (!marker && (message->nlmsg_flags & NLM_F_ACK)) ++count;
  });
  return count;
}

bool is_marker(Bytes batch, std::uint32_t sequence) {
  bool marker = false;
  for_each_message(batch, [&](const nlmsghdr* message) {
    if (message->nlmsg_seq == sequence &&
        (message->nlmsg_type == NFNL_MSG_BATCH_BEGIN || message->nlmsg_type == NFNL_MSG_BATCH_END)) {
      marker = true;
    }
  });
  return marker;
}

}  // namespace

std::string to_string(const NftError& error) {
  const std::string reason = std::generic_category().message(error.code);
  if (error.sequence == 0) return "nftables transaction: " + reason;
  return "nftables message " + std::to_string(error.sequence) + ": " + reason;
}

NftSocket::NftSocket(MnlSocket socket)
    : socket_{std::move(socket)}, buffer_(kDatagramSize), send_buffer_{kSendBuffer} {}

Result<NftSocket, SysError> NftSocket::open() {
  auto socket = open_nfnetlink();
  if (!socket) return tl::make_unexpected(socket.error());
  raise_send_buffer(**socket, kSendBuffer);
  raise_receive_buffer(**socket, kReceiveBuffer);
  return NftSocket{std::move(*socket)};
}

std::uint32_t NftSocket::port_id() const noexcept { return mnl_socket_get_portid(socket_.get()); }

Result<Done, NftError> NftSocket::send_batch(Bytes batch) {
  if (std::exchange(unread_, false))
    discard_pending(*socket_, buffer_);  // answers that came too late for an earlier call
  if (batch.size() > send_buffer_) {
    raise_send_buffer(*socket_, static_cast<int>(std::min(batch.size(), std::size_t{1} << 30)));
    send_buffer_ = batch.size();
  }
  if (const auto sent = send_datagram(*socket_, batch); !sent) {
    return tl::make_unexpected(NftError{sent.error().code, 0});
  }

  std::size_t waiting_for = acknowledgments_asked(batch);
  const bool asked = waiting_for > 0;
  std::optional<NftError> failure;
  while (true) {
    // Errors are there without being asked for; so read on until nothing is left, and wait only if an answer
    // that was asked for is missing.
    if (asked && waiting_for == 0 && !failure) break;  // the last was asked for; errors come before it
    const bool wait = waiting_for > 0 && !failure;
    const auto datagram = receive_datagram(*socket_, buffer_, wait ? kWait : std::chrono::milliseconds{0});
    if (!datagram) {
      if (datagram.error().code == EAGAIN) {
        if (!wait) break;
        failure = NftError{ETIMEDOUT, 0};
        unread_ = true;
      } else if (!failure) {
        failure = NftError{datagram.error().code, 0};
      }
      continue;
    }
    for_each_message(*datagram, [&](const nlmsghdr* message) {
      if (message->nlmsg_type != NLMSG_ERROR) return;
      const int code = error_code(message);
      const std::uint32_t sequence = message->nlmsg_seq;
      if (code != 0 && !failure) failure = NftError{code, is_marker(batch, sequence) ? 0 : sequence};
      if (code == 0 && waiting_for > 0 && !is_marker(batch, sequence)) --waiting_for;
    });
  }
  if (failure) return tl::make_unexpected(*failure);
  return Done{};
}

Result<Done, NftError> NftSocket::dump(Bytes message, const std::function<void(const nlmsghdr*)>& handler) {
  const auto done = request(*socket_, message, buffer_, kWait, handler);
  if (done) return Done{};
  unread_ = true;
  return tl::make_unexpected(NftError{done.error().code, 0});
}

NftEvents::NftEvents(MnlSocket socket) : socket_{std::move(socket)}, buffer_(kDatagramSize) {}

Result<NftEvents, SysError> NftEvents::open() {
  auto socket = open_nfnetlink();
  if (!socket) return tl::make_unexpected(socket.error());
  raise_receive_buffer(**socket, kReceiveBuffer);
  if (const auto joined = join_group(**socket, NFNLGRP_NFTABLES); !joined) {
    return tl::make_unexpected(joined.error());
  }
  return NftEvents{std::move(*socket)};
}

int NftEvents::fd() const noexcept { return mnl_socket_get_fd(socket_.get()); }

Result<Done, SysError> NftEvents::ignore(std::uint32_t port_id) {
  // All messages of one datagram stem from one transaction, so the first header speaks for them. A filter's
  // load turns four bytes into a number as if they were big endian.
  std::array<sock_filter, 4> code{{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(nlmsghdr, nlmsg_pid)),
                                   BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(port_id), 0, 1),
                                   BPF_STMT(BPF_RET | BPF_K, 0), BPF_STMT(BPF_RET | BPF_K, 0xffffffff)}};
  const sock_fprog program{code.size(), code.data()};
  if (setsockopt(fd(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0)
    return tl::make_unexpected(SysError{"SO_ATTACH_FILTER", errno});
  return Done{};
}

Result<std::size_t, SysError> NftEvents::receive(const std::function<void(const nlmsghdr*)>& handler) {
  return drain_events(*socket_, buffer_, kEventsPerCall, lost_, handler);
}

}  // namespace icqgate::sys
