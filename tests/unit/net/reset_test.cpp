// SPDX-License-Identifier: GPL-2.0-or-later
#include <catch2/catch.hpp>
#include <string>

#include "net/packet.hpp"
#include "packet_builder.hpp"

using namespace icqgate;
using namespace icqgate::test;

namespace {

using Octets = std::vector<std::byte>;

TcpSegment segment_in(Bytes packet) {
  const auto parsed = parse_packet(packet);
  REQUIRE(parsed);
  REQUIRE(std::holds_alternative<TcpSegment>(*parsed));
  return std::get<TcpSegment>(*parsed);
}

// Both checksums sum up to all ones, by the builder's arithmetic, which shares nothing with the product's.
// `header_size`: of the IP layer.
void check_sums(Bytes packet, std::size_t header_size) {
  const bool v4 = std::to_integer<int>(packet[0]) >> 4 == 4;
  const Bytes body = packet.subspan(header_size);
  ByteWriter pseudo;
  pseudo.bytes(v4 ? packet.subspan(12, 8) : packet.subspan(8, 32));
  pseudo.u32be(static_cast<std::uint32_t>(body.size())).u32be(6);
  CHECK(internet_sum(body, internet_sum(pseudo.view())) == 0xffff);
  if (v4) CHECK(internet_sum(packet.first(header_size)) == 0xffff);
}

}  // namespace

TEST_CASE("a reset keeps what makes it acceptable and nothing else", "[net][reset]") {
  for (const auto& [client, server] :
       {std::pair{"192.168.1.20", "192.0.2.1"}, std::pair{"fd00::20", "2001:db8::1"}}) {
    const auto packet = tcp(client, 4000, server, 5190)
                            .seq(0xdeadbeef)
                            .ack(0xcafebabe)
                            .psh()
                            .fin()
                            .window(1234)
                            .urgent(99)
                            .tcp_options(Octets(40, std::byte{1}))
                            .payload("refused")
                            .bytes();
    const auto reset = cut_to_reset(packet);
    REQUIRE(reset);
    const std::size_t header_size = parse_address(client)->is_v4() ? 20 : 40;
    CHECK(reset->size() == header_size + 20);
    const auto segment = segment_in(*reset);
    CHECK(segment.source == segment_in(packet).source);
    CHECK(segment.destination == segment_in(packet).destination);
    CHECK(segment.sequence == 0xdeadbeef);
    CHECK(segment.acknowledgment == 0xcafebabe);
    CHECK(segment.flags == (TcpSegment::kRst | TcpSegment::kAck));
    CHECK(segment.window == 0);
    CHECK(segment.payload.empty());
    CHECK(segment.missing == 0);
    CHECK(reset->at(header_size + 18) == std::byte{0});  // urgent pointer
    CHECK(reset->at(header_size + 19) == std::byte{0});
    check_sums(*reset, header_size);
  }
}

TEST_CASE("without ACK there is no acknowledgment number either", "[net][reset]") {
  auto builder = tcp("192.168.1.20", 4000, "192.0.2.1", 5190).seq(5).ack(0xffffffff).flags(TcpSegment::kSyn);
  const auto reset = cut_to_reset(builder.bytes());
  REQUIRE(reset);
  CHECK(segment_in(*reset).flags == TcpSegment::kRst);
  CHECK(segment_in(*reset).acknowledgment == 0);
  CHECK(segment_in(*reset).sequence == 5);
  check_sums(*reset, 20);
}

TEST_CASE("the IP layer stays as it is, but for length and checksum", "[net][reset]") {
  auto v4 = tcp("192.168.1.20", 1, "192.0.2.1", 2).ack(1).payload("x").padding(5);
  const auto plain = v4.bytes();
  const auto options = v4.ip_options(Octets(12, std::byte{1})).bytes();
  for (const auto& [packet, header_size] : {std::pair{plain, 20}, std::pair{options, 32}}) {
    const auto reset = cut_to_reset(packet);
    REQUIRE(reset);
    CHECK(reset->size() == static_cast<std::size_t>(header_size + 20));
    auto expected = packet;
    expected.resize(static_cast<std::size_t>(header_size));
    for (const std::size_t at : {2U, 3U, 10U, 11U}) expected[at] = reset->at(at);
    CHECK(std::equal(expected.begin(), expected.end(), reset->begin()));
    check_sums(*reset, static_cast<std::size_t>(header_size));
  }
  auto v6 = tcp("fd00::20", 1, "2001:db8::1", 2).ack(1).payload("x").extension(PacketBuilder::kHopByHop);
  const auto reset = cut_to_reset(v6.fragment(0, false).bytes());
  REQUIRE(reset);
  CHECK(reset->size() == 40 + 8 + 8 + 20);
  CHECK(segment_in(*reset).missing == 0);
  check_sums(*reset, 56);
}

TEST_CASE("checksums are right for every carry", "[net][reset]") {
  for (std::uint32_t i = 0; i < 3000; ++i) {
    const std::uint32_t spread = i * 0x9e3779b9;
    const auto port = static_cast<std::uint16_t>(0xffff - i);
    const auto reset =
        cut_to_reset(tcp("255.255.255.255", port, "255.255.255.254", 0xffff).seq(spread).ack(~i).bytes());
    REQUIRE(reset);
    check_sums(*reset, 20);
  }
}

TEST_CASE("a packet cut short by the queue still becomes a reset", "[net][reset]") {
  const auto packet = tcp("192.168.1.20", 1, "192.0.2.1", 2).ack(1).payload(std::string(1000, 'x')).bytes();
  for (std::size_t cut = 0; cut <= packet.size(); cut += cut < 60 ? 1 : 100) {
    const auto reset = cut_to_reset(Bytes{packet}.first(cut));
    REQUIRE(reset.has_value() == (cut >= 40));
    if (cut < 40) CHECK(reset.error() == PacketError::Truncated);
    if (cut >= 40) check_sums(*reset, 20);
  }
}

TEST_CASE("only whole TCP segments become a reset", "[net][reset]") {
  const auto error_of = [](Bytes packet) {
    const auto reset = cut_to_reset(packet);
    REQUIRE_FALSE(reset);
    return reset.error();
  };
  CHECK(error_of(udp("192.0.2.1", 1, "192.0.2.2", 2).payload("01234567890123456789").bytes()) ==
        PacketError::OtherProtocol);
  CHECK(error_of(tcp("192.0.2.1", 1, "192.0.2.2", 2).fragment(0, true).bytes()) == PacketError::Fragment);
  CHECK(error_of({}) == PacketError::Truncated);
  auto bad_offset = tcp("192.0.2.1", 1, "192.0.2.2", 2).bytes();
  bad_offset[32] = std::byte{0x40};
  CHECK(error_of(bad_offset) == PacketError::Malformed);
}
