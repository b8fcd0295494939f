// SPDX-License-Identifier: GPL-2.0-or-later
// Direct connection info, status updates and user info blocks.
#include <catch2/catch.hpp>
#include <string_view>
#include <vector>

#include "oscar/flap.hpp"
#include "oscar/session.hpp"
#include "oscar/snac.hpp"
#include "vectors.hpp"

namespace icqgate::oscar {
namespace {

using test::from_hex;
using Buffer = std::vector<std::byte>;

constexpr std::string_view kFullInfo =
    "c0a8011400005ff70400081122334400000050000000033bc0f5313bc0f8443bc0f5270000";

Buffer snac_body(std::string_view hex) {
  const auto wire = from_hex(hex);
  const auto flap = parse_flap(wire);
  REQUIRE(flap);
  const auto snac = parse_snac(flap->payload);
  REQUIRE(snac);
  return Buffer(snac->body.begin(), snac->body.end());
}

Buffer operator+(Buffer left, const Buffer& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

TEST_CASE("direct connection info by length", "[oscar][direct]") {
  const auto full = from_hex(kFullInfo);
  REQUIRE(full.size() == 37);
  for (std::size_t size = 0; size <= full.size(); ++size) {
    const auto info = parse_direct_info(Bytes{full}.first(size));
    REQUIRE(info.has_value() == (size >= 8));
    if (!info) continue;
    CHECK(info->internal == make_ipv4(192, 168, 1, 20));
    CHECK(info->port == Port{24567});
    CHECK_FALSE(info->bad_port);
    CHECK_FALSE(info->all_zero);
    CHECK(info->type == (size >= 15 ? 4 : 0));
    CHECK(info->version == (size >= 15 ? 8 : 0));
    CHECK(info->cookie.has_value() == (size >= 15));
    if (info->cookie) CHECK(*info->cookie == 0x11223344);
  }
  CHECK(parse_direct_info(full + Buffer(100))->cookie == 0x11223344);
}

TEST_CASE("direct connection info: ports at their limits", "[oscar][direct]") {
  const auto info = [](std::string_view port) {
    return *parse_direct_info(from_hex(std::string{"c0a80114"}.append(port)));
  };
  CHECK_FALSE(info("00000000").port);
  CHECK_FALSE(info("00000000").bad_port);
  CHECK(info("00000001").port == Port{1});
  CHECK(info("0000ffff").port == Port{65535});
  for (const auto* port : {"00010000", "00015ff7", "5ff70000", "ffffffff"}) {
    CHECK_FALSE(info(port).port);
    CHECK(info(port).bad_port);
  }
}

TEST_CASE("the all-zero dummy, and the dummy that is not all zero", "[oscar][direct]") {
  for (const std::size_t size : {8U, 15U, 37U}) {
    Buffer zero(size);
    CHECK(parse_direct_info(zero)->all_zero);
    zero.back() = std::byte{1};
    CHECK_FALSE(parse_direct_info(zero)->all_zero);
  }
}

TEST_CASE("status updates of the vectors", "[oscar][status]") {
  const auto announced = parse_status_update(snac_body(test::kG16));
  REQUIRE(announced.direct);
  CHECK(announced.direct->internal == make_ipv4(192, 168, 1, 20));
  CHECK(announced.direct->port == Port{24567});
  CHECK(announced.direct->type == 4);
  CHECK(announced.direct->version == 8);
  CHECK(announced.direct->cookie == 0x11223344);
  CHECK_FALSE(announced.contradictory);
  CHECK_FALSE(announced.truncated);

  CHECK_FALSE(parse_status_update(snac_body(test::kG17)).direct);
  CHECK_FALSE(parse_status_update(snac_body(test::kG17)).truncated);

  const auto none = parse_status_update(snac_body(test::kG18));
  REQUIRE(none.direct);
  CHECK_FALSE(none.direct->port);
  CHECK_FALSE(none.direct->bad_port);
  CHECK(none.direct->type == 0);
  CHECK(none.direct->version == 8);
  CHECK(none.direct->cookie == 0U);
  CHECK_FALSE(none.direct->all_zero);

  const auto socks = parse_status_update(snac_body(test::kG19));
  REQUIRE(socks.direct);
  CHECK(socks.direct->port == Port{24567});
  CHECK(socks.direct->type == 2);
  CHECK(socks.direct->version == 7);

  const auto behind_block = parse_status_update(snac_body(test::kG20));
  REQUIRE(behind_block.direct);
  CHECK(behind_block.direct->port == Port{24567});
  CHECK(behind_block.direct->version == 10);
}

TEST_CASE("broken status updates of the vectors", "[oscar][status]") {
  const auto high_port = parse_status_update(snac_body(test::kC01));
  REQUIRE(high_port.direct);
  CHECK(high_port.direct->bad_port);
  CHECK_FALSE(high_port.direct->port);

  const auto cut = parse_status_update(snac_body(test::kC02));
  CHECK_FALSE(cut.direct);
  CHECK(cut.truncated);

  const auto shorter = parse_status_update(snac_body(test::kC03));
  REQUIRE(shorter.direct);
  CHECK(shorter.direct->port == Port{24567});
  CHECK(shorter.direct->cookie == 0x11223344);
  CHECK_FALSE(shorter.truncated);
}

TEST_CASE("the FLAP behind a truncated TLV is parsed", "[oscar][status]") {
  const auto stream = from_hex(test::kC02) + from_hex(test::kC03);
  FlapReader reader;
  reader.feed(stream);
  REQUIRE(reader.next());
  const auto second = reader.next();
  REQUIRE(second);
  CHECK(parse_status_update(parse_snac(second->flap.payload)->body).direct->port == Port{24567});
}

TEST_CASE("two announcements in one status update", "[oscar][status]") {
  const auto one = from_hex(std::string{"000c0025"}.append(kFullInfo));
  auto other = one;
  other[4 + 7] = std::byte{0xf8};  // port 24568
  CHECK_FALSE(parse_status_update(one).contradictory);
  CHECK_FALSE(parse_status_update(one + one).contradictory);
  CHECK(parse_status_update(one + one).direct->port == Port{24567});
  CHECK(parse_status_update(one + other).contradictory);
  CHECK(parse_status_update(one + other).direct->port == Port{24567});  // the first
  CHECK(parse_status_update(one + one + other).contradictory);
  CHECK(parse_status_update(one + from_hex("000600040000000000") + Buffer{}).truncated == false);
  const auto brief = from_hex("000c0008c0a8011400005ff7");  // the same port, other bytes
  CHECK(parse_status_update(one + brief).contradictory);
  // Too short to say anything, but there: a longer one behind it does not take its place unnoticed.
  const auto stub = from_hex("000c0004c0a80114");
  CHECK_FALSE(parse_status_update(stub).direct);
  CHECK_FALSE(parse_status_update(stub).contradictory);
  CHECK(parse_status_update(stub + one).contradictory);
  CHECK_FALSE(parse_status_update(stub + one).direct);
}

TEST_CASE("a status update cut anywhere announces all or nothing", "[oscar][status]") {
  const auto body = snac_body(test::kG16);
  for (std::size_t cut = 0; cut <= body.size(); ++cut) {
    const auto update = parse_status_update(Bytes{body}.first(cut));
    CHECK(update.direct.has_value() == (cut == body.size()));
    CHECK_FALSE(update.contradictory);
  }
}

TEST_CASE("self info", "[oscar][user]") {
  const auto body = snac_body(test::kG15);
  const auto self = parse_self_info(body);
  REQUIRE(self);
  CHECK(self->uin == Uin{100001});
  CHECK(self->external == make_ipv4(203, 0, 113, 5));
  REQUIRE(self->direct);
  CHECK(self->direct->all_zero);
  CHECK_FALSE(self->direct->port);
  for (std::size_t cut = 0; cut < body.size(); ++cut) CHECK_FALSE(parse_self_info(Bytes{body}.first(cut)));
  // More sessions of the same user follow; the first counts.
  const auto more = parse_self_info(body + snac_body(test::kG21));
  REQUIRE(more);
  CHECK(more->uin == Uin{100001});
}

TEST_CASE("a buddy comes online", "[oscar][user]") {
  const auto body = snac_body(test::kG21);
  const auto buddies = parse_buddies(body);
  REQUIRE(buddies.size() == 1);
  CHECK(buddies[0].uin == Uin{200002});
  CHECK(buddies[0].external == make_ipv4(198, 51, 100, 7));
  REQUIRE(buddies[0].direct);
  CHECK(buddies[0].direct->internal == make_ipv4(10, 0, 0, 9));
  CHECK(buddies[0].direct->port == Port{30001});
  CHECK(buddies[0].direct->cookie == 0x55667788);
  CHECK(buddies[0].direct->version == 8);
  CHECK(buddies[0].direct->type == 4);
}

TEST_CASE("many blocks in one body; a malformed one keeps those before it", "[oscar][user]") {
  const auto one = snac_body(test::kG21);
  const auto status_only = from_hex("06313030303033000000010006000400000000");
  const auto body = one + status_only + one;
  const auto buddies = parse_buddies(body);
  REQUIRE(buddies.size() == 3);
  CHECK(buddies[0].uin == Uin{200002});
  CHECK(buddies[1].uin == Uin{100003});
  CHECK_FALSE(buddies[1].direct);  // a status change only
  CHECK_FALSE(buddies[1].external);
  CHECK(buddies[2].direct->cookie == 0x55667788);
  for (std::size_t cut = 0; cut <= body.size(); ++cut) {
    const auto size = parse_buddies(Bytes{body}.first(cut)).size();
    const std::size_t first = one.size();
    const std::size_t second = first + status_only.size();
    CHECK(size == (cut == body.size() ? 3U : cut >= second ? 2U : cut >= first ? 1U : 0U));
  }
}

TEST_CASE("user info: only the counted TLVs belong to the block", "[oscar][user]") {
  // Count 0, and a TLV 0x0A behind it that would belong to nobody.
  const auto uncounted = from_hex(
      "06313030303033"
      "0000"
      "0000"
      "000a0004c6336407");
  const auto info = parse_self_info(uncounted);
  REQUIRE(info);
  CHECK_FALSE(info->external);
  // Count 2, one there.
  CHECK_FALSE(
      parse_self_info(from_hex("06313030303033"
                               "0000"
                               "0002"
                               "000a0004c6336407")));
  CHECK_FALSE(
      parse_self_info(from_hex("06313030303033"
                               "0000"
                               "ffff"
                               "000a0004c6336407")));
}

TEST_CASE("user info: names, doubled and odd TLVs", "[oscar][user]") {
  const auto aim =
      parse_self_info(from_hex("04416e6e61"
                               "0000"
                               "0000"));
  REQUIRE(aim);
  CHECK_FALSE(aim->uin);
  CHECK_FALSE(
      parse_self_info(from_hex("00"
                               "0000"
                               "0000")));
  CHECK(parse_buddies(Buffer(9000)).empty());  // padding is no endless list of nobodies
  CHECK_FALSE(parse_self_info({}));
  // TLV 0x0A twice: the first. One that is no address: none.
  const auto twice =
      parse_self_info(from_hex("0131"
                               "0000"
                               "0002"
                               "000a0004c6336407"
                               "000a00040a000009"));
  REQUIRE(twice);
  CHECK(twice->uin == Uin{1});
  CHECK(twice->external == make_ipv4(198, 51, 100, 7));
  const auto two_infos =
      parse_self_info(from_hex("0131"
                               "0000"
                               "0002"
                               "000c0008c0a8011400005ff7"
                               "000c0008c0a8011400005ff8"));
  REQUIRE(two_infos);
  CHECK(two_infos->direct->port == Port{24567});
  const auto odd =
      parse_self_info(from_hex("0131"
                               "0000"
                               "0002"
                               "000a0003c63364"
                               "000c0007c0a80114000001"));
  REQUIRE(odd);
  CHECK_FALSE(odd->external);
  CHECK_FALSE(odd->direct);
}

}  // namespace
}  // namespace icqgate::oscar
