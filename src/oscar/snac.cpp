// SPDX-License-Identifier: GPL-2.0-or-later
#include "oscar/snac.hpp"

namespace icqgate::oscar {
namespace {

constexpr std::size_t kHeaderSize = 10;
constexpr std::uint16_t kBlockFollows = 0x8000;  // a flag

}  // namespace

Result<Snac, SnacError> parse_snac(Bytes payload) noexcept {
  ByteReader reader{payload};
  const auto header = reader.take(kHeaderSize);
  if (!header) return tl::make_unexpected(SnacError::Truncated);
  ByteReader fields{*header};
  const std::uint16_t family = *fields.u16be();
  const std::uint16_t subtype = *fields.u16be();
  const std::uint16_t flags = *fields.u16be();
  const std::uint32_t request = *fields.u32be();
  if ((flags & kBlockFollows) != 0) {
    const auto length = reader.u16be();
    if (!length || !reader.take(*length)) return tl::make_unexpected(SnacError::BadBlock);
  }
  return Snac{family, subtype, flags, request, reader.rest()};
}

std::optional<Tlv> TlvReader::next() noexcept {
  ByteReader ahead = reader_;  // a TLV that does not fit stays in rest()
  const auto type = ahead.u16be();
  const auto length = ahead.u16be();
  if (!type || !length) return std::nullopt;
  const auto value = ahead.take(*length);
  if (!value) {
    clean_ = false;
    return std::nullopt;
  }
  reader_ = ahead;
  return Tlv{*type, *value};
}

std::optional<Bytes> find_tlv(Bytes tlvs, std::uint16_t type) noexcept {
  TlvReader reader{tlvs};
  while (const auto tlv = reader.next()) {
    if (tlv->type == type) return tlv->value;
  }
  return std::nullopt;
}

}  // namespace icqgate::oscar
