// needs: peer
// SPDX-License-Identifier: GPL-2.0-or-later
// PacketReader: packets do not depend on how the stream is cut, and agree with a plain walk over the whole.
// accepted_port(): its two places lie in the body and hold the port, and what it found shows in no cut form.
// Input: a byte that chooses the cuts, the stream.
#include "peer/messages.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

namespace {

using namespace icqgate;
using namespace icqgate::peer;
using Buffer = std::vector<std::byte>;

void require(bool holds) {
  if (!holds) std::abort();
}

struct Outcome {
  std::vector<Buffer> bodies;
  bool failed = false;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

Outcome expected(Bytes stream) {
  Outcome outcome;
  ByteReader reader{stream};
  while (const auto length = reader.u16le()) {
    outcome.failed = *length > PacketReader::kMost;
    const auto body = outcome.failed ? std::nullopt : reader.take(*length);
    if (!body) break;
    outcome.bodies.emplace_back(body->begin(), body->end());
  }
  return outcome;
}

// The piece lies in memory of its own that is gone afterwards.
void feed(PacketReader& reader, Bytes bytes, Outcome& outcome) {
  const Buffer piece(bytes.begin(), bytes.end());
  reader.feed(piece);
  auto body = reader.next();
  for (; body; body = reader.next()) {
    require(body->size() <= PacketReader::kMost);
    outcome.bodies.emplace_back(body->begin(), body->end());
  }
  outcome.failed = body.error() == PacketError::TooLong;
  require(reader.memory() <= PacketReader::kMost);
  require(!outcome.failed || reader.memory() == 0);
}

std::uint32_t byte_at(Bytes body, std::size_t at) { return std::to_integer<std::uint32_t>(body[at]); }

void check_port(const Buffer& body) {
  const auto found = accepted_port(body);
  (void)kind_of(body);
  if (!found) return;
  const std::size_t be = found->be_at;
  const std::size_t le = found->le_at;
  require(be + 4 <= le && le + 4 == body.size());
  const std::uint32_t port = found->port.get();
  require(port >= 1024);
  require((byte_at(body, be) << 8 | byte_at(body, be + 1)) == port);
  require(byte_at(body, be + 2) == 0 && byte_at(body, be + 3) == 0);
  require((byte_at(body, le) | byte_at(body, le + 1) << 8) == port);
  require(byte_at(body, le + 2) == 0 && byte_at(body, le + 3) == 0);
  require(found->chat == (be + 4 == le));
  // Neither place is in the part that is scrambled.
  require(be > body.size() / 4);
  // Another port in one place only is none; in both it is that port, found at the same places.
  auto other = body;
  other[be] ^= std::byte{0x80};
  require(!accepted_port(other));
  other[le + 1] ^= std::byte{0x80};
  const auto changed = accepted_port(other);
  const std::uint32_t want = port ^ 0x8000;
  require(changed.has_value() == (want >= 1024));
  if (changed) require(changed->port.get() == want && changed->be_at == be && changed->le_at == le);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const Bytes stream = std::as_bytes(std::span{data, size}).subspan(1);
  const Outcome want = expected(stream);

  PacketReader whole;
  Outcome at_once;
  feed(whole, stream, at_once);
  require(at_once == want);

  PacketReader cut;
  Outcome pieces;
  std::uint32_t state = 2463534242U + data[0];  // xorshift, from the chosen seed
  for (std::size_t from = 0; from < stream.size();) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    const std::size_t step = data[0] == 0 ? 1 : state % (2 + data[0] % 64U);  // at times no byte at all
    const std::size_t length = std::min(step, stream.size() - from);
    feed(cut, stream.subspan(from, length), pieces);
    from += length;
  }
  require(pieces == want);

  for (const auto& body : want.bodies) check_port(body);
  // The rest of the stream too, as if its length fitted.
  if (stream.size() > 2) check_port(Buffer(stream.begin() + 2, stream.end()));
  return 0;
}
