// SPDX-License-Identifier: GPL-2.0-or-later
// The main job's first half: login, redirect, session (protocol.md 1, 3).
#include <catch2/catch.hpp>

#include "connection.hpp"

using namespace icqgate;
using namespace icqgate::test;
using Kind = Verdict::Kind;

namespace {

bool allowed(const Gateway& gateway, Endpoint server, Ipv4 client = kClient) {
  return gateway.model.holds(nft::Element::server(client, server), gateway.now);
}

}  // namespace

TEST_CASE("the login host's addresses are asked for and allowed", "[engine][login]") {
  Gateway gateway;
  REQUIRE(gateway.asked.size() == 2);  // A and AAAA
  CHECK(gateway.live(nft::SetId::Login4) == 0);
  gateway.answer_login();
  CHECK(gateway.live(nft::SetId::Login4) == 2);
  CHECK(gateway.count(What::AddressAdded) == 2);
}

TEST_CASE("login A: the reply on channel 4 opens the way to the BOS server", "[engine][login]") {
  Ready gateway;
  Connection flow{gateway, {kClient, Port{4000}}, {kLogin, kOscar}};
  REQUIRE(flow.open());
  CHECK(flow.wan(wire::server_hello()).verdict == Kind::Pass);
  CHECK(flow.lan(wire::login_a(kUser)).verdict == Kind::Pass);
  CHECK(gateway.count(What::LoginSeen) == 1);
  CHECK_FALSE(allowed(gateway, {kBos, kOscar}));
  // The fixture holds the order: element, then verdict.
  CHECK(flow.wan(wire::reply_a(kUser, "198.51.100.25:5190", "cookie")).verdict == Kind::Pass);
  CHECK(allowed(gateway, {kBos, kOscar}));
  CHECK_FALSE(allowed(gateway, {kBos, kOscar}, kOther));
  CHECK(gateway.count(What::Redirected) == 1);
}

TEST_CASE("login B: the reply in SNAC (17,03)", "[engine][login]") {
  Ready gateway;
  Connection flow{gateway, {kClient, Port{4000}}, {kLogin, kOscar}};
  REQUIRE(flow.open());
  flow.lan(wire::plain_hello());  // before the server's hello, as Pidgin does (protocol.md 1.2)
  flow.wan(wire::server_hello());
  flow.lan(wire::key_request(kUser));
  flow.wan(wire::key());
  flow.lan(wire::login_b(kUser));
  flow.wan(wire::reply_b(kUser, "198.51.100.25:443", "cookie"));
  CHECK(allowed(gateway, {kBos, Port{443}}));
  CHECK(gateway.count(What::FlowBlind) == 0);
}

TEST_CASE("every cut of the login's segments teaches the same", "[engine][login]") {
  const std::size_t size = GENERATE(1u, 2u, 3u, 5u, 6u, 7u, 40u);
  Ready gateway;
  Connection flow{gateway, {kClient, Port{4000}}, {kLogin, kOscar}};
  REQUIRE(flow.open());
  flow.pieces(Side::Wan, wire::server_hello(), size);
  flow.pieces(Side::Lan, wire::login_a(kUser), size);
  const auto reply = wire::reply_a(kUser, "198.51.100.25:5190", "cookie");
  flow.pieces(Side::Wan, wire::part(reply, 0, reply.size() - 1), size);
  CHECK_FALSE(allowed(gateway, {kBos, kOscar}));
  flow.wan(wire::part(reply, reply.size() - 1, 1));
  CHECK(allowed(gateway, {kBos, kOscar}));
}

TEST_CASE("a redirect without port means the port of the connection it came on", "[engine][login]") {
  Ready gateway;
  login(gateway, {.target = "198.51.100.25"});
  CHECK(allowed(gateway, {kBos, kOscar}));
}

TEST_CASE("a redirect by name waits for the address", "[engine][login][name]") {
  Ready gateway;
  gateway.asked.clear();
  Connection flow{gateway, {kClient, Port{4000}}, {kLogin, kOscar}};
  REQUIRE(flow.open());
  flow.wan(wire::server_hello());
  flow.lan(wire::login_a(kUser));
  const auto reply = wire::reply_a(kUser, "bos.icq.example:5190", "cookie");
  const Outcome held = flow.wan(reply);
  const std::uint32_t id = gateway.last_packet();
  REQUIRE(held.held);
  REQUIRE(gateway.asked == std::vector<dns::Query>{{"bos.icq.example", dns::Type::A}});

  SECTION("answered") {
    gateway.pass(milliseconds{40});
    gateway.answer("bos.icq.example", {kBos});
    CHECK(gateway.verdict_of(Lane::Control, id) == Kind::Pass);
    CHECK(allowed(gateway, {kBos, kOscar}));
  }
  SECTION("sent again meanwhile: that waits as well, after the flow's end too") {
    CHECK(flow.at_offset(Side::Wan, -static_cast<int>(reply.size()), reply).held);
    flow.fin(Side::Wan);
    CHECK(flow.at_offset(Side::Wan, -static_cast<int>(reply.size()) - 1, reply).held);
    gateway.answer("bos.icq.example", {kBos});
    CHECK(gateway.held() == 0);
    CHECK(allowed(gateway, {kBos, kOscar}));
  }
  SECTION("never answered") {
    gateway.pass(milliseconds{1499});
    CHECK(gateway.held() == 1);
    gateway.pass(milliseconds{1});
    CHECK(gateway.verdict_of(Lane::Control, id) == Kind::Pass);
    CHECK(gateway.count(What::RedirectRefused, Reason::Unresolved) == 1);
    gateway.answer("bos.icq.example", {kBos});  // too late: nobody waits
    CHECK_FALSE(allowed(gateway, {kBos, kOscar}));
  }
  SECTION("refused by the resolver") {
    gateway.fail("bos.icq.example", "NXDOMAIN");
    CHECK(gateway.verdict_of(Lane::Control, id) == Kind::Pass);
    CHECK(gateway.count(What::RedirectRefused, Reason::Unresolved) == 1);
  }
  SECTION("an answer of the other type is not waited for") {
    gateway.answer("bos.icq.example", {}, seconds{60}, dns::Type::Aaaa);
    gateway.fail("bos.icq.example", "NODATA", dns::Type::Aaaa);
    CHECK(gateway.held() == 1);
    gateway.answer("bos.icq.example", {kBos});
    CHECK(gateway.held() == 0);
  }
  SECTION("to an inside address: attack (q) by name") {
    gateway.answer("bos.icq.example", {make_ipv4(192, 168, 1, 99), make_ipv4(192, 168, 9, 1), kOutside,
                                       make_ipv4(127, 0, 0, 1), make_ipv4(10, 1, 1, 1)});
    CHECK(gateway.held() == 0);
    CHECK(gateway.live(nft::SetId::Servers4) == 0);
    CHECK(gateway.count(What::RedirectRefused) == 1);
  }
  SECTION("a thousand addresses: capped") {
    std::vector<IpAddress> many;
    for (std::uint8_t i = 0; i < 250; ++i)
      for (std::uint8_t j = 0; j < 4; ++j) many.emplace_back(make_ipv4(198, 18, i, j));
    gateway.answer("bos.icq.example", many);
    CHECK(gateway.live(nft::SetId::Servers4) > 0);
    CHECK(gateway.live(nft::SetId::Servers4) <= 64);
  }
}

TEST_CASE("a redirect to a login host's own name survives the schedule's answers", "[engine][login][name]") {
  Gateway gateway;
  gateway.answer("login.icq.com", {kLogin});  // AAAA is still under way
  Connection flow{gateway, {kClient, Port{4000}}, {kLogin, kOscar}};
  REQUIRE(flow.open());
  flow.wan(wire::server_hello());
  flow.lan(wire::login_a(kUser));
  REQUIRE(flow.wan(wire::reply_a(kUser, "login.icq.com:5191", "cookie")).held);
  gateway.answer("login.icq.com", {}, seconds{300}, dns::Type::Aaaa);
  CHECK(gateway.held() == 1);
  gateway.answer("login.icq.com", {kLogin});
  CHECK(allowed(gateway, {kLogin, Port{5191}}));
}

TEST_CASE("what is no redirect", "[engine][login]") {
  Ready gateway;
  Connection flow{gateway, {kClient, Port{4000}}, {kLogin, kOscar}};
  REQUIRE(flow.open());
  flow.wan(wire::server_hello());
  SECTION("an answer nobody asked for") {
    flow.lan(wire::plain_hello());
    flow.wan(wire::reply_a(kUser, "198.51.100.25:5190", "cookie"));
    CHECK(gateway.count(What::FlowBlind, Reason::BadState) == 1);
  }
  SECTION("an answer before the client's hello") {
    flow.wan(wire::reply_a(kUser, "198.51.100.25:5190", "cookie"));
    flow.lan(wire::login_a(kUser));
    CHECK(gateway.count(What::FlowBlind, Reason::BadState) == 1);
  }
  SECTION("an error") {
    flow.lan(wire::login_a(kUser));
    flow.wan(wire::flap(4, wire::join({wire::tlv(1, wire::digits(kUser)), wire::tlv(8, wire::u16(5))})));
    CHECK(gateway.count(What::LoginRefused, Reason::LoginFailed) == 1);
  }
  SECTION("for another user") {
    flow.lan(wire::login_a(kUser));
    flow.wan(wire::reply_a(kFriend, "198.51.100.25:5190", "cookie"));
    CHECK(gateway.count(What::RedirectRefused, Reason::BadState) == 1);
  }
  SECTION("no cookie") {
    flow.lan(wire::login_a(kUser));
    flow.wan(wire::reply_a(kUser, "198.51.100.25:5190", ""));
  }
  SECTION("no host") {
    flow.lan(wire::login_a(kUser));
    flow.wan(wire::reply_a(kUser, "198.51.100.999:5190", "cookie"));
    CHECK(gateway.count(What::RedirectRefused, Reason::BadTarget) == 1);
  }
  SECTION("a port no server is on") {
    flow.lan(wire::login_a(kUser));
    flow.wan(wire::reply_a(kUser, GENERATE("198.51.100.25:22", "198.51.100.25:25", "198.51.100.25:3389"),
                           "cookie"));
    CHECK(gateway.count(What::RedirectRefused, Reason::ServerPort) == 1);
  }
  SECTION("an address no server outside has: attack (q)") {
    flow.lan(wire::login_a(kUser));
    flow.wan(
        wire::reply_a(kUser,
                      GENERATE("192.168.1.99:5190", "192.168.9.9:5190", "127.0.0.1:5190", "10.0.0.1:5190",
                               "224.0.0.1:5190", "0.0.0.0:5190", "169.254.1.1:5190", "203.0.113.5:5190"),
                      "cookie"));
    CHECK(gateway.count(What::RedirectRefused, Reason::ForbiddenTarget) == 1);
  }
  CHECK(gateway.live(nft::SetId::Servers4) == 0);
}

TEST_CASE("a session: the cookie names the user, the server's SNACs accept it", "[engine][session]") {
  Ready gateway;
  login(gateway);
  Connection flow{gateway, {kClient, Port{4001}}, {kBos, kOscar}};
  REQUIRE(flow.open());
  flow.wan(wire::server_hello());
  flow.lan(wire::cookie_hello("cookie-of-100001"));
  CHECK(gateway.count(What::SessionOpened) == 0);
  CHECK(gateway.live(nft::SetId::Sessions) == 0);
  flow.wan(wire::families());
  REQUIRE(gateway.count(What::SessionOpened) == 1);
  CHECK(gateway.reports.back().uin == kUser);
  CHECK(gateway.live(nft::SetId::Sessions) == 1);
}

TEST_CASE("a cookie is worth nothing to another client or at an unknown server", "[engine][session]") {
  Ready gateway;
  login(gateway);
  SECTION("another client that may reach the server itself") {
    login(gateway, {.address = kOther, .uin = kFriend, .cookie = "another"});
    session(gateway, {.address = kOther, .uin = kUser});
    CHECK(gateway.count(What::FlowBlind, Reason::ForeignCookie) == 1);
  }
  SECTION("a cookie nobody handed out") {
    session(gateway, {.cookie = "made up"});
    CHECK(gateway.count(What::FlowBlind, Reason::ForeignCookie) == 1);
  }
  SECTION("after its two minutes") {
    gateway.pass(seconds{119});
    Connection flow{gateway, {kClient, Port{4001}}, {kBos, kOscar}};
    REQUIRE(flow.open());
    gateway.pass(seconds{2});
    flow.wan(wire::server_hello());
    flow.lan(wire::cookie_hello("cookie-of-100001"));
    CHECK(gateway.count(What::FlowBlind, Reason::ForeignCookie) == 1);
  }
  CHECK(gateway.count(What::SessionOpened) == 0);
  CHECK(gateway.live(nft::SetId::Sessions) == 0);
}

TEST_CASE("a session at a login server with a cookie from elsewhere: self info names it",
          "[engine][session]") {
  Ready gateway;  // the login went over HTTPS (protocol.md 1.5)
  Connection flow{gateway, {kClient, Port{4001}}, {kLogin, kOscar}};
  REQUIRE(flow.open());
  flow.wan(wire::server_hello());
  flow.lan(wire::cookie_hello("unseen"));
  flow.wan(wire::families());
  CHECK(gateway.count(What::SessionOpened) == 0);
  flow.wan(wire::self_info(kUser, kOutside));
  CHECK(gateway.count(What::SessionOpened) == 1);
  announce(flow);
  CHECK(gateway.state(kClient, kPort) == "open");
}

TEST_CASE("a service redirect opens the way for that cookie, and a service teaches nothing",
          "[engine][session]") {
  Ready gateway;
  Connection flow = online(gateway);
  flow.wan(wire::service_redirect("198.51.100.40:5190", "service-cookie"));
  const Ipv4 service = make_ipv4(198, 51, 100, 40);
  REQUIRE(allowed(gateway, {service, kOscar}));
  Connection chat{gateway, {kClient, Port{4010}}, {service, kOscar}};
  REQUIRE(chat.open());
  chat.wan(wire::server_hello());
  chat.lan(wire::cookie_hello("service-cookie"));
  chat.wan(wire::families());
  chat.wan(wire::self_info(kUser, kOutside));
  announce(chat);
  chat.wan(wire::service_redirect("198.51.100.41:5190", "x"));
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
  CHECK_FALSE(allowed(gateway, {make_ipv4(198, 51, 100, 41), kOscar}));
  CHECK(gateway.count(What::SessionOpened) == 1);
}

TEST_CASE("a server that gets into both lists is counted where it was", "[engine][session]") {
  auto config = test_config();
  Ready gateway{config};
  Connection flow = online(gateway);
  gateway.pass(seconds{299});  // the schedule has asked again
  flow.lan(wire::keep_alive());
  gateway.answer("login.icq.com", {kLogin, kBos});  // the BOS server is a login server now, too
  REQUIRE(gateway.model.holds(nft::Element::login({kBos, kOscar}), gateway.now));
  flow.lan(wire::close_frame());
  flow.fin(Side::Lan);
  gateway.pass(seconds{600});
  for (const auto& one : gateway.engine.snapshot(gateway.now).addresses) CHECK(one.flows == 0);
  CHECK(gateway.live(nft::SetId::Servers4) == 0);
}
