// SPDX-License-Identifier: GPL-2.0-or-later
// Rendezvous that are malformed, cut short or contradict themselves. Sound ones: icbm_test.cpp.
#include <catch2/catch.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "icbm_builder.hpp"
#include "oscar/icbm.hpp"

namespace icqgate::oscar {
namespace {

using namespace test;
using Type = Rendezvous::Type;
using Kind = RelayMessage::Kind;

constexpr std::string_view kFileGuid = "f02d12d93091d3118dd700104b06462e";
constexpr std::string_view kChatGuid = "bff720b2378ed411bd280004ac96d905";

std::optional<Rendezvous> from_client(const Buffer& body) {
  return parse_icbm(body, IcbmDirection::FromClient);
}

Rendezvous offer(const std::string& tlvs, std::uint16_t capability = 0x1343) {
  const auto message = from_client(Message{.capability = capability, .tlvs = tlvs}.body());
  REQUIRE(message);
  return *message;
}

std::string hex16(std::size_t value) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (int shift = 12; shift >= 0; shift -= 4) text += kDigits[value >> shift & 0xf];
  return text;
}

std::string hex16le(std::size_t value) { return hex16((value & 0xff) << 8 | (value >> 8 & 0xff)); }

// The block of 5.6 up to its text, then `rest`.
std::string relay_block(std::string_view type, const std::string& rest, std::string_view status = "0000") {
  return "1b000800" + std::string(2 * 18, '0') + "0300000000feff0e00feff" + std::string(2 * 12, '0') +
         std::string{type} + "00" + std::string{status} + "0000" + rest;
}

std::string plugin(std::string_view guid, const std::string& fields, std::string_view description = "") {
  return "010000"
         "2900" +
         std::string{guid} + "00000400000046696c65" + "000001000001" + std::string(2 * 9, '0') +
         hex16le(4 + description.size() / 2 + fields.size() / 2) + "0000" + hex16le(description.size() / 2) +
         "0000" + std::string{description} + fields;
}

RelayMessage relayed(const std::string& block) {
  const auto message = offer("000a000200022711" + hex16(block.size() / 2) + block, 0x1349);
  REQUIRE(message.relay);
  return *message.relay;
}

TEST_CASE("not on channel 2, or not a rendezvous", "[oscar][icbm]") {
  for (const auto channel : std::vector<std::uint16_t>{0, 1, 3, 4, 0x0200})
    CHECK_FALSE(from_client(Message{.channel = channel}.body()));
  const Message message;
  CHECK(from_client(message.head() + tlv(0x05, message.data())));
  CHECK_FALSE(from_client(message.head()));
  CHECK_FALSE(from_client(message.head() + tlv(0x03, {})));
  CHECK_FALSE(from_client(message.head() + tlv(0x06, message.data())));
  CHECK_FALSE(from_client({}));
  // A user without a name.
  CHECK_FALSE(from_client(from_hex("a1a2a3a4a5a6a700000200") + tlv(0x05, message.data())));
}

TEST_CASE("types, users, capabilities", "[oscar][icbm]") {
  const auto type = [](std::uint16_t value) { return from_client(Message{.type = value}.body())->type; };
  CHECK(type(0) == Type::Request);
  CHECK(type(1) == Type::Cancel);
  CHECK(type(2) == Type::Accept);
  CHECK(type(3) == Type::Other);
  CHECK(type(0x0100) == Type::Other);

  const auto screen_name =
      from_client(from_hex("a1a2a3a4a5a6a7000002054a6f686e31") + tlv(0x05, Message{}.data()));
  REQUIRE(screen_name);
  CHECK_FALSE(screen_name->other);

  const auto capability = [](std::uint16_t value) { return offer("", value).capability; };
  CHECK(capability(0x1341) == Capability::Voice);
  CHECK(capability(0x1342) == Capability::Other);
  CHECK(capability(0x1343) == Capability::SendFile);
  CHECK(capability(0x1344) == Capability::Reverse);
  CHECK(capability(0x1345) == Capability::DirectIm);
  CHECK(capability(0x1348) == Capability::GetFile);
  CHECK(capability(0x1349) == Capability::Relay);
  CHECK(capability(0x134a) == Capability::Other);
  CHECK(capability(0x134b) == Capability::Contacts);
  // All 16 bytes count.
  const Buffer sound = Message{}.data();
  for (std::size_t at = 10; at < 26; ++at) {
    Buffer data = sound;
    data[at] ^= std::byte{0x80};
    const auto other = from_client(Message{}.head() + tlv(0x05, data));
    REQUIRE(other);
    CHECK(other->capability == Capability::Other);
  }
}

TEST_CASE("two cookies are none", "[oscar][icbm]") {
  CHECK_FALSE(from_client(Message{.cookie_again = "a1a2a3a4a5a6a701"}.body()));
  CHECK_FALSE(from_client(Message{.cookie_again = "b1a2a3a4a5a6a700"}.body()));
  CHECK_FALSE(from_client(Message{.cookie_again = "0000000000000000"}.body()));
}

TEST_CASE("the port of TLV 0x05", "[oscar][icbm]") {
  CHECK(offer("00050002ffff").port == Port{65535});
  CHECK(offer("000500020001").port == Port{1});
  for (const auto* none :
       {"", "000500020000", "00050000", "0005000114", "000500040000144b", "00050003144b00"}) {
    const auto message = offer(none);
    CHECK_FALSE(message.port);
    CHECK_FALSE(message.contradictory);
    CHECK(message.port_places.empty());
  }
}

TEST_CASE("what contradicts itself says so", "[oscar][icbm]") {
  for (const auto* tlvs : {
           "00050002144b00050002144c",                  // two ports
           "00050002144b000500020000",                  // a port and none
           "00050002144b000500040000144b",              // another size
           "00020004c0a8011400020004c0a80115",          // two addresses
           "00030004c0a8011400030004c0a80115",          // two own addresses
           "00040004c0a8011400040004c0a80115",          // two verified ones
           "000a00020001000a00020002",                  // two sequences
           "00050002144b00170002ebb5",                  // a copy that does not fit
           "00170002ebb400050002144c",                  // before it, too
           "00050002144b00170002144b",                  // not complemented
           "00050002144b00170001eb",                    // cut short
           "00170002ebb4",                              // of nothing
           "00020004c0a80114001600043f57feea",          // an address's
           "001600043f57feeb",                          // of nothing
           "00050002144b00170002ebb400170002ebb5",      // two copies
           "00020004c633643c0016000439cc9bc400100000",  // a proxy's
           "2711000400010001271100040001000127110000",  // extensions
           "27110000"
           "27110000",
       })
    CHECK(offer(tlvs).contradictory);
  const auto fits = offer(
      "00170002ebb400160004"
      "3f57feeb"
      "00020004c0a8011400050002144b");
  CHECK_FALSE(fits.contradictory);
  CHECK(fits.port_places.size() == 2);

  // Two of the outer ones: which one would the peer read?
  const Buffer data = Message{.tlvs = "00050002144b"}.data();
  const auto twice = from_client(Message{}.head() + tlv(0x05, data) + tlv(0x03, {}) + tlv(0x05, data));
  REQUIRE(twice);
  CHECK(twice->contradictory);
}

TEST_CASE("what repeats the port is a place as well", "[oscar][icbm]") {
  const auto message = offer("00050002144b00170002ebb400050002144b00170002ebb4");
  CHECK_FALSE(message.contradictory);
  CHECK(message.port == Port{5195});
  REQUIRE(message.port_places.size() == 4);
  CHECK(message.port_places[2] ==
        Place{static_cast<std::uint16_t>(message.port_places[0].at + 12), Place::Form::PortBe});
  const auto differs = offer("00050002144b00050002144c");
  CHECK(differs.port == Port{5195});
  CHECK(differs.port_places.size() == 1);  // only what holds it
}

TEST_CASE("a length over the end: what stands before it counts", "[oscar][icbm]") {
  const auto inner = offer("00050002144b00020005c0a80114");
  CHECK(inner.port == Port{5195});
  CHECK_FALSE(inner.address);
  CHECK_FALSE(inner.contradictory);
  CHECK(offer("00050002144b271100").port == Port{5195});    // three trailing bytes
  CHECK_FALSE(offer("00020fffc0a8011400050002144b").port);  // swallowed
  CHECK_FALSE(offer("ffffffff00050002144b").port);
  // The rendezvous data itself over the end is none.
  const Message message{.tlvs = "00050002144b"};
  Buffer body = message.head() + tlv(0x05, message.data());
  body.pop_back();
  CHECK_FALSE(from_client(body));
  // Behind it, anything may be broken.
  CHECK(from_client(message.body() + from_hex("0006ffff00")));
}

TEST_CASE("no prefix of a vector says anything else", "[oscar][icbm]") {
  for (const auto vector : {kG22, kG23, kG24, kG25, kG28}) {
    const Buffer body = vector_body(vector);
    const auto parse = [&](Bytes bytes) {
      if (vector == kG28) return parse_client_answer(bytes);
      return parse_icbm(bytes, vector == kG23 ? IcbmDirection::FromServer : IcbmDirection::FromClient);
    };
    const auto whole = parse(body);
    REQUIRE(whole);
    for (std::size_t size = 0; size < body.size(); ++size) {
      const Buffer cut(body.begin(), body.begin() + static_cast<std::ptrdiff_t>(size));
      const auto part = parse(cut);
      if (!part) continue;
      CHECK(part->port == whole->port);
      CHECK(part->cookie == whole->cookie);
      if (vector == kG28) CHECK_FALSE(part->relay->port);  // the little-endian one is the last
    }
  }
}

TEST_CASE("bodies that no FLAP can hold", "[oscar][icbm]") {
  const Buffer body = Message{.tlvs = "00050002144b"}.body();
  CHECK(from_client(body + Buffer(65535 - body.size())));
  CHECK_FALSE(from_client(body + Buffer(65536 - body.size())));
  CHECK_FALSE(parse_client_answer(from_hex(kG28) + Buffer(65536)));
}

TEST_CASE("relay: file and chat, by type and by GUID", "[oscar][icbm]") {
  const std::string file =
      "5ffa0000"
      "0600"
      "612e74787400"
      "00100000"
      "fa5f0000";
  const std::string chat =
      "0300"
      "4d6500"
      "5ffa0000"
      "fa5f0000";
  struct Case {
    std::string block;
    Kind kind;
  };
  for (const auto& [block, kind] : {
           Case{relay_block("03", "010000" + file), Kind::File},
           Case{relay_block("03",
                            "0600"
                            "7465787400"
                            "00" +
                                file),
                Kind::File},
           Case{relay_block("02", "010000" + chat), Kind::Chat},
           Case{relay_block("1a", plugin(kFileGuid, file)), Kind::File},
           Case{relay_block("1a", plugin(kFileGuid, file, "6c6f6e6765722074657874")), Kind::File},
           Case{relay_block("1a", plugin(kChatGuid, chat)), Kind::Chat},
       }) {
    const auto relay = relayed(block);
    CHECK(relay.kind == kind);
    CHECK(relay.status == 0);
    CHECK(relay.port == Port{24570});
    CHECK_FALSE(relay.contradictory);
    // Every byte is needed.
    const auto cut = relayed(block.substr(0, block.size() - 2));
    CHECK(cut.kind == kind);
    CHECK_FALSE(cut.port);
  }
  CHECK(relayed(relay_block("03", "010000" + file, "0100")).status == 1);

  // Text, contacts, another plugin.
  for (const auto& block : {relay_block("01", "010000" + file), relay_block("13", "010000" + file),
                            relay_block("1a", plugin("be6b73050fc2104fa6de4db1e3564b0e", file))}) {
    CHECK(relayed(block).kind == Kind::Other);
    CHECK_FALSE(relayed(block).port);
  }
  // By GUID, not by name; and a plugin's length is its own.
  std::string longer = relay_block("1a", plugin(kFileGuid, file));
  longer.replace(longer.find("2900f0"), 4, "2a00");
  longer.insert(longer.find("46696c65"), "ff");
  CHECK(relayed(longer).port == Port{24570});
}

TEST_CASE("relay: which port", "[oscar][icbm]") {
  const auto relay = [](const std::string& big, const std::string& little) {
    return relayed(relay_block("03", "010000" + big +
                                         "0000"
                                         "0000"
                                         "00100000" +
                                         little));
  };
  CHECK(relay("5ffa", "fa5f0000").port == Port{24570});
  CHECK(relay("0000", "fa5f0000").port == Port{24570});
  CHECK(relay("5ffa", "00000000").port == Port{24570});
  CHECK_FALSE(relay("0000", "00000000").port);
  CHECK_FALSE(relay("0000", "fa5f0100").port);  // refused, never cut down
  for (const auto& fits : {relay("5ffa", "fa5f0000"), relay("0000", "fa5f0000"), relay("5ffa", "00000000")})
    CHECK_FALSE(fits.contradictory);
  CHECK(relay("5ffa", "fb5f0000").contradictory);
  CHECK(relay("5ffa", "fb5f0000").port == Port{24570});
  CHECK(relay("5ffa", "fa5f0100").contradictory);
  CHECK(relay("5ffa", "5ffa0000").contradictory);  // both in one order
  // Junk in requests
  CHECK(relay("8c82", "828c0000").port == Port{0x8c82});

  const auto places = [](const std::string& big, const std::string& little) {
    const std::string block = relay_block("03", "010000" + big +
                                                    "0000"
                                                    "0000"
                                                    "00100000" +
                                                    little);
    return offer("2711" + hex16(block.size() / 2) + block, 0x1349).block_port_places;
  };
  CHECK(places("5ffa", "fa5f0000").size() == 2);
  CHECK(places("0000", "fa5f0000").size() == 1);
  CHECK(places("0000", "fa5f0000").front().form == Place::Form::PortLe);
  CHECK(places("5ffa", "fb5f0000").size() == 1);
  CHECK(places("0000", "00000000").empty());
}

TEST_CASE("relay: blocks of another shape", "[oscar][icbm]") {
  const std::string file =
      "0100005ffa0000000000100000"
      "fa5f0000";
  const std::string sound = relay_block("03", file);
  REQUIRE(relayed(sound).port == Port{24570});
  const auto none = [](const std::string& block) {
    return !offer("2711" + hex16(block.size() / 2) + block, 0x1349).relay;
  };
  CHECK(none(""));
  CHECK(none("1c" + sound.substr(2)));
  CHECK(none("001b" + sound.substr(4)));
  for (std::size_t size = 0; size < 54; ++size) CHECK(none(sound.substr(0, 2 * size)));
  // A text over the end, the largest included
  for (const auto* size : {"ff00", "ffff"}) {
    std::string block = sound;
    block.replace(2 * 51, 4, size);
    CHECK(none(block));
  }
  // A plugin's GUID in the first block: a query, no message. Its second block is longer.
  std::string query = sound;
  query.replace(2 * 19, 2, "01");
  CHECK(relayed(query).kind == Kind::Other);
  query = sound;
  query.replace(2 * 29, 4, "1200");
  query.insert(2 * 31, "00000000");
  CHECK(relayed(query).kind == Kind::Other);
  CHECK_FALSE(relayed(query).port);
  // Lengths of the plugin over the end
  std::string over = relay_block("1a", plugin(kFileGuid, "5ffa0000000000100000fa5f0000"));
  over.replace(over.find("2900f0"), 4, "ffff");
  CHECK_FALSE(relayed(over).port);
  over = relay_block("1a", plugin(kFileGuid, "5ffa0000000000100000fa5f0000"));
  over.replace(over.size() - 28 - 8, 8, "ffffffff");  // the description's
  CHECK(relayed(over).kind == Kind::File);
  CHECK_FALSE(relayed(over).port);
  // Only the relay has such a block.
  CHECK_FALSE(offer("2711" + hex16(sound.size() / 2) + sound).relay);
  CHECK_FALSE(offer("2711" + hex16(sound.size() / 2) + sound, 0x1344).relay);
}

TEST_CASE("client answers that are none", "[oscar][icbm]") {
  const auto body = [](std::uint16_t channel, std::string_view reason, const std::string& rest) {
    return Message{.channel = channel}.head() + from_hex(reason) + from_hex(rest);
  };
  const std::string file = relay_block("03",
                                       "0100005ffa0000000000100000"
                                       "fa5f0000");
  REQUIRE(parse_client_answer(body(2, "0003", file)));
  CHECK(parse_client_answer(body(2, "0003", file))->relay->port == Port{24570});
  CHECK_FALSE(parse_client_answer(body(1, "0003", file)));
  CHECK_FALSE(parse_client_answer(body(4, "0003", file)));
  CHECK_FALSE(parse_client_answer(body(2, "0002", file)));
  CHECK_FALSE(parse_client_answer(body(2, "0003", "")));
  // The failure record of a reverse request, from somebody whose UIN begins as a relay block does, too
  CHECK_FALSE(parse_client_answer(body(2, "0003", "a186010031750000f75f000008002f000000")));
  CHECK_FALSE(parse_client_answer(body(2, "0003", "1b00010031750000f75f000008002f000000")));
}

TEST_CASE("reverse: ports, sizes, copies", "[oscar][icbm]") {
  const auto reverse = [](const std::string& block) {
    return offer("2711" + hex16(block.size() / 2) + block, 0x1344);
  };
  const auto block = [](const std::string& port, const std::string& copy) {
    return "a1860100cb007105" + port + "0431750000" + copy + "08002f000000";
  };
  const std::string sound = block("f75f0000", "f75f0000");
  REQUIRE(sound.size() == 2 * 27);
  for (std::size_t size = 0; size < 27; ++size) {
    const auto cut = reverse(sound.substr(0, 2 * size));
    CHECK_FALSE(cut.reverse);
    CHECK(cut.address_places.empty());
    CHECK(cut.block_port_places.empty());
  }
  CHECK(reverse(sound + "0000").reverse->port == Port{24567});

  const auto none = reverse(block("00000000", "00000000"));
  CHECK_FALSE(none.reverse->port);
  CHECK_FALSE(none.reverse->bad_port);
  CHECK(none.block_port_places.empty());
  CHECK(none.address_places.size() == 1);
  const auto bad = reverse(block("f75f0100", "f75f0100"));
  CHECK_FALSE(bad.reverse->port);
  CHECK(bad.reverse->bad_port);
  CHECK(bad.block_port_places.empty());

  // The copy is a place if it is one, in either order, and decides nothing.
  CHECK(reverse(block("f75f0000", "f75f0000")).block_port_places.back().form == Place::Form::PortLe);
  CHECK(reverse(block("f75f0000", "00005ff7")).block_port_places.back().form == Place::Form::PortBe);
  for (const auto* other : {"00000000", "f85f0000", "5ff70000", "f75f0100"}) {
    const auto message = reverse(block("f75f0000", other));
    CHECK(message.reverse->port == Port{24567});
    CHECK(message.block_port_places.size() == 1);
    CHECK_FALSE(message.contradictory);
  }
  CHECK_FALSE(offer("2711001b" + sound).reverse);  // a file's
  CHECK_FALSE(offer("2711001b" + sound, 0x1349).reverse);
}

}  // namespace
}  // namespace icqgate::oscar
