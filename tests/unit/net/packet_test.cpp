// SPDX-License-Identifier: GPL-2.0-or-later
#include "net/packet.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <string>

#include "packet_builder.hpp"

using namespace icqgate;
using namespace icqgate::test;
using namespace std::string_view_literals;

namespace {

using Octets = std::vector<std::byte>;

struct Pair {
  const char* client;
  const char* server;
};
constexpr std::array kFamilies{Pair{"192.168.1.20", "192.0.2.1"}, Pair{"fd00::20", "2001:db8::1"}};

Endpoint endpoint(std::string_view text, std::uint16_t port) { return {*parse_address(text), Port{port}}; }

TcpSegment segment_in(Bytes packet) {
  const auto parsed = parse_packet(packet);
  REQUIRE(parsed);
  REQUIRE(std::holds_alternative<TcpSegment>(*parsed));
  return std::get<TcpSegment>(*parsed);
}

UdpDatagram datagram_in(Bytes packet) {
  const auto parsed = parse_packet(packet);
  REQUIRE(parsed);
  REQUIRE(std::holds_alternative<UdpDatagram>(*parsed));
  return std::get<UdpDatagram>(*parsed);
}

PacketError error_in(Bytes packet) {
  const auto parsed = parse_packet(packet);
  REQUIRE_FALSE(parsed);
  return parsed.error();
}

void put16(Octets& packet, std::size_t at, std::size_t value) {
  packet[at] = static_cast<std::byte>(value >> 8 & 0xff);
  packet[at + 1] = static_cast<std::byte>(value & 0xff);
}

}  // namespace

TEST_CASE("a TCP segment's fields", "[net][packet]") {
  for (const auto& [client, server] : kFamilies) {
    const auto packet =
        tcp(client, 4000, server, 5190).seq(0xfffffff0).ack(7).psh().window(512).payload("hi").bytes();
    const auto segment = segment_in(packet);
    CHECK(segment.source == endpoint(client, 4000));
    CHECK(segment.destination == endpoint(server, 5190));
    CHECK(segment.sequence == 0xfffffff0);
    CHECK(segment.acknowledgment == 7);
    CHECK(segment.flags == (TcpSegment::kAck | TcpSegment::kPsh));
    CHECK(segment.has(TcpSegment::kAck));
    CHECK_FALSE(segment.has(TcpSegment::kAck | TcpSegment::kFin));
    CHECK(segment.window == 512);
    CHECK(as_text(segment.payload) == "hi");
    CHECK(segment.payload.data() == packet.data() + packet.size() - 2);  // borrowed, not copied
    CHECK(segment.missing == 0);
  }
}

TEST_CASE("a UDP datagram's fields", "[net][packet]") {
  for (const auto& [client, server] : kFamilies) {
    const auto packet = udp(server, 53, client, 40000).payload("answer").bytes();
    const auto datagram = datagram_in(packet);
    CHECK(datagram.source == endpoint(server, 53));
    CHECK(datagram.destination == endpoint(client, 40000));
    CHECK(as_text(datagram.payload) == "answer");
    CHECK(datagram_in(udp(server, 53, client, 40000).bytes()).payload.empty());
  }
}

TEST_CASE("options and extension headers are stepped over", "[net][packet]") {
  for (std::size_t size = 0; size <= 40; size += 4) {
    const Octets options(size, std::byte{1});
    const auto v4 =
        tcp("192.168.1.20", 1, "192.0.2.1", 2).ip_options(options).tcp_options(options).payload("x");
    CHECK(as_text(segment_in(v4.bytes()).payload) == "x");
  }
  for (const std::size_t body : {std::size_t{0}, std::size_t{6}, std::size_t{7}, std::size_t{2046}}) {
    auto v6 = tcp("fd00::20", 1, "2001:db8::1", 2).payload("x");
    v6.extension(PacketBuilder::kHopByHop, Octets(body))
        .extension(PacketBuilder::kDestinationOptions, Octets(body))
        .extension(PacketBuilder::kRouting, Octets(body))
        .fragment(0, false)
        .extension(PacketBuilder::kDestinationOptions);
    CHECK(as_text(segment_in(v6.bytes()).payload) == "x");
  }
  CHECK(as_text(datagram_in(udp("fd00::20", 1, "2001:db8::1", 2).fragment(0, false).payload("x").bytes())
                    .payload) == "x");
}

TEST_CASE("eight extension headers are enough", "[net][packet]") {
  auto builder = tcp("fd00::20", 1, "2001:db8::1", 2).payload("x");
  for (int i = 0; i < 8; ++i) builder.extension(PacketBuilder::kDestinationOptions);
  CHECK(as_text(segment_in(builder.bytes()).payload) == "x");
  builder.extension(PacketBuilder::kDestinationOptions);
  CHECK(error_in(builder.bytes()) == PacketError::Malformed);
}

TEST_CASE("hop-by-hop options count in the first place only", "[net][packet]") {
  auto builder = tcp("fd00::20", 1, "2001:db8::1", 2);
  builder.extension(PacketBuilder::kDestinationOptions).extension(PacketBuilder::kHopByHop);
  CHECK(error_in(builder.bytes()) == PacketError::Malformed);
}

TEST_CASE("padding is not payload", "[net][packet]") {
  for (const auto& [client, server] : kFamilies) {
    const auto bare = tcp(client, 1, server, 2).ack(1).padding(6).bytes();
    CHECK(segment_in(bare).payload.empty());
    CHECK(segment_in(bare).missing == 0);
    CHECK(as_text(segment_in(tcp(client, 1, server, 2).payload("abc").padding(3).bytes()).payload) == "abc");
    CHECK(as_text(datagram_in(udp(client, 1, server, 2).payload("abc").padding(9).bytes()).payload) == "abc");
  }
}

TEST_CASE("a segment cut anywhere is truncated, or says how much is missing", "[net][packet]") {
  for (const auto& [client, server] : kFamilies) {
    const bool v4 = parse_address(client)->is_v4();
    auto builder = tcp(client, 4000, server, 5190).ack(1).payload("0123456789").tcp_options(Octets(12));
    if (v4) {
      builder.ip_options(Octets(8));
    } else {
      builder.extension(PacketBuilder::kHopByHop)
          .fragment(0, false)
          .extension(PacketBuilder::kRouting, Octets(14));
    }
    const auto packet = builder.bytes();
    const std::size_t headers = packet.size() - 10;
    for (std::size_t cut = 0; cut <= packet.size(); ++cut) {
      CAPTURE(cut);
      const Octets exact(packet.begin(), packet.begin() + static_cast<std::ptrdiff_t>(cut));
      if (cut < headers) {
        CHECK(error_in(exact) == PacketError::Truncated);
      } else {
        CHECK(segment_in(exact).payload.size() == cut - headers);
        CHECK(segment_in(exact).missing == packet.size() - cut);
      }
    }
  }
}

TEST_CASE("a datagram cut anywhere is truncated", "[net][packet]") {
  for (const auto& [client, server] : kFamilies) {
    const auto packet = udp(client, 4000, server, 53).payload("0123456789").bytes();
    for (std::size_t cut = 0; cut < packet.size(); ++cut) {
      CHECK(error_in(Bytes{packet}.first(cut)) == PacketError::Truncated);
    }
  }
}

TEST_CASE("an IP length that ends inside the transport header is malformed", "[net][packet]") {
  const auto whole = tcp("192.168.1.20", 1, "192.0.2.1", 2).tcp_options(Octets(4)).payload("0123").bytes();
  for (std::size_t total = 1; total < 44; ++total) {
    auto packet = whole;
    put16(packet, 2, total);
    CAPTURE(total);
    CHECK(error_in(packet) == PacketError::Malformed);
  }
  const auto whole6 = tcp("fd00::20", 1, "2001:db8::1", 2).fragment(0, false).tcp_options(Octets(4)).bytes();
  for (std::size_t length = 1; length < 32; ++length) {
    auto packet = whole6;
    put16(packet, 4, length);
    CAPTURE(length);
    CHECK(error_in(packet) == PacketError::Malformed);
  }
}

TEST_CASE("an extension header may not reach into the padding", "[net][packet]") {
  auto builder = tcp("fd00::20", 1, "2001:db8::1", 2).payload("0123456789");
  const auto whole = builder.extension(PacketBuilder::kDestinationOptions, Octets(30)).padding(64).bytes();
  for (std::size_t length = 1; length < 32 + 20; ++length) {
    auto packet = whole;
    put16(packet, 4, length);
    CAPTURE(length);
    CHECK(error_in(packet) == PacketError::Malformed);
  }
}

TEST_CASE("an IP length of 0 takes what is there", "[net][packet]") {
  auto v4 = tcp("192.168.1.20", 1, "192.0.2.1", 2).payload(std::string(70000, 'x')).bytes();
  put16(v4, 2, 0);
  CHECK(segment_in(v4).payload.size() == 70000);
  CHECK(segment_in(v4).missing == 0);
  auto v6 = tcp("fd00::20", 1, "2001:db8::1", 2).fragment(0, false).payload(std::string(70000, 'x')).bytes();
  put16(v6, 4, 0);
  CHECK(segment_in(v6).payload.size() == 70000);
  CHECK(error_in(Bytes{v6}.first(43)) == PacketError::Truncated);
}

TEST_CASE("fragments are refused, the first one too", "[net][packet]") {
  for (const auto& [client, server] : kFamilies) {
    CHECK(error_in(tcp(client, 1, server, 2).fragment(0, true).bytes()) == PacketError::Fragment);
    CHECK(error_in(tcp(client, 1, server, 2).fragment(1, false).bytes()) == PacketError::Fragment);
    CHECK(error_in(tcp(client, 1, server, 2).fragment(0x1fff, true).bytes()) == PacketError::Fragment);
    CHECK(error_in(udp(client, 1, server, 2).fragment(0, true).bytes()) == PacketError::Fragment);
  }
  // "Do not fragment" is no fragment.
  auto packet = tcp("192.168.1.20", 1, "192.0.2.1", 2).bytes();
  put16(packet, 6, 0x4000);
  CHECK(parse_packet(packet));
}

TEST_CASE("header sizes below the least are malformed", "[net][packet]") {
  const auto good =
      tcp("192.168.1.20", 1, "192.0.2.1", 2).payload("0123456789012345678901234567890123456789").bytes();
  for (unsigned words = 0; words < 16; ++words) {
    auto ip = good;
    ip[0] = static_cast<std::byte>(0x40 | words);
    if (words < 5) CHECK(error_in(ip) == PacketError::Malformed);
    auto segment = good;
    segment[32] = static_cast<std::byte>(words << 4);
    if (words < 5) {
      CHECK(error_in(segment) == PacketError::Malformed);
    } else {
      CHECK(segment_in(segment).payload.size() == 60 - 4 * words);
    }
  }
  auto beyond = tcp("192.168.1.20", 1, "192.0.2.1", 2).payload("0123").bytes();
  beyond[32] = std::byte{0x70};
  CHECK(error_in(beyond) == PacketError::Malformed);
  beyond.resize(beyond.size() + 20);  // padding does not count as header
  CHECK(error_in(beyond) == PacketError::Malformed);
}

TEST_CASE("only versions 4 and 6", "[net][packet]") {
  auto packet = tcp("192.168.1.20", 1, "192.0.2.1", 2).bytes();
  for (unsigned version = 0; version < 16; ++version) {
    if (version == 4 || version == 6) continue;
    packet[0] = static_cast<std::byte>(version << 4 | 5);
    CHECK(error_in(packet) == PacketError::Malformed);
  }
  CHECK(error_in({}) == PacketError::Truncated);
}

TEST_CASE("what is neither TCP nor UDP", "[net][packet]") {
  auto v4 = tcp("192.168.1.20", 1, "192.0.2.1", 2).bytes();
  auto v6 = tcp("fd00::20", 1, "2001:db8::1", 2).bytes();
  for (const unsigned protocol : {1U, 2U, 41U, 47U, 50U, 51U, 58U, 59U, 132U, 255U}) {
    v4[9] = static_cast<std::byte>(protocol);
    v6[6] = static_cast<std::byte>(protocol);
    CHECK(error_in(v4) == PacketError::OtherProtocol);
    CHECK(error_in(v6) == PacketError::OtherProtocol);
  }
  v4[9] = std::byte{0};  // hop-by-hop options mean nothing in IPv4
  CHECK(error_in(v4) == PacketError::OtherProtocol);
}

TEST_CASE("UDP's own length", "[net][packet]") {
  const auto good = udp("192.168.1.20", 1, "192.0.2.1", 53).payload("0123").bytes();
  const auto with_length = [&](std::size_t length) {
    auto packet = good;
    put16(packet, 24, length);
    return packet;
  };
  CHECK(as_text(datagram_in(with_length(0)).payload) == "0123");
  for (std::size_t length = 1; length < 8; ++length) {
    CHECK(error_in(with_length(length)) == PacketError::Malformed);
  }
  CHECK(datagram_in(with_length(8)).payload.empty());
  CHECK(as_text(datagram_in(with_length(11)).payload) == "012");
  CHECK(error_in(with_length(13)) == PacketError::Malformed);
  CHECK(error_in(with_length(65535)) == PacketError::Malformed);
}
