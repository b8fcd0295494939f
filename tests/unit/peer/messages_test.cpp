// SPDX-License-Identifier: GPL-2.0-or-later
#include "peer/messages.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <string_view>
#include <vector>

#include "vectors.hpp"

namespace icqgate::peer {
namespace {

using test::from_hex;
using Buffer = std::vector<std::byte>;

Buffer body_of(std::string_view packet) {
  auto bytes = from_hex(packet);
  bytes.erase(bytes.begin(), bytes.begin() + 2);
  return bytes;
}

Buffer packet(Bytes body) {
  ByteWriter writer;
  writer.u16le(static_cast<std::uint16_t>(body.size())).bytes(body);
  return std::move(writer).release();
}

Buffer filled(std::size_t size) {
  Buffer body(size);
  for (std::size_t i = 0; i < size; ++i) body[i] = static_cast<std::byte>(i * 7 + 1);
  return body;
}

struct Seen {
  std::vector<Buffer> bodies;
  bool failed = false;
  friend bool operator==(const Seen&, const Seen&) = default;
};

// Every piece lies in memory of its own that ends with it and dies after it: what a reader keeps of it shows.
void feed(PacketReader& reader, Bytes bytes, Seen& seen) {
  Buffer piece(bytes.begin(), bytes.end());
  reader.feed(piece);
  while (true) {
    const auto body = reader.next();
    if (!body) {
      seen.failed = body.error() == PacketError::TooLong;
      break;
    }
    seen.bodies.emplace_back(body->begin(), body->end());
  }
  std::ranges::fill(piece, std::byte{0xdd});
}

Seen read(Bytes stream, const std::vector<std::size_t>& cuts = {}) {
  PacketReader reader;
  Seen seen;
  std::size_t from = 0;
  for (const std::size_t cut : cuts) {
    feed(reader, stream.subspan(from, cut - from), seen);
    from = cut;
  }
  feed(reader, stream.subspan(from), seen);
  return seen;
}

Seen read_singly(Bytes stream) {
  std::vector<std::size_t> cuts;
  for (std::size_t cut = 1; cut < stream.size(); ++cut) cuts.push_back(cut);
  return read(stream, cuts);
}

// The answering client of a message connection, then three packets that are empty, short and long.
Buffer stream_of_packets(std::vector<Buffer>& bodies) {
  bodies = {body_of(test::kP10), body_of(test::kP06), body_of(test::kP12), Buffer{}, filled(1), filled(300)};
  Buffer stream;
  for (const auto& body : bodies) std::ranges::copy(packet(body), std::back_inserter(stream));
  return stream;
}

TEST_CASE("the kinds of packets", "[peer][messages]") {
  for (const auto hex : {test::kP01, test::kP02, test::kP03, test::kP04, test::kP05, test::kP06, test::kP07,
                         test::kP08, test::kP09, test::kP15})
    CHECK(kind_of(body_of(hex)) == PacketKind::Init);
  CHECK(kind_of(body_of(test::kP10)) == PacketKind::InitAck);
  CHECK(kind_of(body_of(test::kP11)) == PacketKind::Init2);
  CHECK(kind_of(body_of(test::kP12)) == PacketKind::Init2);
  CHECK(kind_of(body_of(test::kP13)) == PacketKind::FileInit);
  CHECK(kind_of(body_of(test::kP14)) == PacketKind::Other);
  CHECK(kind_of({}) == PacketKind::Other);
}

TEST_CASE("the kinds of packets of real clients", "[peer][messages]") {
  // Licq and climm: a message, its acknowledgement; a file connection's start, speed, next file and resume.
  for (const auto* hex : {"0283f8f0f872c42892553c2692a3c326920000000000000100000010000d006469726563742d412d74"
                          "6f2d4200000000ffffff00",
                          "02d11ef1c5781d0e1f4fe5001f00000000000000000000010000000000000000000000ffffff00"})
    CHECK(kind_of(from_hex(hex)) == PacketKind::Message);
  CHECK(kind_of(from_hex("000000000001000000a86100006400000009006d6531303030303400")) ==
        PacketKind::FileInit);
  for (const auto* hex :
       {"0564000000", "016400000009006d6531303030303300", "0300000000000000006400000001000000"})
    CHECK(kind_of(from_hex(hex)) == PacketKind::Other);
}

TEST_CASE("a cut packet is of another kind", "[peer][messages]") {
  for (const auto hex : {test::kP02, test::kP06, test::kP09, test::kP10, test::kP11, test::kP13}) {
    const auto body = body_of(hex);
    const auto kind = kind_of(body);
    for (std::size_t size = 0; size < body.size(); ++size) {
      const Buffer exact(body.begin(), body.begin() + static_cast<std::ptrdiff_t>(size));
      // A PEER_INIT holds the sizes of the shorter forms.
      const bool shorter_form = kind == PacketKind::Init && (size == 26 || size == 36 || size == 44);
      CHECK((kind_of(exact) == kind) == shorter_form);
    }
    auto longer = body;
    longer.push_back(std::byte{0});
    CHECK(kind_of(longer) != kind);
  }
  for (const auto* hex : {"02", "02aabbcc", "00", "ff", "01000001", "0100000000"})
    CHECK(kind_of(from_hex(hex)) == PacketKind::Other);
  CHECK(kind_of(from_hex("02aabbccdd")) == PacketKind::Message);
}

TEST_CASE("the start of a file connection: fields that lie", "[peer][messages]") {
  const auto with = [](std::size_t at, std::byte value) {
    auto body = body_of(test::kP13);
    body[at] = value;
    return kind_of(body);
  };
  for (std::size_t at = 1; at < 5; ++at) CHECK(with(at, std::byte{1}) == PacketKind::Other);
  for (std::size_t at = 5; at < 17; ++at) CHECK(with(at, std::byte{0xff}) == PacketKind::FileInit);
  for (const unsigned length : {0U, 4U, 6U, 0xffU})
    CHECK(with(17, static_cast<std::byte>(length)) == PacketKind::Other);
  CHECK(with(18, std::byte{1}) == PacketKind::Other);
  CHECK(with(23, std::byte{'x'}) == PacketKind::Other);  // no NUL
  CHECK(kind_of(from_hex("00000000000000000000000000000000000000")) ==
        PacketKind::Other);  // nick of no bytes
}

TEST_CASE("packets do not depend on how the stream is cut", "[peer][messages]") {
  Seen want;
  const auto stream = stream_of_packets(want.bodies);
  CHECK(read(stream) == want);
  CHECK(read_singly(stream) == want);
  for (std::size_t cut = 0; cut <= stream.size(); ++cut) CHECK(read(stream, {cut}) == want);
  for (std::size_t first = 0; first <= 100; ++first)
    for (std::size_t second = first; second <= 100; ++second) REQUIRE(read(stream, {first, second}) == want);
  // The cuts of real clients: the prefix alone, then the body (6.1).
  std::vector<std::size_t> cuts;
  std::size_t at = 0;
  for (const auto& body : want.bodies) {
    cuts.push_back(at + 2);
    cuts.push_back(at += 2 + body.size());
  }
  CHECK(read(stream, cuts) == want);
}

TEST_CASE("a stream that ends inside a packet yields those before it", "[peer][messages]") {
  std::vector<Buffer> bodies;
  const auto stream = stream_of_packets(bodies);
  std::size_t whole = 0;
  std::size_t end = 2 + bodies[0].size();
  for (std::size_t size = 0; size <= stream.size(); ++size) {
    if (size == end) {
      ++whole;
      end += whole < bodies.size() ? 2 + bodies[whole].size() : stream.size();
    }
    const auto seen = read(Bytes{stream}.first(size));
    REQUIRE(seen.bodies.size() == whole);
    CHECK_FALSE(seen.failed);
    CHECK(seen == read_singly(Bytes{stream}.first(size)));
  }
  CHECK(whole == bodies.size());
}

TEST_CASE("the longest packet, and one that is too long", "[peer][messages]") {
  const auto longest = packet(filled(PacketReader::kMost));
  CHECK(read(longest) == Seen{{filled(PacketReader::kMost)}, false});
  CHECK(read_singly(longest) == Seen{{filled(PacketReader::kMost)}, false});

  for (const auto* prefix : {"0120", "ffff", "00ff"}) {
    auto stream = packet(filled(3));
    std::ranges::copy(from_hex(prefix), std::back_inserter(stream));
    CHECK_FALSE(read(Bytes{stream}.first(stream.size() - 1)).failed);
    CHECK(read(stream) == Seen{{filled(3)}, true});  // as soon as the prefix is there
    // For good: nothing that looks like a packet counts again.
    PacketReader reader;
    Seen seen;
    feed(reader, stream, seen);
    const auto again = packet(filled(4));
    for (int round = 0; round < 3; ++round) feed(reader, again, seen);
    CHECK(seen == Seen{{filled(3)}, true});
    CHECK(reader.memory() == 0);
  }
}

TEST_CASE("bytes that were not used up before the next are an end", "[peer][messages]") {
  const auto two = packet(filled(5));
  PacketReader reader;
  reader.feed(two);
  reader.feed(two);
  const auto body = reader.next();
  REQUIRE_FALSE(body);
  CHECK(body.error() == PacketError::TooLong);
}

TEST_CASE("memory grows with what has come and goes when a packet is whole", "[peer][messages]") {
  PacketReader reader;
  CHECK(reader.memory() == 0);
  Seen seen;
  const auto stream = packet(filled(8000));
  feed(reader, Bytes{stream}.first(2), seen);
  CHECK(reader.memory() == 0);
  feed(reader, Bytes{stream}.subspan(2, 100), seen);
  CHECK(reader.memory() >= 100);
  CHECK(reader.memory() <= 200);
  for (std::size_t at = 102; at < stream.size(); ++at) {
    feed(reader, Bytes{stream}.subspan(at, 1), seen);
    CHECK(reader.memory() <= 8000);
  }
  CHECK(seen.bodies.size() == 1);
  CHECK(reader.memory() == 0);
}

}  // namespace
}  // namespace icqgate::peer
