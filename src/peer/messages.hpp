// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "net/address.hpp"

namespace icqgate::peer {

// What goes over an ICQ direct connection (protocol.md 6.1 to 6.7): u16 LE length, body; no marker. Nothing
// is decoded: text stays scrambled and unread.

enum class PacketKind : std::uint8_t {
  Init,      // FF, 26, 36, 44 or 48 bytes: PEER_INIT
  InitAck,   // 01 00 00 00, as the answer to it
  Init2,     // 03, 33 bytes: a message connection, version 7 and up
  Message,   // 02 and more than 4 bytes
  FileInit,  // 00, u32 0, count, size, speed, nick (LNTS) to the end: a file connection
  Other,     // of version 6, messages begin with a check code that may be anything; chat's colours
};

// The kind that a body's own bytes show. It depends on what came before (a file connection's 01, 02, 03 mean
// other things), so the caller judges by order.
[[nodiscard]] PacketKind kind_of(Bytes body) noexcept;

enum class PacketError : std::uint8_t { NeedMore, TooLong };

// Cuts one direction into packets, fed in-order bytes in pieces of any size. Bodies up to kMost are handed
// out whole; a longer one ends it for good (TooLong): the largest legal one is 8190.
class PacketReader {
 public:
  static constexpr std::size_t kMost = 8192;

  // As oscar::FlapReader: `bytes` must live until next() says NeedMore; then feed again.
  void feed(Bytes bytes);
  // The body of the next packet, borrowed until the next call. A length of 0 is an empty body.
  [[nodiscard]] Result<Bytes, PacketError> next();

  [[nodiscard]] std::size_t memory() const noexcept;  // heap bytes held

 private:
  Result<Bytes, PacketError> assemble();
  tl::unexpected<PacketError> need_more() noexcept;
  tl::unexpected<PacketError> fail() noexcept;

  Bytes fed_;                          // borrowed, not yet used up
  std::vector<std::byte> partial_;     // body so far of a cut packet; no memory otherwise
  std::array<std::byte, 2> prefix_{};  // the length of a cut packet
  std::uint8_t have_ = 0;              // bytes of prefix_
  bool delivered_ = false;             // the body is with the caller, who may be reading partial_
  bool failed_ = false;
};

// The port that an accepted file or chat request names, inside a running message connection (6.7). Only the
// front of a message is scrambled, by a rule that its length alone decides; nothing of that part is used. The
// body *ends* with
//   file: u16 BE p | 00 00 | LNTS name | u32 size | u32 LE p
//   chat: LNTS participants | u16 BE p | 00 00 | u32 LE p
// all in the clear, with the same p in 1024..65535 and an LNTS of consistent length, at most 255, whose only
// NUL is its last byte. What stands before it must agree wherever it is in the clear: the twelve zeros, the
// type (2 chat, 3 file, 0x1A plugin), status 0, the length of the text, or in the plugin form (5.6) its
// length and GUID and the lengths of the description and of the rest. With or without version 7's leading 02.
// Says nothing about the direction: an accept of the other side's is one too. A name so long that the port's
// first copy is scrambled (some 65 bytes in the plain form, 220 in the plugin form) yields none.
struct AcceptedPort {
  Port port;
  bool chat = false;        // told from file by its tail
  std::uint16_t be_at = 0;  // offset in the body of the big-endian copy
  std::uint16_t le_at = 0;  // of the little-endian one
};
[[nodiscard]] std::optional<AcceptedPort> accepted_port(Bytes body) noexcept;

}  // namespace icqgate::peer
