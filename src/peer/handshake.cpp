// SPDX-License-Identifier: GPL-2.0-or-later
#include "peer/handshake.hpp"

#include <limits>

namespace icqgate::peer {
namespace {

// Offsets in this file count from the first byte of the stream: those of protocol.md 6.2 and 6.3 plus the two
// bytes of the length prefix, as in the table of section 9.

// PEER_INIT forms by body length L.
constexpr std::uint16_t kOldForm = 0x1a;    // versions 2 to 5
constexpr std::uint16_t kShortForm = 0x24;  // version 6 as climm sends it
constexpr std::uint16_t kV6Form = 0x2c;
constexpr std::uint16_t kFullForm = 0x30;

std::uint8_t u8(Bytes bytes, std::size_t at) noexcept { return std::to_integer<std::uint8_t>(bytes[at]); }

std::uint16_t u16le(Bytes bytes, std::size_t at) noexcept {
  return static_cast<std::uint16_t>(u8(bytes, at) | u8(bytes, at + 1) << 8);
}

std::uint16_t u16be(Bytes bytes, std::size_t at) noexcept {
  return static_cast<std::uint16_t>(u8(bytes, at) << 8 | u8(bytes, at + 1));
}

std::uint32_t u32le(Bytes bytes, std::size_t at) noexcept {
  return u16le(bytes, at) | static_cast<std::uint32_t>(u16le(bytes, at + 2)) << 16;
}

// Bytes behind the inner length field; some old clients leave it 0 (protocol.md 11.5).
constexpr std::uint16_t inner_length(std::uint16_t form) noexcept {
  return static_cast<std::uint16_t>(form - 5);
}

std::optional<Port> either_port(std::uint32_t first, std::uint32_t second) noexcept {
  const std::uint32_t port = first != 0 ? first : second;
  if (port == 0 || port > std::numeric_limits<std::uint16_t>::max()) return std::nullopt;
  return Port{static_cast<std::uint16_t>(port)};
}

Decision need_more() noexcept { return {}; }

Decision refuse(Refusal refusal) noexcept {
  Decision decision;
  decision.kind = Decision::Kind::Refuse;
  decision.refusal = refusal;
  return decision;
}

Decision accept(const Handshake& handshake) noexcept {
  Decision decision;
  decision.kind = Decision::Kind::Accept;
  decision.handshake = handshake;
  decision.consumed = std::size_t{2} + handshake.body_length;
  return decision;
}

// From here on the decisions follow the table of section 9 row by row, each as soon as its bytes are there.
// As every row looks at bytes before those of the next, more bytes never change a verdict.

// The 26-byte form: no destination UIN, no cookie.
Decision decide_old_form(Bytes first, const Expectation& expectation) noexcept {
  if (!expectation.allow_old_versions) return refuse(Refusal::OldVersion);
  if (first.size() < 7) return need_more();
  const std::uint32_t version = u32le(first, 3);
  if (version < 2 || version > 11) return refuse(Refusal::BadVersion);
  if (first.size() < std::size_t{2} + kOldForm) return need_more();
  const Uin source{u32le(first, 11)};
  if (source == Uin{0}) return refuse(Refusal::NoSourceUin);
  if (source == expectation.not_source) return refuse(Refusal::OwnUin);
  Handshake handshake;
  handshake.version = static_cast<std::uint16_t>(version);
  handshake.source = source;
  handshake.listening_port = either_port(u32le(first, 24), u32le(first, 7));
  handshake.body_length = kOldForm;
  return accept(handshake);
}

Decision decide_new_form(Bytes first, std::uint16_t form, const Expectation& expectation) noexcept {
  if (first.size() < 5) return need_more();
  const std::uint16_t version = u16le(first, 3);
  if (version < 6 || version > 11) return refuse(Refusal::BadVersion);
  if (first.size() < 7) return need_more();
  const std::uint16_t inner = u16le(first, 5);
  if (inner != 0 && inner != inner_length(form)) return refuse(Refusal::BadLength);
  if (first.size() < 11) return need_more();
  const Uin destination{u32le(first, 7)};
  if (expectation.destination && destination != *expectation.destination) return refuse(Refusal::WrongUser);

  if (first.size() < std::size_t{2} + form) return need_more();
  const std::uint32_t port = u32le(first, 13);
  const std::uint32_t port_again = u32le(first, 30);
  if (port != port_again && port != 0 && port_again != 0) return refuse(Refusal::PortMismatch);
  const Uin source{u32le(first, 17)};
  const std::uint32_t connect_id = form == kFullForm ? u32le(first, 46) : 0;
  if (source == expectation.not_source) return refuse(Refusal::OwnUin);
  // Some Licq versions answer a reverse request with source 0 (protocol.md 6.5, vector P15).
  if (source == Uin{0} && connect_id == 0) return refuse(Refusal::NoSourceUin);
  Handshake handshake;
  handshake.version = version;
  handshake.destination = destination;
  handshake.source = source;
  handshake.listening_port = either_port(port, port_again);
  handshake.cookie = u32le(first, 34);
  handshake.connect_id = connect_id;
  handshake.body_length = form;
  return accept(handshake);
}

}  // namespace

std::string_view to_string(Refusal refusal) noexcept {
  switch (refusal) {
    case Refusal::NotIcq:
      return "not-icq";
    case Refusal::BadVersion:
      return "bad-version";
    case Refusal::BadLength:
      return "bad-length";
    case Refusal::WrongUser:
      return "wrong-user";
    case Refusal::PortMismatch:
      return "port-mismatch";
    case Refusal::OwnUin:
      return "own-uin";
    case Refusal::NoSourceUin:
      return "no-source-uin";
    case Refusal::OldVersion:
      return "old-version";
    case Refusal::Transfer:
      return "transfer";
  }
  return "unknown";
}

Decision decide(Bytes first, const Expectation& expectation) noexcept {
  if (first.empty()) return need_more();
  if (u8(first, 0) == 'O') {
    switch (transfer_magic(first)) {
      case Transfer::No:
        return refuse(Refusal::NotIcq);
      case Transfer::NeedMore:
        return need_more();
      case Transfer::Oft:
      case Transfer::Odc:
        return refuse(Refusal::Transfer);
    }
  }
  const std::uint8_t form = u8(first, 0);
  if (form != kOldForm && form != kShortForm && form != kV6Form && form != kFullForm)
    return refuse(Refusal::NotIcq);
  if (first.size() < 2) return need_more();
  if (u8(first, 1) != 0) return refuse(Refusal::NotIcq);
  if (first.size() < 3) return need_more();
  if (u8(first, 2) != 0xff) return refuse(Refusal::NotIcq);
  return form == kOldForm ? decide_old_form(first, expectation) : decide_new_form(first, form, expectation);
}

std::string_view guess_protocol(Bytes first) noexcept {
  if (first.size() < 2) return "";
  switch (u16be(first, 0)) {
    case 0x4745:  // GET
    case 0x504f:  // POST
    case 0x4845:  // HEAD
      return "HTTP";
    case 0x1603:
      return "TLS";
    case 0x5353:
      return "SSH";
    case 0x1342:
      return "BitTorrent";
    case 0x0501:
    case 0x0401:
      return "SOCKS";
    case 0x2a01:
    case 0x2a02:
      return "FLAP";
    case 0x5246:
      return "VNC";
    case 0x0300:
      return "RDP";
    default:
      return "";
  }
}

}  // namespace icqgate::peer
