// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <optional>

#include "base/bytes.hpp"
#include "peer/handshake.hpp"

namespace icqgate::engine {

// The first bytes of one direction, up to the 64 that a handshake can take, counted by TCP sequence number so
// that retransmissions and overlaps do not add up twice (protocol.md 9, segmentation).
//
// The SYN of a peer flow never leaves the kernel, so the stream's start is the first payload seen. If that is
// in truth the second segment (the official client writes the length word in a segment of its own), the
// caller holds it back and lets an earlier one come first: prepend_from() moves the start.
class FirstBytes {
 public:
  enum class Put { Ok, Conflict, Earlier };

  // Earlier: begins before the start, and bytes of it are news.
  Put put(std::uint32_t sequence, Bytes payload, bool may_prepend) noexcept {
    if (!started_) {
      started_ = true;
      start_ = sequence;
    }
    auto offset = static_cast<std::int32_t>(sequence - start_);
    if (offset < 0 && may_prepend && offset >= -static_cast<std::int32_t>(kSize)) {
      shift(static_cast<std::size_t>(-offset));
      start_ = sequence;
      offset = 0;
    }
    for (const std::byte byte : payload) {
      if (offset < 0) return Put::Earlier;
      if (offset >= static_cast<std::int32_t>(kSize)) {
        beyond_ = true;
        break;
      }
      const auto at = static_cast<std::size_t>(offset++);
      const std::uint64_t bit = std::uint64_t{1} << at;
      if ((have_ & bit) != 0 && bytes_[at] != byte) return Put::Conflict;
      bytes_[at] = byte;
      have_ |= bit;
    }
    return Put::Ok;
  }

  // The bytes from the start on without a hole.
  [[nodiscard]] Bytes known() const noexcept {
    return Bytes{bytes_}.first(static_cast<std::size_t>(std::countr_one(have_)));
  }
  [[nodiscard]] bool started() const noexcept { return started_; }
  [[nodiscard]] bool beyond() const noexcept { return beyond_; }  // payload past the 64 was seen

 private:
  static constexpr std::size_t kSize = peer::kMaxHandshake;
  static_assert(kSize == 64, "one bit of have_ each");

  void shift(std::size_t by) noexcept {
    if (by >= kSize) {
      have_ = 0;
      return;
    }
    for (std::size_t i = kSize; i-- > by;) bytes_[i] = bytes_[i - by];
    have_ <<= by;
  }

  std::array<std::byte, kSize> bytes_{};
  std::uint64_t have_ = 0;
  std::uint32_t start_ = 0;
  bool started_ = false;
  bool beyond_ = false;
};

}  // namespace icqgate::engine
