// needs: net
// SPDX-License-Identifier: GPL-2.0-or-later
// Input: one byte that names a link type, then a frame. Properties: what is returned lies within the frame;
// padding changes nothing; a cut is seen; a reset exists for TCP segments exactly, parses back as one, and
// sums up right.
#include "net/packet.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

using namespace icqgate;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

bool within(Bytes part, Bytes whole) {
  return part.empty() ||
         (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

std::uint32_t sum(Bytes bytes, std::uint32_t value = 0) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    value += std::to_integer<std::uint32_t>(bytes[i]) << (i % 2 == 0 ? 8 : 0);
    value = (value & 0xffff) + (value >> 16);
  }
  return value;
}

bool same(const TcpSegment& a, const TcpSegment& b) {
  return a.source == b.source && a.destination == b.destination && a.sequence == b.sequence &&
         a.acknowledgment == b.acknowledgment && a.flags == b.flags && a.window == b.window;
}

void check_reset(Bytes packet, const TcpSegment& original) {
  const auto reset = cut_to_reset(packet);
  require(reset.has_value());
  const auto parsed = parse_packet(*reset);
  require(parsed.has_value());
  const auto& segment = std::get<TcpSegment>(*parsed);
  require(segment.payload.empty() && segment.missing == 0 && segment.window == 0);
  require(segment.source == original.source && segment.destination == original.destination);
  require(segment.sequence == original.sequence);
  const bool acknowledges = original.has(TcpSegment::kAck);
  require(segment.flags == (TcpSegment::kRst | (acknowledges ? TcpSegment::kAck : 0)));
  require(segment.acknowledgment == (acknowledges ? original.acknowledgment : 0));

  const Bytes whole{*reset};
  const bool v4 = segment.source.address.is_v4();
  const Bytes addresses = v4 ? whole.subspan(12, 8) : whole.subspan(8, 32);
  require(sum(whole.last(20), sum(addresses, 20 + 6)) == 0xffff);
  if (v4) require(sum(whole.first(whole.size() - 20)) == 0xffff);
}

void check_padding(Bytes packet, const TcpSegment& original) {
  // Without a length of its own a packet has no padding.
  const std::size_t length_at = original.source.address.is_v4() ? 2 : 4;
  if (packet[length_at] == std::byte{0} && packet[length_at + 1] == std::byte{0}) return;
  std::vector<std::byte> padded(packet.begin(), packet.end());
  padded.insert(padded.end(), original.missing + 7, std::byte{0xee});
  const auto parsed = parse_packet(padded);
  require(parsed.has_value());
  const auto& segment = std::get<TcpSegment>(*parsed);
  require(same(segment, original) && segment.missing == 0);
  require(segment.payload.size() == original.payload.size() + original.missing);

  const std::size_t end =
      static_cast<std::size_t>(original.payload.data() - packet.data()) + original.payload.size();
  if (original.payload.empty()) return;
  const auto cut = parse_packet(packet.first(end - 1));
  require(cut.has_value());
  require(std::get<TcpSegment>(*cut).payload.size() + 1 == original.payload.size());
  require(std::get<TcpSegment>(*cut).missing == original.missing + 1);
}

void check_packet(Bytes packet) {
  const auto parsed = parse_packet(packet);
  if (!parsed) {
    const auto reset = cut_to_reset(packet);
    require(!reset);
    // A bad UDP header is no business of cut_to_reset.
    require(reset.error() == parsed.error() || reset.error() == PacketError::OtherProtocol);
  } else if (const auto* segment = std::get_if<TcpSegment>(&*parsed)) {
    require(within(segment->payload, packet));
    check_reset(packet, *segment);
    check_padding(packet, *segment);
  } else {
    const auto& datagram = std::get<UdpDatagram>(*parsed);
    require(within(datagram.payload, packet) && datagram.payload.size() + 28 <= packet.size());
    require(cut_to_reset(packet).error() == PacketError::OtherProtocol);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  constexpr std::array kTypes{LinkType::Raw,          LinkType::Ethernet,      LinkType::LinuxCooked,
                              LinkType::LinuxCooked2, LinkType::RawIpv4,       LinkType::RawIpv6,
                              LinkType::Null,         static_cast<LinkType>(9)};
  const auto frame = std::as_bytes(std::span{data, size}).subspan(1);
  const auto packet = strip_link(kTypes[data[0] % kTypes.size()], frame);
  if (packet) {
    require(!packet->empty() && packet->data() + packet->size() == frame.data() + frame.size());
    check_packet(*packet);
  }
  return 0;
}
