// needs: tcp
// SPDX-License-Identifier: GPL-2.0-or-later
// Input: isn u32be | out-of-order cap u8 * 4 | unacknowledged cap u8 * 4, then commands. Every outcome,
// errors included, is compared with a model that keeps one map entry per byte.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "tcp/stream.hpp"

using namespace icqgate;
using tcp::Stream;
using tcp::StreamError;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

// The first bytes seen for an offset count; later ones have to be the same.
class Model {
 public:
  Model(std::uint32_t isn, tcp::StreamLimits limits) : first_{isn + 1}, limits_{limits} {}

  Result<std::vector<std::byte>, StreamError> push(std::uint32_t sequence, Bytes payload) {
    if (!error_) error_ = refusal(sequence, payload);
    if (error_) return tl::make_unexpected(*error_);
    const auto start = delivered_ + ahead(sequence);
    for (std::size_t i = 0; i < payload.size(); ++i) {
      const auto offset = start + static_cast<std::int64_t>(i);
      if (offset >= acknowledged_) known_.emplace(offset, payload[i]);
    }
    std::vector<std::byte> out;
    for (auto next = known_.find(delivered_); next != known_.end() && next->first == delivered_; ++next) {
      out.push_back(next->second);
      ++delivered_;
    }
    return out;
  }

  void acknowledge(std::uint32_t number) {
    const auto distance = ahead(number);
    if (error_ || distance > Stream::kMaxDistance) return;
    const auto offset = distance > 0 ? delivered_ : delivered_ + distance;
    if (offset > acknowledged_) acknowledged_ = offset;
    known_.erase(known_.begin(), known_.lower_bound(acknowledged_));
  }

  [[nodiscard]] std::int64_t delivered() const { return delivered_; }
  [[nodiscard]] std::int64_t acknowledged() const { return acknowledged_; }
  [[nodiscard]] bool has_gap() const { return !error_ && known_.lower_bound(delivered_) != known_.end(); }
  [[nodiscard]] bool failed() const { return error_.has_value(); }

 private:
  [[nodiscard]] std::int64_t ahead(std::uint32_t sequence) const {
    return static_cast<std::int32_t>(sequence - first_ - static_cast<std::uint32_t>(delivered_));
  }

  [[nodiscard]] std::optional<StreamError> refusal(std::uint32_t sequence, Bytes payload) const {
    if (payload.empty()) return std::nullopt;
    const auto distance = ahead(sequence);
    if (std::abs(distance) > Stream::kMaxDistance) return StreamError::OutOfWindow;
    const auto start = delivered_ + distance;
    const auto end = start + static_cast<std::int64_t>(payload.size());
    std::size_t fresh = 0;
    for (std::size_t i = 0; i < payload.size(); ++i) {
      const auto offset = start + static_cast<std::int64_t>(i);
      if (offset < acknowledged_) continue;
      const auto entry = known_.find(offset);
      if (entry == known_.end()) {
        ++fresh;
      } else if (entry->second != payload[i]) {
        return StreamError::Conflict;
      }
    }
    if (fresh == 0) return std::nullopt;
    if (distance <= 0) {
      auto reach = end;
      for (auto next = known_.find(reach); next != known_.end() && next->first == reach; ++next) ++reach;
      const bool fits = static_cast<std::size_t>(reach - acknowledged_) <= limits_.unacknowledged;
      return fits ? std::nullopt : std::optional{StreamError::OverCap};
    }
    const auto in_order = static_cast<std::size_t>(delivered_ - acknowledged_);
    if (known_.size() - in_order + fresh > limits_.out_of_order) return StreamError::OverCap;
    // One piece more, unless it touches another.
    const auto near = known_.lower_bound(std::max(start - 1, delivered_));
    if ((near == known_.end() || near->first > end) && pieces() == Stream::kMaxPieces)
      return StreamError::OverCap;
    return std::nullopt;
  }

  [[nodiscard]] std::size_t pieces() const {
    std::size_t count = 0;
    auto expected = delivered_;
    for (auto entry = known_.lower_bound(delivered_); entry != known_.end(); ++entry) {
      if (entry->first != expected) ++count;
      expected = entry->first + 1;
    }
    return count;
  }

  std::uint32_t first_;
  tcp::StreamLimits limits_;
  std::map<std::int64_t, std::byte> known_;  // from acknowledged_ on
  std::int64_t delivered_ = 0;
  std::int64_t acknowledged_ = 0;
  std::optional<StreamError> error_;
};

void compare_push(Stream& stream, Model& model, std::uint32_t sequence,
                  const std::vector<std::byte>& payload) {
  const auto expected = model.push(sequence, payload);
  const auto result = stream.push(sequence, payload);
  require(result.has_value() == expected.has_value());
  if (!result) {
    require(result.error() == expected.error());
    require(stream.memory() == 0);
    return;
  }
  require(std::vector<std::byte>(result->begin(), result->end()) == *expected);
}

void compare_state(const Stream& stream, const Model& model, std::uint32_t isn, tcp::StreamLimits limits) {
  require(stream.delivered() == static_cast<std::uint64_t>(model.delivered()));
  require(stream.acknowledged() == static_cast<std::uint64_t>(model.acknowledged()));
  require(stream.has_gap() == model.has_gap());
  require(stream.sequence_at(stream.delivered()) == isn + 1 + static_cast<std::uint32_t>(stream.delivered()));
  require(stream.memory() <= 2 * (limits.out_of_order + limits.unacknowledged));
  const bool idle = model.failed() || (model.delivered() == model.acknowledged() && !model.has_gap());
  require((stream.memory() == 0) == idle);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ByteReader reader{std::as_bytes(std::span{data, size})};
  const auto isn = reader.u32be();
  const auto out_of_order = reader.u8();
  const auto unacknowledged = reader.u8();
  if (!isn || !unacknowledged) return 0;
  const tcp::StreamLimits limits{std::size_t{*out_of_order} * 4, std::size_t{*unacknowledged} * 4};
  Stream stream{*isn, limits};
  Model model{*isn, limits};

  while (const auto command = reader.u8()) {
    // A number near the expected byte, or any at all.
    std::uint32_t number = 0;
    if ((*command & 1) != 0) {
      const auto any = reader.u32be();
      if (!any) break;
      number = *any;
    } else {
      const auto near = reader.u16be();
      if (!near) break;
      const auto distance = static_cast<std::uint32_t>(static_cast<std::int16_t>(*near));
      number = stream.sequence_at(stream.delivered()) + distance;
    }
    if ((*command & 6) == 0) {
      stream.acknowledge(number);
      model.acknowledge(number);
    } else {
      // Bytes that follow from their sequence number, so that copies agree, unless one is changed on purpose.
      const auto count = reader.u8();
      if (!count) break;
      std::vector<std::byte> payload(*count);
      for (std::size_t i = 0; i < payload.size(); ++i) {
        payload[i] = static_cast<std::byte>((number + static_cast<std::uint32_t>(i)) * 0x9e3779b1U >> 24);
      }
      if ((*command & 6) == 6 && !payload.empty()) {
        const auto victim = reader.u8();
        if (!victim) break;
        payload[*victim % payload.size()] ^= std::byte{1};
      }
      compare_push(stream, model, number, payload);
    }
    compare_state(stream, model, *isn, limits);
  }
  return 0;
}
