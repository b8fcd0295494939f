// SPDX-License-Identifier: GPL-2.0-or-later
#include "peer/transfer.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

namespace icqgate::peer {
namespace {

constexpr std::uint16_t kLongestHeader = 2048;
constexpr std::uint16_t kShortestOft = 256;
constexpr std::uint16_t kShortestOdc = 76;
constexpr std::array<std::uint16_t, 11> kOftTypes{0x0101, 0x0202, 0x0204, 0x0205, 0x0106, 0x0207,
                                                  0x1108, 0x1209, 0x120a, 0x120b, 0x120c};
constexpr std::uint16_t kOdcType = 1;

// The three fields that both headers begin with.
struct Opening {
  Transfer magic = Transfer::No;
  std::uint16_t length = 0;
  std::uint16_t type = 0;
};

// nullopt: not all of it is there.
std::optional<Opening> read_opening(Bytes first) noexcept {
  ByteReader reader{first};
  const auto magic = reader.take(4);
  const auto length = reader.u16be();
  const auto type = reader.u16be();
  if (!magic || !length || !type) return std::nullopt;
  return Opening{transfer_magic(*magic), *length, *type};
}

bool well_formed(const Opening& opening) noexcept {
  if (opening.length > kLongestHeader) return false;
  if (opening.magic == Transfer::Odc) return opening.length >= kShortestOdc && opening.type == kOdcType;
  return opening.length >= kShortestOft && std::ranges::find(kOftTypes, opening.type) != kOftTypes.end();
}

// Big endian, as it stands in the message that proposed the transfer.
std::optional<std::uint64_t> u64be(Bytes first, std::size_t at) noexcept {
  ByteReader reader{first};
  if (!reader.take(at)) return std::nullopt;
  const auto high = reader.u32be();
  const auto low = reader.u32be();
  if (!high || !low) return std::nullopt;
  return std::uint64_t{*high} << 32 | *low;
}

TransferDecision refuse(TransferRefusal refusal) noexcept {
  TransferDecision decision;
  decision.kind = TransferDecision::Kind::Refuse;
  decision.refusal = refusal;
  return decision;
}

// Rows 4, 8 and 16 / 20 of the table, in this order: what refuses looks at bytes before those of the next
// row.
TransferDecision decide_transfer(Bytes first, Transfer wanted, std::size_t cookie_at,
                                 std::uint64_t cookie) noexcept {
  const Transfer magic = transfer_magic(first);
  // One letter tells the two apart, before the magic is whole.
  const bool other =
      first.size() >= 2 && std::to_integer<char>(first[1]) != (wanted == Transfer::Oft ? 'F' : 'D');
  if (magic == Transfer::No || other) return refuse(TransferRefusal::NotTransfer);
  const auto opening = read_opening(first);
  if (!opening) return {};
  if (!well_formed(*opening)) return refuse(TransferRefusal::BadHeader);
  const auto carried = u64be(first, cookie_at);
  if (!carried) return {};
  // Pidgin's prompt carries none (protocol.md 11.16).
  const bool zero = *carried == 0;
  const bool may_be_zero = wanted == Transfer::Oft;
  if (*carried != cookie && !(zero && may_be_zero)) return refuse(TransferRefusal::WrongCookie);
  TransferDecision decision;
  decision.kind = TransferDecision::Kind::Accept;
  decision.header = opening->length;
  decision.type = wanted == Transfer::Oft ? opening->type : std::uint16_t{0};
  decision.zero_cookie = zero;
  return decision;
}

}  // namespace

Transfer transfer_magic(Bytes first) noexcept {
  const std::string_view begin = as_text(first).substr(0, 4);
  constexpr std::string_view kOft2 = "OFT2";
  constexpr std::string_view kOft3 = "OFT3";
  constexpr std::string_view kOdc2 = "ODC2";
  if (begin == kOft2 || begin == kOft3) return Transfer::Oft;
  if (begin == kOdc2) return Transfer::Odc;
  const bool may_become = kOft2.starts_with(begin) || kOdc2.starts_with(begin);
  return may_become ? Transfer::NeedMore : Transfer::No;
}

Transfer looks_like_transfer(Bytes first) noexcept {
  const Transfer magic = transfer_magic(first);
  if (magic == Transfer::No) return magic;
  const auto opening = read_opening(first);
  if (!opening) return Transfer::NeedMore;
  return well_formed(*opening) ? magic : Transfer::No;
}

TransferDecision decide_oft(Bytes first, std::uint64_t cookie) noexcept {
  return decide_transfer(first, Transfer::Oft, 8, cookie);
}

TransferDecision decide_odc(Bytes first, std::uint64_t cookie) noexcept {
  return decide_transfer(first, Transfer::Odc, 12, cookie);
}

ProxyFrame looks_like_proxy(Bytes first) noexcept {
  constexpr std::uint16_t kShortest = 10;  // the length counts what follows it
  constexpr std::uint16_t kLongest = 512;
  // Each field as soon as it is there; the bytes of one that is cut wait for the rest.
  ByteReader reader{first};
  const auto length = reader.u16be();
  if (!length) return ProxyFrame::NeedMore;
  if (*length < kShortest || *length > kLongest) return ProxyFrame::No;
  const auto version = reader.u16be();
  if (!version) return ProxyFrame::NeedMore;
  if (*version != 0x044a) return ProxyFrame::No;
  const auto type = reader.u16be();
  if (!type) return ProxyFrame::NeedMore;
  if (*type < 1 || *type > 5) return ProxyFrame::No;
  const auto zero = reader.u32be();
  if (!zero) return ProxyFrame::NeedMore;
  return *zero == 0 ? ProxyFrame::Yes : ProxyFrame::No;
}

}  // namespace icqgate::peer
