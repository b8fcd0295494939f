// SPDX-License-Identifier: GPL-2.0-or-later
// OSCAR and direct connection packets for the engine's tests, written from protocol.md 1 to 6.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "base/strong.hpp"
#include "net/address.hpp"

namespace icqgate::test::wire {

using Data = std::vector<std::byte>;

inline Data join(std::initializer_list<Data> parts) {
  ByteWriter all;
  for (const Data& part : parts) all.bytes(part);
  return std::move(all).release();
}
inline Data text(std::string_view value) { return std::move(ByteWriter{}.text(value)).release(); }
inline Data part(const Data& data, std::size_t from, std::size_t count) {
  const Bytes rest = Bytes{data}.subspan(from);
  const Bytes piece = rest.first(std::min(count, rest.size()));
  return {piece.begin(), piece.end()};
}

inline Data flap(std::uint8_t channel, const Data& payload) {
  ByteWriter frame;
  frame.u8(0x2a).u8(channel).u16be(0x1001).u16be(static_cast<std::uint16_t>(payload.size())).bytes(payload);
  return std::move(frame).release();
}
inline Data snac(std::uint16_t family, std::uint16_t subtype, const Data& body = {}) {
  ByteWriter head;
  head.u16be(family).u16be(subtype).u16be(0).u32be(1).bytes(body);
  return flap(2, std::move(head).release());
}
inline Data tlv(std::uint16_t type, const Data& value) {
  ByteWriter one;
  one.u16be(type).u16be(static_cast<std::uint16_t>(value.size())).bytes(value);
  return std::move(one).release();
}
inline Data u16(std::uint16_t value) { return std::move(ByteWriter{}.u16be(value)).release(); }
inline Data u32(std::uint32_t value) { return std::move(ByteWriter{}.u32be(value)).release(); }
inline Data digits(Uin uin) { return text(std::to_string(uin.get())); }

// --- to and from a login server
inline Data server_hello() { return flap(1, u32(1)); }
inline Data login_a(Uin uin) {
  return flap(1, join({u32(1), tlv(1, digits(uin)), tlv(2, text("\x91\x43\xe2")), tlv(3, text("ICQ"))}));
}
inline Data plain_hello() { return flap(1, u32(1)); }
inline Data cookie_hello(std::string_view cookie) { return flap(1, join({u32(1), tlv(6, text(cookie))})); }
inline Data key_request(Uin uin) { return snac(0x17, 6, tlv(1, digits(uin))); }
inline Data key() { return snac(0x17, 7, join({u16(4), text("4711")})); }
inline Data login_b(Uin uin) {
  return snac(0x17, 2, join({tlv(1, digits(uin)), tlv(0x25, Data(16, std::byte{7}))}));
}
inline Data reply_tlvs(Uin uin, std::string_view target, std::string_view cookie) {
  return join({tlv(1, digits(uin)), tlv(5, text(target)), tlv(6, text(cookie))});
}
inline Data reply_a(Uin uin, std::string_view target, std::string_view cookie) {
  return flap(4, reply_tlvs(uin, target, cookie));
}
inline Data reply_b(Uin uin, std::string_view target, std::string_view cookie) {
  return snac(0x17, 3, reply_tlvs(uin, target, cookie));
}
inline Data close_frame() { return flap(4, {}); }
inline Data keep_alive() { return flap(5, {}); }

// --- in a session
inline Data families() { return snac(1, 3, join({u16(1), u16(2), u16(4)})); }
inline Data user_info(Uin uin, const std::vector<Data>& tlvs) {
  ByteWriter info;
  const Data name = digits(uin);
  info.u8(static_cast<std::uint8_t>(name.size())).bytes(name).u16be(0);
  info.u16be(static_cast<std::uint16_t>(tlvs.size()));
  for (const Data& one : tlvs) info.bytes(one);
  return std::move(info).release();
}
inline Data self_info(Uin uin, Ipv4 external) {
  return snac(1, 0x0f, user_info(uin, {tlv(1, u16(0x50)), tlv(0x0a, u32(external.get()))}));
}
struct Direct {
  Ipv4 address{};
  std::uint32_t port = 0;
  std::uint8_t type = 4;
  std::uint16_t version = 8;
  std::uint32_t cookie = 0x11223344;
};
inline Data direct_info(const Direct& direct) {
  ByteWriter value;
  value.u32be(direct.address.get()).u32be(direct.port).u8(direct.type).u16be(direct.version);
  value.u32be(direct.cookie).u32be(0x50).u32be(3).u32be(0).u32be(0).u32be(0).u16be(0);
  return tlv(0x0c, std::move(value).release());
}
inline Data status(const Direct& direct) {
  return snac(1, 0x1e, join({tlv(6, u32(0)), direct_info(direct)}));
}
inline Data status_without() { return snac(1, 0x1e, tlv(6, u32(1))); }
inline Data buddy(Uin uin, Ipv4 external, const Direct& direct) {
  return snac(3, 0x0b, user_info(uin, {tlv(0x0a, u32(external.get())), direct_info(direct)}));
}
inline Data service_redirect(std::string_view target, std::string_view cookie) {
  return snac(1, 5, join({tlv(0x0d, u16(0x10)), tlv(5, text(target)), tlv(6, text(cookie))}));
}
inline Data migration(std::string_view target, std::string_view cookie) {
  return snac(1, 0x12, join({u16(0), tlv(5, text(target)), tlv(6, text(cookie))}));
}

// --- between peers
struct PeerInit {
  std::uint16_t version = 8;
  std::uint16_t length = 48;  // 26, 36, 44 or 48
  Uin to{100001};
  Uin from{200002};
  std::uint32_t port = 30001;
  std::uint32_t cookie = 0x55667788;
  std::uint32_t connect_id = 0;
};
inline Data peer_init(const PeerInit& init) {
  ByteWriter body;
  body.u8(0xff);
  if (init.length == 26) {
    body.u16le(init.version).u16le(0).u32le(0).u32le(init.from.get());
    body.u32be(0x0a000009).u32be(0xc6336407).u8(4).u32le(init.port);
  } else {
    body.u16le(init.version).u16le(init.length == 36 ? 0 : static_cast<std::uint16_t>(init.length - 5));
    body.u32le(init.to.get()).u16le(0).u32le(init.port).u32le(init.from.get());
    body.u32be(0xc6336407).u32be(0x0a000009).u8(4).u32le(init.port).u32le(init.cookie);
    if (init.length >= 44) body.u32le(0x50).u32le(3);
    if (init.length == 48) body.u32le(init.connect_id);
  }
  ByteWriter packet;
  packet.u16le(init.length).bytes(body.view());
  return std::move(packet).release();
}

}  // namespace icqgate::test::wire
