// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "sys/error.hpp"
#include "sys/handles.hpp"

namespace icqgate::sys {

// Why a transaction or a dump came to nothing.
struct NftError {
  int code;                // errno value. ENOBUFS and ETIMEDOUT: in doubt, re-read and compare. ERESTART: the
                           // generation named in the batch is no longer the current one
  std::uint32_t sequence;  // sequence number of the first message refused; 0 if no message is to blame
};
[[nodiscard]] std::string to_string(const NftError& error);

// Sends nfnetlink bytes that were built elsewhere. Needs CAP_NET_ADMIN.
class NftSocket {
 public:
  [[nodiscard]] static Result<NftSocket, SysError> open();

  // Events carry this as nlmsg_pid: tells one's own changes from foreign ones.
  [[nodiscard]] std::uint32_t port_id() const noexcept;

  // One transaction: NFNL_MSG_BATCH_BEGIN, messages with sequence numbers of their own, NFNL_MSG_BATCH_END.
  // All of it is in the kernel when this returns Done, or nothing (see NftError for the cases in doubt). The
  // kernel works inside the call; a second is waited at most for acknowledgments that messages with NLM_F_ACK
  // ask for.
  [[nodiscard]] Result<Done, NftError> send_batch(Bytes batch);

  // One request outside transactions, with NLM_F_DUMP (ended by NLMSG_DONE), NLM_F_ACK, or neither (one
  // message is the answer). `handler` sees each message of the answer, borrowed. EINTR: changed while read,
  // ask again.
  [[nodiscard]] Result<Done, NftError> dump(Bytes request,
                                            const std::function<void(const nlmsghdr*)>& handler);

 private:
  explicit NftSocket(MnlSocket socket);
  MnlSocket socket_;
  std::vector<std::byte> buffer_;
  std::size_t send_buffer_ = 0;
  bool unread_ = false;  // an answer may still come that nobody waits for
};

// Tells of every change of a ruleset of this network namespace, one's own included (compare port ids).
class NftEvents {
 public:
  [[nodiscard]] static Result<NftEvents, SysError> open();
  [[nodiscard]] int fd() const noexcept;
  // Changes made through this socket (NftSocket::port_id()) are left out from now on, by the kernel: they
  // don't even wake the reader.
  [[nodiscard]] Result<Done, SysError> ignore(std::uint32_t port_id);

  // Call when fd() is readable: reads without waiting. Returns how many messages were handed over.
  [[nodiscard]] Result<std::size_t, SysError> receive(const std::function<void(const nlmsghdr*)>& handler);

  // How often the kernel had to leave out events: after a change of it, the ruleset has to be read again.
  [[nodiscard]] std::uint64_t lost() const noexcept { return lost_; }

 private:
  explicit NftEvents(MnlSocket socket);
  MnlSocket socket_;
  std::vector<std::byte> buffer_;
  std::uint64_t lost_ = 0;
};

}  // namespace icqgate::sys
