// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "net/address.hpp"
#include "sys/error.hpp"
#include "sys/handles.hpp"

namespace icqgate::sys {

// The two ends of a TCP flow, in the direction of one of its two conntrack tuples.
struct FlowKey {
  Endpoint source;
  Endpoint destination;
  [[nodiscard]] FlowKey reversed() const { return {destination, source}; }
  friend constexpr auto operator<=>(const FlowKey&, const FlowKey&) noexcept = default;
};

// conntrack's view of a TCP connection (nf_conntrack_tcp.h), same numbers.
enum class TcpState : std::uint8_t {
  None,
  SynSent,
  SynRecv,
  Established,
  FinWait,
  CloseWait,
  LastAck,
  TimeWait,
  Close,
  SynSent2,
};

struct Flow {
  FlowKey original;  // as the first packet came in, before any NAT
  FlowKey reply;     // as answers come in: original reversed, with what NAT made of it
  std::uint32_t mark = 0;
  std::uint32_t status = 0;  // IPS_... bits of linux/netfilter/nf_conntrack_common.h
  TcpState state = TcpState::None;
  std::chrono::seconds timeout{0};  // left until conntrack forgets the flow; 0 in events
  // The same as long as conntrack has the flow. A later flow on the same ports may have it as well: it is
  // made of where the entry lies in memory, and a place that was freed is the next to be taken.
  std::uint32_t id = 0;

  // Over already, only not forgotten yet: both sides have said their FIN, or one a reset, or it is being
  // taken out of the table (it is told to have ended a moment before).
  [[nodiscard]] bool ended() const noexcept {
    constexpr std::uint32_t kDying = 1 << 9;  // IPS_DYING
    return state == TcpState::TimeWait || state == TcpState::Close || (status & kDying) != 0;
  }
};

// Which of a flow's tuples a FlowKey names.
enum class Tuple { Original, Reply };

// Only flows with (mark & mask) == value.
struct MarkFilter {
  std::uint32_t value = 0;
  std::uint32_t mask = 0;
};

// Who picks the flows of a dump out of the table. Here: all of them are copied out and compared here.
enum class PickedBy { Kernel, Here };

// Reads and changes conntrack's TCP flows (zone 0). The kernel answers inside the system call, so nothing
// here waits, except dump(), whose cost is a walk over the whole table (some 100 ns a flow): not between a
// packet and its verdict. Needs CAP_NET_ADMIN.
class Conntrack {
 public:
  [[nodiscard]] static Result<Conntrack, SysError> open();

  // Forgets the TCP flow with this tuple. False: there is none. The kernel compares both directions, so
  // without NAT both tuples of a flow find it.
  [[nodiscard]] Result<bool, SysError> destroy(const FlowKey& key, Tuple tuple = Tuple::Original);
  // The same for addresses as the forward hook sees them, in either direction, source NAT or destination NAT
  // in force or not (both at once on one flow: not found).
  [[nodiscard]] Result<bool, SysError> destroy_forwarded(const FlowKey& seen);

  // The TCP flow with this tuple, ended or not; nullopt: there is none.
  [[nodiscard]] Result<std::optional<Flow>, SysError> find(const FlowKey& key, Tuple tuple = Tuple::Original);
  // The same for addresses as the forward hook sees them, as in destroy_forwarded().
  [[nodiscard]] Result<std::optional<Flow>, SysError> find_forwarded(const FlowKey& seen);

  // Sets the bits of `mask` in the flow's mark to those of `value`; others stay. False: no such flow.
  [[nodiscard]] Result<bool, SysError> set_mark(const FlowKey& key, std::uint32_t value, std::uint32_t mask,
                                                Tuple tuple = Tuple::Original);

  // All TCP flows with (mark & mask) == value; mask 0 and value 0: all. Error EINTR: the table changed
  // meanwhile.
  [[nodiscard]] Result<std::vector<Flow>, SysError> dump(std::uint32_t value, std::uint32_t mask);

  // All TCP flows whose first packet went to this port, before any NAT; ended ones are among them. The kernel
  // picks them since 5.8; an older one is found out, and its answers compared here. Error EINTR as above.
  [[nodiscard]] Result<std::vector<Flow>, SysError> dump_to_port(Port port, MarkFilter marked = {},
                                                                 PickedBy picked = PickedBy::Kernel);

 private:
  explicit Conntrack(MnlSocket socket);
  using Filter = std::function<bool(const Flow&)>;
  Result<std::vector<Flow>, SysError> dump_message(Bytes request, const Filter& wanted);
  Result<bool, SysError> change(std::uint16_t type, const FlowKey& key, Tuple tuple,
                                const std::uint32_t* value, std::uint32_t mask);

  MnlSocket socket_;
  std::vector<std::byte> buffer_;
  std::uint32_t sequence_ = 0;
  bool kernel_picks_ = true;  // until it says no
};

// Tells of TCP flows that ended. With net.netfilter.nf_conntrack_events=2, the kernel's default, only flows
// that began while somebody was listening are told: open it before the first flow that matters.
class ConntrackEvents {
 public:
  // Only flows whose first packet went to one of these ports, before any NAT; no port: all. A filter in the
  // kernel sees to it: other flows, however many, do not wake this process.
  [[nodiscard]] static Result<ConntrackEvents, SysError> open(
      const std::vector<Port>& original_destination_ports);
  [[nodiscard]] int fd() const noexcept;

  // Call when fd() is readable: reads without waiting. Returns how many flows were handed over.
  [[nodiscard]] Result<std::size_t, SysError> receive(const std::function<void(const Flow&)>& ended);

  // How often the kernel had to leave out events (ENOBUFS): after a change of it, dump() tells what is alive.
  [[nodiscard]] std::uint64_t lost() const noexcept { return lost_; }

 private:
  explicit ConntrackEvents(MnlSocket socket);
  MnlSocket socket_;
  std::vector<std::byte> buffer_;
  std::uint64_t lost_ = 0;
};

}  // namespace icqgate::sys
