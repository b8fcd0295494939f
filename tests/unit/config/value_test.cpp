// SPDX-License-Identifier: GPL-2.0-or-later
#include "config/value.hpp"

#include <catch2/catch.hpp>

#include "config/key.hpp"

using namespace icqgate;
using namespace icqgate::config;
using namespace std::chrono_literals;

TEST_CASE("numbers", "[config][value]") {
  constexpr Bounds kBounds{-400, 400};
  CHECK(parse_number("-400", kBounds) == -400);
  CHECK(parse_number("0", kBounds) == 0);
  CHECK(parse_number("400", kBounds) == 400);
  for (const auto* text :
       {"", "-", "401", "-401", "+1", "1.0", "0x1", "1 ", " 1", "99999999999999999999", "--1"})
    CHECK_FALSE(parse_number(text, kBounds));
}

TEST_CASE("yes and no", "[config][value]") {
  CHECK(*parse_yes_no("yes"));
  CHECK(*parse_yes_no("true"));
  CHECK_FALSE(*parse_yes_no("no"));
  CHECK_FALSE(*parse_yes_no("false"));
  for (const auto* text : {"", "y", "1", "on", "YES", "yes yes"}) CHECK_FALSE(parse_yes_no(text));
}

TEST_CASE("durations", "[config][value]") {
  CHECK(parse_duration("90", 1s) == 90s);
  CHECK(parse_duration("90s", 1s) == 90s);
  CHECK(parse_duration("5m", 1s) == 300s);
  CHECK(parse_duration("2h", 1s) == 7200s);
  CHECK(parse_duration("30d", 1s) == 30 * 24h);
  CHECK(parse_duration("0", 0s) == 0s);
  CHECK(parse_duration("0", 1s).error() == "too short");
  CHECK(parse_duration("31d", 1s).error() == "too long");
  CHECK(parse_duration("2592001", 1s).error() == "too long");
  CHECK(parse_duration("4294967295d", 1s).error() == "too long");
  for (const auto* text : {"", "s", "-1", "1w", "1 s", "1.5h", "1h30m", "4294967296", "0x10", "5M"})
    CHECK_FALSE(parse_duration(text, 0s));
  for (const auto duration : {0s, 1s, 59s, 60s, 61s, 3600s, 5400s, 86400s, 90000s})
    CHECK(parse_duration(config::to_string(duration), 0s) == duration);
}

TEST_CASE("port ranges", "[config][value]") {
  CHECK(parse_ports("20000-20099", Port{1024}) == PortRange{Port{20000}, Port{20099}});
  CHECK(parse_ports("20000", Port{1024}) == PortRange{Port{20000}, Port{20000}});
  CHECK(parse_ports("1024-65535", Port{1024})->size() == 64512);
  CHECK(parse_ports("1023-2000", Port{1024}).error() == "1023 is below 1024");
  CHECK(parse_ports("2-1", Port{1}).error() == "the first port is above the last");
  for (const auto* text :
       {"", "-", "1024-", "-1024", "1024-65536", "1024-2000-3000", "1024:2000", "1024 - 2000", "0"})
    CHECK_FALSE(parse_ports(text, Port{1}));
}

TEST_CASE("mark masks", "[config][value]") {
  CHECK(parse_mark_mask("0x06000000") == 0x06000000);
  CHECK(parse_mark_mask("0X3") == 3);
  CHECK(parse_mark_mask("3") == 3);
  CHECK(parse_mark_mask("0xffffffff") == 0xffffffff);
  CHECK(parse_mark_mask("0x80000001") == 0x80000001);
  CHECK(parse_mark_mask("0x4").error() == "fewer than two bits are set");
  CHECK_FALSE(parse_mark_mask("0"));
  for (const auto* text : {"", "0x", "0x1ffffffff", "4294967299", "-3", "0x-3", "0xgg", "ff", "0x0x3"})
    CHECK_FALSE(parse_mark_mask(text));
}

TEST_CASE("interface names", "[config][value]") {
  for (const auto* text :
       {"e", "br-lan", "eth0.100", "wg_0", "eth*", "123456789012345", "12345678901234*", "a@b"})
    CHECK(parse_interface(text) == text);
  for (const auto* text : {"", "*", ".", "..", "1234567890123456", "e*h", "**", "a/b", "a b", "a\tb", "a:b",
                           "a\"b", "a\\b", "\xc3\xa4"}) {
    if (*text != '\0') CHECK_FALSE(parse_interface(text));
  }
}

TEST_CASE("interfaces that a name and a pattern share", "[config][value]") {
  CHECK(interfaces_overlap("eth0", "eth0"));
  CHECK(interfaces_overlap("eth*", "eth0"));
  CHECK(interfaces_overlap("eth0", "eth*"));
  CHECK(interfaces_overlap("e*", "eth*"));
  CHECK_FALSE(interfaces_overlap("eth0", "eth1"));
  CHECK_FALSE(interfaces_overlap("eth1*", "eth0"));
  CHECK_FALSE(interfaces_overlap("eth1*", "eth2*"));
  CHECK_FALSE(interfaces_overlap("eth", "eth0"));
}

TEST_CASE("table names", "[config][value]") {
  for (const auto* text : {"icqgate", "_a", "A/b.c_9", "t234567890123456789012345678901"})
    CHECK(parse_table(text) == text);
  for (const auto* text :
       {"", "9a", "/a", ".a", "a-b", "a b", "a\\b", "a;b", "a{", "t2345678901234567890123456789012"})
    CHECK_FALSE(parse_table(text));
  CHECK(parse_table("inet").error() == "a word of nft's own language");
  CHECK(parse_table("counter").error() == "a word of nft's own language");
}

TEST_CASE("socket paths", "[config][value]") {
  CHECK(parse_socket_path("/run/icqgate/icqgate.sock"));
  CHECK(parse_socket_path("/" + std::string(106, 'x')));
  CHECK_FALSE(parse_socket_path("/" + std::string(107, 'x')));
  for (const auto* text : {"", "x", "./x", "/", "/run/"}) CHECK_FALSE(parse_socket_path(text));
}

TEST_CASE("login hosts in every form", "[config][value]") {
  const auto v4 = *parse_address("192.0.2.1");
  const auto v6 = *parse_address("2001:db8::1");
  const Port port{443};
  CHECK(parse_login_host("Login.ICQ.com") == LoginHost{dns::DomainName{"login.icq.com"}, std::nullopt});
  CHECK(parse_login_host("login.icq.com:443") == LoginHost{dns::DomainName{"login.icq.com"}, port});
  CHECK(parse_login_host("icq.lan!private") == LoginHost{dns::DomainName{"icq.lan"}, std::nullopt, true});
  CHECK(parse_login_host("icq.lan:443!private") == LoginHost{dns::DomainName{"icq.lan"}, port, true});
  CHECK(parse_login_host("192.0.2.1") == LoginHost{v4, std::nullopt});
  CHECK(parse_login_host("192.0.2.1:443") == LoginHost{v4, port});
  CHECK(parse_login_host("2001:db8::1") == LoginHost{v6, std::nullopt});
  CHECK(parse_login_host("[2001:db8::1]") == LoginHost{v6, std::nullopt});
  CHECK(parse_login_host("[2001:db8::1]:443") == LoginHost{v6, port});
  CHECK(parse_login_host("1234.example") == LoginHost{dns::DomainName{"1234.example"}, std::nullopt});
}

TEST_CASE("login hosts that are none", "[config][value]") {
  const auto why = [](std::string_view text) { return parse_login_host(text).error(); };
  CHECK(why("256.1.1.1") == "not an IPv4 address");
  CHECK(why("1.2.3") == "not an IPv4 address");
  CHECK(why("010.0.0.1") == "not an IPv4 address");
  CHECK(why("2001:db8::1::2") == "not an IPv6 address");
  CHECK(why("[192.0.2.1]") == "brackets are for IPv6 addresses");
  CHECK(why("[login.icq.com]:443") == "not an IPv6 address");
  CHECK(why("[2001:db8::1") == "'[' without ']'");
  CHECK(why("[2001:db8::1]443") == "only ':PORT' may follow ']'");
  CHECK(why("login.icq.com:0") == "the part after ':' is not a port (1-65535)");
  CHECK(why("login.icq.com:") == "the part after ':' is not a port (1-65535)");
  CHECK(why("login.icq.com:65536") == "the part after ':' is not a port (1-65535)");
  CHECK(why("http://x") == "the part after ':' is not a port (1-65535)");
  CHECK(why("a b") == "not a host name");
  CHECK(why("a..b") == "not a host name");
  CHECK(why(":443") == "not a host name");
  CHECK(why("224.0.0.1") == "a multicast address");
  CHECK(why("ff02::1") == "a multicast address");
  CHECK(why("0.0.0.0") == "the unspecified address");
  CHECK(why("[::]:1") == "the unspecified address");
}

TEST_CASE("resolvers", "[config][value]") {
  CHECK(parse_resolver("127.0.0.1") == Endpoint{*parse_address("127.0.0.1"), Port{53}});
  CHECK(parse_resolver("127.0.0.1:5353") == Endpoint{*parse_address("127.0.0.1"), Port{5353}});
  CHECK(parse_resolver("::1") == Endpoint{*parse_address("::1"), Port{53}});
  CHECK(parse_resolver("[::1]:5353") == Endpoint{*parse_address("::1"), Port{5353}});
  for (const auto* text : {"", "dns.example", "127.0.0.1:0", "[127.0.0.1]:53", "0.0.0.0", "ff02::1", "::1:x"})
    CHECK_FALSE(parse_resolver(text));
}

TEST_CASE("clients", "[config][value]") {
  for (const auto* text :
       {"10.0.0.0/8", "192.168.1.0/24", "192.168.1.7", "192.168.1.7/32", "fd00::/8", "2001:db8::/64",
        "2001:db8::1", "198.51.100.0/24", "169.254.0.0/16", "fe80::/10", "100.64.0.0/10"}) {
    CAPTURE(text);
    CHECK(parse_client(text));
  }
  const auto why = [](std::string_view text) { return parse_client(text).error(); };
  CHECK(why("192.168.1.7/24") == "bits are set beyond the prefix length; did you mean 192.168.1.0/24?");
  CHECK(why("10.1.0.0/9") == "bits are set beyond the prefix length; did you mean 10.0.0.0/9?");
  CHECK(why("2001:db8:ff::1/44") == "bits are set beyond the prefix length; did you mean 2001:db8:f0::/44?");
  CHECK(why("192.168.1.0/33") == "the prefix length must be 0-32");
  CHECK(why("192.168.1.0/") == "the prefix length must be 0-32");
  CHECK(why("2001:db8::/129") == "the prefix length must be 0-128");
  CHECK(why("lan") == "not an IP address");
  for (const auto* text : {"0.0.0.0/0", "::/0", "128.0.0.0/2", "2000::/3"})
    CHECK(why(text) == "too wide; without 'client' every address seen on the LAN side may use it");
  CHECK(why("224.0.0.0/24") == "a multicast address");
  CHECK(why("ff02::/16") == "a multicast address");
  CHECK(why("127.0.0.0/8") == "a loopback address");
  CHECK(why("::1") == "a loopback address");
  for (const auto* text : {"0.0.0.0", "0.0.0.0/8", "0.1.2.3", "240.0.0.0/8", "255.255.255.255"})
    CHECK_FALSE(parse_client(text));
}

TEST_CASE("every key takes its own default and says what it expects", "[config][key]") {
  for (const Key& key : keys()) {
    CAPTURE(std::string{key.name});
    Config config;
    if (!key.default_value.empty()) CHECK_FALSE(key.apply(config, key.default_value));
    CHECK(key.apply(config, "?\\ nonsense:"));
    CHECK_FALSE(key.expected.empty());
    CHECK_FALSE(key.help.ends_with('.'));
    CHECK(find_key(key.name) == &key);
    CHECK(nearest_key(key.name) == key.name);
  }
  CHECK(find_key("") == nullptr);
  CHECK(find_key("la") == nullptr);
}

TEST_CASE("a refused value leaves the configuration as it was", "[config][key]") {
  for (const Key& key : keys()) {
    Config config;
    REQUIRE(key.apply(config, "?\\ nonsense:"));
    CHECK(config == Config{});
  }
}

TEST_CASE("as many as a thousand ports are denied at once", "[config][key]") {
  Config config;
  CHECK_FALSE(find_key("port-deny")->apply(config, "1-1000"));
  CHECK(find_key("port-deny")->apply(config, "2000-3000"));
  CHECK(config.port_deny.size() == 1000);
}

TEST_CASE("ports that are never opened", "[config][denied]") {
  Config config;
  for (const int number : {0,    1,    22,   445,  1023, 1080, 1433, 1434, 3306,  3389,
                           5060, 5190, 5432, 5900, 5910, 6000, 6063, 6379, 27017, 27019}) {
    CAPTURE(number);
    CHECK(is_denied(Port{static_cast<std::uint16_t>(number)}, config));
  }
  for (const int number :
       {1024, 1079, 1081, 3305, 3307, 5189, 5191, 5899, 5911, 5999, 6064, 20000, 27016, 27020, 65535}) {
    CAPTURE(number);
    CHECK_FALSE(is_denied(Port{static_cast<std::uint16_t>(number)}, config));
  }
  config.port_deny = {Port{20001}};
  CHECK(is_denied(Port{20001}, config));
  CHECK_FALSE(is_denied(Port{20002}, config));
}

TEST_CASE("5190 is opened only where the range names it", "[config][denied]") {
  const auto denied = [](std::uint16_t first, std::uint16_t last) {
    Config config;
    config.port_range = {Port{first}, Port{last}};
    return is_denied(Port{5190}, config);
  };
  CHECK_FALSE(denied(5190, 5290));
  CHECK_FALSE(denied(5180, 20000));
  CHECK_FALSE(denied(1024, 5299));
  CHECK(denied(5179, 5300));
  CHECK(denied(1024, 65535));
  Config config;
  config.port_range = {Port{5190}, Port{5290}};
  config.port_deny = {Port{5190}};
  CHECK(is_denied(Port{5190}, config));
}
