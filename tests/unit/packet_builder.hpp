// SPDX-License-Identifier: GPL-2.0-or-later
// Packets for tests, built instead of pasted:
//
//   const auto packet = tcp("192.168.1.20", 4000, "192.0.2.1", 5190).seq(1).ack(2).payload("hello").bytes();
//
// The addresses' text decides between IPv4 and IPv6. Lengths and checksums come out right, computed here in
// the plainest way and on purpose not with the code under test. Header-only; needs nothing but src/net's
// headers.
#pragma once

#include <arpa/inet.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "net/packet.hpp"

namespace icqgate::test {

[[nodiscard]] inline std::vector<std::byte> to_bytes(std::string_view text) {
  const auto bytes = std::as_bytes(std::span{text});
  return {bytes.begin(), bytes.end()};
}

// RFC 1071 over big-endian 16-bit words, an odd last byte padded with zero; not complemented.
[[nodiscard]] inline std::uint16_t internet_sum(Bytes bytes, std::uint32_t start = 0) {
  std::uint32_t sum = start;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const auto value = std::to_integer<std::uint32_t>(bytes[i]);
    sum += i % 2 == 0 ? value << 8 : value;
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<std::uint16_t>(sum);
}

// One IP packet with a TCP segment or a UDP datagram. Each call changes one thing and returns the builder
// itself.
class PacketBuilder {
 public:
  static constexpr std::uint8_t kHopByHop = 0, kRouting = 43, kDestinationOptions = 60;

  PacketBuilder(std::uint8_t protocol, std::string_view source, std::uint16_t source_port,
                std::string_view destination, std::uint16_t destination_port)
      : protocol_{protocol},
        source_{address(source)},
        destination_{address(destination)},
        source_port_{source_port},
        destination_port_{destination_port} {
    if (source_.size() != destination_.size()) fail("addresses of two families");
  }

  PacketBuilder& seq(std::uint32_t value) { return set(sequence_, value); }
  // The number and, as on any real segment that carries one, the ACK flag.
  PacketBuilder& ack(std::uint32_t value) {
    flags_ |= TcpSegment::kAck;
    return set(acknowledgment_, value);
  }
  PacketBuilder& flags(std::uint8_t value) { return set(flags_, value); }  // replaces all flags
  PacketBuilder& syn() { return flags(flags_ | TcpSegment::kSyn); }
  PacketBuilder& fin() { return flags(flags_ | TcpSegment::kFin); }
  PacketBuilder& rst() { return flags(flags_ | TcpSegment::kRst); }
  PacketBuilder& psh() { return flags(flags_ | TcpSegment::kPsh); }
  PacketBuilder& window(std::uint16_t value) { return set(window_, value); }
  PacketBuilder& urgent(std::uint16_t value) { return set(urgent_, value); }
  // A literal ends at its first NUL: write "..."sv (std::string_view) for text with NULs in it.
  PacketBuilder& payload(std::string_view text) { return payload(std::as_bytes(std::span{text})); }
  PacketBuilder& payload(Bytes bytes) {
    payload_.assign(bytes.begin(), bytes.end());
    return *this;
  }
  // Options are filled up with zeros (end of options) to a multiple of 4 bytes; 40 bytes at most.
  PacketBuilder& tcp_options(Bytes options) { return set(tcp_options_, padded(options, 4)); }
  PacketBuilder& ip_options(Bytes options) { return set(ip_options_, padded(options, 4)); }  // IPv4 only
  // An IPv6 extension header behind those added before; `body` without its first two bytes (next header,
  // length).
  PacketBuilder& extension(std::uint8_t type, Bytes body = {}) {
    std::vector<std::byte> header(2);
    header.insert(header.end(), body.begin(), body.end());
    header = padded(header, 8);
    header[1] = static_cast<std::byte>(header.size() / 8 - 1);
    extensions_.emplace_back(type, std::move(header));
    return *this;
  }
  // IPv4: the fields of the fixed header. IPv6: a fragment header, atomic with offset 0 and no more to come.
  // `offset` in units of 8 bytes.
  PacketBuilder& fragment(std::uint16_t offset, bool more) {
    if (v6()) {
      const auto field = static_cast<std::uint16_t>(offset << 3 | (more ? 1 : 0));
      ByteWriter header;
      header.u16be(0).u16be(field).u32be(0x12345678);
      extensions_.emplace_back(std::uint8_t{44}, std::move(header).release());
      return *this;
    }
    return set(fragment_field_, static_cast<std::uint16_t>(offset | (more ? 0x2000 : 0)));
  }
  // Bytes behind the end of the IP packet, as Ethernet adds them to short frames.
  PacketBuilder& padding(std::size_t count) { return set(padding_, count); }

  [[nodiscard]] std::vector<std::byte> bytes() const {
    const auto transport = protocol_ == 6 ? tcp_bytes() : udp_bytes();
    ByteWriter packet;
    if (v6()) {
      ByteWriter rest;
      for (std::size_t i = 0; i < extensions_.size(); ++i) {
        auto header = extensions_[i].second;
        header[0] = std::byte{i + 1 < extensions_.size() ? extensions_[i + 1].first : protocol_};
        rest.bytes(header);
      }
      rest.bytes(transport);
      packet.u32be(0x60000000).u16be(static_cast<std::uint16_t>(rest.size()));
      packet.u8(extensions_.empty() ? protocol_ : extensions_.front().first).u8(64);
      packet.bytes(source_).bytes(destination_).bytes(rest.view());
    } else {
      const std::size_t header_size = 20 + ip_options_.size();
      ByteWriter header;
      header.u8(static_cast<std::uint8_t>(0x40 | header_size / 4)).u8(0);
      header.u16be(static_cast<std::uint16_t>(header_size + transport.size()));
      header.u16be(0x1234).u16be(fragment_field_).u8(64).u8(protocol_).u16be(0);
      header.bytes(source_).bytes(destination_).bytes(ip_options_);
      auto raw = std::move(header).release();
      put16(raw, 10, static_cast<std::uint16_t>(~internet_sum(raw)));
      packet.bytes(raw).bytes(transport);
    }
    packet.bytes(std::vector<std::byte>(padding_, std::byte{0xee}));
    return std::move(packet).release();
  }

 private:
  [[noreturn]] static void fail(const char* what) {
    std::fprintf(stderr, "packet builder: %s\n", what);
    std::abort();
  }
  static std::vector<std::byte> address(std::string_view text) {
    const std::string terminated{text};
    std::vector<std::byte> raw(16);
    if (inet_pton(AF_INET6, terminated.c_str(), raw.data()) == 1) return raw;
    raw.resize(4);
    if (inet_pton(AF_INET, terminated.c_str(), raw.data()) != 1) fail("not an address");
    return raw;
  }
  static std::vector<std::byte> padded(Bytes bytes, std::size_t unit) {
    std::vector<std::byte> raw(bytes.begin(), bytes.end());
    raw.resize((raw.size() + unit - 1) / unit * unit);
    return raw;
  }
  static void put16(std::vector<std::byte>& raw, std::size_t at, std::uint16_t value) {
    raw[at] = static_cast<std::byte>(value >> 8);
    raw[at + 1] = static_cast<std::byte>(value & 0xff);
  }
  template <class T, class U>
  PacketBuilder& set(T& member, U&& value) {
    member = std::forward<U>(value);
    return *this;
  }
  [[nodiscard]] bool v6() const { return source_.size() == 16; }

  [[nodiscard]] std::uint16_t pseudo_sum(std::size_t length) const {
    ByteWriter header;
    header.bytes(source_).bytes(destination_).u32be(static_cast<std::uint32_t>(length)).u32be(protocol_);
    return internet_sum(header.view());
  }
  [[nodiscard]] std::vector<std::byte> tcp_bytes() const {
    const std::size_t header_size = 20 + tcp_options_.size();
    ByteWriter segment;
    segment.u16be(source_port_).u16be(destination_port_).u32be(sequence_).u32be(acknowledgment_);
    segment.u8(static_cast<std::uint8_t>(header_size / 4 << 4)).u8(flags_).u16be(window_).u16be(0);
    segment.u16be(urgent_).bytes(tcp_options_).bytes(payload_);
    auto raw = std::move(segment).release();
    put16(raw, 16, static_cast<std::uint16_t>(~internet_sum(raw, pseudo_sum(raw.size()))));
    return raw;
  }
  [[nodiscard]] std::vector<std::byte> udp_bytes() const {
    ByteWriter datagram;
    datagram.u16be(source_port_).u16be(destination_port_);
    datagram.u16be(static_cast<std::uint16_t>(8 + payload_.size())).u16be(0).bytes(payload_);
    auto raw = std::move(datagram).release();
    const auto sum = static_cast<std::uint16_t>(~internet_sum(raw, pseudo_sum(raw.size())));
    put16(raw, 6, sum == 0 ? 0xffff : sum);  // 0 would say "no checksum"
    return raw;
  }

  std::uint8_t protocol_;
  std::vector<std::byte> source_, destination_;
  std::uint16_t source_port_, destination_port_;
  std::uint32_t sequence_ = 0, acknowledgment_ = 0;
  std::uint8_t flags_ = 0;
  std::uint16_t window_ = 65535, urgent_ = 0, fragment_field_ = 0;
  std::vector<std::byte> payload_, tcp_options_, ip_options_;
  std::vector<std::pair<std::uint8_t, std::vector<std::byte>>> extensions_;
  std::size_t padding_ = 0;
};

// Where src/tcp's headers are included as well, icqgate::tcp is a namespace: write test::tcp(...) there.
[[nodiscard]] inline PacketBuilder tcp(std::string_view source, std::uint16_t source_port,
                                       std::string_view destination, std::uint16_t destination_port) {
  return {6, source, source_port, destination, destination_port};
}
[[nodiscard]] inline PacketBuilder udp(std::string_view source, std::uint16_t source_port,
                                       std::string_view destination, std::uint16_t destination_port) {
  return {17, source, source_port, destination, destination_port};
}

}  // namespace icqgate::test
