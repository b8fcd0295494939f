// needs: oscar
// SPDX-License-Identifier: GPL-2.0-or-later
// Rendezvous in both directions and client answers, over one SNAC body and what is left of it when it is cut
// short: places lie in the body and hold the values parsed, what is written into them is read again, and the
// same bytes always say the same.
#include "oscar/icbm.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <span>
#include <vector>

namespace {

using namespace icqgate;
using namespace icqgate::oscar;
using Buffer = std::vector<std::byte>;
using Places = std::vector<Place>;
using Form = Place::Form;

void require(bool holds) {
  if (!holds) std::abort();
}

bool is_ip(Form form) { return form == Form::Ip || form == Form::IpXor; }

std::size_t size_of(Form form) { return is_ip(form) ? 4 : 2; }

std::uint32_t mask_of(Form form) {
  if (form == Form::PortXorBe) return 0xffff;
  return form == Form::IpXor ? 0xffffffff : 0;
}

std::uint32_t load(Bytes body, const Place& place) {
  const Bytes bytes = body.subspan(place.at, size_of(place.form));
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::size_t from = place.form == Form::PortLe ? bytes.size() - 1 - i : i;
    value = value << 8 | std::to_integer<std::uint32_t>(bytes[from]);
  }
  return value ^ mask_of(place.form);
}

void store(Buffer& body, const Place& place, std::uint32_t value) {
  value ^= mask_of(place.form);
  const std::size_t size = size_of(place.form);
  for (std::size_t i = 0; i < size; ++i) {
    const std::size_t to = place.form == Form::PortLe ? i : size - 1 - i;
    body[place.at + to] = static_cast<std::byte>(value >> (8 * i));
  }
}

void check_places(const Rendezvous& message, Bytes body) {
  std::vector<char> taken(body.size());
  for (const Places* places : {&message.port_places, &message.block_port_places, &message.address_places}) {
    for (const Place& place : *places) {
      const std::size_t size = size_of(place.form);
      require(place.at + size <= body.size());
      require(is_ip(place.form) == (places == &message.address_places));
      for (std::size_t i = 0; i < size; ++i) require(taken[place.at + i]++ == 0);
    }
  }
}

std::optional<Port> block_port(const Rendezvous& message) {
  if (message.relay) return message.relay->port;
  return message.reverse ? message.reverse->port : std::nullopt;
}

void check_values(const Rendezvous& message, Bytes body) {
  for (const Place& place : message.port_places)
    require(message.port && !message.proxy && load(body, place) == message.port->get());
  for (const Place& place : message.block_port_places)
    require(block_port(message) && load(body, place) == block_port(message)->get());
  for (const Place& place : message.address_places) {
    const Ipv4 address{load(body, place)};
    require((address == message.address && !message.proxy) || address == message.own_address ||
            (message.reverse && address == message.reverse->address));
  }
  // What is to be rewritten can be.
  require(message.port_places.empty() == (!message.port || message.proxy));
  require(message.block_port_places.empty() == !block_port(message));
  require(!message.port || message.port->get() != 0);
  require(!block_port(message) || block_port(message)->get() != 0);
  if (message.other) require(message.other->get() != 0);
  require(!message.relay || message.capability == Capability::Relay);
  require(!message.reverse || message.capability == Capability::Reverse);
  if (message.relay && message.relay->kind == RelayMessage::Kind::Other) require(!message.relay->port);
  if (message.reverse && message.reverse->bad_port) require(!message.reverse->port);
  if (message.swapped_port) require(message.swapped_port != message.port && !message.proxy);
}

template <class Parse>
void check_rewriting(const Rendezvous& before, Bytes body, Parse parse) {
  constexpr std::uint16_t kPort = 0x9cd5;
  constexpr std::uint16_t kBlockPort = 0x9cd6;
  constexpr std::uint32_t kAddress = 0xcb00714d;
  Buffer other(body.begin(), body.end());
  for (const Place& place : before.port_places) store(other, place, kPort);
  for (const Place& place : before.block_port_places) store(other, place, kBlockPort);
  for (const Place& place : before.address_places) store(other, place, kAddress);
  const auto after = parse(Bytes{other});
  require(after.has_value());
  require(after->cookie == before.cookie && after->type == before.type && after->other == before.other);
  require(after->capability == before.capability && after->sequence == before.sequence);
  require(after->contradictory == before.contradictory);
  require(after->port == (before.port_places.empty() ? before.port : Port{kPort}));
  require(block_port(*after) == (block_port(before) ? std::optional{Port{kBlockPort}} : std::nullopt));
  require(after->own_address == (before.own_address ? std::optional{Ipv4{kAddress}} : std::nullopt));
  if (!before.proxy)
    require(after->address == (before.address ? std::optional{Ipv4{kAddress}} : std::nullopt));
  if (before.relay) require(after->relay->contradictory == before.relay->contradictory);
  check_values(*after, other);
}

void check_swapping(Rendezvous message, Bytes body) {
  const auto swapped = message.swapped_port;
  message.use_swapped_port();
  require(!message.swapped_port && (!swapped || message.port == swapped));
  for (const Place& place : message.port_places) require(load(body, place) == message.port->get());
}

bool alike(const Rendezvous& left, const Rendezvous& right) {
  return left.cookie == right.cookie && left.type == right.type && left.capability == right.capability &&
         left.other == right.other && left.seen_at == right.seen_at && left.port == right.port &&
         left.swapped_port == right.swapped_port && left.proxy == right.proxy &&
         left.sequence == right.sequence && left.address == right.address &&
         left.own_address == right.own_address && left.verified == right.verified &&
         left.contradictory == right.contradictory && left.relay.has_value() == right.relay.has_value() &&
         left.reverse.has_value() == right.reverse.has_value() && block_port(left) == block_port(right) &&
         left.port_places == right.port_places && left.block_port_places == right.block_port_places &&
         left.address_places == right.address_places;
}

template <class Parse>
void check(Bytes body, Parse parse) {
  const auto message = parse(body);
  const auto again = parse(body);
  require(message.has_value() == again.has_value());
  if (!message) return;
  require(alike(*message, *again));
  check_places(*message, body);
  check_values(*message, body);
  check_rewriting(*message, body, parse);
  check_swapping(*message, body);
}

void check_all(Bytes body) {
  check(body, [](Bytes b) { return parse_icbm(b, IcbmDirection::FromClient); });
  check(body, [](Bytes b) { return parse_icbm(b, IcbmDirection::FromServer); });
  check(body, [](Bytes b) { return parse_client_answer(b); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes body = std::as_bytes(std::span{data, size});
  check_all(body);
  // In memory of their own, so that a byte read behind the end is found.
  const std::size_t most = std::min<std::size_t>(size, 256);
  for (std::size_t cut = 0; cut < most; ++cut) {
    const Bytes prefix = body.first(cut);
    check_all(Buffer(prefix.begin(), prefix.end()));
  }
  return 0;
}
