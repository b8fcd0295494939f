// SPDX-License-Identifier: GPL-2.0-or-later
#include "peer/messages.hpp"

#include <algorithm>

namespace icqgate::peer {
namespace {

constexpr std::size_t kPrefix = 2;

std::size_t body_length(std::span<const std::byte, kPrefix> prefix) noexcept {
  return std::to_integer<std::size_t>(prefix[0]) | std::to_integer<std::size_t>(prefix[1]) << 8;
}

bool file_init(Bytes body) noexcept {
  constexpr std::size_t kNickAt = 19;
  if (body.size() <= kNickAt || body.back() != std::byte{0}) return false;
  ByteReader reader{body.subspan(1)};
  if (reader.u32le() != 0U) return false;
  reader.take(12);  // count, size, speed
  return reader.u16le() == body.size() - kNickAt;
}

}  // namespace

PacketKind kind_of(Bytes body) noexcept {
  if (body.empty()) return PacketKind::Other;
  const std::size_t size = body.size();
  switch (std::to_integer<std::uint8_t>(body.front())) {
    case 0xff:
      return size == 26 || size == 36 || size == 44 || size == 48 ? PacketKind::Init : PacketKind::Other;
    case 1:
      return size == 4 && ByteReader{body}.u32le() == 1U ? PacketKind::InitAck : PacketKind::Other;
    case 3:
      return size == 33 ? PacketKind::Init2 : PacketKind::Other;
    case 2:
      return size > 4 ? PacketKind::Message : PacketKind::Other;
    case 0:
      return file_init(body) ? PacketKind::FileInit : PacketKind::Other;
    default:
      return PacketKind::Other;
  }
}

void PacketReader::feed(Bytes bytes) {
  if (failed_) return;
  // As oscar::FlapReader: bytes that next() has not used up would be lost here, and with them the sync.
  if (!fed_.empty()) {
    fail();
    return;
  }
  fed_ = bytes;
}

Result<Bytes, PacketError> PacketReader::next() {
  if (failed_) return tl::make_unexpected(PacketError::TooLong);
  if (delivered_) {
    delivered_ = false;
    have_ = 0;
    partial_.clear();
  }
  const std::size_t take = std::min(kPrefix - have_, fed_.size());
  std::copy_n(fed_.begin(), take, prefix_.begin() + have_);
  have_ = static_cast<std::uint8_t>(have_ + take);
  fed_ = fed_.subspan(take);
  if (have_ < kPrefix) return need_more();
  return assemble();
}

Result<Bytes, PacketError> PacketReader::assemble() {
  const std::size_t length = body_length(prefix_);
  if (length > kMost) return fail();
  const Bytes piece = fed_.first(std::min(length - partial_.size(), fed_.size()));
  fed_ = fed_.subspan(piece.size());
  // A body that lies whole in the fed bytes is handed out where it lies.
  if (piece.size() == length) {
    delivered_ = true;
    return piece;
  }
  // Grows with what has come, not with what the prefix promises, and never beyond that promise.
  const std::size_t need = partial_.size() + piece.size();
  if (need > partial_.capacity()) partial_.reserve(std::min(length, std::max(need, 2 * partial_.capacity())));
  partial_.insert(partial_.end(), piece.begin(), piece.end());
  if (partial_.size() < length) return need_more();
  delivered_ = true;
  return Bytes{partial_};
}

tl::unexpected<PacketError> PacketReader::need_more() noexcept {
  fed_ = {};
  if (partial_.empty()) std::vector<std::byte>{}.swap(partial_);
  return tl::make_unexpected(PacketError::NeedMore);
}

tl::unexpected<PacketError> PacketReader::fail() noexcept {
  failed_ = true;
  delivered_ = false;
  fed_ = {};
  std::vector<std::byte>{}.swap(partial_);
  return tl::make_unexpected(PacketError::TooLong);
}

std::size_t PacketReader::memory() const noexcept { return partial_.capacity(); }

}  // namespace icqgate::peer
