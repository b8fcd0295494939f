// SPDX-License-Identifier: GPL-2.0-or-later
#include "tcp/stream.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <string_view>
#include <vector>

using namespace icqgate;
using tcp::Stream;
using tcp::StreamError;

namespace {

constexpr std::uint32_t kIsn = 1000;
constexpr std::uint32_t kFirst = kIsn + 1;

Bytes bytes(std::string_view text) { return std::as_bytes(std::span{text}); }

// What came out, as text; "!" and the error's name for an error.
std::string push(Stream& stream, std::uint32_t sequence, std::string_view text) {
  const auto result = stream.push(sequence, bytes(text));
  if (result) return std::string{as_text(*result)};
  switch (result.error()) {
    case StreamError::Conflict:
      return "!Conflict";
    case StreamError::OverCap:
      return "!OverCap";
    case StreamError::OutOfWindow:
      return "!OutOfWindow";
  }
  return "!";
}

}  // namespace

TEST_CASE("in order: the payload itself comes back", "[tcp][stream]") {
  Stream stream{kIsn};
  const std::string text = "hello";
  const auto out = stream.push(kFirst, bytes(text));
  REQUIRE(out);
  CHECK(out->data() == bytes(text).data());
  CHECK(out->size() == 5);
  CHECK(stream.delivered() == 5);
  CHECK(push(stream, kFirst + 5, " world") == " world");
  CHECK(stream.delivered() == 11);
  CHECK_FALSE(stream.has_gap());
}

TEST_CASE("nothing is kept once it is acknowledged", "[tcp][stream]") {
  Stream stream{kIsn};
  CHECK(stream.memory() == 0);
  for (std::uint32_t i = 0; i < 100; ++i) {
    CHECK(push(stream, kFirst + 10 * i, "0123456789") == "0123456789");
    CHECK(stream.memory() >= 10);
    stream.acknowledge(kFirst + 10 * i + 10);
    CHECK(stream.memory() == 0);
    CHECK(stream.acknowledged() == 10 * i + 10);
  }
}

TEST_CASE("an object per direction stays small", "[tcp][stream]") { CHECK(sizeof(Stream) <= 96); }

TEST_CASE("sequence numbers of offsets", "[tcp][stream]") {
  const Stream stream{0xfffffffe};
  CHECK(stream.sequence_at(0) == 0xffffffff);
  CHECK(stream.sequence_at(1) == 0);
  CHECK(stream.sequence_at((std::uint64_t{1} << 32) + 1) == 0);
}

TEST_CASE("a hole is waited for, then all comes at once", "[tcp][stream]") {
  Stream stream{kIsn};
  CHECK(push(stream, kFirst + 3, "def").empty());
  CHECK(stream.has_gap());
  CHECK(stream.delivered() == 0);
  CHECK(push(stream, kFirst + 9, "jkl").empty());
  CHECK(push(stream, kFirst, "abc") == "abcdef");
  CHECK(stream.has_gap());
  CHECK(stream.delivered() == 6);
  CHECK(push(stream, kFirst + 6, "ghi") == "ghijkl");
  CHECK_FALSE(stream.has_gap());
  stream.acknowledge(kFirst + 12);
  CHECK(stream.memory() == 0);
}

TEST_CASE("a filling segment that reaches beyond what waited comes back itself", "[tcp][stream]") {
  Stream stream{kIsn};
  CHECK(push(stream, kFirst + 2, "cd").empty());
  CHECK(push(stream, kFirst + 5, "f").empty());
  const std::string text = "abcdefgh";
  const auto out = stream.push(kFirst, bytes(text));
  REQUIRE(out);
  CHECK(out->data() == bytes(text).data());
  CHECK(out->size() == 8);
  CHECK_FALSE(stream.has_gap());
}

TEST_CASE("a retransmission gives nothing, its new part does", "[tcp][stream]") {
  Stream stream{kIsn};
  CHECK(push(stream, kFirst, "abcdef") == "abcdef");
  CHECK(push(stream, kFirst, "abcdef").empty());
  CHECK(push(stream, kFirst + 2, "cd").empty());
  CHECK(push(stream, kFirst + 3, "defghi") == "ghi");  // protocol.md 10.1 S3: an overlap
  CHECK(stream.delivered() == 9);
}

TEST_CASE("every changed byte of an overlap is a conflict", "[tcp][stream]") {
  const std::string text = "abcdefghij";
  for (std::size_t from = 0; from < text.size(); ++from) {
    for (std::size_t size = 1; from + size <= text.size(); ++size) {
      for (std::size_t changed = 0; changed < size; ++changed) {
        auto segment = text.substr(from, size);
        segment[changed] = 'X';
        const auto number = kFirst + static_cast<std::uint32_t>(from);
        {
          Stream delivered{kIsn};
          CHECK(push(delivered, kFirst, text) == text);
          CHECK(push(delivered, number, segment) == "!Conflict");
        }
        {
          Stream waiting{kIsn};
          CHECK(push(waiting, kFirst + 1, text).empty());
          CHECK(push(waiting, number + 1, segment) == "!Conflict");
        }
        {
          // What comes in order, against what waits: "?" fills the hole.
          Stream joined{kIsn};
          CHECK(push(joined, kFirst + 1, text).empty());
          const auto filler = "?" + text.substr(0, from) + segment;
          CHECK(push(joined, kFirst, filler) == "!Conflict");
        }
      }
    }
  }
}

TEST_CASE("a conflict in part of a segment delivers none of it", "[tcp][stream]") {
  Stream stream{kIsn};
  CHECK(push(stream, kFirst, "abc") == "abc");
  CHECK(push(stream, kFirst + 2, "Xdef") == "!Conflict");
  CHECK(stream.delivered() == 3);
}

TEST_CASE("what is acknowledged can't conflict any more", "[tcp][stream]") {
  Stream stream{kIsn};
  CHECK(push(stream, kFirst, "abcdef") == "abcdef");
  stream.acknowledge(kFirst + 3);
  CHECK(push(stream, kFirst, "XYZ").empty());
  CHECK(push(stream, kFirst, "XYZdefg") == "g");
  CHECK(push(stream, kFirst + 2, "Xd").empty());
  CHECK(push(stream, kFirst + 2, "XX") == "!Conflict");
}

TEST_CASE("errors are final and free all memory", "[tcp][stream]") {
  Stream stream{kIsn};
  CHECK(push(stream, kFirst, "abc") == "abc");
  CHECK(push(stream, kFirst + 5, "fgh").empty());
  CHECK(push(stream, kFirst + 1, "X") == "!Conflict");
  CHECK(stream.memory() == 0);
  CHECK_FALSE(stream.has_gap());
  CHECK(push(stream, kFirst + 3, "d") == "!Conflict");
  CHECK(push(stream, kFirst + 3, "") == "!Conflict");
  stream.acknowledge(kFirst + 3);
  CHECK(stream.acknowledged() == 0);
  CHECK(stream.delivered() == 3);
}

TEST_CASE("keepalives and window probes do no harm", "[tcp][stream]") {
  Stream stream{kIsn};
  CHECK(push(stream, kIsn, "?").empty());  // before the first byte: the SYN's own number
  CHECK(push(stream, kFirst, "abc") == "abc");
  CHECK(push(stream, kFirst + 2, "c").empty());
  stream.acknowledge(kFirst + 3);
  CHECK(push(stream, kFirst + 2, "\x7f").empty());  // acknowledged: the garbage byte of a keepalive
  CHECK(push(stream, kFirst + 3, "d") == "d");      // a probe of a closed window, not taken by the receiver
  CHECK(push(stream, kFirst + 3, "defg") == "efg");
  CHECK(push(stream, kFirst + 7, "").empty());
  CHECK(push(stream, kFirst + 5000, "").empty());
  CHECK(stream.delivered() == 7);
}

TEST_CASE("far from the window", "[tcp][stream]") {
  constexpr auto kFar = Stream::kMaxDistance;
  for (const std::uint32_t isn : {kIsn, 0xffffffffU, 0x7fffffffU, 0U}) {
    CHECK(push(*std::make_unique<Stream>(isn), isn + 1 + kFar, "x").empty());
    CHECK(push(*std::make_unique<Stream>(isn), isn + 1 + kFar + 1, "x") == "!OutOfWindow");
    CHECK(push(*std::make_unique<Stream>(isn), isn + 1 + 0x80000000, "x") == "!OutOfWindow");
    CHECK(push(*std::make_unique<Stream>(isn), isn + 1 - kFar - 1, "x") == "!OutOfWindow");
    CHECK(push(*std::make_unique<Stream>(isn), isn + 1 - kFar, "x").empty());
    CHECK(push(*std::make_unique<Stream>(isn), isn + 1 + 0x80000000, "").empty());
  }
}

TEST_CASE("acknowledgments outside of what is known", "[tcp][stream]") {
  Stream stream{kIsn};
  stream.acknowledge(kFirst + 100);  // nothing was sent yet
  CHECK(stream.acknowledged() == 0);
  CHECK(push(stream, kFirst, "abcdef") == "abcdef");
  stream.acknowledge(kFirst + 4);
  CHECK(stream.acknowledged() == 4);
  stream.acknowledge(kFirst + 2);  // old
  stream.acknowledge(kFirst - 100);
  stream.acknowledge(kFirst + 0x80000000);
  stream.acknowledge(kFirst + 6 + Stream::kMaxDistance + 1);
  CHECK(stream.acknowledged() == 4);
  CHECK(push(stream, kFirst + 4, "Xf") == "!Conflict");
}

TEST_CASE("an acknowledgment of what we lack is cut to what was delivered", "[tcp][stream]") {
  Stream stream{kIsn};
  CHECK(push(stream, kFirst, "abc") == "abc");
  CHECK(push(stream, kFirst + 6, "ghi").empty());
  stream.acknowledge(kFirst + 9);
  CHECK(stream.acknowledged() == 3);
  CHECK(push(stream, kFirst + 3, "def") == "defghi");
  CHECK(stream.acknowledged() == 3);
  stream.acknowledge(kFirst + 10);  // one more than the bytes: the FIN
  CHECK(stream.acknowledged() == 9);
  CHECK(stream.memory() == 0);
}

TEST_CASE("the cap on bytes beyond a hole", "[tcp][stream]") {
  const tcp::StreamLimits limits{.out_of_order = 10, .unacknowledged = 100};
  Stream exact{kIsn, limits};
  CHECK(push(exact, kFirst + 1, "0123456789").empty());
  CHECK(push(exact, kFirst + 3, "2345").empty());  // held already: costs nothing
  CHECK(push(exact, kFirst, "_") == "_0123456789");
  CHECK(push(exact, kFirst + 20, "0123456789").empty());  // room again
  CHECK(push(exact, kFirst + 40, "x") == "!OverCap");

  Stream whole{kIsn, limits};
  CHECK(push(whole, kFirst + 1, "0123456789a") == "!OverCap");
  Stream overlapping{kIsn, limits};
  CHECK(push(overlapping, kFirst + 1, "01234567").empty());
  CHECK(push(overlapping, kFirst + 3, "23456789").empty());
  CHECK(push(overlapping, kFirst + 11, "a") == "!OverCap");
  Stream none{kIsn, {.out_of_order = 0, .unacknowledged = 100}};
  CHECK(push(none, kFirst, "a") == "a");
  CHECK(push(none, kFirst + 2, "c") == "!OverCap");
}

TEST_CASE("the cap on unacknowledged bytes", "[tcp][stream]") {
  const tcp::StreamLimits limits{.out_of_order = 100, .unacknowledged = 10};
  Stream stream{kIsn, limits};
  CHECK(push(stream, kFirst, "0123456789") == "0123456789");
  CHECK(push(stream, kFirst, "0123456789").empty());
  stream.acknowledge(kFirst + 4);
  CHECK(push(stream, kFirst + 10, "abcd") == "abcd");
  CHECK(push(stream, kFirst + 14, "e") == "!OverCap");

  Stream joined{kIsn, limits};
  CHECK(push(joined, kFirst + 5, "567890").empty());
  CHECK(push(joined, kFirst, "01234") == "!OverCap");
  CHECK(joined.delivered() == 0);
}

TEST_CASE("pieces beyond a hole are counted", "[tcp][stream]") {
  Stream stream{kIsn};
  for (std::uint32_t i = 0; i < Stream::kMaxPieces; ++i) CHECK(push(stream, kFirst + 2 * i + 1, "x").empty());
  CHECK(push(stream, kFirst + 2, "y").empty());  // joins two: one less
  CHECK(push(stream, kFirst + 5000, "x").empty());
  CHECK(push(stream, kFirst + 6000, "x") == "!OverCap");
}

TEST_CASE("a limit beyond 2^30 is taken as 2^30", "[tcp][stream]") {
  Stream stream{kIsn, {.out_of_order = static_cast<std::size_t>(-1), .unacknowledged = std::size_t{1} << 32}};
  CHECK(push(stream, kFirst, "abc") == "abc");
  CHECK(push(stream, kFirst + 4, "e").empty());
}

TEST_CASE("room follows use, however long the stream", "[tcp][stream]") {
  const tcp::StreamLimits limits{.out_of_order = 0, .unacknowledged = 4096};
  Stream stream{kIsn, limits};
  const std::string text(1000, 'x');
  std::uint32_t next = kFirst;
  for (int i = 0; i < 1000; ++i) {
    CHECK(push(stream, next, text).size() == text.size());
    next += 1000;
    stream.acknowledge(next - 3000);
    CHECK(stream.memory() <= 2 * limits.unacknowledged);
  }
}

TEST_CASE("offsets beyond 2^32", "[tcp][stream]") {
  // Segments as large as offload makes them: 4 GiB in some 66,000 steps.
  const std::vector<std::byte> large(65535, std::byte{0x2a});
  Stream stream{kIsn};
  std::uint64_t sent = 0;
  bool fine = true;
  while (sent <= (std::uint64_t{1} << 32) + 1000) {
    const auto number = static_cast<std::uint32_t>(kFirst + sent);
    const auto out = stream.push(number, large);
    fine = fine && out && out->size() == large.size();
    sent += large.size();
    stream.acknowledge(static_cast<std::uint32_t>(kFirst + sent));
  }
  CHECK(fine);
  CHECK(stream.delivered() == sent);
  CHECK(stream.acknowledged() == sent);
  CHECK(stream.memory() == 0);
  CHECK(stream.sequence_at(sent) == static_cast<std::uint32_t>(kFirst + sent));
  const auto next = stream.sequence_at(sent);
  CHECK(push(stream, next + 1, "b").empty());
  CHECK(push(stream, next, "a") == "ab");
  CHECK(push(stream, next, "aX") == "!Conflict");
}

TEST_CASE("a stream moves with what it holds", "[tcp][stream]") {
  Stream stream{kIsn};
  CHECK(push(stream, kFirst, "ab") == "ab");
  CHECK(push(stream, kFirst + 3, "d").empty());
  Stream moved{std::move(stream)};
  CHECK(moved.has_gap());
  CHECK(push(moved, kFirst, "abc") == "cd");
}
