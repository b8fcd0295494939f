// SPDX-License-Identifier: GPL-2.0-or-later
// Property: however a sequence of bytes is cut, doubled, overlapped and shuffled, the same sequence comes
// out.
#include <algorithm>
#include <catch2/catch.hpp>
#include <random>
#include <vector>

#include "tcp/stream.hpp"

using namespace icqgate;
using tcp::Stream;

namespace {

struct Segment {
  std::size_t offset;
  std::size_t size;
};

class Dice {
 public:
  explicit Dice(std::uint32_t seed) : engine_{seed} {}
  // 0 to bound - 1. Not a standard distribution: those differ from library to library.
  std::size_t below(std::size_t bound) { return engine_() % bound; }
  std::mt19937& engine() { return engine_; }

 private:
  std::mt19937 engine_;
};

std::vector<std::byte> random_text(Dice& dice, std::size_t size) {
  std::vector<std::byte> text(size);
  for (auto& byte : text) byte = static_cast<std::byte>(dice.below(256));
  return text;
}

// Segments that cover [0, size) with overlaps and duplicates, in an order of chance.
std::vector<Segment> cut(Dice& dice, std::size_t size) {
  std::vector<Segment> segments;
  // Single bytes of a longer text could make more pieces than Stream::kMaxPieces.
  const std::size_t longest = size > 500 ? 40 + dice.below(60) : 1 + dice.below(60);
  for (std::size_t at = 0; at < size;) {
    const std::size_t back = std::min(at, dice.below(4) == 0 ? dice.below(longest) : 0);
    const std::size_t length = std::min(size - at, 1 + dice.below(longest));
    segments.push_back({at - back, length + back});
    if (dice.below(5) == 0) segments.push_back(segments[dice.below(segments.size())]);
    at += length;
  }
  // Fisher-Yates by hand, for the same order with every library.
  for (std::size_t i = segments.size(); i > 1; --i) std::swap(segments[i - 1], segments[dice.below(i)]);
  return segments;
}

// Near the wrap of the numbers, and of their signed halves.
constexpr std::uint32_t kIsns[]{0xffffffff, 0xfffffffe, 0xffffff80, 0xfffffc00, 0x7fffff80, 0, 12345};

}  // namespace

TEST_CASE("any order of segments gives the sequence back", "[tcp][stream][property]") {
  for (std::uint32_t seed = 0; seed < 400; ++seed) {
    Dice dice{seed};
    const auto isn = kIsns[seed % std::size(kIsns)];
    const auto text = random_text(dice, 1 + dice.below(2000));
    const auto segments = cut(dice, text.size());
    Stream stream{isn, {.out_of_order = text.size(), .unacknowledged = text.size()}};
    std::vector<std::byte> received;
    for (const auto& [offset, size] : segments) {
      // A copy of its own, so that a sanitizer sees a span kept for too long.
      const std::vector<std::byte> payload(&text[offset], &text[offset] + size);
      const auto out = stream.push(stream.sequence_at(offset), payload);
      REQUIRE(out);
      received.insert(received.end(), out->begin(), out->end());
      if (received.size() != stream.delivered()) FAIL("delivered() is not the sum of what came out");
      if (dice.below(3) == 0) stream.acknowledge(stream.sequence_at(dice.below(text.size() + 1)));
      if (stream.acknowledged() > stream.delivered()) FAIL("acknowledged more than delivered");
    }
    CAPTURE(seed, text.size(), segments.size());
    CHECK((received == text));  // the brackets spare us two thousand numbers in a failure
    CHECK_FALSE(stream.has_gap());
    stream.acknowledge(stream.sequence_at(text.size()));
    CHECK(stream.memory() == 0);
  }
}

TEST_CASE("a byte changed in any later copy is found", "[tcp][stream][property]") {
  for (std::uint32_t seed = 1000; seed < 1200; ++seed) {
    Dice dice{seed};
    const auto text = random_text(dice, 50 + dice.below(500));
    const auto segments = cut(dice, text.size());
    Stream stream{kIsns[seed % std::size(kIsns)]};
    std::vector<bool> seen(text.size());
    for (const auto& [offset, size] : segments) {
      std::vector<std::byte> payload(&text[offset], &text[offset] + size);
      const std::size_t victim = dice.below(size);
      // Nothing is acknowledged, so whatever was seen before is still known.
      if (seen[offset + victim] && dice.below(2) == 0) {
        payload[victim] ^= std::byte{0x20};
        const auto out = stream.push(stream.sequence_at(offset), payload);
        REQUIRE_FALSE(out);
        CHECK(out.error() == tcp::StreamError::Conflict);
        break;
      }
      REQUIRE(stream.push(stream.sequence_at(offset), payload));
      for (std::size_t i = 0; i < size; ++i) seen[offset + i] = true;
    }
  }
}
