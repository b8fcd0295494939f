// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/bytes.hpp"
#include "base/strong.hpp"
#include "net/address.hpp"
#include "peer/transfer.hpp"

namespace icqgate::peer {

// The first packet of an ICQ direct connection, PEER_INIT (protocol.md 6.2, 6.3), as decided upon by
// section 9.
struct Handshake {
  std::uint16_t version = 0;       // 2..11
  std::optional<Uin> destination;  // v6 and up
  Uin source;                      // 0 only with a connect id (checked)
  std::optional<Port>
      listening_port;  // where the sender listens, if it says so (offsets 11, 28 or 22); nullopt: 0
  std::optional<std::uint32_t> cookie;  // forms of 36 bytes and more
  std::uint32_t connect_id = 0;         // v7+ full form
  std::uint16_t body_length = 0;        // L: 26, 36, 44 or 48
  // v6 body or v6 version: the cookie proves nothing (protocol.md 4.5).
  [[nodiscard]] bool cookie_counts() const noexcept { return version >= 7 && body_length == 48; }
};

enum class Refusal {
  NotIcq,        // the first bytes are no PEER_INIT prefix
  BadVersion,    // version outside 2..11 (26-byte form) or 6..11
  BadLength,     // inner length does not fit the form
  WrongUser,     // destination UIN is not the expected one
  PortMismatch,  // the two port fields differ and neither is 0
  OwnUin,        // source UIN is the LAN user's own (inbound)
  NoSourceUin,   // source UIN 0 without connect id
  OldVersion,    // 26-byte form and old versions are not allowed
  Transfer,      // OFT2 or ODC2 where only direct connections may come
};
[[nodiscard]] std::string_view to_string(
    Refusal refusal) noexcept;  // kebab-case reason: "not-icq", "wrong-user", ...

// What the bytes must say.
struct Expectation {
  std::optional<Uin> destination{};  // inbound: the pinhole's owner; checked as soon as 11 bytes are there
  std::optional<Uin> not_source{};   // inbound: source must not be this one
  bool allow_old_versions = true;    // 26-byte form (v2..5): whom it is meant for can't be verified
};

struct Decision {
  enum class Kind { NeedMore, Accept, Refuse } kind = Kind::NeedMore;
  Handshake handshake;                // valid with Accept
  Refusal refusal = Refusal::NotIcq;  // valid with Refuse
  std::size_t consumed = 0;           // with Accept: L + 2
};

// The decision table of protocol.md section 9 (rows for direct connections), on the first bytes of a
// connection, length prefix included. Decides as early as the table does: `first` may hold any prefix of the
// stream, and giving more bytes never turns Accept into Refuse or the other way round. Cookie and source
// address rules (4.5) are the engine's: it alone knows what the server said.
[[nodiscard]] Decision decide(Bytes first, const Expectation& expectation) noexcept;

// For the log only: what a refused opening looked like ("HTTP", "TLS", "SSH", "FLAP", ... or "" if unknown).
[[nodiscard]] std::string_view guess_protocol(Bytes first) noexcept;

inline constexpr std::size_t kMaxHandshake = 64;  // bytes that are ever needed or kept

}  // namespace icqgate::peer
