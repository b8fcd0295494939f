// SPDX-License-Identifier: GPL-2.0-or-later
// Rendezvous: the vectors, what real clients sent, and what is written into the places is what is read then.
// Malformed and contradictory messages: icbm_traps_test.cpp.
#include "oscar/icbm.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "icbm_builder.hpp"
#include "vectors.hpp"

namespace icqgate::oscar {
namespace {

using namespace test;
using Form = Place::Form;
using Type = Rendezvous::Type;
using Kind = RelayMessage::Kind;
using Places = std::vector<Place>;

constexpr IcbmCookie kCookie = 0xa1a2a3a4a5a6a700;
constexpr Ipv4 kLan = make_ipv4(192, 168, 1, 20);

// Sent by libpurple and by the server it talked to; the names of the files are theirs.
constexpr std::string_view kPurpleOffer =
    "3338353531353400000206313030303032000300000005004d000033383535313534000946"
    "13434c7f11d18222444553540000000200040a4d010a000300040a4d010a00050002791800"
    "0a00020001000f00002711000f000100010000753073412e62696e00";
constexpr std::string_view kPurpleAccept =
    "33383535313534000002063130303030320005001a00023338353531353400094613434c7f"
    "11d18222444553540000";
constexpr std::string_view kPurpleOffered =
    "333835353135340000020631303030303200000007000300046b030cf9000100"
    "0200510006000410020000001d0009000100050201d20472000c002500000000"
    "0000000000000800000000000000500000000300000000000000000000000000"
    "00000d00a00138ca7b769a491588f213fc00979ea8094600004c7f11d1822244"
    "4553540000094613434c7f11d18222444553540000094613454c7f11d1822244"
    "4553540000094613464c7f11d18222444553540000094613494c7f11d1822244"
    "45535400000946134e4c7f11d182224445535400001a093c6cd7fd4ec59d51a6"
    "474e34f5a0563fc8090b6f41bd9f79422609dfa2f3748f2420628711d1822244"
    "4553540000001e0004000000000005005500003338353531353400094613434c"
    "7f11d18222444553540000000200040a4d0214000300040a4d0214000500027d"
    "00000a00020001000f00002711000f00010001000061a873422e62696e000004"
    "00040a4d0214";
// Licq: text on channel 1. climm: text through the relay, and the answer to it.
constexpr std::string_view kLicqText =
    "00000000000000000001063130303030340002001a050100010101010011000000007365727665722d412d746f2d42";
constexpr std::string_view kClimmText =
    "0000b7f9000027270002063130303030340005008000000000b7f90000272709"
    "4613494c7f11d18222444553540000000a00020001000f0000271100581b0008"
    "000000000000000000000000000000000000000300000000ffff0e00ffff0000"
    "000000000000000000000100000021001b0068656c6c6f207669612073657276"
    "6572206f72206469726563740000000000ffffff0000030000";
constexpr std::string_view kClimmAnswer =
    "0000b7f90000272700020631303030303400031b0008000000000000000000000000000000"
    "000000000300000000ffff0e00ffff00000000000000000000000001000000000001000000"
    "000000ffffff00";

TEST_CASE("G22: a client offers a file", "[oscar][icbm]") {
  const auto offer = parse_icbm(vector_body(kG22), IcbmDirection::FromClient);
  REQUIRE(offer);
  CHECK(offer->cookie == kCookie);
  CHECK(offer->type == Type::Request);
  CHECK(offer->capability == Capability::SendFile);
  CHECK(offer->other == Uin{200002});
  CHECK(offer->port == Port{5195});
  CHECK_FALSE(offer->swapped_port);
  CHECK_FALSE(offer->proxy);
  CHECK(offer->sequence == 1);
  CHECK(offer->address == kLan);
  CHECK(offer->own_address == kLan);
  CHECK_FALSE(offer->verified);
  CHECK_FALSE(offer->seen_at);
  CHECK_FALSE(offer->contradictory);
  CHECK_FALSE(offer->relay);
  CHECK_FALSE(offer->reverse);
  CHECK(offer->address_places == Places{{61, Form::Ip}, {69, Form::IpXor}, {77, Form::Ip}});
  CHECK(offer->port_places == Places{{85, Form::PortBe}, {91, Form::PortXorBe}});
  CHECK(offer->block_port_places.empty());
}

TEST_CASE("G23: with a proxy, the port is a PIN and nothing of it has a place", "[oscar][icbm]") {
  const auto offer = parse_icbm(vector_body(kG23), IcbmDirection::FromServer);
  REQUIRE(offer);
  CHECK(offer->cookie == kCookie);
  CHECK(offer->type == Type::Request);
  CHECK(offer->capability == Capability::SendFile);
  CHECK(offer->other == Uin{200002});
  CHECK(offer->proxy);
  CHECK(offer->port == Port{0x1234});
  CHECK(offer->sequence == 2);
  CHECK(offer->address == make_ipv4(198, 51, 100, 60));
  CHECK(offer->own_address == make_ipv4(10, 0, 0, 9));
  CHECK(offer->verified == make_ipv4(198, 51, 100, 7));
  CHECK_FALSE(offer->contradictory);
  CHECK(offer->port_places.empty());
  CHECK(offer->address_places == Places{{83, Form::Ip}});
}

TEST_CASE("G24: reverse connection request", "[oscar][icbm]") {
  const auto request = parse_icbm(vector_body(kG24), IcbmDirection::FromClient);
  REQUIRE(request);
  CHECK(request->capability == Capability::Reverse);
  CHECK(request->sequence == 1);
  CHECK(request->own_address == kLan);
  CHECK_FALSE(request->address);
  CHECK(request->port == Port{24567});
  CHECK(request->swapped_port == Port{0xf75f});
  REQUIRE(request->reverse);
  CHECK(request->reverse->uin == Uin{100001});
  CHECK(request->reverse->address == make_ipv4(203, 0, 113, 5));
  CHECK(request->reverse->port == Port{24567});
  CHECK_FALSE(request->reverse->bad_port);
  CHECK(request->reverse->version == 8);
  CHECK(request->reverse->connect_id == 0x2f);
  CHECK_FALSE(request->relay);
  CHECK(request->port_places == Places{{69, Form::PortBe}});
  CHECK(request->address_places == Places{{61, Form::Ip}, {79, Form::Ip}});
  CHECK(request->block_port_places == Places{{83, Form::PortLe}, {92, Form::PortLe}});
}

TEST_CASE("G25: a file accepted through the relay", "[oscar][icbm]") {
  const auto accept = parse_icbm(vector_body(kG25), IcbmDirection::FromClient);
  REQUIRE(accept);
  CHECK(accept->type == Type::Request);  // as Miranda and Licq have it; the sequence says answer
  CHECK(accept->capability == Capability::Relay);
  CHECK(accept->sequence == 2);
  CHECK(accept->port == Port{24567});
  REQUIRE(accept->relay);
  CHECK(accept->relay->kind == Kind::File);
  CHECK(accept->relay->status == 0);
  CHECK(accept->relay->port == Port{24570});
  CHECK_FALSE(accept->relay->contradictory);
  CHECK_FALSE(accept->contradictory);
  CHECK(accept->port_places == Places{{69, Form::PortBe}});
  CHECK(accept->block_port_places == Places{{181, Form::PortBe}, {192, Form::PortLe}});
}

TEST_CASE("G28: the same in the client's answer", "[oscar][icbm]") {
  const auto accept = parse_client_answer(vector_body(kG28));
  REQUIRE(accept);
  CHECK(accept->cookie == kCookie);
  CHECK(accept->other == Uin{200002});
  CHECK(accept->type == Type::Accept);
  CHECK(accept->capability == Capability::Relay);
  CHECK(accept->sequence == 0);
  CHECK_FALSE(accept->port);
  REQUIRE(accept->relay);
  CHECK(accept->relay->kind == Kind::File);
  CHECK(accept->relay->port == Port{24570});
  CHECK(accept->block_port_places == Places{{125, Form::PortBe}, {136, Form::PortLe}});
  CHECK(accept->port_places.empty());
  CHECK(accept->address_places.empty());
}

TEST_CASE("a body is read as its own SNAC only", "[oscar][icbm]") {
  // Read as the other direction, UIN and user info do not fit, and the answer has no TLVs.
  for (const auto vector : {kG22, kG24, kG25, kG28})
    CHECK_FALSE(parse_icbm(vector_body(vector), IcbmDirection::FromServer));
  CHECK_FALSE(parse_icbm(vector_body(kG28), IcbmDirection::FromClient));
  for (const auto vector : {kG22, kG23, kG24, kG25}) CHECK_FALSE(parse_client_answer(vector_body(vector)));
}

TEST_CASE("libpurple offers, is offered, accepts", "[oscar][icbm]") {
  const auto offer = parse_icbm(from_hex(kPurpleOffer), IcbmDirection::FromClient);
  REQUIRE(offer);
  CHECK(offer->cookie == 0x3338353531353400);
  CHECK(offer->type == Type::Request);
  CHECK(offer->capability == Capability::SendFile);
  CHECK(offer->other == Uin{100002});
  CHECK(offer->port == Port{31000});
  CHECK(offer->address == make_ipv4(10, 77, 1, 10));
  CHECK(offer->own_address == make_ipv4(10, 77, 1, 10));
  CHECK_FALSE(offer->contradictory);  // no XOR copies at all
  CHECK(offer->port_places.size() == 1);
  CHECK(offer->address_places.size() == 2);

  const auto accept = parse_icbm(from_hex(kPurpleAccept), IcbmDirection::FromClient);
  REQUIRE(accept);
  CHECK(accept->type == Type::Accept);
  CHECK(accept->cookie == offer->cookie);
  CHECK_FALSE(accept->port);

  const auto offered = parse_icbm(from_hex(kPurpleOffered), IcbmDirection::FromServer);
  REQUIRE(offered);
  CHECK(offered->type == Type::Request);
  CHECK(offered->capability == Capability::SendFile);
  CHECK(offered->other == Uin{100002});
  CHECK(offered->port == Port{32000});
  CHECK(offered->address == make_ipv4(10, 77, 2, 20));
  CHECK(offered->verified == make_ipv4(10, 77, 2, 20));
  CHECK_FALSE(offered->seen_at);
  CHECK_FALSE(offered->contradictory);
}

TEST_CASE("text names no port", "[oscar][icbm]") {
  CHECK_FALSE(parse_icbm(from_hex(kLicqText), IcbmDirection::FromClient));
  CHECK_FALSE(parse_icbm(from_hex(kLicqText), IcbmDirection::FromServer));
  const auto text = parse_icbm(from_hex(kClimmText), IcbmDirection::FromClient);
  REQUIRE(text);
  CHECK(text->capability == Capability::Relay);
  const auto answer = parse_client_answer(from_hex(kClimmAnswer));
  REQUIRE(answer);
  CHECK(answer->other == Uin{100004});
  for (const auto& message : {*text, *answer}) {
    REQUIRE(message.relay);
    CHECK(message.relay->kind == Kind::Other);
    CHECK_FALSE(message.relay->port);
    CHECK(message.port_places.capacity() == 0);  // nothing was allocated
    CHECK(message.block_port_places.capacity() == 0);
    CHECK(message.address_places.capacity() == 0);
  }
}

TEST_CASE("user info before the rendezvous data", "[oscar][icbm]") {
  // 0x05 among the counted TLVs is "member since", whatever it holds; 0x0A the address the server sees.
  const Buffer data = Message{.tlvs = "00050002144b"}.data();
  const Buffer since = tlv(0x05, from_hex("3bc0f000"));
  const Buffer decoy = tlv(0x05, Message{.tlvs = "0005000201bd"}.data());
  const Buffer seen = tlv(0x0a, from_hex("c6336407"));
  const auto parse = [&](std::uint16_t count, const Buffer& counted) {
    const auto body = Message{}.head() + u16be(0) + u16be(count) + counted + tlv(0x05, data);
    return parse_icbm(body, IcbmDirection::FromServer);
  };
  for (const Buffer& counted : {since + seen, decoy + seen, seen + since}) {
    const auto message = parse(2, counted);
    REQUIRE(message);
    CHECK(message->port == Port{5195});
    CHECK(message->seen_at == make_ipv4(198, 51, 100, 7));
    CHECK_FALSE(message->contradictory);
  }
  CHECK_FALSE(parse(1, seen + since));  // what follows the counted ones is 0x05 indeed, but no rendezvous
  CHECK_FALSE(parse(4, since + seen));  // fewer than counted
}

// Writes another port and address into every place, as a rewriter does.
Buffer rewritten(Buffer body, const Places& places, Port port, Ipv4 address) {
  for (const auto& place : places) {
    const auto put = [&](std::size_t i, std::uint32_t value) { body.at(place.at + i) = std::byte(value); };
    switch (place.form) {
      case Form::PortBe:
      case Form::PortXorBe: {
        const std::uint32_t value = port.get() ^ (place.form == Form::PortXorBe ? 0xffffU : 0U);
        put(0, value >> 8);
        put(1, value & 0xff);
        break;
      }
      case Form::PortLe:
        put(0, port.get() & 0xffU);
        put(1, port.get() >> 8U);
        break;
      case Form::Ip:
      case Form::IpXor: {
        const std::uint32_t value = address.get() ^ (place.form == Form::IpXor ? ~0U : 0U);
        for (std::size_t i = 0; i < 4; ++i) put(i, value >> (24 - 8 * i) & 0xff);
        break;
      }
    }
  }
  return body;
}

// Equal but for what has places.
void check_alike(const Rendezvous& left, const Rendezvous& right) {
  CHECK(left.cookie == right.cookie);
  CHECK(left.type == right.type);
  CHECK(left.capability == right.capability);
  CHECK(left.other == right.other);
  CHECK(left.proxy == right.proxy);
  CHECK(left.sequence == right.sequence);
  CHECK(left.verified == right.verified);
  CHECK_FALSE(right.contradictory);
  CHECK(left.port_places == right.port_places);
  CHECK(left.block_port_places == right.block_port_places);
  CHECK(left.address_places == right.address_places);
  CHECK(left.relay.has_value() == right.relay.has_value());
  CHECK(left.reverse.has_value() == right.reverse.has_value());
}

TEST_CASE("what is written into the places is read again, and nothing else changes", "[oscar][icbm]") {
  constexpr Port kOther{0x9cd5};
  constexpr Ipv4 kOutside = make_ipv4(203, 0, 113, 77);
  // Miranda's copy of the port is big endian.
  const Buffer miranda =
      Message{.capability = 0x1344, .tlvs = "2711001ba1860100cb007105f75f0000040000753100005ff708002f000000"}
          .body();
  const auto parse_client = [](Bytes body) { return parse_icbm(body, IcbmDirection::FromClient); };
  const auto parse_server = [](Bytes body) { return parse_icbm(body, IcbmDirection::FromServer); };
  struct Case {
    Buffer body;
    std::optional<Rendezvous> (*parse)(Bytes);
  };
  for (const auto& [body, parse] :
       {Case{vector_body(kG22), parse_client}, Case{vector_body(kG23), parse_server},
        Case{vector_body(kG24), parse_client}, Case{vector_body(kG25), parse_client},
        Case{vector_body(kG28), parse_client_answer}, Case{miranda, parse_client},
        Case{from_hex(kPurpleOffer), parse_client}, Case{from_hex(kPurpleOffered), parse_server}}) {
    const auto before = parse(body);
    REQUIRE(before);

    auto after = parse(rewritten(body, before->port_places, kOther, kOutside));
    REQUIRE(after);
    check_alike(*before, *after);
    CHECK(after->port == (before->port_places.empty() ? before->port : kOther));
    CHECK(after->address == before->address);
    CHECK(after->own_address == before->own_address);
    if (after->relay) CHECK(after->relay->port == before->relay->port);
    if (after->reverse) CHECK(after->reverse->port == before->reverse->port);

    after = parse(rewritten(body, before->block_port_places, kOther, kOutside));
    REQUIRE(after);
    check_alike(*before, *after);
    CHECK(after->port == before->port);
    if (after->relay) CHECK(after->relay->port == kOther);
    if (after->relay) CHECK_FALSE(after->relay->contradictory);
    if (after->reverse) CHECK(after->reverse->port == kOther);

    after = parse(rewritten(body, before->address_places, kOther, kOutside));
    REQUIRE(after);
    check_alike(*before, *after);
    CHECK(after->port == before->port);
    if (before->own_address) CHECK(after->own_address == kOutside);
    if (before->address) CHECK(after->address == (before->proxy ? before->address : kOutside));
    if (after->reverse) CHECK(after->reverse->address == kOutside);
  }
}

TEST_CASE("Licq's little-endian port", "[oscar][icbm]") {
  const Buffer body = Message{.capability = 0x1349, .tlvs = "000a0002000200050002f75f"}.body();
  auto message = parse_icbm(body, IcbmDirection::FromClient);
  REQUIRE(message);
  CHECK(message->port == Port{0xf75f});
  CHECK(message->swapped_port == Port{24567});
  message->use_swapped_port();
  CHECK(message->port == Port{24567});
  CHECK_FALSE(message->swapped_port);
  REQUIRE(message->port_places.size() == 1);
  CHECK(message->port_places.front().form == Form::PortLe);
  message->use_swapped_port();  // there is none any more
  CHECK(message->port == Port{24567});
  // Written as the place says, it reads as the other number until it is swapped.
  auto again = parse_icbm(rewritten(body, message->port_places, Port{40001}, {}), IcbmDirection::FromClient);
  REQUIRE(again);
  CHECK(again->swapped_port == Port{40001});

  const auto swapped = [](std::uint16_t capability, std::string_view tlvs) {
    return parse_icbm(Message{.capability = capability, .tlvs = std::string{tlvs}}.body(),
                      IcbmDirection::FromClient)
        ->swapped_port;
  };
  CHECK(swapped(0x1344, "00050002f75f") == Port{24567});
  CHECK(swapped(0x1344, "000500020100") == Port{1});
  CHECK_FALSE(swapped(0x1343, "00050002f75f"));              // OFT is big endian everywhere
  CHECK_FALSE(swapped(0x1349, "000500025f5f"));              // the same either way
  CHECK_FALSE(swapped(0x1349, "000500020000"));              // none
  CHECK_FALSE(swapped(0x1349, "00050002f75f00100000"));      // a PIN
  CHECK_FALSE(swapped(0x1349, "00050002f75f0017000208a0"));  // Licq sends no copy
}

}  // namespace
}  // namespace icqgate::oscar
