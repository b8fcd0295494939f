// SPDX-License-Identifier: GPL-2.0-or-later
// Bodies of ICBM SNACs for tests, built field by field (protocol.md 5.1, 5.2):
//
//   const auto body = Message{.capability = 0x1345, .tlvs = "00050002144b"}.body();
//
// Cookie and recipient are those of the vectors. Header-only; needs src/base's headers only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "vectors.hpp"

namespace icqgate::test {

using Buffer = std::vector<std::byte>;

inline Buffer operator+(Buffer left, const Buffer& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

inline Buffer u16be(std::uint16_t value) {
  ByteWriter writer;
  writer.u16be(value);
  return std::move(writer).release();
}

inline Buffer tlv(std::uint16_t type, const Buffer& value) {
  return u16be(type) + u16be(static_cast<std::uint16_t>(value.size())) + value;
}

// The SNAC body of a vector: what is behind the headers of FLAP and SNAC.
inline Buffer vector_body(std::string_view hex) {
  const Buffer wire = from_hex(hex);
  return {wire.begin() + 6 + 10, wire.end()};
}

struct Message {
  std::uint16_t capability = 0x1343;  // the xxxx of 5.3
  std::string tlvs = "";              // the inner ones, in hexadecimal
  std::uint16_t type = 0;
  std::uint16_t channel = 2;
  std::string_view cookie_again = "a1a2a3a4a5a6a700";

  // Up to the UIN; in (04,07) the user info goes on from there.
  [[nodiscard]] Buffer head() const {
    return from_hex("a1a2a3a4a5a6a700") + u16be(channel) + from_hex("06323030303032");
  }
  // The value of TLV 0x05.
  [[nodiscard]] Buffer data() const {
    return u16be(type) + from_hex(cookie_again) + from_hex("0946") + u16be(capability) +
           from_hex("4c7f11d18222444553540000") + from_hex(tlvs);
  }
  // (04,06). The empty TLV 0x03 stands before the data, as libpurple has it.
  [[nodiscard]] Buffer body() const { return head() + tlv(0x03, {}) + tlv(0x05, data()); }
};

}  // namespace icqgate::test
