// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.hpp"
#include "base/strong.hpp"
#include "net/address.hpp"

namespace icqgate::oscar {

// Messages on channel 2 (rendezvous) of SNAC family 4, and what of them names a listening port: file
// transfer, direct IM, ICQ file and chat, reverse direct connection (protocol.md 5). Message text is stepped
// over and never kept.

// The eight bytes that tie a proposal to its answers and to its transfer, big endian. Never to be logged.
using IcbmCookie = std::uint64_t;

// What a rendezvous is about: capability UUIDs of 5.3, all 16 bytes compared.
enum class Capability : std::uint8_t {
  Other,
  Voice,     // 1341, announced like a file
  SendFile,  // 1343, OFT
  Reverse,   // 1344, ICQ: please connect to me
  DirectIm,  // 1345, ODC
  GetFile,   // 1348, OFT
  Relay,     // 1349, ICQ messages
  Contacts,  // 134B, announced like a file
};

// A value within a message that stands for an address or a port, for whoever has to put another one in its
// place (4.6, 5.7).
struct Place {
  enum class Form : std::uint8_t {
    PortBe,     // 2 bytes, big endian; the low half of a 32-bit field included
    PortLe,     // 2 bytes, little endian; likewise
    PortXorBe,  // 2 bytes, big endian, XOR FFFF
    Ip,         // 4 bytes, network order
    IpXor,      // 4 bytes, XOR FFFFFFFF
  };
  std::uint16_t at = 0;  // offset from the start of the SNAC's body
  Form form{};
  friend bool operator==(const Place&, const Place&) = default;
};

// TLV 0x2711 of a relayed ICQ message (5.6), or the same block right in (04,0B).
struct RelayMessage {
  enum class Kind : std::uint8_t { Other, File, Chat } kind = Kind::Other;
  std::uint16_t status = 0;  // of an answer: 0 accepted
  // The big-endian one, else the little-endian one; nullopt: 0, none, or the block ends before it has all of
  // a file's or a chat's fields. Only an answer holds a true one.
  std::optional<Port> port;
  bool contradictory = false;  // both ports are there and differ
};

// TLV 0x2711 of a reverse connection request (5.7): offset 8 is the port, the copies are not looked at.
struct ReverseRequest {
  Uin uin;                   // of the requester
  Ipv4 address;              // as the requester sees itself
  std::optional<Port> port;  // nullopt: 0, or more than 16 bits
  bool bad_port = false;     // upper 16 bits set
  std::uint16_t version = 0;
  std::uint32_t connect_id = 0;
};

// (04,06) C->S and (04,07) S->C on channel 2, and (04,0B) in both directions.
struct Rendezvous {
  enum class Type : std::uint8_t { Request, Cancel, Accept, Other };  // 5.2; (04,0B) is an Accept
  IcbmCookie cookie = 0;
  Type type = Type::Other;
  Capability capability = Capability::Other;
  std::optional<Uin> other;     // the other party; nullopt: a screen name of AIM
  std::optional<Ipv4> seen_at;  // (04,07): the sender's external address in its user info (TLV 0x0A)

  // inner TLVs (5.4), the first of each type; one of another length than the table says is no value
  std::optional<Port> port;  // 0x05; nullopt: 0 or absent. With `proxy` a PIN, not a port
  // Licq writes 0x05 little endian in relay and reverse messages (11.12), and nothing in the message tells:
  // what `port` is then, where that is another number. use_swapped_port() takes it for `port`.
  std::optional<Port> swapped_port;
  bool proxy = false;               // 0x10
  std::uint16_t sequence = 0;       // 0x0A; 0: absent
  std::optional<Ipv4> address;      // 0x02: where to connect to, or the proxy's
  std::optional<Ipv4> own_address;  // 0x03: the sender's, as it sees itself (some servers overwrite it)
  std::optional<Ipv4> verified;     // 0x04: as the server sees the sender; (04,07) only
  // A TLV of those above or an XOR copy (0x16, 0x17) twice with different values; a copy that does not fit
  // its TLV or is without it; 0x2711 or the rendezvous data twice at all (security.md S7).
  bool contradictory = false;

  std::optional<RelayMessage> relay;      // Capability::Relay; nullopt as well: not the block of 5.6
  std::optional<ReverseRequest> reverse;  // Capability::Reverse; nullopt as well: shorter than its 27 bytes

  // All that repeats the port one has to connect to (inner TLVs 0x05 and 0x17; the relay block's two; the
  // reverse block's at 8 and its copy) and the sender's address (inner 0x02, 0x03, 0x16; reverse block at 4).
  // In the relay block of an answer 0x05 is the ordinary listening port, another one than the block's: each
  // list has its own. A port of 0 has no place. With `proxy` the port is a PIN and 0x02 the proxy's: only
  // 0x03 is listed. Addresses may differ from one another (the reverse block often has the outside one
  // already).
  std::vector<Place> port_places;        // of `port`, what holds it exactly
  std::vector<Place> block_port_places;  // of relay->port or reverse->port, likewise
  std::vector<Place> address_places;

  // Takes `swapped_port`, if there is one, for `port`: the places then say little endian.
  void use_swapped_port() noexcept;
};

enum class IcbmDirection : std::uint8_t { FromClient, FromServer };  // (04,06) or (04,07)

// The body of (04,06) or (04,07). nullopt: another channel than 2, or malformed up to the capability, which
// two different cookies are too. What runs past the end behind it is treated as protocol.md 2 says: the rest
// counts. Other channels are told apart by the first ten bytes; only what has places allocates.
[[nodiscard]] std::optional<Rendezvous> parse_icbm(Bytes body, IcbmDirection direction);

// The body of (04,0B), same layout in both directions (5.9). nullopt unless channel 2, reason 3 and a relay
// block (bytes 1B 00 first, long enough for a message) follow; the failure record of a reverse request opens
// nothing.
[[nodiscard]] std::optional<Rendezvous> parse_client_answer(Bytes body);

}  // namespace icqgate::oscar
