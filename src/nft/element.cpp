// SPDX-License-Identifier: GPL-2.0-or-later
#include "nft/element.hpp"

#include <algorithm>

namespace icqgate::nft {
namespace {

struct SetShape {
  std::string_view name;
  std::string_view fields;  // '4' address, '6' address, 'p' port; behind ':' the data of a map
};

constexpr std::array<SetShape, kSetCount> kShapes{{
    {"login4", "4p"},
    {"login6", "6p"},
    {"servers4", "44p"},
    {"servers6", "66p"},
    {"sessions", "4"},
    {"pinholes", "4p"},
    {"returns", "44p"},
    {"peers", "44p"},
    {"forwards", "p:4p"},
    {"dns_servers4", "4"},
    {"dns_servers6", "6"},
}};

constexpr const SetShape& shape(SetId set) noexcept { return kShapes[static_cast<std::size_t>(set)]; }

// Fields of a concatenation are padded to 4 bytes; a port that is the whole key is not.
constexpr std::size_t field_size(char field, std::string_view fields) noexcept {
  if (field == '6') return 16;
  return fields == "p" ? 2 : 4;
}

// Reads "fields" from wire bytes and writes them as nft prints a concatenation.
std::string print_fields(std::string_view fields, Bytes wire) {
  std::string text;
  ByteReader reader{wire};
  for (const char field : fields) {
    if (!text.empty()) text += " . ";
    const auto bytes = reader.take(field_size(field, fields));
    if (!bytes) return text;
    ByteReader value{*bytes};
    if (field == 'p') {
      text += std::to_string(value.u16be().value_or(0));
    } else if (field == '4') {
      text += to_string(IpAddress{Ipv4{value.u32be().value_or(0)}});
    } else {
      std::array<std::uint8_t, 16> raw{};
      for (auto& byte : raw) byte = value.u8().value_or(0);
      text += to_string(IpAddress{Ipv6{raw}});
    }
  }
  return text;
}

}  // namespace

std::string_view set_name(SetId set) noexcept { return shape(set).name; }

bool has_timeouts(SetId set) noexcept { return set != SetId::DnsServers4 && set != SetId::DnsServers6; }

std::optional<SetId> set_by_name(std::string_view name) noexcept {
  for (std::size_t i = 0; i < kShapes.size(); ++i)
    if (kShapes[i].name == name) return static_cast<SetId>(i);
  return std::nullopt;
}

std::strong_ordering operator<=>(const Element& a, const Element& b) noexcept {
  if (const auto order = a.set_ <=> b.set_; order != 0) return order;
  if (const auto order = a.key_ <=> b.key_; order != 0) return order;
  return a.data_ <=> b.data_;
}

Element& Element::put(const IpAddress& address) {
  const auto wire = address.wire();
  const std::size_t size = address.is_v4() ? 4 : 16;
  std::copy_n(wire.begin(), size, key_.begin() + key_size_);
  key_size_ = static_cast<std::uint8_t>(key_size_ + size);
  return *this;
}

Element& Element::put(Port port) {
  key_[key_size_] = static_cast<std::byte>(port.get() >> 8);
  key_[key_size_ + 1u] = static_cast<std::byte>(port.get());
  key_size_ = static_cast<std::uint8_t>(key_size_ + 4);  // fields are padded to 32 bits
  return *this;
}

Element Element::login(const Endpoint& server) {
  Element element;
  element.set_ = server.address.is_v4() ? SetId::Login4 : SetId::Login6;
  return element.put(server.address).put(server.port);
}

Element Element::server(const IpAddress& client, const Endpoint& server) {
  Element element;
  element.set_ = client.is_v4() ? SetId::Servers4 : SetId::Servers6;
  return element.put(client).put(server.address).put(server.port);
}

Element Element::session(Ipv4 client) {
  Element element;
  element.set_ = SetId::Sessions;
  return element.put(client);
}

Element Element::pinhole(Ipv4 client, Port port) {
  Element element;
  element.set_ = SetId::Pinholes;
  return element.put(client).put(port);
}

Element Element::returning(Ipv4 peer, Ipv4 client, Port port) {
  Element element;
  element.set_ = SetId::Returns;
  return element.put(peer).put(client).put(port);
}

Element Element::peer(Ipv4 client, Ipv4 peer, Port port) {
  Element element;
  element.set_ = SetId::Peers;
  return element.put(client).put(peer).put(port);
}

Element Element::forward(Port outside, Ipv4 client, Port port) {
  Element data;
  data.put(client).put(port);
  Element element;
  element.set_ = SetId::Forwards;
  element.put(outside).key_size_ = 2;
  std::copy_n(data.key_.begin(), element.data_.size(), element.data_.begin());
  element.data_size_ = static_cast<std::uint8_t>(element.data_.size());
  return element;
}

Element Element::dns_server(const IpAddress& server) {
  Element element;
  element.set_ = server.is_v4() ? SetId::DnsServers4 : SetId::DnsServers6;
  return element.put(server);
}

std::optional<Element> Element::from_kernel(SetId set, Bytes key, Bytes data) {
  const std::string_view fields = shape(set).fields;
  const auto colon = std::min(fields.find(':'), fields.size());
  std::size_t key_size = 0;
  for (const char field : fields.substr(0, colon)) key_size += field_size(field, fields.substr(0, colon));
  if (key.size() != key_size) return std::nullopt;
  const std::size_t data_size = colon < fields.size() ? 8 : 0;
  if (data.size() != data_size) return std::nullopt;
  Element element;
  element.set_ = set;
  element.key_size_ = static_cast<std::uint8_t>(key_size);
  element.data_size_ = static_cast<std::uint8_t>(data_size);
  std::copy(key.begin(), key.end(), element.key_.begin());
  std::copy(data.begin(), data.end(), element.data_.begin());
  return element;
}

std::string to_string(const Element& element) {
  const std::string_view fields = shape(element.set()).fields;
  const auto colon = std::min(fields.find(':'), fields.size());
  std::string text = print_fields(fields.substr(0, colon), element.key());
  if (colon < fields.size()) text += " : " + print_fields(fields.substr(colon + 1), element.data());
  return text;
}

}  // namespace icqgate::nft
