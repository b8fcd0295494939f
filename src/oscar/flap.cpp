// SPDX-License-Identifier: GPL-2.0-or-later
#include "oscar/flap.hpp"

#include <algorithm>
#include <limits>

namespace icqgate::oscar {
namespace {

constexpr std::byte kMarker{0x2a};
constexpr std::size_t kHeaderSize = 6;

struct Header {
  std::uint8_t channel;
  std::uint16_t sequence;
  std::uint16_t length;
};

std::uint16_t u16be(std::byte high, std::byte low) noexcept {
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(high) << 8 | std::to_integer<unsigned>(low));
}

// The marker is the caller's business: it is known from the first byte on, the rest from the sixth.
Header read_header(std::span<const std::byte, kHeaderSize> bytes) noexcept {
  return {std::to_integer<std::uint8_t>(bytes[1]), u16be(bytes[2], bytes[3]), u16be(bytes[4], bytes[5])};
}

}  // namespace

Result<FlapFrame, FlapError> parse_flap(Bytes stream) noexcept {
  if (!stream.empty() && stream.front() != kMarker) return tl::make_unexpected(FlapError::BadStart);
  if (stream.size() < kHeaderSize) return tl::make_unexpected(FlapError::NeedMore);
  const Header header = read_header(stream.first<kHeaderSize>());
  const Bytes rest = stream.subspan(kHeaderSize);
  if (rest.size() < header.length) return tl::make_unexpected(FlapError::NeedMore);
  return FlapFrame{header.channel, header.sequence, rest.first(header.length)};
}

FlapReader::FlapReader(std::size_t max_frame) noexcept
    : max_frame_{static_cast<std::uint16_t>(
          std::min<std::size_t>(max_frame, std::numeric_limits<std::uint16_t>::max()))} {}

void FlapReader::feed(Bytes bytes) {
  if (failed_) return;
  // Bytes that next() has not used up would be lost here, and with them the sync: then better learn nothing
  // more.
  if (!fed_.empty()) {
    fail();
    return;
  }
  fed_ = bytes;
}

Result<FlapReader::Frame, FlapError> FlapReader::next() {
  if (failed_) return tl::make_unexpected(FlapError::BadStart);
  if (delivered_) {
    delivered_ = false;
    have_ = 0;
    partial_.clear();
  }
  // The hot path: the whole frame lies in the fed bytes and is handed out where it lies.
  if (have_ == 0 && fed_.size() >= kHeaderSize) {
    if (fed_.front() != kMarker) return fail();
    const Header header = read_header(fed_.first<kHeaderSize>());
    const std::size_t size = kHeaderSize + header.length;
    if (header.length <= max_frame_ && fed_.size() >= size) {
      const Bytes payload = fed_.subspan(kHeaderSize, header.length);
      step(size);
      return Frame{{header.channel, header.sequence, payload}, offset_, false};
    }
  }
  return assemble();
}

// A frame that is cut, or too large to be handed out.
Result<FlapReader::Frame, FlapError> FlapReader::assemble() {
  if (have_ < kHeaderSize) {
    if (have_ == 0 && !fed_.empty() && fed_.front() != kMarker) return fail();
    const std::size_t take = std::min(kHeaderSize - have_, fed_.size());
    std::copy_n(fed_.begin(), take, header_.begin() + have_);
    have_ = static_cast<std::uint8_t>(have_ + take);
    step(take);
    if (have_ < kHeaderSize) return need_more();
    left_ = read_header(header_).length;
  }
  const Header header = read_header(header_);
  const bool skipped = header.length > max_frame_;
  const Bytes piece = fed_.first(std::min<std::size_t>(left_, fed_.size()));
  step(piece.size());
  // Only the header was cut: the payload needs no copy.
  const bool whole = piece.size() == header.length;
  if (!skipped && !whole) store(piece, header.length);
  left_ = static_cast<std::uint16_t>(left_ - piece.size());
  if (left_ > 0) return need_more();
  delivered_ = true;
  const Bytes payload = skipped ? Bytes{} : whole ? piece : Bytes{partial_};
  return Frame{{header.channel, header.sequence, payload}, offset_, skipped};
}

void FlapReader::store(Bytes piece, std::size_t length) {
  // Grows with what has come, not with what the header promises, and never beyond that promise.
  const std::size_t need = partial_.size() + piece.size();
  if (need > partial_.capacity()) partial_.reserve(std::min(length, std::max(need, 2 * partial_.capacity())));
  partial_.insert(partial_.end(), piece.begin(), piece.end());
}

void FlapReader::step(std::size_t count) noexcept {
  fed_ = fed_.subspan(count);
  offset_ += count;
}

tl::unexpected<FlapError> FlapReader::need_more() noexcept {
  fed_ = {};
  if (partial_.empty()) std::vector<std::byte>{}.swap(partial_);
  return tl::make_unexpected(FlapError::NeedMore);
}

tl::unexpected<FlapError> FlapReader::fail() noexcept {
  failed_ = true;
  delivered_ = false;
  have_ = 0;
  fed_ = {};
  std::vector<std::byte>{}.swap(partial_);
  return tl::make_unexpected(FlapError::BadStart);
}

bool FlapReader::failed() const noexcept { return failed_; }

bool FlapReader::inside_frame() const noexcept { return have_ > 0 && !delivered_; }

std::size_t FlapReader::memory() const noexcept { return partial_.capacity(); }

}  // namespace icqgate::oscar
