// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "sys/error.hpp"
#include "sys/handles.hpp"

namespace icqgate::sys {

// What the kernel does with a packet that does not fit into the queue any more.
enum class Failure { Open, Closed };

// Repeat: the packet starts again at the first rule of its hook, with the mark of the verdict.
enum class Verdict { Accept, Drop, Repeat };

// A packet waiting in the kernel for exactly one verdict.
struct QueuedPacket {
  std::uint32_t id;     // packet id: names it in the verdict; unique in its queue until wrapped
  std::uint16_t queue;  // queue number
  Bytes packet;         // from the IP header on. Borrowed: valid during the handler's call only
  std::uint32_t mark;   // packet mark
  bool truncated;       // the packet is longer than `packet`: a gap in its stream
  bool gso;  // stands for several segments: longer than the MTU, and its checksums may be unfinished
  std::uint32_t in_ifindex, out_ifindex;  // 0: none at this hook
};

// One NFQUEUE, read and answered through one socket.
//
// Order of calls: open(); then whenever fd() is readable receive(); verdict() from inside the handler or at
// any later time; flush() after verdicts given outside receive(). Destroying it unbinds the queue: the kernel
// drops every packet still waiting in it, and from then on what a queue without a reader does (drop, or
// `bypass`).
class NfQueue {
 public:
  using Handler = std::function<void(const QueuedPacket&)>;

  struct Counters {
    std::uint64_t received = 0;  // packets handed to a handler
    std::uint64_t lost = 0;      // ENOBUFS: the socket buffer overflowed; how many packets each time is
                                 // in queue_state().user_dropped
    std::uint64_t refused_verdicts = 0;  // no packet of that id (any more), or a malformed verdict
    std::uint64_t malformed = 0;         // messages that made no sense
  };

  // Binds `queue`. Both failure modes get whole packets with GSO left on; Failure::Open also sets fail-open.
  // `length`: packets that may wait. SysError.code EBUSY: another reader holds this queue; EPERM:
  // CAP_NET_ADMIN is missing.
  [[nodiscard]] static Result<NfQueue, SysError> open(std::uint16_t queue, Failure mode,
                                                      std::uint32_t length = 8192);
  NfQueue(NfQueue&&) noexcept;
  NfQueue& operator=(NfQueue&&) noexcept;
  ~NfQueue();

  [[nodiscard]] int fd() const noexcept;

  // Reads without waiting what is there, at most kPerCall packets (the descriptor stays readable if there is
  // more), and sends the verdicts recorded meanwhile. Returns the number of packets. An error is the end of
  // this queue; lost packets are not an error.
  [[nodiscard]] Result<std::size_t, SysError> receive(const Handler& handler);

  // Records a verdict. Exactly one per packet id; the kernel refuses a second one (counted). `mark` replaces
  // the packet mark. `replacement`: a whole IP packet with right checksums to go on in the packet's stead, at
  // most kMaxReplacement bytes (more: the packet is dropped); ignored with Verdict::Drop. Copied before this
  // returns. A packet with `gso` can't be replaced by one shorter than its segments: the kernel accepts the
  // verdict and loses the packet on its way out (seen on 6.18, segmentation offload on or off). Drop it
  // instead and replace the retransmission, which comes as one segment.
  void verdict(std::uint32_t id, Verdict verdict, std::optional<std::uint32_t> mark = {},
               Bytes replacement = {});

  // Sends what is recorded. On an error the rest stays recorded for the next flush.
  Result<Done, SysError> flush();

  [[nodiscard]] const Counters& counters() const noexcept { return counters_; }

  static constexpr std::size_t kPerCall = 256;
  static constexpr std::size_t kMaxReplacement = 65531;  // what fits into one netlink attribute

 private:
  struct Buffers;
  NfQueue(MnlSocket socket, std::uint16_t queue);
  void take_datagram(Bytes datagram, const Handler& handler);
  void take_packet(const nlmsghdr* message, const Handler& handler);

  MnlSocket socket_;
  std::uint16_t queue_;
  std::unique_ptr<Buffers> buffers_;
  std::vector<std::byte> pending_;  // verdict messages, one after the other
  Counters counters_;
};

// A line of /proc/net/netfilter/nfnetlink_queue.
struct QueueState {
  std::uint32_t port_id;  // netlink port of the reader; a process id where it opened only one such socket
  std::uint32_t waiting;  // packets without a verdict
  std::uint32_t dropped;  // the queue was full
  std::uint32_t user_dropped;  // the reader's socket buffer was full
};

// nullopt: nobody reads this queue, or this kernel has no NFQUEUE.
[[nodiscard]] std::optional<QueueState> queue_state(std::uint16_t queue);
// The same from the text of that file.
[[nodiscard]] std::optional<QueueState> parse_queue_state(std::string_view text, std::uint16_t queue);

}  // namespace icqgate::sys
