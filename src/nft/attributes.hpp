// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <array>
#include <bit>
#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.hpp"

// Netlink attributes, read and written. Of this folder only.
namespace icqgate::nft {

constexpr std::uint16_t nft_type(std::uint16_t message) { return NFNL_SUBSYS_NFTABLES << 8 | message; }

// nf_tables attributes are big endian.
constexpr std::uint64_t to_be64(std::uint64_t value) {
  if constexpr (std::endian::native == std::endian::big) return value;
  return __builtin_bswap64(value);
}
constexpr std::uint32_t to_be32(std::uint32_t value) {
  if constexpr (std::endian::native == std::endian::big) return value;
  return __builtin_bswap32(value);
}

// Calls `visit(const nlattr*)` for each attribute in a row of them. (mnl_attr_for_each is a macro that only C
// can take.)
template <class Visit>
void each_attribute(const void* start, std::size_t size, Visit visit) {
  const auto* attribute = static_cast<const nlattr*>(start);
  const auto* end = static_cast<const std::byte*>(start) + size;
  while (mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const std::byte*>(attribute)))) {
    visit(attribute);
    attribute = mnl_attr_next(attribute);
  }
}

template <class Visit>
void each_nested(const nlattr* nest, Visit visit) {
  each_attribute(mnl_attr_get_payload(nest), mnl_attr_get_payload_len(nest), visit);
}

// The attributes of one nest by type; a later one of the same type wins.
template <std::size_t Count>
std::array<const nlattr*, Count> attributes(const nlattr* nest) {
  std::array<const nlattr*, Count> table{};
  each_nested(nest, [&table](const nlattr* attribute) {
    const auto type = mnl_attr_get_type(attribute);
    if (type < Count) table[type] = attribute;
  });
  return table;
}

// The attributes of a whole message behind its nfgenmsg; none if it is cut or of another subsystem.
template <class Visit>
void each_of_message(Bytes message, Visit visit) {
  if (message.size() < sizeof(nlmsghdr) + sizeof(nfgenmsg)) return;
  const auto* header = reinterpret_cast<const nlmsghdr*>(message.data());
  if (header->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES || header->nlmsg_len > message.size()) return;
  const auto* rest = static_cast<const std::byte*>(mnl_nlmsg_get_payload_offset(header, sizeof(nfgenmsg)));
  const auto* end = message.data() + header->nlmsg_len;
  if (rest <= end) each_attribute(rest, static_cast<std::size_t>(end - rest), visit);
}

inline Bytes payload(const nlattr* attribute) {
  if (attribute == nullptr) return {};
  return {static_cast<const std::byte*>(mnl_attr_get_payload(attribute)),
          mnl_attr_get_payload_len(attribute)};
}

inline std::string string_of(const nlattr* attribute) {
  std::string text{as_text(payload(attribute))};
  if (const auto end = text.find('\0'); end != std::string::npos) text.resize(end);
  return text;
}

inline std::uint32_t u32_of(const nlattr* attribute) {
  return ByteReader{payload(attribute)}.u32be().value_or(0);
}

// What NFTA_DATA_VALUE holds inside a nest of its kind.
inline Bytes value_of(const nlattr* nest) {
  if (nest == nullptr) return {};
  return payload(attributes<NFTA_DATA_MAX + 1>(nest)[NFTA_DATA_VALUE]);
}

}  // namespace icqgate::nft
