// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace icqgate::oscar {

// SNAC header, big endian (protocol.md 2): family u16 | subtype u16 | flags u16 | request id u32 | body.
// Flag 0x8000: the body starts with u16 length and that many bytes, which are stepped over here.
struct Snac {
  std::uint16_t family = 0;
  std::uint16_t subtype = 0;
  std::uint16_t flags = 0;
  std::uint32_t request = 0;
  Bytes body;  // behind the optional block; borrowed

  [[nodiscard]] bool is(std::uint16_t f, std::uint16_t s) const noexcept {
    return family == f && subtype == s;
  }
};

enum class SnacError {
  Truncated,
  BadBlock
};  // BadBlock: flag 0x8000 with a length beyond the body (vector C04)
[[nodiscard]] Result<Snac, SnacError> parse_snac(Bytes payload) noexcept;

// TLV: type u16 | length u16 | value; big endian.
struct Tlv {
  std::uint16_t type = 0;
  Bytes value;
};

// Walks TLVs. Ends at the first that does not fit, keeping what was read (protocol.md 2): check `clean()`.
class TlvReader {
 public:
  explicit TlvReader(Bytes bytes) noexcept : reader_{bytes} {}
  std::optional<Tlv> next() noexcept;
  // True unless a length ran past the end. 1 to 3 trailing bytes are clean.
  [[nodiscard]] bool clean() const noexcept { return clean_; }
  [[nodiscard]] Bytes rest() const noexcept { return reader_.rest(); }

 private:
  ByteReader reader_;
  bool clean_ = true;
};

// The first TLV of that type.
[[nodiscard]] std::optional<Bytes> find_tlv(Bytes tlvs, std::uint16_t type) noexcept;

}  // namespace icqgate::oscar
