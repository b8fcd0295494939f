// SPDX-License-Identifier: GPL-2.0-or-later
#include "oscar/icbm.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "oscar/session.hpp"
#include "oscar/snac.hpp"

namespace icqgate::oscar {
namespace {

constexpr std::uint16_t kRendezvousChannel = 2;
constexpr std::uint16_t kDataFollows = 3;  // the reason in (04,0B)

// TLV types: of the message, then of the rendezvous data within it (5.4).
constexpr std::uint16_t kRendezvousData = 0x05;
constexpr std::uint16_t kAddress = 0x02;
constexpr std::uint16_t kOwnAddress = 0x03;
constexpr std::uint16_t kVerified = 0x04;
constexpr std::uint16_t kPort = 0x05;
constexpr std::uint16_t kSequence = 0x0a;
constexpr std::uint16_t kProxy = 0x10;
constexpr std::uint16_t kAddressXor = 0x16;
constexpr std::uint16_t kPortXor = 0x17;
constexpr std::uint16_t kExtension = 0x2711;

template <std::size_t size>
using Array = std::array<std::uint8_t, size>;

template <std::size_t size>
bool is(Bytes bytes, const Array<size>& expected) noexcept {
  return std::ranges::equal(bytes, expected, {},
                            [](std::byte b) { return std::to_integer<std::uint8_t>(b); });
}

// Of a value that has that very size; another size is no value.
std::optional<std::uint16_t> u16_of(const std::optional<Bytes>& value) noexcept {
  if (!value || value->size() != 2) return std::nullopt;
  return ByteReader{*value}.u16be();
}

std::optional<Ipv4> ipv4_of(const std::optional<Bytes>& value) noexcept {
  if (!value || value->size() != 4) return std::nullopt;
  return Ipv4{*ByteReader{*value}.u32be()};
}

std::optional<Port> port_of(std::uint32_t value) noexcept {
  if (value == 0 || value > std::numeric_limits<std::uint16_t>::max()) return std::nullopt;
  return Port{static_cast<std::uint16_t>(value)};
}

Port swapped(Port port) noexcept {
  return Port{static_cast<std::uint16_t>(port.get() << 8 | port.get() >> 8)};
}

// `part` borrows `body`, and that is at most 65535 bytes.
Place place_of(Bytes part, Bytes body, Place::Form form, std::ptrdiff_t offset = 0) noexcept {
  return {static_cast<std::uint16_t>(part.data() - body.data() + offset), form};
}

std::optional<IcbmCookie> take_cookie(ByteReader& reader) noexcept {
  const auto high = reader.u32be();
  const auto low = reader.u32be();
  if (!high || !low) return std::nullopt;
  return static_cast<IcbmCookie>(*high) << 32 | *low;
}

// size u8 | name. false: malformed; nobody has an empty one.
bool take_name(ByteReader& reader, std::optional<Uin>& uin) noexcept {
  const auto size = reader.u8();
  if (!size || *size == 0) return false;
  const auto name = reader.take(*size);
  if (!name) return false;
  uin = parse_uin(as_text(*name));
  return true;
}

Capability capability_of(Bytes uuid) noexcept {
  constexpr Array<2> kHead{0x09, 0x46};
  constexpr Array<12> kTail{0x4c, 0x7f, 0x11, 0xd1, 0x82, 0x22, 0x44, 0x45, 0x53, 0x54, 0x00, 0x00};
  if (!is(uuid.first(2), kHead) || !is(uuid.subspan(4), kTail)) return Capability::Other;
  switch (ByteReader{uuid.subspan(2)}.u16be().value_or(0)) {
    case 0x1341:
      return Capability::Voice;
    case 0x1343:
      return Capability::SendFile;
    case 0x1344:
      return Capability::Reverse;
    case 0x1345:
      return Capability::DirectIm;
    case 0x1348:
      return Capability::GetFile;
    case 0x1349:
      return Capability::Relay;
    case 0x134b:
      return Capability::Contacts;
    default:
      return Capability::Other;
  }
}

Rendezvous::Type type_of(std::uint16_t type) noexcept {
  switch (type) {
    case 0:
      return Rendezvous::Type::Request;
    case 1:
      return Rendezvous::Type::Cancel;
    case 2:
      return Rendezvous::Type::Accept;
    default:
      return Rendezvous::Type::Other;
  }
}

// The first of each inner TLV that counts.
struct InnerTlvs {
  std::optional<Bytes> address;
  std::optional<Bytes> own_address;
  std::optional<Bytes> verified;
  std::optional<Bytes> port;
  std::optional<Bytes> sequence;
  std::optional<Bytes> address_xor;
  std::optional<Bytes> port_xor;
  std::optional<Bytes> extension;
  bool proxy = false;
  bool contradictory = false;

  explicit InnerTlvs(Bytes tlvs) noexcept;

 private:
  std::optional<Bytes>* of_type(std::uint16_t type) noexcept;
};

std::optional<Bytes>* InnerTlvs::of_type(std::uint16_t type) noexcept {
  switch (type) {
    case kAddress:
      return &address;
    case kOwnAddress:
      return &own_address;
    case kVerified:
      return &verified;
    case kPort:
      return &port;
    case kSequence:
      return &sequence;
    case kAddressXor:
      return &address_xor;
    case kPortXor:
      return &port_xor;
    case kExtension:
      return &extension;
    default:
      return nullptr;
  }
}

InnerTlvs::InnerTlvs(Bytes tlvs) noexcept {
  TlvReader reader{tlvs};
  while (const auto tlv = reader.next()) {
    if (tlv->type == kProxy) proxy = true;
    auto* const first = of_type(tlv->type);
    if (first == nullptr) continue;
    // A second extension would have places of its own, and who knows which one a peer reads.
    if (!*first)
      *first = tlv->value;
    else if (tlv->type == kExtension || !std::ranges::equal(**first, tlv->value))
      contradictory = true;
  }
}

// The copies exist to show that somebody changed the originals on the way.
bool is_complement(Bytes copy, const std::optional<Bytes>& original) noexcept {
  return original && std::ranges::equal(copy, *original, [](std::byte c, std::byte o) { return c == ~o; });
}

void read_values(const InnerTlvs& inner, Rendezvous& rendezvous) noexcept {
  rendezvous.proxy = inner.proxy;
  rendezvous.sequence = u16_of(inner.sequence).value_or(0);
  rendezvous.address = ipv4_of(inner.address);
  rendezvous.own_address = ipv4_of(inner.own_address);
  rendezvous.verified = ipv4_of(inner.verified);
  rendezvous.port = port_of(u16_of(inner.port).value_or(0));
  if (inner.contradictory || (inner.address_xor && !is_complement(*inner.address_xor, inner.address)) ||
      (inner.port_xor && !is_complement(*inner.port_xor, inner.port)))
    rendezvous.contradictory = true;

  // Licq sends no XOR copy, and nobody else swaps.
  const bool may_swap =
      rendezvous.capability == Capability::Relay || rendezvous.capability == Capability::Reverse;
  if (may_swap && rendezvous.port && !rendezvous.proxy && !inner.port_xor &&
      swapped(*rendezvous.port) != *rendezvous.port)
    rendezvous.swapped_port = swapped(*rendezvous.port);
}

// Walks the TLVs once more: a TLV that repeats the first word for word is a place as well.
void list_places(Bytes tlvs, const InnerTlvs& inner, Bytes body, Rendezvous& rendezvous) {
  using Form = Place::Form;
  TlvReader reader{tlvs};
  while (const auto tlv = reader.next()) {
    const auto list = [&](std::vector<Place>& places, const std::optional<Bytes>& first, Form form) {
      if (first && std::ranges::equal(*first, tlv->value)) places.push_back(place_of(tlv->value, body, form));
    };
    if (tlv->type == kOwnAddress && rendezvous.own_address)
      list(rendezvous.address_places, inner.own_address, Form::Ip);
    if (rendezvous.proxy) continue;
    if (tlv->type == kAddress && rendezvous.address) list(rendezvous.address_places, inner.address, Form::Ip);
    if (tlv->type == kAddressXor && rendezvous.address && is_complement(tlv->value, inner.address))
      list(rendezvous.address_places, inner.address_xor, Form::IpXor);
    if (tlv->type == kPort && rendezvous.port) list(rendezvous.port_places, inner.port, Form::PortBe);
    if (tlv->type == kPortXor && rendezvous.port && is_complement(tlv->value, inner.port))
      list(rendezvous.port_places, inner.port_xor, Form::PortXorBe);
  }
}

// u16 LE size | text, the size counts a NUL.
std::optional<Bytes> take_lnts(ByteReader& reader) noexcept {
  const auto size = reader.u16le();
  return size ? reader.take(*size) : std::nullopt;
}

// Type 0x1A (5.6), from the plugin's length on: which plugin, and `reader` left at the fields that files and
// chats have under every type.
RelayMessage::Kind take_plugin(ByteReader& reader) noexcept {
  using Kind = RelayMessage::Kind;
  constexpr Array<16> kFile{0xf0, 0x2d, 0x12, 0xd9, 0x30, 0x91, 0xd3, 0x11,
                            0x8d, 0xd7, 0x00, 0x10, 0x4b, 0x06, 0x46, 0x2e};
  constexpr Array<16> kChat{0xbf, 0xf7, 0x20, 0xb2, 0x37, 0x8e, 0xd4, 0x11,
                            0xbd, 0x28, 0x00, 0x04, 0xac, 0x96, 0xd9, 0x05};
  const auto plugin = take_lnts(reader);  // without a NUL
  if (!plugin || plugin->size() < kFile.size()) return Kind::Other;
  const Bytes guid = plugin->first(kFile.size());
  const Kind kind = is(guid, kFile) ? Kind::File : is(guid, kChat) ? Kind::Chat : Kind::Other;
  if (kind == Kind::Other) return kind;
  (void)reader.u32le();  // the remaining length: the container's own decides
  const auto description = reader.u32le();
  // Without them what is left is too short for a port, too.
  if (!description || !reader.take(*description)) reader = ByteReader{{}};
  return kind;
}

// File: port u16 BE | u16 | LNTS | size u32 | port u32 LE. Chat: LNTS | port u16 BE | u16 | port u32 LE.
void take_block_port(ByteReader& reader, Bytes body, RelayMessage& relay, std::vector<Place>& places) {
  const bool chat = relay.kind == RelayMessage::Kind::Chat;
  if (chat && !take_lnts(reader)) return;
  const Bytes big = reader.rest();
  const auto big_port = reader.u16be();
  (void)reader.u16le();
  if (!chat && !(take_lnts(reader) && reader.take(4))) return;
  const Bytes little = reader.rest();
  const auto little_port = reader.u32le();
  if (!big_port || !little_port) return;

  relay.port = port_of(*big_port != 0 ? *big_port : *little_port);
  relay.contradictory = *big_port != 0 && *little_port != 0 && *big_port != *little_port;
  if (!relay.port) return;
  if (*big_port == relay.port->get()) places.push_back(place_of(big, body, Place::Form::PortBe));
  if (*little_port == relay.port->get()) places.push_back(place_of(little, body, Place::Form::PortLe));
}

// u16 LE 1B | version u16, plugin GUID 16, 9 more | u16 LE 0E | sequence u16, zeros 12 |
// type u8 | flags u8 | status u16 LE | priority u16 LE | LNTS | what the type has
std::optional<RelayMessage> parse_relay(Bytes block, Bytes body, std::vector<Place>& places) {
  using Kind = RelayMessage::Kind;
  constexpr std::uint16_t kFirstSize = 0x1b;
  constexpr std::uint16_t kSecondSize = 0x0e;
  ByteReader reader{block};
  if (reader.u16le() != kFirstSize) return std::nullopt;
  const auto first = reader.take(kFirstSize);
  const auto second_size = reader.u16le();
  const auto second = second_size ? reader.take(*second_size) : std::nullopt;
  const auto type = reader.u8();
  const auto flags = reader.u8();
  const auto status = reader.u16le();
  const auto priority = reader.u16le();
  if (!first || !second || !type || !flags || !status || !priority || !take_lnts(reader)) return std::nullopt;

  RelayMessage relay;
  relay.status = *status;
  // Queries among plugins have another second block and a GUID in the first.
  const bool message = *second_size == kSecondSize && is(first->subspan(2, 16), Array<16>{});
  if (!message) return relay;
  if (*type == 2) relay.kind = Kind::Chat;
  if (*type == 3) relay.kind = Kind::File;
  if (*type == 0x1a) relay.kind = take_plugin(reader);
  if (relay.kind != Kind::Other) take_block_port(reader, body, relay, places);
  return relay;
}

// UIN u32 LE | address | port u32 LE | DC type u8 | port that failed u32 | port again u32 | version u16 LE |
// connect id u32 LE
std::optional<ReverseRequest> parse_reverse(Bytes block, Bytes body, Rendezvous& rendezvous) {
  constexpr std::ptrdiff_t kCopy = 17;
  ByteReader reader{block};
  const auto uin = reader.u32le();
  const auto address = reader.u32be();
  const auto port = reader.u32le();
  (void)reader.take(5);
  const Bytes copy = reader.rest();
  (void)reader.take(4);
  const auto version = reader.u16le();
  const auto connect_id = reader.u32le();
  if (!uin || !address || !port || !version || !connect_id) return std::nullopt;

  ReverseRequest reverse;
  reverse.uin = Uin{*uin};
  reverse.address = Ipv4{*address};
  reverse.port = port_of(*port);
  reverse.bad_port = *port != 0 && !reverse.port;
  reverse.version = *version;
  reverse.connect_id = *connect_id;
  rendezvous.address_places.push_back(place_of(block, body, Place::Form::Ip, 4));
  if (!reverse.port) return reverse;
  auto& places = rendezvous.block_port_places;
  places.push_back(place_of(block, body, Place::Form::PortLe, 8));
  // Licq and climm write the copy little endian, Miranda big endian (11.13).
  if (ByteReader{copy}.u32le() == *port) places.push_back(place_of(block, body, Place::Form::PortLe, kCopy));
  if (ByteReader{copy}.u32be() == *port)
    places.push_back(place_of(block, body, Place::Form::PortBe, kCopy + 2));
  return reverse;
}

// type u16 | cookie 8 | capability 16 | TLVs. false: malformed.
bool read_rendezvous(Bytes data, Bytes body, Rendezvous& rendezvous) {
  ByteReader reader{data};
  const auto type = reader.u16be();
  const auto cookie = take_cookie(reader);
  const auto uuid = reader.take(16);
  if (!type || !uuid || cookie != rendezvous.cookie) return false;
  rendezvous.type = type_of(*type);
  rendezvous.capability = capability_of(*uuid);
  const Bytes tlvs = reader.rest();
  const InnerTlvs inner{tlvs};
  read_values(inner, rendezvous);
  list_places(tlvs, inner, body, rendezvous);
  if (!inner.extension) return true;
  if (rendezvous.capability == Capability::Relay)
    rendezvous.relay = parse_relay(*inner.extension, body, rendezvous.block_port_places);
  if (rendezvous.capability == Capability::Reverse)
    rendezvous.reverse = parse_reverse(*inner.extension, body, rendezvous);
  return true;
}

// cookie 8 | channel u16, as all three SNACs begin. nullopt: another channel (most messages, so before
// anything else is done), or nothing that a FLAP can hold.
std::optional<IcbmCookie> take_beginning(ByteReader& reader) noexcept {
  if (reader.rest().size() > std::numeric_limits<std::uint16_t>::max()) return std::nullopt;
  const auto cookie = take_cookie(reader);
  return reader.u16be() == kRendezvousChannel ? cookie : std::nullopt;
}

}  // namespace

void Rendezvous::use_swapped_port() noexcept {
  if (!swapped_port) return;
  port = *swapped_port;
  swapped_port.reset();
  for (auto& place : port_places) place.form = Place::Form::PortLe;  // 0x05 only: there is no XOR copy
}

std::optional<Rendezvous> parse_icbm(Bytes body, IcbmDirection direction) {
  ByteReader reader{body};
  const auto cookie = take_beginning(reader);
  if (!cookie) return std::nullopt;
  Rendezvous rendezvous;
  rendezvous.cookie = *cookie;
  if (direction == IcbmDirection::FromServer) {
    // Its counted TLVs come first, 0x05 "member since" among them (5.1).
    const auto sender = take_user_info(reader);
    if (!sender) return std::nullopt;
    rendezvous.other = sender->uin;
    rendezvous.seen_at = sender->external;
  } else if (!take_name(reader, rendezvous.other)) {
    return std::nullopt;
  }
  std::optional<Bytes> data;
  TlvReader tlvs{reader.rest()};
  while (const auto tlv = tlvs.next()) {
    if (tlv->type != kRendezvousData) continue;
    rendezvous.contradictory = data.has_value();
    if (!data) data = tlv->value;
  }
  if (!data || !read_rendezvous(*data, body, rendezvous)) return std::nullopt;
  return rendezvous;
}

std::optional<Rendezvous> parse_client_answer(Bytes body) {
  ByteReader reader{body};
  const auto cookie = take_beginning(reader);
  if (!cookie) return std::nullopt;
  Rendezvous rendezvous;
  rendezvous.cookie = *cookie;
  if (!take_name(reader, rendezvous.other) || reader.u16be() != kDataFollows) return std::nullopt;
  rendezvous.type = Rendezvous::Type::Accept;
  rendezvous.capability = Capability::Relay;
  rendezvous.relay = parse_relay(reader.rest(), body, rendezvous.block_port_places);
  if (!rendezvous.relay) return std::nullopt;
  return rendezvous;
}

}  // namespace icqgate::oscar
