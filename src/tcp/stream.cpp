// SPDX-License-Identifier: GPL-2.0-or-later
#include "tcp/stream.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <numeric>
#include <utility>

namespace icqgate::tcp {
namespace {

// A session holds two of these for its whole life.
static_assert(sizeof(Stream) <= 72);

std::uint32_t clamp_limit(std::size_t limit) noexcept {
  return static_cast<std::uint32_t>(std::min<std::size_t>(limit, Stream::kMaxDistance));
}

// RFC 9293 3.4: how far `to` lies beyond `from`, modulo 2^32; negative: before it.
std::int64_t distance(std::uint32_t from, std::uint32_t to) noexcept {
  return static_cast<std::int32_t>(to - from);
}

// Whether two ranges of stream bytes agree wherever they overlap.
bool agree(std::uint64_t a_offset, Bytes a, std::uint64_t b_offset, Bytes b) noexcept {
  const auto from = std::max(a_offset, b_offset);
  const auto to = std::min(a_offset + a.size(), b_offset + b.size());
  if (from >= to) return true;
  return std::memcmp(&a[from - a_offset], &b[from - b_offset], to - from) == 0;
}

void append(std::vector<std::byte>& to, Bytes bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }

}  // namespace

Stream::Stream(std::uint32_t isn, StreamLimits limits) noexcept
    : first_{isn + 1},
      max_out_of_order_{clamp_limit(limits.out_of_order)},
      max_unacknowledged_{clamp_limit(limits.unacknowledged)} {}

Result<Bytes, StreamError> Stream::push(std::uint32_t sequence, Bytes payload) {
  if (error_) return tl::make_unexpected(*error_);
  if (payload.empty()) return Bytes{};
  const auto ahead = distance(sequence_at(delivered_), sequence);
  if (std::abs(ahead) > kMaxDistance) return fail(StreamError::OutOfWindow);

  // Below 0 for a keepalive before the first byte: it repeats the SYN's number with a byte of no meaning.
  const auto start = static_cast<std::int64_t>(delivered_) + ahead;
  if (!matches_history(start, payload)) return fail(StreamError::Conflict);
  if (ahead > 0) {
    if (const auto error = hold(static_cast<std::uint64_t>(start), payload)) return fail(*error);
    return Bytes{};
  }
  const auto old = static_cast<std::uint64_t>(-ahead);
  if (old >= payload.size()) return Bytes{};
  return push_next(payload.subspan(old));
}

// `fresh` starts at delivered_ exactly. What waits beyond and now joins it is delivered with it.
Result<Bytes, StreamError> Stream::push_next(Bytes fresh) {
  const auto end = delivered_ + fresh.size();
  auto joined = std::size_t{0};
  Bytes tail;  // what the last joining piece has beyond `fresh`
  if (beyond_) {
    for (const auto& piece : *beyond_) {
      if (piece.offset > end) break;
      if (!agree(delivered_, fresh, piece.offset, piece.bytes)) return fail(StreamError::Conflict);
      if (piece.end() > end) tail = Bytes{piece.bytes}.subspan(end - piece.offset);
      ++joined;
    }
  }
  const auto count = fresh.size() + tail.size();
  if (count > max_unacknowledged_ - unacknowledged()) return fail(StreamError::OverCap);

  remember(fresh);
  remember(tail);
  delivered_ += count;
  const bool whole = tail.empty();
  if (joined != 0) {
    beyond_->erase(beyond_->begin(), beyond_->begin() + static_cast<std::ptrdiff_t>(joined));
    if (beyond_->empty()) beyond_.reset();
  }
  return whole ? fresh : Bytes{history_}.last(count);
}

// Keeps bytes that start beyond delivered_, joined with the pieces that they touch.
std::optional<StreamError> Stream::hold(std::uint64_t offset, Bytes bytes) {
  if (!beyond_) beyond_ = std::make_unique<Pieces>();
  auto& pieces = *beyond_;
  const auto end = offset + bytes.size();
  const auto first =
      std::find_if(pieces.begin(), pieces.end(), [&](const Piece& p) { return p.end() >= offset; });
  const auto last = std::find_if(first, pieces.end(), [&](const Piece& p) { return p.offset > end; });

  std::size_t fresh = bytes.size();
  for (auto piece = first; piece != last; ++piece) {
    if (!agree(offset, bytes, piece->offset, piece->bytes)) return StreamError::Conflict;
    const auto from = std::max(offset, piece->offset);
    const auto to = std::min(end, piece->end());
    fresh -= to - from;
  }
  if (fresh == 0) return std::nullopt;
  const auto add = [](std::size_t sum, const Piece& piece) { return sum + piece.bytes.size(); };
  const auto held = std::accumulate(pieces.begin(), pieces.end(), std::size_t{0}, add);
  if (held + fresh > max_out_of_order_) return StreamError::OverCap;

  if (first == last) {
    if (pieces.size() == kMaxPieces) return StreamError::OverCap;
    pieces.insert(first, Piece{offset, {bytes.begin(), bytes.end()}});
    return std::nullopt;
  }
  Bytes tail;
  const auto& final_piece = *std::prev(last);
  if (final_piece.end() > end) tail = Bytes{final_piece.bytes}.subspan(end - final_piece.offset);
  if (first->offset <= offset) {
    // The common case: the next segment behind the same hole.
    append(first->bytes, bytes.subspan(first->end() - offset));
    append(first->bytes, tail);  // of another piece: `first` itself ends within `bytes`
  } else {
    std::vector<std::byte> joined;
    joined.reserve(bytes.size() + tail.size());
    append(joined, bytes);
    append(joined, tail);
    *first = Piece{offset, std::move(joined)};
  }
  pieces.erase(std::next(first), last);
  return std::nullopt;
}

bool Stream::matches_history(std::int64_t offset, Bytes bytes) const noexcept {
  const auto known = static_cast<std::int64_t>(acknowledged_);
  if (offset < known) {
    const auto old = static_cast<std::uint64_t>(known - offset);
    if (old >= bytes.size()) return true;
    bytes = bytes.subspan(old);
    offset = known;
  }
  return agree(static_cast<std::uint64_t>(offset), bytes, acknowledged_,
               Bytes{history_}.subspan(history_start_));
}

void Stream::acknowledge(std::uint32_t acknowledgment) noexcept {
  if (error_) return;
  const auto ahead = distance(sequence_at(delivered_), acknowledgment);
  if (ahead > kMaxDistance) return;
  const auto offset = static_cast<std::int64_t>(delivered_) + std::min<std::int64_t>(ahead, 0);
  if (offset <= static_cast<std::int64_t>(acknowledged_)) return;
  history_start_ += static_cast<std::uint32_t>(static_cast<std::uint64_t>(offset) - acknowledged_);
  acknowledged_ = static_cast<std::uint64_t>(offset);
  if (unacknowledged() == 0) {
    history_ = std::vector<std::byte>{};  // `= {}` would keep the room
    history_start_ = 0;
  }
}

// Room doubles with what is in use and stays when that shrinks, so a byte is moved a fixed number of times on
// average, and the room never exceeds twice the limit.
void Stream::remember(Bytes bytes) {
  if (bytes.empty()) return;
  const auto used = unacknowledged() + bytes.size();
  if (history_.size() + bytes.size() > history_.capacity()) {
    const auto kept = Bytes{history_}.subspan(history_start_);
    if (used <= history_.capacity() / 2) {
      history_.erase(history_.begin(), history_.begin() + history_start_);
    } else {
      std::vector<std::byte> larger;
      larger.reserve(kept.empty() ? used : 2 * used);
      append(larger, kept);
      history_ = std::move(larger);
    }
    history_start_ = 0;
  }
  append(history_, bytes);
}

tl::unexpected<StreamError> Stream::fail(StreamError error) noexcept {
  error_ = error;
  history_ = std::vector<std::byte>{};
  history_start_ = 0;
  beyond_.reset();
  return tl::make_unexpected(error);
}

std::uint64_t Stream::delivered() const noexcept { return delivered_; }
std::uint64_t Stream::acknowledged() const noexcept { return acknowledged_; }
std::uint32_t Stream::sequence_at(std::uint64_t offset) const noexcept {
  return first_ + static_cast<std::uint32_t>(offset);
}
bool Stream::has_gap() const noexcept { return beyond_ != nullptr; }

std::size_t Stream::memory() const noexcept {
  std::size_t sum = history_.capacity();
  if (beyond_) {
    for (const auto& piece : *beyond_) sum += piece.bytes.capacity();
  }
  return sum;
}

}  // namespace icqgate::tcp
