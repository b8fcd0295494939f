// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.hpp"

namespace icqgate::peer {

// OFT2 (file transfer) and ODC2 (direct IM) openings, with the cookie of the message that proposed them
// (protocol.md 7; the last rows of the table in 9), and the rendezvous proxy's frames (5.8).

enum class Transfer { No, NeedMore, Oft, Odc };
// By the magic alone: OFT2, OFT3 or ODC2 (row 4).
[[nodiscard]] Transfer transfer_magic(Bytes first) noexcept;
// By the magic, the header's length and its type (rows 4, 8): what may also open an outbound peer connection.
[[nodiscard]] Transfer looks_like_transfer(Bytes first) noexcept;

enum class TransferRefusal : std::uint8_t {
  NotTransfer,  // neither OFT2 (OFT3) nor ODC2 from the first byte on, or the other one of the two
  BadHeader,    // length or type that no header has (OFT: 256 to 2048, ODC: 76 to 2048)
  WrongCookie,
};

struct TransferDecision {
  enum class Kind : std::uint8_t { NeedMore, Accept, Refuse } kind = Kind::NeedMore;
  TransferRefusal refusal = TransferRefusal::NotTransfer;  // with Refuse
  std::uint16_t header = 0;  // with Accept: bytes of the header (OFT 256 to 2048, ODC 76 to 2048)
  std::uint16_t type = 0;    // with Accept, OFT: 0x0101 prompt, 0x0202 acknowledge ...
  bool zero_cookie = false;  // with Accept: it carries none (Pidgin's prompt)
};

// `first` may be any prefix of one direction of the stream; more bytes never turn Accept into Refuse or the
// other way round. Decided after 16 bytes (OFT) or 20 (ODC) at the latest. `cookie` as read big endian from
// the message. OFT: the cookie or zero is accepted; ODC: the cookie only.
[[nodiscard]] TransferDecision decide_oft(Bytes first, std::uint64_t cookie) noexcept;
[[nodiscard]] TransferDecision decide_odc(Bytes first, std::uint64_t cookie) noexcept;

// A frame for or from the rendezvous proxy: length, then 04 4A, a type of 1 to 5, four zero bytes. The
// longest create or join fits into 64 bytes or so; a length of more than 512 is none. Decided after 10 bytes
// at the latest.
enum class ProxyFrame : std::uint8_t { No, NeedMore, Yes };
[[nodiscard]] ProxyFrame looks_like_proxy(Bytes first) noexcept;

}  // namespace icqgate::peer
