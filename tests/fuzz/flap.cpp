// needs: oscar
// SPDX-License-Identifier: GPL-2.0-or-later
// FlapReader: frames do not depend on how the stream is cut, and agree with parse_flap() on the whole.
// Input: a byte that chooses the cuts, a byte that chooses max_frame, the stream.
#include "oscar/flap.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

namespace {

using icqgate::Bytes;
using icqgate::oscar::FlapError;
using icqgate::oscar::FlapReader;

void require(bool holds) {
  if (!holds) std::abort();
}

struct Seen {
  std::uint8_t channel;
  std::uint16_t sequence;
  std::vector<std::byte> payload;
  std::uint64_t end;
  bool skipped;
  friend bool operator==(const Seen&, const Seen&) = default;
};

struct Outcome {
  std::vector<Seen> frames;
  bool failed;
  bool inside;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

// What the reader must find, told by parse_flap() frame by frame.
Outcome expected(Bytes stream, std::size_t max_frame) {
  Outcome outcome{{}, false, false};
  std::uint64_t end = 0;
  while (true) {
    const Bytes rest = stream.subspan(end);
    const auto flap = icqgate::oscar::parse_flap(rest);
    if (!flap) {
      outcome.failed = flap.error() == FlapError::BadStart;
      outcome.inside = !outcome.failed && !rest.empty();
      return outcome;
    }
    require(flap->payload.size() + 6 <= rest.size());
    end += 6 + flap->payload.size();
    const bool skipped = flap->payload.size() > max_frame;
    Seen seen{flap->channel, flap->sequence, {}, end, skipped};
    if (!skipped) seen.payload.assign(flap->payload.begin(), flap->payload.end());
    outcome.frames.push_back(std::move(seen));
  }
}

class Collector {
 public:
  explicit Collector(std::size_t max_frame) : reader_{max_frame}, max_frame_{max_frame} {}

  // The piece lies in memory of its own that is gone afterwards.
  void feed(Bytes bytes) {
    std::vector<std::byte> piece(bytes.begin(), bytes.end());
    reader_.feed(piece);
    while (const auto frame = reader_.next()) {
      const auto& payload = frame->flap.payload;
      require(frame->end > last_end_);
      last_end_ = frame->end;
      frames_.push_back({frame->flap.channel,
                         frame->flap.sequence,
                         {payload.begin(), payload.end()},
                         frame->end,
                         frame->skipped});
      require(payload.size() <= max_frame_);
    }
    require(reader_.memory() <= max_frame_);
    require(reader_.inside_frame() || reader_.memory() == 0);
  }

  Outcome outcome() && { return {std::move(frames_), reader_.failed(), reader_.inside_frame()}; }

 private:
  FlapReader reader_;
  std::size_t max_frame_;
  std::uint64_t last_end_ = 0;
  std::vector<Seen> frames_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  constexpr std::array<std::size_t, 4> kLimits{16 * 1024, 0, 64, 65535};
  const std::size_t max_frame = kLimits[data[1] % kLimits.size()];
  const Bytes stream = std::as_bytes(std::span{data, size}).subspan(2);
  const Outcome want = expected(stream, max_frame);

  Collector whole{max_frame};
  whole.feed(stream);
  require(std::move(whole).outcome() == want);

  Collector cut{max_frame};
  std::uint32_t state = 2463534242U + data[0];  // xorshift, from the chosen seed
  for (std::size_t from = 0; from < stream.size();) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    const std::size_t step = data[0] == 0 ? 1 : state % (2 + data[0] % 64U);  // at times no byte at all
    const std::size_t length = std::min(step, stream.size() - from);
    cut.feed(stream.subspan(from, length));
    from += length;
  }
  require(std::move(cut).outcome() == want);
  return 0;
}
