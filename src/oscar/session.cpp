// SPDX-License-Identifier: GPL-2.0-or-later
#include "oscar/session.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace icqgate::oscar {
namespace {

// TLV types. The same number means other things in other containers (protocol.md 12.12).
constexpr std::uint16_t kUin = 0x01;
constexpr std::uint16_t kPassword = 0x02;
constexpr std::uint16_t kAddress = 0x05;
constexpr std::uint16_t kCookie = 0x06;
constexpr std::uint16_t kError = 0x08;
constexpr std::uint16_t kClosed = 0x09;
constexpr std::uint16_t kExternal = 0x0a;
constexpr std::uint16_t kDirectInfo = 0x0c;
constexpr std::uint16_t kFamily = 0x0d;
constexpr std::uint16_t kTlsState = 0x8e;

constexpr std::uint32_t kFlapVersion = 1;

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

bool is_hex_digit(char c) noexcept { return is_digit(c) || (c >= 'a' && c <= 'f'); }

// ASCII only and free of the locale.
char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// A TLV that must hold a u16. One that is too short is there nevertheless: it reads as 0.
std::optional<std::uint16_t> find_u16(Bytes tlvs, std::uint16_t type) noexcept {
  const auto value = find_tlv(tlvs, type);
  if (!value) return std::nullopt;
  return ByteReader{*value}.u16be().value_or(0);
}

bool says_tls(Bytes tlvs) noexcept {
  const auto value = find_tlv(tlvs, kTlsState);
  if (!value) return false;
  const auto state = ByteReader{*value}.u8();
  return state == 1 || state == 2;
}

std::optional<Uin> find_uin(Bytes tlvs) noexcept {
  const auto value = find_tlv(tlvs, kUin);
  if (!value) return std::nullopt;
  return parse_uin(as_text(*value));
}

// A label that inet_aton() and its likes read as a number. As the last one it makes "0x7f.1" an address in
// disguise to some resolvers; no top-level domain looks like it.
bool is_number(std::string_view label) noexcept {
  if (std::ranges::all_of(label, is_digit)) return true;
  return label.starts_with("0x") && std::ranges::all_of(label.substr(2), is_hex_digit);
}

// `name` in lower case, without trailing dot: 1..253 characters, labels of 1..63. The underscore is not of
// protocol.md 1.5 but of real host names.
bool is_dns_name(std::string_view name) noexcept {
  if (name.empty() || name.size() > 253) return false;
  while (true) {
    const auto dot = name.find('.');
    const std::string_view label = name.substr(0, dot);
    if (label.empty() || label.size() > 63) return false;
    const auto valid = [](char c) { return (c >= 'a' && c <= 'z') || is_digit(c) || c == '-' || c == '_'; };
    if (!std::ranges::all_of(label, valid)) return false;
    if (dot == std::string_view::npos) return !is_number(label);
    name.remove_prefix(dot + 1);
  }
}

}  // namespace

std::optional<Uin> parse_uin(std::string_view text) noexcept {
  std::uint64_t value = 0;
  for (const char c : text) {
    if (c == ' ') continue;
    if (!is_digit(c)) return std::nullopt;
    value = value * 10 + static_cast<std::uint64_t>(c - '0');
    if (value > std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
  }
  if (value == 0) return std::nullopt;  // no digit at all ends here too
  return Uin{static_cast<std::uint32_t>(value)};
}

Result<bool, HelloError> parse_server_hello(Bytes payload) noexcept {
  ByteReader reader{payload};
  if (reader.u32be() != kFlapVersion || !reader.empty()) return tl::make_unexpected(HelloError::Malformed);
  return true;
}

Result<ClientHello, HelloError> parse_client_hello(Bytes payload) noexcept {
  ByteReader reader{payload};
  if (reader.u32be() != kFlapVersion) return tl::make_unexpected(HelloError::Malformed);
  const Bytes tlvs = reader.rest();
  ClientHello hello;
  hello.uin = find_uin(tlvs);
  hello.names_user = find_tlv(tlvs, kUin).has_value();
  hello.has_password = find_tlv(tlvs, kPassword).has_value();
  hello.cookie = find_tlv(tlvs, kCookie).value_or(Bytes{});
  return hello;
}

std::optional<Uin> parse_login_uin(Bytes body) noexcept { return find_uin(body); }

std::optional<Target> parse_target(std::string_view text) {
  while (text.ends_with('\0') || text.ends_with(' ')) text.remove_suffix(1);
  Target target;
  std::string_view host = text;
  if (const auto colon = text.rfind(':'); colon != std::string_view::npos) {
    target.port = parse_port(text.substr(colon + 1));
    if (target.port) host = text.substr(0, colon);
  }
  if (std::ranges::all_of(host, [](char c) { return is_digit(c) || c == '.'; })) {
    const auto address = parse_address(host);
    if (!address) return std::nullopt;
    target.host = *address;
    return target;
  }
  if (host.ends_with('.')) host.remove_suffix(1);
  std::string name{host};
  std::ranges::transform(name, name.begin(), lower);
  if (!is_dns_name(name)) return std::nullopt;
  target.host = std::move(name);
  return target;
}

LoginReply parse_login_reply(Bytes tlvs) {
  LoginReply reply;
  reply.uin = find_uin(tlvs);
  if (const auto address = find_tlv(tlvs, kAddress)) {
    reply.target = parse_target(as_text(*address));
    reply.bad_target = !reply.target;
  }
  reply.cookie = find_tlv(tlvs, kCookie).value_or(Bytes{});
  reply.error = find_u16(tlvs, kError);
  reply.closed = find_u16(tlvs, kClosed);
  reply.tls = says_tls(tlvs);
  return reply;
}

std::optional<ServiceRedirect> parse_service_redirect(Bytes body) {
  const auto family = find_tlv(body, kFamily);
  const auto address = find_tlv(body, kAddress);
  const auto cookie = find_tlv(body, kCookie);
  if (!family || family->size() != 2 || !address || !cookie || cookie->empty()) return std::nullopt;
  auto target = parse_target(as_text(*address));
  if (!target) return std::nullopt;
  return ServiceRedirect{*ByteReader{*family}.u16be(), *std::move(target), *cookie, says_tls(body)};
}

std::optional<Migration> parse_migration(Bytes body) {
  // Family list first: count u16, then so many u16; count 0 means all families.
  ByteReader reader{body};
  const auto count = reader.u16be();
  if (!count || !reader.take(std::size_t{2} * *count)) return std::nullopt;
  const Bytes tlvs = reader.rest();
  const auto address = find_tlv(tlvs, kAddress);
  const auto cookie = find_tlv(tlvs, kCookie);
  if (!address || !cookie || cookie->empty()) return std::nullopt;
  auto target = parse_target(as_text(*address));
  if (!target) return std::nullopt;
  return Migration{*std::move(target), *cookie, says_tls(tlvs)};
}

std::optional<DirectInfo> parse_direct_info(Bytes value) noexcept {
  ByteReader reader{value};
  const auto internal = reader.u32be();
  const auto port = reader.u32be();
  if (!internal || !port) return std::nullopt;
  DirectInfo info;
  info.internal = Ipv4{*internal};
  info.bad_port = *port > std::numeric_limits<std::uint16_t>::max();  // refused, never cut down (12.8)
  if (*port != 0 && !info.bad_port) info.port = Port{static_cast<std::uint16_t>(*port)};
  info.all_zero = std::ranges::all_of(value, [](std::byte b) { return b == std::byte{0}; });
  const auto type = reader.u8();
  const auto version = reader.u16be();
  const auto cookie = reader.u32be();
  if (!type || !version || !cookie) return info;  // the short form: address and port only
  info.type = *type;
  info.version = *version;
  info.cookie = *cookie;
  return info;
}

StatusUpdate parse_status_update(Bytes body) noexcept {
  StatusUpdate update;
  std::optional<Bytes> first;
  TlvReader reader{body};
  while (const auto tlv = reader.next()) {
    if (tlv->type != kDirectInfo) continue;
    if (!first) {
      first = tlv->value;
      update.direct = parse_direct_info(tlv->value);
    } else if (!std::ranges::equal(*first, tlv->value)) {
      update.contradictory = true;
    }
  }
  update.truncated = !reader.clean();
  return update;
}

// protocol.md 3: size u8 | UIN | warning u16 | number of TLVs u16 | exactly so many TLVs
std::optional<UserInfo> take_user_info(ByteReader& reader) noexcept {
  const auto size = reader.u8();
  if (!size || *size == 0) return std::nullopt;  // nobody has an empty name: padding, not a block
  const auto name = reader.take(*size);
  const auto warning = reader.u16be();
  const auto count = reader.u16be();
  if (!name || !warning || !count) return std::nullopt;
  UserInfo info;
  info.uin = parse_uin(as_text(*name));
  bool seen_external = false;
  bool seen_direct = false;
  TlvReader tlvs{reader.rest()};
  for (std::uint16_t i = 0; i < *count; ++i) {
    const auto tlv = tlvs.next();
    if (!tlv) return std::nullopt;
    if (tlv->type == kExternal && !std::exchange(seen_external, true) && tlv->value.size() == 4)
      info.external = Ipv4{*ByteReader{tlv->value}.u32be()};
    if (tlv->type == kDirectInfo && !std::exchange(seen_direct, true))
      info.direct = parse_direct_info(tlv->value);
  }
  reader = ByteReader{tlvs.rest()};
  return info;
}

std::optional<UserInfo> parse_self_info(Bytes body) noexcept {
  ByteReader reader{body};
  return take_user_info(reader);
}

std::vector<UserInfo> parse_buddies(Bytes body) {
  std::vector<UserInfo> buddies;
  ByteReader reader{body};
  while (!reader.empty()) {
    const auto info = take_user_info(reader);
    if (!info) break;
    buddies.push_back(*info);
  }
  return buddies;
}

}  // namespace icqgate::oscar
