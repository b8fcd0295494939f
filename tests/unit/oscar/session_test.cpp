// SPDX-License-Identifier: GPL-2.0-or-later
// Hellos, logins, redirects. Announcements and user info: user_info_test.cpp.
#include "oscar/session.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "oscar/flap.hpp"
#include "oscar/snac.hpp"
#include "vectors.hpp"

namespace icqgate::oscar {
namespace {

using test::from_hex;
using Buffer = std::vector<std::byte>;

constexpr std::string_view kCookieHex = "0102030405060708090a0b0c0d0e0f10";

Buffer payload(std::string_view hex) {
  const auto wire = from_hex(hex);
  const auto flap = parse_flap(wire);
  REQUIRE(flap);
  return Buffer(flap->payload.begin(), flap->payload.end());
}

Buffer snac_body(std::string_view hex) {
  const auto bytes = payload(hex);
  const auto snac = parse_snac(bytes);
  REQUIRE(snac);
  return Buffer(snac->body.begin(), snac->body.end());
}

bool equal(Bytes bytes, std::string_view hex) { return std::ranges::equal(bytes, from_hex(hex)); }

Buffer tlv(std::uint16_t type, std::string_view text) {
  ByteWriter writer;
  writer.u16be(type).u16be(static_cast<std::uint16_t>(text.size())).text(text);
  return std::move(writer).release();
}

Buffer operator+(Buffer left, const Buffer& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

std::optional<std::string> name_of(std::string_view text) {
  const auto target = parse_target(text);
  if (!target || !std::holds_alternative<std::string>(target->host)) return std::nullopt;
  return std::get<std::string>(target->host);
}

TEST_CASE("UINs are digits and nothing else", "[oscar][session]") {
  CHECK(parse_uin("100001") == Uin{100001});
  CHECK(parse_uin("00123") == Uin{123});
  CHECK(parse_uin("0000000000000000000000000000123") == Uin{123});
  CHECK(parse_uin(" 100 001  ") == Uin{100001});
  CHECK(parse_uin("1") == Uin{1});
  CHECK(parse_uin("4294967295") == Uin{4294967295});
  using namespace std::string_view_literals;
  for (const auto text : {""sv,
                          " "sv,
                          "0"sv,
                          "000"sv,
                          "4294967296"sv,
                          "42949672950"sv,
                          "18446744073709551617"sv,
                          "99999999999999999999999999999999"sv,
                          "-1"sv,
                          "+1"sv,
                          "100-001"sv,
                          "1.0"sv,
                          "0x10"sv,
                          "1e5"sv,
                          "100001\0"sv,
                          "\t1"sv,
                          "1\n"sv,
                          "Screen Name"sv,
                          "user@icq.example"sv,
                          "1a"sv,
                          "\xb2"sv}) {
    INFO(text);
    CHECK_FALSE(parse_uin(text));
  }
}

TEST_CASE("server hello: exactly the version", "[oscar][session]") {
  CHECK(parse_server_hello(payload(test::kG01)));
  for (const auto* hex :
       {"", "00", "000000", "00000000", "00000002", "01000000", "0000000100", "00000001000600020102"}) {
    CHECK_FALSE(parse_server_hello(from_hex(hex)));
  }
}

TEST_CASE("client hello with roasted password", "[oscar][session]") {
  const auto bytes = payload(test::kG02);
  const auto hello = parse_client_hello(bytes);
  REQUIRE(hello);
  CHECK(hello->uin == Uin{100001});
  CHECK(hello->names_user);
  CHECK(hello->has_password);
  CHECK(hello->cookie.empty());
}

TEST_CASE("client hello with cookie", "[oscar][session]") {
  const auto bytes = payload(test::kG10);
  const auto hello = parse_client_hello(bytes);
  REQUIRE(hello);
  CHECK_FALSE(hello->uin);
  CHECK_FALSE(hello->names_user);
  CHECK_FALSE(hello->has_password);
  CHECK(equal(hello->cookie, kCookieHex));
}

TEST_CASE("client hello: the short forms, an AIM user, a wrong version", "[oscar][session]") {
  for (const auto* hex : {"00000001", "000000018003000400100000", "0000000100"}) {
    const auto bytes = from_hex(hex);
    const auto hello = parse_client_hello(bytes);
    REQUIRE(hello);
    CHECK_FALSE(hello->names_user);
    CHECK_FALSE(hello->has_password);
    CHECK(hello->cookie.empty());
  }
  const auto aim = from_hex("00000001") + tlv(0x01, "Screen Name");
  REQUIRE(parse_client_hello(aim));
  CHECK(parse_client_hello(aim)->names_user);
  CHECK_FALSE(parse_client_hello(aim)->uin);
  for (const auto* hex : {"", "000000", "00000002", "01000000", "00000000000100063130"})
    CHECK_FALSE(parse_client_hello(from_hex(hex)));
}

TEST_CASE("client hello cut anywhere behind its version keeps the whole TLVs", "[oscar][session]") {
  const auto bytes = payload(test::kG02);  // UIN ends at 14, password at 24
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    const auto hello = parse_client_hello(Bytes{bytes}.first(cut));
    REQUIRE(hello.has_value() == (cut >= 4));
    if (!hello) continue;
    CHECK(hello->uin.has_value() == (cut >= 14));
    CHECK(hello->has_password == (cut >= 24));
  }
}

TEST_CASE("UIN of the MD5 login", "[oscar][session]") {
  CHECK(parse_login_uin(snac_body(test::kG07)) == Uin{100001});
  CHECK(parse_login_uin(snac_body(test::kG09)) == Uin{100001});
  CHECK_FALSE(parse_login_uin(snac_body(test::kG08)));
  CHECK_FALSE(parse_login_uin({}));
  CHECK(parse_login_uin(tlv(0x01, "00123")) == Uin{123});
  CHECK_FALSE(parse_login_uin(tlv(0x01, "screenname") + tlv(0x01, "100001")));  // the first counts
}

TEST_CASE("targets: addresses and names, with and without port", "[oscar][session]") {
  const IpAddress address{make_ipv4(198, 51, 100, 25)};
  CHECK(parse_target("198.51.100.25") == Target{address, std::nullopt});
  CHECK(parse_target("198.51.100.25:5190") == Target{address, Port{5190}});
  CHECK(parse_target("bos.icq.example") == Target{"bos.icq.example", std::nullopt});
  CHECK(parse_target("bos.icq.example:1") == Target{"bos.icq.example", Port{1}});
  CHECK(parse_target("bos.icq.example:65535") == Target{"bos.icq.example", Port{65535}});
  CHECK(parse_target("BOS-D001b.ICQ.Example.:443") == Target{"bos-d001b.icq.example", Port{443}});
  CHECK(parse_target("localhost") == Target{"localhost", std::nullopt});
  CHECK(parse_target("my_host.lan") == Target{"my_host.lan", std::nullopt});
  CHECK(parse_target("123.example") == Target{"123.example", std::nullopt});
  using namespace std::string_view_literals;
  CHECK(parse_target("198.51.100.25:5190\0 \0"sv) == Target{address, Port{5190}});
  CHECK(parse_target("bos.icq.example  "sv) == Target{"bos.icq.example", std::nullopt});
}

TEST_CASE("targets: what is neither a dotted quad nor a DNS name", "[oscar][session]") {
  using namespace std::string_view_literals;
  for (const auto text : {""sv,
                          " "sv,
                          "\0"sv,
                          ":"sv,
                          ":5190"sv,
                          "."sv,
                          ".."sv,
                          ".:80"sv,
                          "host:0"sv,
                          "host:65536"sv,
                          "host:99999"sv,
                          "host:123456"sv,
                          "host:"sv,
                          "host:x"sv,
                          "host:+5"sv,
                          "host:-5"sv,
                          "host: 5"sv,
                          "host:5190:5190"sv,
                          "1.2.3"sv,
                          "1.2.3.4.5"sv,
                          "1.2.3.4."sv,
                          "256.1.1.1"sv,
                          "1.2.3.4:0"sv,
                          "010.1.1.1"sv,
                          "1"sv,
                          "2130706433"sv,
                          "2130706433:5190"sv,
                          "1..2"sv,
                          "a..b"sv,
                          ".a"sv,
                          "a.."sv,
                          "::1"sv,
                          "2001:db8::1"sv,
                          "[2001:db8::1]:5190"sv,
                          "::ffff:1.2.3.4"sv,
                          "a b"sv,
                          " host"sv,
                          "host/path"sv,
                          "user@host"sv,
                          "a\0b"sv,
                          "h\xc3\xb6st"sv,
                          "0x7f.1"sv,
                          "0x7f000001"sv,
                          "0X7F.0X1"sv,
                          "127.0.0.0x1"sv,
                          "host.1"sv,
                          "a.0x"sv,
                          "*.icq.example"sv,
                          "http://icq.example"sv}) {
    INFO(text);
    CHECK_FALSE(parse_target(text));
  }
}

TEST_CASE("targets: lengths of names and labels", "[oscar][session]") {
  const std::string label(63, 'a');
  CHECK(name_of(label) == label);
  CHECK_FALSE(name_of(label + "a"));
  const std::string longest = label + '.' + label + '.' + label + '.' + std::string(61, 'b');
  REQUIRE(longest.size() == 253);
  CHECK(name_of(longest) == longest);
  CHECK(name_of(longest + ".") == longest);
  CHECK(name_of(longest + ".:5190") == longest);
  CHECK_FALSE(name_of(longest + "b"));
  CHECK_FALSE(name_of(std::string(60000, 'a')));
  CHECK_FALSE(name_of(std::string(60000, '1')));
}

TEST_CASE("login reply on channel 4, address and port", "[oscar][session]") {
  const auto bytes = payload(test::kG03);
  const auto reply = parse_login_reply(bytes);
  CHECK(reply.uin == Uin{100001});
  CHECK(reply.target == Target{IpAddress{make_ipv4(198, 51, 100, 25)}, Port{5190}});
  CHECK(equal(reply.cookie, kCookieHex));
  CHECK(reply.redirects());
  CHECK_FALSE(reply.bad_target);
  CHECK_FALSE(reply.error);
  CHECK_FALSE(reply.closed);
  CHECK_FALSE(reply.tls);
}

TEST_CASE("login replies in SNAC (17,03)", "[oscar][session]") {
  const auto with_port = snac_body(test::kG04);
  const auto reply = parse_login_reply(with_port);
  CHECK(reply.uin == Uin{100001});
  CHECK(reply.target == Target{"bos-d001b-rdr4.icq.example", Port{443}});
  CHECK(equal(reply.cookie, kCookieHex));
  CHECK(reply.redirects());
  CHECK_FALSE(reply.tls);

  const auto without_port = snac_body(test::kG05);
  CHECK(parse_login_reply(without_port).target == Target{"bos.icq.example", std::nullopt});
  CHECK(parse_login_reply(without_port).redirects());
}

TEST_CASE("login reply with an error has no redirect", "[oscar][session]") {
  const auto bytes = payload(test::kG06);
  const auto reply = parse_login_reply(bytes);
  CHECK(reply.uin == Uin{100001});
  CHECK(reply.error == 5);
  CHECK_FALSE(reply.target);
  CHECK_FALSE(reply.bad_target);
  CHECK_FALSE(reply.redirects());
}

TEST_CASE("a redirect needs target and cookie, whatever else is there", "[oscar][session]") {
  const auto address = tlv(0x05, "198.51.100.25:5190");
  const auto cookie = tlv(0x06, "cookie");
  const Buffer soft_error = tlv(0x08, std::string_view{"\x00\x1c", 2});
  CHECK(parse_login_reply(cookie + address).redirects());
  CHECK(parse_login_reply(soft_error + address + cookie).redirects());
  CHECK(parse_login_reply(soft_error + address + cookie).error == 0x1c);
  CHECK_FALSE(parse_login_reply(address).redirects());
  CHECK_FALSE(parse_login_reply(cookie).redirects());
  CHECK_FALSE(parse_login_reply(address + tlv(0x06, "")).redirects());
  const auto bad = parse_login_reply(tlv(0x05, "1.2.3") + cookie);
  CHECK(bad.bad_target);
  CHECK_FALSE(bad.redirects());
  // The first of doubled TLVs counts, even when it does not parse.
  CHECK(parse_login_reply(tlv(0x05, "x:0") + address + cookie).bad_target);
  CHECK(parse_login_reply(address + tlv(0x05, "evil.example") + cookie).target ==
        Target{IpAddress{make_ipv4(198, 51, 100, 25)}, Port{5190}});
}

TEST_CASE("session closed by the server, TLS state, short numbers", "[oscar][session]") {
  CHECK(parse_login_reply(tlv(0x09, std::string_view{"\x00\x01", 2})).closed == 1);
  CHECK(parse_login_reply(tlv(0x08, "")).error == 0);  // there, so it is an error
  CHECK_FALSE(parse_login_reply({}).error);
  CHECK_FALSE(parse_login_reply({}).closed);
  CHECK_FALSE(parse_login_reply(tlv(0x8e, std::string_view{"\0", 1})).tls);
  CHECK(parse_login_reply(tlv(0x8e, "\x01")).tls);
  CHECK(parse_login_reply(tlv(0x8e, "\x02")).tls);
  CHECK_FALSE(parse_login_reply(tlv(0x8e, "\x03")).tls);
  CHECK_FALSE(parse_login_reply(tlv(0x8e, "")).tls);
}

TEST_CASE("login reply cut anywhere keeps the whole TLVs", "[oscar][session]") {
  const auto bytes = payload(test::kG03);  // UIN ends at 10, address at 32, cookie at 52
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    const auto reply = parse_login_reply(Bytes{bytes}.first(cut));
    CHECK(reply.uin.has_value() == (cut >= 10));
    CHECK(reply.target.has_value() == (cut >= 32));
    CHECK(reply.redirects() == (cut >= 52));
  }
}

TEST_CASE("service redirects", "[oscar][session]") {
  const auto icons = snac_body(test::kG11);
  const auto redirect = parse_service_redirect(icons);
  REQUIRE(redirect);
  CHECK(redirect->family == 0x10);
  CHECK(redirect->target == Target{IpAddress{make_ipv4(198, 51, 100, 40)}, Port{5190}});
  CHECK(equal(redirect->cookie, kCookieHex));
  CHECK_FALSE(redirect->tls);

  const auto chat = snac_body(test::kG12);
  const auto named = parse_service_redirect(chat);
  REQUIRE(named);
  CHECK(named->family == 0x0d);
  CHECK(named->target == Target{"chat.icq.example", std::nullopt});
  CHECK_FALSE(named->tls);

  // Cut inside the last TLV: the TLS state is missing, the redirect stands. Before that: none.
  for (std::size_t cut = 0; cut <= icons.size(); ++cut)
    CHECK(parse_service_redirect(Bytes{icons}.first(cut)).has_value() == (cut == icons.size()));
  CHECK(parse_service_redirect(Bytes{chat}.first(chat.size() - 1)));
}

TEST_CASE("a service redirect needs family, target and cookie", "[oscar][session]") {
  const auto family = tlv(0x0d, std::string_view{"\x00\x10", 2});
  const auto address = tlv(0x05, "198.51.100.40");
  const auto cookie = tlv(0x06, "cookie");
  CHECK(parse_service_redirect(cookie + address + family));
  CHECK(parse_service_redirect(family + address + cookie + tlv(0x8e, "\x01"))->tls);
  CHECK_FALSE(parse_service_redirect(address + cookie));
  CHECK_FALSE(parse_service_redirect(family + cookie));
  CHECK_FALSE(parse_service_redirect(family + address));
  CHECK_FALSE(parse_service_redirect(family + address + tlv(0x06, "")));
  CHECK_FALSE(parse_service_redirect(tlv(0x0d, "\x10") + address + cookie));
  CHECK_FALSE(parse_service_redirect(family + tlv(0x05, "host:0") + cookie));
}

TEST_CASE("migration notices, with and without family list", "[oscar][session]") {
  const auto listed = snac_body(test::kG13);
  const auto migration = parse_migration(listed);
  REQUIRE(migration);
  CHECK(migration->target == Target{IpAddress{make_ipv4(198, 51, 100, 41)}, Port{5190}});
  CHECK(equal(migration->cookie, kCookieHex));
  CHECK_FALSE(migration->tls);
  for (std::size_t cut = 0; cut < listed.size(); ++cut)
    CHECK_FALSE(parse_migration(Bytes{listed}.first(cut)));

  const auto all = snac_body(test::kG14);
  REQUIRE(parse_migration(all));
  CHECK(parse_migration(all)->target == Target{IpAddress{make_ipv4(198, 51, 100, 42)}, std::nullopt});
  for (std::size_t cut = 0; cut < all.size(); ++cut) CHECK_FALSE(parse_migration(Bytes{all}.first(cut)));
}

TEST_CASE("a migration notice needs its family list, target and cookie", "[oscar][session]") {
  const auto none = from_hex("0000");
  const auto address = tlv(0x05, "198.51.100.41");
  const auto cookie = tlv(0x06, "cookie");
  CHECK(parse_migration(none + cookie + address));
  CHECK(parse_migration(none + address + cookie + tlv(0x8e, "\x02"))->tls);
  CHECK_FALSE(parse_migration(from_hex("ffff") + address + cookie));
  CHECK_FALSE(parse_migration(none + address));
  CHECK_FALSE(parse_migration(none + cookie));
  CHECK_FALSE(parse_migration(none + address + tlv(0x06, "")));
  CHECK_FALSE(parse_migration(none + tlv(0x05, "1.2.3") + cookie));
  CHECK_FALSE(parse_migration({}));
}

}  // namespace
}  // namespace icqgate::oscar
