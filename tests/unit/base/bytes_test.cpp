// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/bytes.hpp"

#include <array>
#include <catch2/catch.hpp>

using namespace icqgate;

namespace {

constexpr std::array<std::byte, 7> kWire{std::byte{0x80}, std::byte{0x01}, std::byte{0xfe}, std::byte{0xff},
                                         std::byte{0x7f}, std::byte{0x00}, std::byte{0x10}};

}  // namespace

TEST_CASE("numbers are read in both byte orders", "[base][bytes]") {
  CHECK(ByteReader{kWire}.u8() == 0x80);
  CHECK(ByteReader{kWire}.u16be() == 0x8001);
  CHECK(ByteReader{kWire}.u16le() == 0x0180);
  CHECK(ByteReader{kWire}.u32be() == 0x8001feff);
  CHECK(ByteReader{kWire}.u32le() == 0xfffe0180);
}

TEST_CASE("a read that does not fit consumes nothing", "[base][bytes]") {
  for (std::size_t size = 0; size < 4; ++size) {
    ByteReader reader{Bytes{kWire}.first(size)};
    CHECK_FALSE(reader.u32be());
    CHECK_FALSE(reader.u32le());
    CHECK_FALSE(reader.take(size + 1));
    CHECK_FALSE(reader.take(static_cast<std::size_t>(-1)));
    if (size < 2) {
      CHECK_FALSE(reader.u16be());
      CHECK_FALSE(reader.u16le());
    }
    if (size < 1) CHECK_FALSE(reader.u8());
    CHECK(reader.rest().size() == size);
    CHECK(reader.rest().data() == kWire.data());
  }
}

TEST_CASE("reads go forward and borrow", "[base][bytes]") {
  ByteReader reader{kWire};
  CHECK(reader.u8() == 0x80);
  const auto two = reader.take(2);
  REQUIRE(two);
  CHECK(two->data() == kWire.data() + 1);
  CHECK(two->size() == 2);
  const auto none = reader.take(0);
  REQUIRE(none);
  CHECK(none->empty());
  CHECK(reader.u32be() == 0xff7f0010);
  CHECK(reader.empty());
  CHECK(reader.take(0));
  CHECK_FALSE(reader.u8());
}

TEST_CASE("what is written is read back", "[base][bytes]") {
  ByteWriter writer;
  writer.u8(0xfe).u16be(0x0102).u16le(0x0102).u32be(0xdeadbeef).u32le(0xdeadbeef).text("ICQ").bytes({});
  CHECK(writer.size() == 16);
  CHECK(std::to_integer<int>(writer.view()[1]) == 1);
  CHECK(std::to_integer<int>(writer.view()[3]) == 2);

  ByteReader reader{writer.view()};
  CHECK(reader.u8() == 0xfe);
  CHECK(reader.u16be() == 0x0102);
  CHECK(reader.u16le() == 0x0102);
  CHECK(reader.u32be() == 0xdeadbeef);
  CHECK(reader.u32le() == 0xdeadbeef);
  CHECK(as_text(reader.rest()) == "ICQ");

  const auto released = std::move(writer).release();
  CHECK(released.size() == 16);
}

TEST_CASE("text may hold any byte, or none", "[base][bytes]") {
  CHECK(as_text(Bytes{}).empty());
  CHECK(as_text(Bytes{kWire}) == std::string_view{"\x80\x01\xfe\xff\x7f\x00\x10", 7});
}
