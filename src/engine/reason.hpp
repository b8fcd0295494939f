// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace icqgate::engine {

// Why something was not opened, was refused, or ended: the word that log, status, trace and counters use, and
// the rule of security.md behind it.
enum class Reason : std::uint8_t {
  None,
  // peer handshakes (S15); the first nine as peer::Refusal
  NotIcq,
  BadVersion,
  BadLength,
  WrongUser,
  PortMismatch,
  OwnUin,
  NoSourceUin,
  OldVersion,
  Transfer,
  Cookie,      // the right cookie is known and this is not it (protocol.md 4.5)
  ForeignUin,  // outbound: the handshake names a UIN that has no session here
  WrongPeer,   // a return flow whose source UIN is not the one that was called
  NoSession,   // outbound: the client has no session
  NoPinhole,   // nothing is open there
  Deadline,    // the handshake did not come in time
  Probation,   // the server has not acknowledged the announcement yet
  Overlap,     // bytes changed between two arrivals
  // announcements (S6 to S12)
  OutsideRange,
  DeniedPort,
  BadPort,        // upper half of the port field set
  OtherHost,      // the announced address is not the client's own
  DcType,         // direct connection type 0 or 2
  Contradictory,  // two TLVs that differ
  PortTaken,      // open for another session already
  TooMany,        // ports-per-client
  TooOften,       // new ports per minute
  NotOnline,      // before the server accepted the login
  Ipv6Session,    // no field of the protocol has room for IPv6
  // redirects (S3)
  BadTarget,        // TLV 0x05 that is neither address nor name
  ForbiddenTarget,  // loopback, multicast, link-local, unspecified, an inside network, or private from a
                    // public server
  ServerPort,       // a port no server may be on
  Unresolved,
  QueryBudget,  // queries-per-minute is used up
  // control flows that teach nothing any more (S1, S2, S4)
  MidStream,
  NotOscar,
  StreamConflict,
  StreamOverCap,
  CutPacket,
  BadState,       // a SNAC family or frame that has no place there
  ForeignCookie,  // the login cookie belongs to another client
  LoginFailed,
  // ends
  Logout,
  Kicked,
  ConnectionClosed,
  Idle,
  Replaced,
  PortWithdrawn,  // announced port 0
  Expired,
  // names (S20)
  PrivateAddress,  // and its host is not listed with !private
  OverLimit,       // addresses-per-name, addresses-total
  Reconfigured,    // the configuration does not allow it any more
};
inline constexpr std::size_t kReasonCount = static_cast<std::size_t>(Reason::Reconfigured) + 1;

[[nodiscard]] std::string_view to_string(Reason reason) noexcept;  // kebab-case: "wrong-user"
[[nodiscard]] std::string_view explain(Reason reason) noexcept;    // a sentence for people

}  // namespace icqgate::engine
