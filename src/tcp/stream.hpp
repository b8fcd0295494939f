// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace icqgate::tcp {

// Why a direction can't be followed any further. Each is final: the caller stops learning from the flow
// (security.md S2, S4) and never resynchronises.
enum class StreamError : std::uint8_t {
  Conflict,  // bytes seen before came again with other content (an overlap or a retransmission that changed)
  OverCap,   // more out-of-order bytes than the cap, or more unacknowledged ones
  OutOfWindow,  // a segment further from the expected byte than any window allows (2^30)
};

struct StreamLimits {
  std::size_t out_of_order = 64 * 1024;     // bytes held beyond a gap
  std::size_t unacknowledged = 256 * 1024;  // bytes kept to compare retransmissions with, until acknowledged
};

// One direction of a TCP connection, from its SYN on: segments in any order in, bytes in order out
// (RFC 9293 3.4 arithmetic modulo 2^32; protocol.md section 12 trap 2; security.md S2).
//
// Positions are stream offsets: 64 bits, 0 is the first byte after the SYN, so that nothing wraps for the
// caller. Memory: nothing while in order and acknowledged; at most twice the limits' sum otherwise, nothing
// after an error.
class Stream {
 public:
  // Separate pieces held beyond a gap; one more is OverCap. 64 KiB of full segments with every other one lost
  // are 23 pieces; without this limit single bytes with holes between them cost a hundred times their size.
  static constexpr std::size_t kMaxPieces = 256;
  // How far from the expected byte a segment may start.
  static constexpr std::uint32_t kMaxDistance = std::uint32_t{1} << 30;

  // `isn`: the sequence number of the SYN itself.
  explicit Stream(std::uint32_t isn, StreamLimits limits = {}) noexcept;

  // Takes a segment's payload (SYN and FIN take no part in `sequence` here: pass the number of the first
  // payload byte). Returns the bytes that became in-order by it, possibly none; they are borrowed until the
  // next call of a non-const member (or from `payload` itself). After an error every further call returns the
  // same error. An empty payload is never an error. Bytes below acknowledged() can't be compared any more:
  // left alone.
  [[nodiscard]] Result<Bytes, StreamError> push(std::uint32_t sequence, Bytes payload);

  // The other side acknowledged up to `acknowledgment` (exclusive). Frees what is kept for comparison.
  // Numbers beyond what was delivered in order are cut to that; old ones, and those further beyond than
  // kMaxDistance, are ignored.
  void acknowledge(std::uint32_t acknowledgment) noexcept;

  [[nodiscard]] std::uint64_t delivered() const noexcept;     // offset behind the last in-order byte
  [[nodiscard]] std::uint64_t acknowledged() const noexcept;  // highest offset the other side acknowledged
  [[nodiscard]] std::uint32_t sequence_at(std::uint64_t offset) const noexcept;
  [[nodiscard]] bool has_gap() const noexcept;        // bytes beyond a hole are waiting
  [[nodiscard]] std::size_t memory() const noexcept;  // bytes held on the heap for payload

 private:
  struct Piece {
    std::uint64_t offset;
    std::vector<std::byte> bytes;
    [[nodiscard]] std::uint64_t end() const noexcept { return offset + bytes.size(); }
  };
  using Pieces = std::vector<Piece>;  // ascending; neither overlapping nor touching; all beyond delivered()

  [[nodiscard]] Result<Bytes, StreamError> push_next(Bytes fresh);
  [[nodiscard]] std::optional<StreamError> hold(std::uint64_t offset, Bytes bytes);
  [[nodiscard]] bool matches_history(std::int64_t offset, Bytes bytes) const noexcept;
  [[nodiscard]] std::size_t unacknowledged() const noexcept { return history_.size() - history_start_; }
  void remember(Bytes bytes);
  tl::unexpected<StreamError> fail(StreamError error) noexcept;

  std::uint64_t delivered_ = 0;
  std::uint64_t acknowledged_ = 0;
  // The bytes from acknowledged_ to delivered_ are those from history_start_ on.
  std::vector<std::byte> history_;
  std::unique_ptr<Pieces> beyond_;  // null without a gap
  std::uint32_t history_start_ = 0;
  std::uint32_t first_;  // sequence number of offset 0
  std::uint32_t max_out_of_order_;
  std::uint32_t max_unacknowledged_;
  std::optional<StreamError> error_;
};

}  // namespace icqgate::tcp
