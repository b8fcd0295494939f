// SPDX-License-Identifier: GPL-2.0-or-later
#include "oscar/flap.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cstdint>
#include <string_view>
#include <vector>

#include "oscar/session.hpp"
#include "oscar/snac.hpp"
#include "vectors.hpp"

namespace icqgate::oscar {
namespace {

using test::from_hex;
using Buffer = std::vector<std::byte>;

// A frame with its payload copied out, comparable.
struct Seen {
  std::uint8_t channel;
  std::uint16_t sequence;
  Buffer payload;
  std::uint64_t end;
  bool skipped;
  friend bool operator==(const Seen&, const Seen&) = default;
};

void read_all(FlapReader& reader, Bytes bytes, std::vector<Seen>& seen) {
  reader.feed(bytes);
  while (const auto frame = reader.next()) {
    const auto& [flap, end, skipped] = *frame;
    seen.push_back(
        {flap.channel, flap.sequence, Buffer(flap.payload.begin(), flap.payload.end()), end, skipped});
  }
}

// Every piece lies in memory of its own that ends with it and dies after it: what a reader keeps of it shows.
std::vector<Seen> read_pieces(FlapReader& reader, Bytes stream, const std::vector<std::size_t>& cuts) {
  std::vector<Seen> seen;
  std::size_t from = 0;
  const auto feed = [&](std::size_t to) {
    Buffer piece(stream.begin() + static_cast<std::ptrdiff_t>(from),
                 stream.begin() + static_cast<std::ptrdiff_t>(to));
    read_all(reader, piece, seen);
    std::ranges::fill(piece, std::byte{0xdd});
    from = to;
  };
  for (const std::size_t cut : cuts) feed(cut);
  feed(stream.size());
  return seen;
}

std::vector<Seen> read_whole(Bytes stream, std::size_t max_frame = 16 * 1024) {
  FlapReader reader{max_frame};
  return read_pieces(reader, stream, {});
}

Buffer join(std::initializer_list<std::string_view> hexes) {
  Buffer stream;
  for (const auto hex : hexes) {
    const auto bytes = from_hex(hex);
    stream.insert(stream.end(), bytes.begin(), bytes.end());
  }
  return stream;
}

Buffer frame(std::uint8_t channel, std::uint16_t sequence, Bytes payload) {
  ByteWriter writer;
  writer.u8(0x2a)
      .u8(channel)
      .u16be(sequence)
      .u16be(static_cast<std::uint16_t>(payload.size()))
      .bytes(payload);
  return std::move(writer).release();
}

// What an observer of a client's direction holds to be the announced port: none, or the last one (vectors S1
// to S6).
struct Learner {
  FlapReader reader;
  std::optional<Port> port;

  void feed(Bytes bytes) {
    reader.feed(bytes);
    while (const auto frame = reader.next()) {
      const auto snac = parse_snac(frame->flap.payload);
      if (!snac || !snac->is(0x01, 0x1e)) continue;
      const auto update = parse_status_update(snac->body);
      if (update.direct && !update.direct->bad_port) port = update.direct->port;
    }
  }
};

TEST_CASE("every client-server vector is exactly one FLAP", "[oscar][flap]") {
  for (const auto& [name, hex] : test::kVectors) {
    if ((name[0] != 'G' && name[0] != 'C') || name == "C05") continue;
    INFO(name);
    const auto wire = from_hex(hex);
    const auto flap = parse_flap(wire);
    REQUIRE(flap);
    CHECK(flap->payload.size() + 6 == wire.size());
    const auto seen = read_whole(wire);
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].channel == flap->channel);
    CHECK(seen[0].sequence == flap->sequence);
    CHECK(std::ranges::equal(seen[0].payload, flap->payload));
    CHECK(seen[0].end == wire.size());
  }
}

TEST_CASE("the header fields of a FLAP", "[oscar][flap]") {
  const auto hello = from_hex(test::kG01);
  const auto flap = parse_flap(hello);
  REQUIRE(flap);
  CHECK(flap->channel == static_cast<std::uint8_t>(Channel::NewConnection));
  CHECK(flap->sequence == 0x1000);
  CHECK(flap->payload.size() == 4);

  const auto keep_alive = from_hex(test::kG26);
  REQUIRE(parse_flap(keep_alive));
  CHECK(parse_flap(keep_alive)->channel == static_cast<std::uint8_t>(Channel::KeepAlive));
  CHECK(parse_flap(keep_alive)->sequence == 0x3050);
  CHECK(parse_flap(keep_alive)->payload.empty());

  const auto log_off = from_hex(test::kG27);
  REQUIRE(parse_flap(log_off));
  CHECK(parse_flap(log_off)->channel == static_cast<std::uint8_t>(Channel::Close));
  CHECK(parse_flap(log_off)->payload.empty());
}

TEST_CASE("parse_flap on a cut frame asks for more, on another marker never", "[oscar][flap]") {
  const auto wire = from_hex(test::kG16);
  for (std::size_t cut = 0; cut < wire.size(); ++cut) {
    const auto flap = parse_flap(Bytes{wire}.first(cut));
    REQUIRE_FALSE(flap);
    CHECK(flap.error() == FlapError::NeedMore);
  }
  const auto bad = from_hex(test::kC05);
  for (std::size_t cut = 1; cut <= bad.size(); ++cut) {
    const auto flap = parse_flap(Bytes{bad}.first(cut));
    REQUIRE_FALSE(flap);
    CHECK(flap.error() == FlapError::BadStart);
  }
}

TEST_CASE("frames come out the same wherever the stream is cut", "[oscar][flap]") {
  const auto stream = join({test::kG10, test::kG16, test::kG26, test::kG17, test::kG27, test::kG20});
  for (const std::size_t max_frame : {std::size_t{16 * 1024}, std::size_t{20}, std::size_t{0}}) {
    const auto whole = read_whole(stream, max_frame);
    REQUIRE(whole.size() == 6);
    for (std::size_t first = 0; first <= stream.size(); ++first) {
      for (std::size_t second = first; second <= stream.size(); second += 1 + second % 7) {
        FlapReader reader{max_frame};
        const auto seen = read_pieces(reader, stream, {first, second});
        if (seen != whole) FAIL("cut at " << first << " and " << second << ", max " << max_frame);
        CHECK_FALSE(reader.inside_frame());
        CHECK(reader.memory() == 0);
      }
    }
    std::vector<std::size_t> bytewise;
    for (std::size_t cut = 0; cut < stream.size(); ++cut) bytewise.push_back(cut);
    FlapReader reader{max_frame};
    CHECK(read_pieces(reader, stream, bytewise) == whole);
    CHECK(reader.memory() == 0);
  }
}

TEST_CASE("stream vector S1: three frames in one segment, the port stays", "[oscar][flap]") {
  const auto segment = join({test::kG16, test::kG17, test::kG26});
  const auto seen = read_whole(segment);
  REQUIRE(seen.size() == 3);
  CHECK(seen[0].channel == 2);
  CHECK(seen[1].channel == 2);
  CHECK(seen[2].channel == 5);
  CHECK(seen[0].end == 71);
  CHECK(seen[1].end == 95);
  CHECK(seen[2].end == 101);
  Learner learner;
  learner.feed(segment);
  CHECK(learner.port == Port{24567});
}

TEST_CASE("stream vector S2: cuts inside header and port field", "[oscar][flap]") {
  const auto wire = from_hex(test::kG16);
  using Cuts = std::vector<std::size_t>;
  for (const Cuts& cuts : {Cuts{1}, Cuts{3}, Cuts{6}, Cuts{40}, Cuts{6, 20}, Cuts{2, 5, 40}}) {
    Learner learner;
    std::size_t from = 0;
    for (const std::size_t cut : cuts) {
      learner.feed(Bytes{wire}.subspan(from, cut - from));
      CHECK_FALSE(learner.port);
      CHECK(learner.reader.inside_frame());
      from = cut;
    }
    learner.feed(Bytes{wire}.subspan(from));
    CHECK(learner.port == Port{24567});
    CHECK_FALSE(learner.reader.inside_frame());
  }
}

// Putting segments in order is another part's work; what it hands on are these pieces.
TEST_CASE("stream vectors S3 and S4: the pieces that reassembly makes of them", "[oscar][flap]") {
  const auto wire = from_hex(test::kG16);
  Learner overlapped;  // bytes 0..39, then 8..70 less the 32 already seen
  overlapped.feed(Bytes{wire}.first(40));
  overlapped.feed(Bytes{wire}.subspan(8).subspan(32));
  CHECK(overlapped.port == Port{24567});
  Learner reordered;  // the later segment waits until the hole is filled: both come at once
  reordered.feed({});
  reordered.feed(wire);
  CHECK(reordered.port == Port{24567});
}

TEST_CASE("stream vector S5: status updates one after the other", "[oscar][flap]") {
  const auto self = from_hex(test::kG15);
  const auto self_snac = parse_snac(parse_flap(self)->payload);
  REQUIRE(self_snac);
  CHECK(parse_self_info(self_snac->body)->uin == Uin{100001});
  Learner learner;
  learner.feed(from_hex(test::kG16));
  CHECK(learner.port == Port{24567});
  learner.feed(from_hex(test::kG17));
  CHECK(learner.port == Port{24567});  // no TLV 0x0C: nothing changes
  learner.feed(from_hex(test::kG19));
  CHECK(learner.port == Port{24567});  // type 2 is a matter of policy
  learner.feed(from_hex(test::kC01));
  CHECK(learner.port == Port{24567});  // invalid: the old state stays
  learner.feed(from_hex(test::kG18));
  CHECK_FALSE(learner.port);
}

TEST_CASE("stream vector S6: a start in the middle teaches nothing, ever", "[oscar][flap]") {
  const auto middle = from_hex(test::kG21);
  Learner learner;
  learner.feed(Bytes{middle}.subspan(30));
  CHECK(learner.reader.failed());
  learner.feed(from_hex(test::kG16));
  CHECK_FALSE(learner.port);
  CHECK(learner.reader.failed());
}

TEST_CASE("a wrong marker ends the stream for good, frames before it count", "[oscar][flap]") {
  const auto stream = join({test::kG16, test::kC05, test::kG16});
  for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
    FlapReader reader;
    const auto seen = read_pieces(reader, stream, {cut});
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].end == 71);
    CHECK(reader.failed());
    CHECK(reader.memory() == 0);
    CHECK_FALSE(reader.inside_frame());
    reader.feed(from_hex(test::kG26));
    CHECK(reader.next().error() == FlapError::BadStart);
    CHECK(reader.next().error() == FlapError::BadStart);
  }
}

TEST_CASE("other protocols on a FLAP port fail at their first byte", "[oscar][flap]") {
  for (const auto hex : {test::kO01, test::kO04, test::kO05, test::kO06, test::kO07, test::kP06, test::kB10,
                         test::kB11, test::kC05}) {
    FlapReader reader;
    const auto wire = from_hex(hex);
    reader.feed(Bytes{wire}.first(1));
    CHECK(reader.next().error() == FlapError::BadStart);
    CHECK(reader.failed());
  }
}

TEST_CASE("unknown channels and any sequence number are frames", "[oscar][flap]") {
  Buffer stream;
  const std::array<std::uint8_t, 4> channels{0, 6, 0x2a, 255};
  const std::array<std::uint16_t, 4> sequences{0xffff, 0, 0x7fff, 3};
  for (std::size_t i = 0; i < channels.size(); ++i) {
    const auto one = frame(channels[i], sequences[i], Bytes{from_hex(test::kG01)});
    stream.insert(stream.end(), one.begin(), one.end());
  }
  const auto seen = read_whole(stream);
  REQUIRE(seen.size() == 4);
  for (std::size_t i = 0; i < seen.size(); ++i) {
    CHECK(seen[i].channel == channels[i]);
    CHECK(seen[i].sequence == sequences[i]);
  }
}

TEST_CASE("a sign-off without length field leaves an unfinished frame, no error", "[oscar][flap]") {
  const auto stream = from_hex("2a041234");
  FlapReader reader;
  reader.feed(stream);
  CHECK(reader.next().error() == FlapError::NeedMore);
  CHECK(reader.inside_frame());
  CHECK_FALSE(reader.failed());
}

TEST_CASE("feeding nothing changes nothing", "[oscar][flap]") {
  const auto wire = from_hex(test::kG16);
  FlapReader reader;
  CHECK(reader.next().error() == FlapError::NeedMore);
  reader.feed({});
  CHECK(reader.next().error() == FlapError::NeedMore);
  CHECK_FALSE(reader.inside_frame());
  reader.feed(Bytes{wire}.first(30));
  CHECK(reader.next().error() == FlapError::NeedMore);
  for (int i = 0; i < 3; ++i) {
    reader.feed({});
    CHECK(reader.next().error() == FlapError::NeedMore);
    CHECK(reader.inside_frame());
  }
  reader.feed(Bytes{wire}.subspan(30));
  const auto frame = reader.next();
  REQUIRE(frame);
  CHECK(std::ranges::equal(frame->flap.payload, Bytes{wire}.subspan(6)));
  CHECK_FALSE(reader.inside_frame());  // nothing is waiting: it was handed out
}

TEST_CASE("a frame that lies whole in the fed bytes is handed out where it lies", "[oscar][flap]") {
  const auto stream = join({test::kG26, test::kG16});
  FlapReader reader;
  reader.feed(stream);
  REQUIRE(reader.next());
  const auto frame = reader.next();
  REQUIRE(frame);
  CHECK(frame->flap.payload.data() == stream.data() + 12);
  CHECK(reader.memory() == 0);

  // So is one of which only the header was cut.
  FlapReader other;
  other.feed(Bytes{stream}.first(9));
  REQUIRE(other.next());
  CHECK_FALSE(other.next());
  other.feed(Bytes{stream}.subspan(9));
  const auto cut = other.next();
  REQUIRE(cut);
  CHECK(cut->flap.payload.data() == stream.data() + 12);
  CHECK(other.memory() == 0);
}

TEST_CASE("a frame longer than max_frame is stepped over without being stored", "[oscar][flap]") {
  const Buffer payload(65535, std::byte{0x2a});
  auto stream = frame(2, 1, payload);
  const auto after = from_hex(test::kG16);
  stream.insert(stream.end(), after.begin(), after.end());
  for (const std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{1460}, stream.size()}) {
    FlapReader reader;
    std::vector<Seen> seen;
    std::size_t most = 0;
    for (std::size_t from = 0; from < stream.size(); from += step) {
      read_all(reader, Bytes{stream}.subspan(from, std::min(step, stream.size() - from)), seen);
      if (from < 6 + payload.size()) most = std::max(most, reader.memory());
    }
    CHECK(most <= after.size());
    REQUIRE(seen.size() == 2);
    CHECK(seen[0].skipped);
    CHECK(seen[0].payload.empty());
    CHECK(seen[0].channel == 2);
    CHECK(seen[0].end == 6 + 65535);
    CHECK_FALSE(seen[1].skipped);
    CHECK(seen[1].end == stream.size());
    CHECK(std::ranges::equal(seen[1].payload, Bytes{after}.subspan(6)));
  }
}

TEST_CASE("max_frame is the last length that is handed out", "[oscar][flap]") {
  const Buffer payload(100, std::byte{1});
  const auto wire = frame(2, 1, payload);
  CHECK_FALSE(read_whole(wire, 100)[0].skipped);
  CHECK(read_whole(wire, 99)[0].skipped);
  const auto largest = frame(2, 1, Buffer(65535, std::byte{7}));
  const auto seen = read_whole(largest, 1'000'000);
  REQUIRE(seen.size() == 1);
  CHECK_FALSE(seen[0].skipped);
  CHECK(seen[0].payload.size() == 65535);
}

TEST_CASE("memory grows with what has come, up to the frame, and is given back", "[oscar][flap]") {
  static_assert(sizeof(FlapReader) <= 64);
  const auto wire = frame(2, 1, Buffer(8000, std::byte{9}));
  FlapReader reader;
  CHECK(reader.memory() == 0);
  reader.feed(Bytes{wire}.first(106));
  CHECK_FALSE(reader.next());
  CHECK(reader.memory() == 100);  // not the 8000 the header promises
  for (std::size_t at = 106; at < wire.size(); ++at) {
    reader.feed(Bytes{wire}.subspan(at, 1));
    const auto got = reader.next();
    CHECK(reader.memory() <= 8000);
    if (at + 1 < wire.size()) continue;
    REQUIRE(got);
    CHECK(std::ranges::equal(got->flap.payload, Bytes{wire}.subspan(6)));
  }
  CHECK(reader.next().error() == FlapError::NeedMore);
  CHECK(reader.memory() == 0);
}

TEST_CASE("bytes fed before the last ones were read end the stream: a loss must not pass for sync",
          "[oscar][flap]") {
  const auto wire = from_hex(test::kG26);
  FlapReader reader;
  reader.feed(wire);
  reader.feed(wire);
  CHECK(reader.next().error() == FlapError::BadStart);
}

}  // namespace
}  // namespace icqgate::oscar
