// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace icqgate::oscar {

// FLAP, the outer framing of an OSCAR stream; big endian (protocol.md 1.1):
//   0x2a | channel u8 | sequence u16 | data length u16 | data
enum class FlapError { NeedMore, BadStart };

enum class Channel : std::uint8_t { NewConnection = 1, Snac = 2, Error = 3, Close = 4, KeepAlive = 5 };

struct FlapFrame {
  std::uint8_t channel = 0;    // unknown channels are frames too; compare with Channel
  std::uint16_t sequence = 0;  // not to be validated (protocol.md 1.1)
  Bytes payload;               // borrowed
};

// The frame at the very start of `stream`.
[[nodiscard]] Result<FlapFrame, FlapError> parse_flap(Bytes stream) noexcept;

// Cuts one direction of a stream into frames, fed in-order bytes in pieces of any size. Never resynchronises:
// a byte other than 0x2a where a frame must start ends it for good (security.md S4).
//
// A frame is handed out whole up to `max_frame` payload bytes. A larger one is stepped over by its length
// without being stored (protocol.md section 12 trap 4): it is reported with an empty payload and `skipped`
// set.
class FlapReader {
 public:
  struct Frame {
    FlapFrame flap;         // payload borrowed until the next call
    std::uint64_t end = 0;  // stream offset behind the frame's last byte
    bool skipped = false;   // longer than max_frame: payload not stored
  };

  explicit FlapReader(std::size_t max_frame = 16 * 1024) noexcept;

  // Gives bytes to the reader; they are consumed by next(). `bytes` must live until next() says NeedMore (the
  // reader copies only the unfinished rest then). Call next() until NeedMore before feeding again.
  void feed(Bytes bytes);
  // The next frame, NeedMore when the fed bytes are used up, BadStart for good.
  [[nodiscard]] Result<Frame, FlapError> next();

  [[nodiscard]] bool failed() const noexcept;
  [[nodiscard]] bool inside_frame() const noexcept;   // bytes of an unfinished frame are waiting
  [[nodiscard]] std::size_t memory() const noexcept;  // heap bytes held

 private:
  Result<Frame, FlapError> assemble();
  void store(Bytes piece, std::size_t length);
  void step(std::size_t count) noexcept;
  tl::unexpected<FlapError> need_more() noexcept;
  tl::unexpected<FlapError> fail() noexcept;

  Bytes fed_;                          // borrowed, not yet used up
  std::vector<std::byte> partial_;     // payload so far of a cut frame; no memory otherwise
  std::uint64_t offset_ = 0;           // in the stream, of the first byte of fed_
  std::array<std::byte, 6> header_{};  // its first have_ bytes count: the header of a cut or skipped frame
  std::uint16_t left_ = 0;             // payload bytes of that frame still to come
  std::uint16_t max_frame_;
  std::uint8_t have_ = 0;
  bool delivered_ = false;  // that frame is with the caller, who may be reading partial_
  bool failed_ = false;
};

}  // namespace icqgate::oscar
