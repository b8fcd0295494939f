// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "peer/messages.hpp"
#include "vectors.hpp"

namespace icqgate::peer {
namespace {

using namespace std::string_literals;
using test::from_hex;
using Buffer = std::vector<std::byte>;
using Numbers = std::initializer_list<std::uint16_t>;

// Every packet below 2 KiB that Licq and climm sent over direct connections to each other and to themselves
// in two recordings, with what it names.
struct Captured {
  std::string_view hex;
  std::uint16_t port;
};
constexpr std::array kCaptured{
    Captured{
        "ff08002b00a3860100000010a40000a4860100000000000a4d02140410a4000000000000500000000300000000000000",
        0},
    Captured{"01000000", 0},
    Captured{"030a00000001000000000000000000000000000000000000000000000001000400", 0},
    Captured{"029f20f1f356ec288d3914268dbfeb268d0000000000000100000010000d006469726563742d422d746f2d410000000"
             "0ffffff00",
             0},
    Captured{"02bcfcf1d657ff0e306407003000000000000000000000010000000000000000000000ffffff00", 0},
    Captured{"029effdfc0195a4f95fba14195fe5d419500000000000003000000100008007269672066696c6500000000070073422"
             "e62696e00a861000000000000",
             0},
    Captured{"02d346f1cba664c8f8749cc6f8000000000000000000000300000000000000a41100000100000000000011a40000",
             42001},
    Captured{
        "ff08002b00a4860100000028a00000a3860100000000000a4d010a0428a0000000000000500000000300000000000000",
        0},
    Captured{"02d11ef1c5781d0e1f4fe5001f00000000000000000000010000000000000000000000ffffff00", 0},
    Captured{"0283f8f0f872c42892553c2692a3c326920000000000000100000010000d006469726563742d412d746f2d420000000"
             "0ffffff00",
             0},
    Captured{"029576f1d7e494c804b26cc604000000000000000000000300000000000000a02900000100000000000029a00000",
             41001},
    Captured{"0285b4f1d630155dab12ed53abe51253ab00000000000003000000100008007269672066696c6500000000070073412"
             "e62696e003075000000000000",
             0},
    Captured{
        "ff08002b00a3860100000011a40000a4860100000000000a4d02140411a4000000000000500000000300000000000000",
        0},
    Captured{"000000000001000000a86100006400000009006d6531303030303400", 0},
    Captured{"0200070073422e62696e00010000a86100000000000064000000", 0},
    Captured{
        "ff08002b00a4860100000029a00000a3860100000000000a4d010a0429a0000000000000500000000300000000000000",
        0},
    Captured{"0564000000", 0},
    Captured{"016400000009006d6531303030303300", 0},
    Captured{"0300000000000000006400000001000000", 0},
    Captured{"000000000001000000307500006400000009006d6531303030303300", 0},
    Captured{"0200070073412e62696e00010000307500000000000064000000", 0},
    Captured{"016400000009006d6531303030303400", 0},
    Captured{
        "ff08002b00a48601000000b18e0000a58601007f0000010a4d010a03b18e000000000000500000000300000000000000",
        0},
    Captured{"029fd7f1e0c65686e6365188e62f5188e600000000000001000000210013006f7665722064632066726f6d20636c696"
             "d6d0000000000ffffff00",
             0},
    Captured{"028598f1c06401688133f966810000000000000000000001000000000001000000000000ffffff00", 0},
    Captured{
        "ff08002b00a5860100000010a40000a4860100000000000a4d02140410a4000000000000500000000300000000000000",
        0},
    Captured{"029f14f1d1aa170e2b7e10002b00000000000000000000010000000000000000000000ffffff00", 0},
    Captured{"0298def1f5070756c508ff58c5f00058c500000000000001000000100010006469726563742d66726f6d2d6c6963710"
             "0000000ffffff00",
             0},
    Captured{"029584f1c500e55c9a021d529af5e2529a00000000000003000000100008007269672066696c6500000000070073422"
             "e62696e00a861000000000000",
             0},
};

constexpr std::string_view kFileGuid = "f02d12d93091d3118dd700104b06462e";
constexpr std::string_view kChatGuid = "bff720b2378ed411bd280004ac96d905";

enum class Version { Six, Seven };

// A PEER_MSG as protocol.md 6.7 lays it out, before scrambling; a field changed makes it another packet.
struct Accept {
  bool chat = false;
  bool plugin = false;
  std::uint16_t port = 24570;
  std::string name{};         // of the file, or the participants; without the NUL
  std::string text{"\0"s};    // behind the header; in the plugin form, before the plugin
  std::string description{};  // plugin form
  std::uint32_t size = 4096;
  Version version = Version::Seven;
  std::optional<std::uint8_t> type{};
  std::uint16_t status = 0;
  std::optional<std::uint16_t> be{};
  std::uint16_t pad = 0;
  std::optional<std::uint32_t> le{};
  int name_length = 0;  // added to what is right
  int text_length = 0;
  int plugin_length = 0;
  int rest_length = 0;
  int description_length = 0;
  std::string_view guid{};
  std::string trailing{};
};

std::uint16_t off_by(std::size_t right, int error) {
  return static_cast<std::uint16_t>(static_cast<int>(right) + error);
}

Buffer tail_of(const Accept& accept) {
  ByteWriter tail;
  const auto name = [&] {
    tail.u16le(off_by(accept.name.size() + 1, accept.name_length)).text(accept.name).u8(0);
  };
  if (accept.chat) name();
  tail.u16be(accept.be.value_or(accept.port)).u16le(accept.pad);
  if (!accept.chat) {
    name();
    tail.u32le(accept.size);
  }
  tail.u32le(accept.le.value_or(accept.port)).text(accept.trailing);
  return std::move(tail).release();
}

// Makes of the front what no reader should use: the true bytes are hidden by a mask.
void scramble(std::span<std::byte> message) {
  for (std::size_t at = 4; at < (message.size() + 3) / 4; at += 4)
    for (std::size_t i = at; i < std::min(at + 4, message.size()); ++i) message[i] ^= std::byte{0xa7};
}

Buffer message(const Accept& accept) {
  const auto type = accept.plugin ? 0x1a : accept.chat ? 2 : 3;
  const auto tail = tail_of(accept);
  ByteWriter writer;
  writer.u32le(0xd7f17695).u16le(0x07da).u16le(0x0e).u16le(0xfffd).u32le(0).u32le(0).u32le(0);
  writer.u16le(accept.type.value_or(static_cast<std::uint8_t>(type))).u16le(accept.status).u16le(0);
  writer.u16le(off_by(accept.text.size(), accept.text_length)).text(accept.text);
  if (accept.plugin) {
    const std::string_view name = accept.chat ? "Send / Start ICQ Chat" : "File";
    writer.u16le(off_by(16 + 2 + 4 + name.size() + 15, accept.plugin_length));
    writer.bytes(from_hex(!accept.guid.empty() ? accept.guid : accept.chat ? kChatGuid : kFileGuid));
    writer.u16le(0).u32le(static_cast<std::uint32_t>(name.size())).text(name);
    writer.bytes(from_hex("000001000001000000000000000000"));
    writer.u32le(off_by(4 + accept.description.size() + tail.size(), accept.rest_length));
    writer.u32le(off_by(accept.description.size(), accept.description_length)).text(accept.description);
  }
  writer.bytes(tail);
  auto bytes = std::move(writer).release();
  scramble(bytes);
  if (accept.version == Version::Seven) bytes.insert(bytes.begin(), std::byte{2});
  return bytes;
}

std::uint16_t u16be(Bytes bytes, std::size_t at) {
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(bytes[at]) << 8 |
                                    std::to_integer<unsigned>(bytes[at + 1]));
}

// Found, of the right kind, with both places holding the port, and in no cut or lengthened form.
void check_found(const Accept& accept) {
  const auto body = message(accept);
  INFO("size " << body.size());
  const auto found = accepted_port(body);
  REQUIRE(found);
  CHECK(found->port == Port{accept.port});
  CHECK(found->chat == accept.chat);
  CHECK(u16be(body, found->be_at) == accept.port);
  CHECK(std::size_t{found->le_at} == body.size() - 4);
  CHECK(ByteReader{Bytes{body}.subspan(found->le_at)}.u32le() == std::uint32_t{accept.port});
  for (std::size_t size = 0; size < body.size(); ++size) {
    const Buffer exact(body.begin(), body.begin() + static_cast<std::ptrdiff_t>(size));
    REQUIRE_FALSE(accepted_port(exact));
  }
  for (const auto more : {std::byte{0}, std::byte{0xff}}) {
    auto longer = body;
    longer.push_back(more);
    REQUIRE_FALSE(accepted_port(longer));
  }
}

bool found(const Accept& accept) { return accepted_port(message(accept)).has_value(); }

// Both kinds in both forms, where a rule holds for all.
std::vector<Accept> every_form() {
  std::vector<Accept> forms;
  for (const bool chat : {false, true})
    for (const bool plugin : {false, true})
      for (const auto version : {Version::Six, Version::Seven}) {
        Accept accept;
        accept.chat = chat;
        accept.plugin = plugin;
        accept.version = version;
        accept.name = "n";
        forms.push_back(accept);
      }
  return forms;
}

TEST_CASE("accepts of real clients, and no port in any other packet", "[peer][messages]") {
  for (const auto& [hex, port] : kCaptured) {
    INFO(hex);
    const auto body = from_hex(hex);
    const auto found = accepted_port(body);
    REQUIRE(found.has_value() == (port != 0));
    if (!found) continue;
    CHECK(found->port == Port{port});
    CHECK_FALSE(found->chat);
    CHECK(found->be_at == 31);
    CHECK(found->le_at == 42);
    for (std::size_t size = 0; size < body.size(); ++size)
      CHECK_FALSE(accepted_port(Bytes{body}.first(size)));
  }
}

TEST_CASE("no other packet of a direct connection names a port", "[peer][messages]") {
  for (const auto& [name, hex] : test::kVectors) {
    if (name[0] == 'G' || name[0] == 'C') continue;  // goes to the server
    INFO(name);
    const auto bytes = from_hex(hex);
    CHECK_FALSE(accepted_port(bytes));
    if (bytes.size() > 2) CHECK_FALSE(accepted_port(Bytes{bytes}.subspan(2)));
  }
}

// From the message type on, what goes through the server (G25) is what goes directly.
TEST_CASE("the accept of G25, sent directly", "[peer][messages]") {
  const auto relayed = from_hex(test::kG25);
  ByteWriter writer;
  writer.u32le(0x01020304).u16le(0x07da).u16le(0x0e).u16le(0xfffe).u32le(0).u32le(0).u32le(0);
  writer.bytes(Bytes{relayed}.subspan(136));
  auto body = std::move(writer).release();
  scramble(body);
  body.insert(body.begin(), std::byte{2});
  const auto found = accepted_port(body);
  REQUIRE(found);
  CHECK(found->port == Port{24570});
  CHECK_FALSE(found->chat);
  CHECK(u16be(body, found->be_at) == 24570);
}

TEST_CASE("accepts of files and chats, in both forms, with and without the leading 02", "[peer][messages]") {
  for (auto accept : every_form()) {
    for (const auto* name : {"", "a", "name with blanks.tar.gz"}) {
      accept.name = name;
      for (const auto port : Numbers{1024, 24570, 256 * 40, 65535}) {
        accept.port = port;
        for (const auto& text : {""s, "\0"s, "text without an end"s, "text\0"s}) {
          accept.text = text;
          check_found(accept);
        }
      }
    }
  }
}

TEST_CASE("descriptions of the plugin form", "[peer][messages]") {
  for (auto accept : every_form()) {
    if (!accept.plugin) continue;
    for (const auto& description : {""s, "\0"s, "d"s, "a description\0"s, std::string(300, 'd')}) {
      accept.description = description;
      check_found(accept);
    }
  }
}

TEST_CASE("a version-6 check code may begin with 02", "[peer][messages]") {
  auto body = message({.version = Version::Six});
  body[0] = std::byte{2};
  const auto found = accepted_port(body);
  REQUIRE(found);
  CHECK(found->port == Port{24570});
  CHECK(u16be(body, found->be_at) == 24570);
}

// A long name moves the scrambled part over the port's first copy: then there is nothing sound to read.
TEST_CASE("long names: found while the first copy is in the clear, never after", "[peer][messages]") {
  for (const auto version : {Version::Six, Version::Seven}) {
    for (const auto& [chat, plugin, longest] : {std::tuple{false, false, std::size_t{67}},
                                                {true, false, std::size_t{71}},
                                                {false, true, std::size_t{224}},
                                                {true, true, std::size_t{254}}}) {
      Accept accept{.chat = chat, .plugin = plugin, .text = "", .version = version};
      std::size_t last = 0;
      bool gap = false;
      for (std::size_t size = 0; size <= 600; ++size) {
        accept.name.assign(size, 'n');
        const bool is_found = found(accept);
        gap = gap || (!is_found && last + 1 == size);
        if (is_found) {
          CHECK_FALSE(gap);
          check_found(accept);
          last = size;
        }
      }
      INFO("chat " << chat << " plugin " << plugin);
      CHECK(last == longest);
    }
  }
}

TEST_CASE("ports that are none", "[peer][messages]") {
  for (auto accept : every_form()) {
    for (const auto port : Numbers{0, 1, 80, 1023}) {
      accept.port = port;
      CHECK_FALSE(found(accept));
    }
    accept.port = 24570;
    CHECK(found(accept));
    for (const std::uint32_t le : {24571U, 0xfa5fU, 0U, 24570U + 0x10000, 24570U + 0x1000000}) {
      accept.le = le;
      CHECK_FALSE(found(accept));
    }
    accept.le.reset();
    for (const auto be : Numbers{24571, 0xfa5f, 0, 0x8c82}) {
      accept.be = be;
      CHECK_FALSE(found(accept));
    }
    accept.be.reset();
    // Miranda's request: 8C 82 in both places, but 02 22 between (6.7: junk).
    for (const auto pad : Numbers{0x2202, 1, 0x100}) {
      accept.pad = pad;
      CHECK_FALSE(found(accept));
    }
  }
}

TEST_CASE("lengths that lie", "[peer][messages]") {
  for (const auto& right : every_form()) {
    for (const int error : {-2, -1, 1, 2, 256}) {
      for (const auto member : {&Accept::name_length, &Accept::text_length}) {
        auto accept = right;
        accept.*member = error;
        CHECK_FALSE(found(accept));
      }
      if (!right.plugin) continue;
      for (const auto member : {&Accept::plugin_length, &Accept::rest_length, &Accept::description_length}) {
        auto accept = right;
        accept.*member = error;
        CHECK_FALSE(found(accept));
      }
    }
  }
}

TEST_CASE("types and statuses, where they can be read", "[peer][messages]") {
  for (const bool chat : {false, true})
    for (unsigned type = 0; type < 256; ++type) {
      Accept accept{.chat = chat, .type = static_cast<std::uint8_t>(type)};
      CHECK(found(accept) == (type == (chat ? 2U : 3U)));
    }
  for (const auto version : {Version::Six, Version::Seven})
    for (const bool chat : {false, true}) {
      Accept accept{.chat = chat, .version = version};
      for (const auto status : Numbers{1, 4, 9, 0x100, 0xffff}) {
        accept.status = status;
        CHECK_FALSE(found(accept));
      }
    }
  // n = 80 is the last length at which the type is in the clear, 96 that of the status.
  Accept long_name{.text = "", .type = 1};
  for (std::size_t size = 0; size <= 67; ++size) {
    long_name.name.assign(size, 'n');
    CHECK(found(long_name) == (45 + size > 80));
  }
  Accept refused{.text = "", .status = 1};
  for (std::size_t size = 0; size <= 67; ++size) {
    refused.name.assign(size, 'n');
    CHECK(found(refused) == (45 + size > 96));
  }
}

TEST_CASE("a plugin of another kind, or the other's GUID", "[peer][messages]") {
  Accept file{.plugin = true};
  CHECK(found(file));
  file.guid = kChatGuid;
  CHECK_FALSE(found(file));
  Accept chat{.chat = true, .plugin = true};
  CHECK(found(chat));
  chat.guid = kFileGuid;
  CHECK_FALSE(found(chat));
  file.guid = "be6b73050fc2104fa6de4db1e3564b0e";
  CHECK_FALSE(found(file));
}

TEST_CASE("a name that holds the end of an accept names no port of its own", "[peer][messages]") {
  // A file named so that its bytes read like the fields, in a refusal and in a request: the true port is 0.
  const auto fake = "_\xfa"s + "\0\0\1\0\0\0\0\0\0\xfa_\0"s;
  for (auto accept : every_form()) {
    accept.name = fake;
    accept.port = 0;
    CHECK_FALSE(found(accept));
    accept.port = 24570;  // an inner NUL: not even then
    CHECK_FALSE(found(accept));
  }
}

// What a message connection carries of text: its own, in full, whatever it says.
TEST_CASE("a text that holds a whole accept names no port", "[peer][messages]") {
  Accept file{.name = "f"};
  Accept chat{.chat = true, .name = "c"};
  Accept plugin{.plugin = true, .name = "p"};
  for (const auto& inner : {file, chat, plugin})
    for (const auto version : {Version::Six, Version::Seven})
      for (std::size_t lead = 0; lead <= 400; ++lead) {
        const auto whole = message(inner);
        const auto tail = inner.plugin ? Buffer(whole.begin() + 75, whole.end()) : tail_of(inner);
        ByteWriter writer;
        writer.u32le(0x01020304).u16le(0x07ee).u16le(0x0e).u16le(0xfffd).u32le(0).u32le(0).u32le(0);
        writer.u16le(1).u16le(0).u16le(0).u16le(static_cast<std::uint16_t>(lead + tail.size()));
        writer.text(std::string(lead, 't')).bytes(tail);
        for (const bool colours : {false, true}) {
          if (colours) writer.u32le(0).u32le(0xffffff);
          Buffer body{writer.view().begin(), writer.view().end()};
          scramble(body);
          if (version == Version::Seven) body.insert(body.begin(), std::byte{2});
          const auto size = writer.size();
          // Beyond 112 bytes neither type nor the text's length can be read, and what no client sends, a text
          // with NULs inside and nothing behind it, looks like an accept with a description.
          if (colours || size <= 112) REQUIRE_FALSE(accepted_port(body));
        }
      }
}

TEST_CASE("twelve zeros stand before the type", "[peer][messages]") {
  const auto body = message({});
  const std::size_t clear = 1 + 12;  // of a message this short
  for (std::size_t at = clear; at < 1 + 22; ++at) {
    auto other = body;
    other[at] = std::byte{1};
    CHECK_FALSE(accepted_port(other));
  }
  for (std::size_t at = 1; at < clear; ++at) {
    auto other = body;
    other[at] ^= std::byte{0xff};
    CHECK(accepted_port(other));  // scrambled: may be anything
  }
}

TEST_CASE("the longest body is no accept", "[peer][messages]") {
  for (const std::size_t size : {std::size_t{8192}, std::size_t{8193}, std::size_t{70000}})
    for (const auto fill : {std::byte{0}, std::byte{2}, std::byte{0xff}})
      CHECK_FALSE(accepted_port(Buffer(size, fill)));
}

}  // namespace
}  // namespace icqgate::peer
