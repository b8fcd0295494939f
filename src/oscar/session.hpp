// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/strong.hpp"
#include "net/address.hpp"
#include "oscar/snac.hpp"

namespace icqgate::oscar {

// What icqgate reads of an OSCAR session: one struct per wire structure, one parser each. All borrow nothing
// unless said: values are copied out, and none holds a password, a message or a clear cookie longer than the
// caller keeps it.

// UIN as ASCII digits: strict (digits only, value 1..4294967295, leading zeros allowed, spaces stripped);
// screen names of AIM: nullopt (protocol.md 3, 12.11).
[[nodiscard]] std::optional<Uin> parse_uin(std::string_view text) noexcept;

// --- FLAP channel 1 (protocol.md 1.2, 1.3, 1.6)
enum class HelloError { Malformed };  // shorter than 4 bytes, or the version is not 1
// The server's: exactly the version. (Anything behind it is a violation of S4.)
[[nodiscard]] Result<bool, HelloError> parse_server_hello(Bytes payload) noexcept;
struct ClientHello {
  std::optional<Uin> uin;     // TLV 0x01 when it is a number
  bool names_user = false;    // TLV 0x01 present at all (AIM screen name: uin is absent)
  bool has_password = false;  // TLV 0x02 present: login A; its value is never looked at
  Bytes cookie;  // TLV 0x06, borrowed; empty if absent: this is a BOS or service connection if not
};
[[nodiscard]] Result<ClientHello, HelloError> parse_client_hello(Bytes payload) noexcept;

// --- Login (protocol.md 1.4, 1.5)
// (17,06) and (17,02) C->S: the UIN they name. nullopt: no TLV 0x01 or not a number.
[[nodiscard]] std::optional<Uin> parse_login_uin(Bytes body) noexcept;

// TLV 0x05 "host", "host:port" (protocol.md 1.5): trailing NULs and spaces stripped, split at the last colon
// only if a port of 1..65535 follows. nullopt for anything that is neither a dotted quad nor a DNS name.
struct Target {
  std::variant<IpAddress, std::string>
      host;                  // a literal address, or a name in lower case without trailing dot
  std::optional<Port> port;  // absent: as protocol.md 1.5 says, the caller's business
  friend bool operator==(const Target&, const Target&) = default;
};
[[nodiscard]] std::optional<Target> parse_target(std::string_view text);

// TLVs of 1.5, the same set in channel 4 S->C and in (17,03).
struct LoginReply {
  std::optional<Uin> uin;               // 0x01
  std::optional<Target> target;         // 0x05 when it parses
  bool bad_target = false;              // 0x05 present but does not parse
  Bytes cookie;                         // 0x06, borrowed; may be empty
  std::optional<std::uint16_t> error;   // 0x08
  std::optional<std::uint16_t> closed;  // 0x09: the server closes a running session (1: same UIN elsewhere)
  bool tls = false;                     // 0x8E says 1 or 2: the BOS stream will be opaque
  // A redirect exists if and only if target and cookie are both there.
  [[nodiscard]] bool redirects() const noexcept { return target && !cookie.empty(); }
};
[[nodiscard]] LoginReply parse_login_reply(Bytes tlvs);

// (01,05) S->C (protocol.md 1.7): nullopt unless 0x0D, 0x05 and 0x06 are all there and 0x05 parses.
struct ServiceRedirect {
  std::uint16_t family = 0;
  Target target;
  Bytes cookie;  // borrowed
  bool tls = false;
};
[[nodiscard]] std::optional<ServiceRedirect> parse_service_redirect(Bytes body);

// (01,12) S->C (protocol.md 1.8): nullopt unless 0x05 and 0x06 are there and 0x05 parses.
struct Migration {
  Target target;
  Bytes cookie;  // borrowed
  bool tls = false;
};
[[nodiscard]] std::optional<Migration> parse_migration(Bytes body);

// --- Direct connection info, TLV 0x0C (protocol.md 4.2). Everything big endian.
//   0 IP | 4 port u32 | 8 DC type | 9 version u16 | 11 cookie u32 | ... 37 in all
struct DirectInfo {
  Ipv4 internal;
  std::optional<Port> port;  // nullopt: 0, no listener
  bool bad_port = false;     // upper 16 bits set (vector C01): the announcement is invalid
  std::uint8_t type = 0;     // 4.3; 0 in the 8-byte form
  std::uint16_t version = 0;
  std::optional<std::uint32_t> cookie;  // absent in forms shorter than 15
  bool all_zero = false;                // the dummy: nothing is announced, nothing is known
};
// nullopt: shorter than 8 bytes.
[[nodiscard]] std::optional<DirectInfo> parse_direct_info(Bytes value) noexcept;

// (01,1E) C->S (protocol.md 4.1). Without 0x0C nothing is announced: keep what is known.
struct StatusUpdate {
  std::optional<DirectInfo> direct;  // the first 0x0C
  bool contradictory = false;        // a second 0x0C with other bytes (security.md S7)
  bool truncated = false;            // a TLV ran past the end (vector C02): what stands before it counts
};
[[nodiscard]] StatusUpdate parse_status_update(Bytes body) noexcept;

// --- User info block (protocol.md 3)
struct UserInfo {
  std::optional<Uin> uin;            // absent: an AIM screen name
  std::optional<Ipv4> external;      // TLV 0x0A, the first
  std::optional<DirectInfo> direct;  // TLV 0x0C, the first
};
// The block that `reader` stands at, which is left behind it. nullopt: malformed, `reader` undefined.
[[nodiscard]] std::optional<UserInfo> take_user_info(ByteReader& reader) noexcept;
// (01,0F) S->C: the first block. nullopt: malformed.
[[nodiscard]] std::optional<UserInfo> parse_self_info(Bytes body) noexcept;
// (03,0B) and (03,0C) S->C: one or more blocks back to back; the ones read before a malformed one.
[[nodiscard]] std::vector<UserInfo> parse_buddies(Bytes body);

}  // namespace icqgate::oscar
