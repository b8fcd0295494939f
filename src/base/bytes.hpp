// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace icqgate {

using Bytes = std::span<const std::byte>;

// Borrowed bytes seen as text (no conversion, no terminator).
[[nodiscard]] inline std::string_view as_text(Bytes bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Reads forward through borrowed bytes. A read that does not fit returns nullopt and consumes nothing.
class ByteReader {
 public:
  constexpr explicit ByteReader(Bytes bytes) noexcept : rest_{bytes} {}

  // The next `count` bytes, borrowed from the input.
  constexpr std::optional<Bytes> take(std::size_t count) noexcept {
    if (count > rest_.size()) return std::nullopt;
    const Bytes head = rest_.first(count);
    rest_ = rest_.subspan(count);
    return head;
  }
  constexpr std::optional<std::uint8_t> u8() noexcept { return big_endian<std::uint8_t>(); }
  constexpr std::optional<std::uint16_t> u16be() noexcept { return big_endian<std::uint16_t>(); }
  constexpr std::optional<std::uint32_t> u32be() noexcept { return big_endian<std::uint32_t>(); }
  constexpr std::optional<std::uint16_t> u16le() noexcept { return little_endian<std::uint16_t>(); }
  constexpr std::optional<std::uint32_t> u32le() noexcept { return little_endian<std::uint32_t>(); }

  [[nodiscard]] constexpr Bytes rest() const noexcept { return rest_; }
  [[nodiscard]] constexpr bool empty() const noexcept { return rest_.empty(); }

 private:
  template <class U>
  constexpr std::optional<U> big_endian() noexcept {
    const auto bytes = take(sizeof(U));
    if (!bytes) return std::nullopt;
    std::uint64_t value = 0;
    for (const std::byte b : *bytes) value = value << 8 | std::to_integer<std::uint64_t>(b);
    return static_cast<U>(value);
  }
  template <class U>
  constexpr std::optional<U> little_endian() noexcept {
    const auto bytes = take(sizeof(U));
    if (!bytes) return std::nullopt;
    std::uint64_t value = 0;
    for (std::size_t i = sizeof(U); i-- > 0;)
      value = value << 8 | std::to_integer<std::uint64_t>((*bytes)[i]);
    return static_cast<U>(value);
  }

  Bytes rest_;
};

// Appends to bytes of its own; the mirror of ByteReader.
class ByteWriter {
 public:
  ByteWriter& u8(std::uint8_t value) { return big_endian(value); }
  ByteWriter& u16be(std::uint16_t value) { return big_endian(value); }
  ByteWriter& u32be(std::uint32_t value) { return big_endian(value); }
  ByteWriter& u16le(std::uint16_t value) { return little_endian(value); }
  ByteWriter& u32le(std::uint32_t value) { return little_endian(value); }
  ByteWriter& bytes(Bytes value) {
    bytes_.insert(bytes_.end(), value.begin(), value.end());
    return *this;
  }
  ByteWriter& text(std::string_view value) { return bytes(std::as_bytes(std::span{value})); }

  [[nodiscard]] Bytes view() const noexcept { return bytes_; }
  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }
  [[nodiscard]] std::vector<std::byte> release() && noexcept { return std::move(bytes_); }

 private:
  template <class U>
  ByteWriter& big_endian(U value) {
    for (std::size_t i = sizeof(U); i-- > 0;) bytes_.push_back(static_cast<std::byte>(value >> (8 * i)));
    return *this;
  }
  template <class U>
  ByteWriter& little_endian(U value) {
    for (std::size_t i = 0; i < sizeof(U); ++i) bytes_.push_back(static_cast<std::byte>(value >> (8 * i)));
    return *this;
  }

  std::vector<std::byte> bytes_;
};

}  // namespace icqgate
