// SPDX-License-Identifier: GPL-2.0-or-later
#include "net/address.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <set>
#include <unordered_set>
#include <vector>

using namespace icqgate;
using namespace std::string_view_literals;

namespace {

IpAddress address(std::string_view text) {
  const auto parsed = parse_address(text);
  if (!parsed) FAIL("not an address: " << text);
  return *parsed;
}

Subnet subnet(std::string_view text) {
  const auto parsed = parse_subnet(text);
  if (!parsed) FAIL("not a subnet: " << text);
  return *parsed;
}

}  // namespace

TEST_CASE("IPv4 text, both ways", "[net][address]") {
  CHECK(address("192.0.2.1") == IpAddress{make_ipv4(192, 0, 2, 1)});
  CHECK(address("192.0.2.1").v4() == Ipv4{0xc0000201});
  CHECK(address("0.0.0.0") == IpAddress{});
  for (const auto* text : {"0.0.0.0", "192.0.2.1", "255.255.255.255", "10.20.30.40"}) {
    CHECK(to_string(address(text)) == text);
  }
}

TEST_CASE("IPv6 text comes out as RFC 5952 says", "[net][address]") {
  const std::map<std::string_view, std::string_view> forms{
      {"2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1"},
      {"2001:DB8::ABCD", "2001:db8::abcd"},
      {"::", "::"},
      {"::1", "::1"},
      {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},  // one zero group is not shortened
      {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},           // the longest run is
      {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},     // the first of equals is
      {"::ffff:192.0.2.1", "::ffff:192.0.2.1"},
      {"::ffff:c000:0201", "::ffff:192.0.2.1"},
      {"64:ff9b::192.0.2.33", "64:ff9b::c000:221"},
      {"fe80::1", "fe80::1"},
  };
  for (const auto& [text, canonical] : forms) {
    CHECK(to_string(address(text)) == canonical);
    CHECK(address(canonical) == address(text));
    CHECK_FALSE(address(text).is_v4());
  }
}

TEST_CASE("text that is not wholly an address is refused", "[net][address]") {
  for (const auto text : {
           ""sv,
           " "sv,
           "192.0.2"sv,
           "192.0.2.1.1"sv,
           "192.0.2.256"sv,
           "192.0.2.010"sv,
           "192.0.2.00"sv,
           "0300.0.2.1"sv,
           "0xc0.0.2.1"sv,
           "3221225985"sv,
           "192.0.2.1 "sv,
           " 192.0.2.1"sv,
           "192.0.2.1\n"sv,
           "192.0.2.1\0"sv,
           "192.0.2.1\0x"sv,
           "192.0.2.1:80"sv,
           "192.0.2.1/32"sv,
           "192.0.2."sv,
           ".192.0.2.1"sv,
           "192..2.1"sv,
           "-1.0.2.1"sv,
           "+1.0.2.1"sv,
           "192.0.2.1a"sv,
           "login.icq.com"sv,
           ":"sv,
           ":::"sv,
           "1::2::3"sv,
           "2001:db8"sv,
           "2001:db8::12345"sv,
           "2001:db8::g"sv,
           "fe80::1%eth0"sv,
           "fe80::1%1"sv,
           "[::1]"sv,
           "::1/128"sv,
           "::ffff:192.0.2"sv,
           "::ffff:192.0.2.010"sv,
           "1:2:3:4:5:6:7"sv,
           "1:2:3:4:5:6:7:8:9"sv,
           "1:2:3:4:5:6:7:8::"sv,
           "::1\0"sv,
           "1:2:3:4:5:6:7:"sv,
           ":1:2:3:4:5:6:7"sv,
           "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000"sv,
       }) {
    CAPTURE(text);
    CHECK_FALSE(parse_address(text));
  }
  // The longest text there is, and one longer.
  CHECK(parse_address("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"));
  CHECK_FALSE(parse_address("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.2555"));
}

TEST_CASE("the text need not be terminated", "[net][address]") {
  CHECK(parse_address(std::string_view{"192.0.2.123"}.substr(0, 9)) == IpAddress{make_ipv4(192, 0, 2, 1)});
}

TEST_CASE("wire bytes are in network order", "[net][address]") {
  const auto v4 = address("192.0.2.1").wire();
  CHECK(v4[0] == std::byte{192});
  CHECK(v4[3] == std::byte{1});
  CHECK(std::all_of(v4.begin() + 4, v4.end(), [](std::byte b) { return b == std::byte{0}; }));
  const auto v6 = address("2001:db8::ff").wire();
  CHECK(v6[0] == std::byte{0x20});
  CHECK(v6[3] == std::byte{0xb8});
  CHECK(v6[15] == std::byte{0xff});
}

TEST_CASE("IPv4 sorts before IPv6, each by value", "[net][address]") {
  CHECK(address("255.255.255.255") < address("::"));
  CHECK(address("9.255.255.255") < address("10.0.0.0"));
  CHECK(address("2001:db8::1") < address("2001:db8::2"));
  CHECK(address("::ffff:192.0.2.1") != address("192.0.2.1"));
}

TEST_CASE("endpoints as text", "[net][address]") {
  CHECK(to_string(Endpoint{address("192.0.2.1"), Port{5190}}) == "192.0.2.1:5190");
  CHECK(to_string(Endpoint{address("2001:db8::1"), Port{1}}) == "[2001:db8::1]:1");
}

TEST_CASE("a subnet contains what shares its first bits", "[net][subnet]") {
  CHECK(subnet("0.0.0.0/0").contains(address("255.255.255.255")));
  CHECK(subnet("::/0").contains(address("2001:db8::1")));
  CHECK(subnet("192.0.2.1").length == 32);
  CHECK(subnet("2001:db8::1").length == 128);
  for (const auto& [network, first, last, before, behind] : std::vector<std::array<std::string_view, 5>>{
           {"192.168.1.0/24", "192.168.1.0", "192.168.1.255", "192.168.0.255", "192.168.2.0"},
           {"172.16.0.0/12", "172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0"},
           {"192.0.2.4/30", "192.0.2.4", "192.0.2.7", "192.0.2.3", "192.0.2.8"},
           {"192.0.2.4/32", "192.0.2.4", "192.0.2.4", "192.0.2.3", "192.0.2.5"},
           {"128.0.0.0/1", "128.0.0.0", "255.255.255.255", "127.255.255.255", "0.0.0.0"},
           {"2001:db8::/32", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db7:ffff::", "2001:db9::"},
           {"2001:db8::/61", "2001:db8::", "2001:db8:0:7:ffff::", "2001:db7::", "2001:db8:0:8::"},
           {"2001:db8::2/127", "2001:db8::2", "2001:db8::3", "2001:db8::1", "2001:db8::4"},
           {"2001:db8::2", "2001:db8::2", "2001:db8::2", "2001:db8::1", "2001:db8::3"},
           {"8000::/1", "8000::", "ffff::", "7fff::", "::"},
       }) {
    CAPTURE(network);
    CHECK(subnet(network).contains(address(first)));
    CHECK(subnet(network).contains(address(last)));
    CHECK_FALSE(subnet(network).contains(address(before)));
    CHECK_FALSE(subnet(network).contains(address(behind)));
  }
}

TEST_CASE("a subnet holds one family only", "[net][subnet]") {
  CHECK_FALSE(subnet("0.0.0.0/0").contains(address("::")));
  CHECK_FALSE(subnet("::/0").contains(address("0.0.0.0")));
  CHECK_FALSE(subnet("192.0.2.0/24").contains(address("::ffff:192.0.2.1")));
}

TEST_CASE("subnet text, both ways", "[net][subnet]") {
  for (const auto* text : {"0.0.0.0/0", "10.0.0.0/8", "192.0.2.128/25", "192.0.2.1/32", "::/0",
                           "2001:db8::/32", "2001:db8::8/125", "2001:db8::1/128"}) {
    CHECK(to_string(subnet(text)) == text);
  }
  for (const auto text : {""sv,
                          "/"sv,
                          "/24"sv,
                          "192.0.2.0/"sv,
                          "192.0.2.0/33"sv,
                          "192.0.2.0/-1"sv,
                          "192.0.2.0/+24"sv,
                          "192.0.2.0/24 "sv,
                          "192.0.2.0/ 24"sv,
                          "192.0.2.0/024"sv,
                          "192.0.2.0/00"sv,
                          "192.0.2.0/24/24"sv,
                          "192.0.2.0/255.255.255.0"sv,
                          "192.0.2.1/24"sv,
                          "192.0.2.1/31"sv,
                          "128.0.0.0/0"sv,
                          "192.0/16"sv,
                          "192.0.2.0/4294967320"sv,
                          "192.0.2.0/280"sv,
                          "2001:db8::/129"sv,
                          "2001:db8::1/127"sv,
                          "2001:db8::1/64"sv,
                          "8000::/0"sv,
                          "2001:db8::10/123"sv,
                          "::/0x0"sv,
                          "192.0.2.0/24\0"sv}) {
    CAPTURE(text);
    CHECK_FALSE(parse_subnet(text));
  }
}

TEST_CASE("every prefix length takes its own first address and refuses a host bit", "[net][subnet]") {
  for (unsigned length = 0; length <= 32; ++length) {
    const std::uint32_t mask = length == 0 ? 0 : ~std::uint32_t{0} << (32 - length);
    const auto tail = "/" + std::to_string(length);
    CHECK(parse_subnet(to_string(Ipv4{mask}) + tail));
    if (length < 32) CHECK_FALSE(parse_subnet(to_string(Ipv4{mask | 1U << (31 - length)}) + tail));
    if (length < 32) CHECK_FALSE(parse_subnet(to_string(Ipv4{mask | 1}) + tail));
  }
  for (unsigned length = 0; length <= 128; ++length) {
    std::array<std::uint8_t, 16> octets{};
    for (unsigned bit = 0; bit < length; ++bit) {
      octets[bit / 8] = static_cast<std::uint8_t>(octets[bit / 8] | 0x80 >> bit % 8);
    }
    const auto tail = "/" + std::to_string(length);
    const auto parsed = parse_subnet(to_string(Ipv6{octets}) + tail);
    REQUIRE(parsed);
    CHECK(parsed->contains(Ipv6{octets}));
    if (length == 128) continue;
    octets[length / 8] = static_cast<std::uint8_t>(octets[length / 8] | 0x80 >> length % 8);
    CHECK_FALSE(parse_subnet(to_string(Ipv6{octets}) + tail));
    CHECK(parsed->contains(Ipv6{octets}));
    if (length == 0) continue;
    octets[(length - 1) / 8] = static_cast<std::uint8_t>(octets[(length - 1) / 8] ^ 0x80 >> (length - 1) % 8);
    CHECK_FALSE(parsed->contains(Ipv6{octets}));
  }
}

TEST_CASE("ports are 1 to 65535 in decimal", "[net][port]") {
  CHECK(parse_port("1") == Port{1});
  CHECK(parse_port("5190") == Port{5190});
  CHECK(parse_port("65535") == Port{65535});
  for (const auto text : {""sv, "0"sv, "65536"sv, "99999"sv, "100000"sv, "-1"sv, "+1"sv, " 80"sv, "80 "sv,
                          "0x50"sv, "8o"sv, "80\0"sv, "00000"sv, "000080"sv, "4294967376"sv}) {
    CAPTURE(text);
    CHECK_FALSE(parse_port(text));
  }
}

TEST_CASE("scope: the edges of every range", "[net][scope]") {
  const std::vector<std::pair<std::string_view, Scope>> expected{
      {"0.0.0.0", Scope::Unspecified},
      {"0.0.0.1", Scope::Reserved},
      {"0.255.255.255", Scope::Reserved},
      {"1.0.0.0", Scope::Global},
      {"9.255.255.255", Scope::Global},
      {"10.0.0.0", Scope::Private},
      {"10.255.255.255", Scope::Private},
      {"11.0.0.0", Scope::Global},
      {"100.64.0.1", Scope::Global},
      {"126.255.255.255", Scope::Global},
      {"127.0.0.0", Scope::Loopback},
      {"127.255.255.255", Scope::Loopback},
      {"128.0.0.0", Scope::Global},
      {"169.253.255.255", Scope::Global},
      {"169.254.0.0", Scope::LinkLocal},
      {"169.254.255.255", Scope::LinkLocal},
      {"169.255.0.0", Scope::Global},
      {"172.15.255.255", Scope::Global},
      {"172.16.0.0", Scope::Private},
      {"172.31.255.255", Scope::Private},
      {"172.32.0.0", Scope::Global},
      {"192.0.2.1", Scope::Global},
      {"192.167.255.255", Scope::Global},
      {"192.168.0.0", Scope::Private},
      {"192.168.255.255", Scope::Private},
      {"192.169.0.0", Scope::Global},
      {"198.18.0.1", Scope::Global},
      {"198.51.100.1", Scope::Global},
      {"203.0.113.1", Scope::Global},
      {"223.255.255.255", Scope::Global},
      {"224.0.0.0", Scope::Multicast},
      {"239.255.255.255", Scope::Multicast},
      {"240.0.0.0", Scope::Reserved},
      {"255.255.255.254", Scope::Reserved},
      {"255.255.255.255", Scope::Reserved},
      {"::", Scope::Unspecified},
      {"::1", Scope::Loopback},
      {"::2", Scope::Reserved},
      {"::192.168.1.1", Scope::Reserved},
      {"::ffff:0.0.0.0", Scope::Unspecified},
      {"::ffff:192.168.1.1", Scope::Private},
      {"::ffff:127.0.0.1", Scope::Loopback},
      {"::ffff:192.0.2.1", Scope::Global},
      {"::fffe:192.0.2.1", Scope::Reserved},
      {"64:ff9b::10.0.0.1", Scope::Private},
      {"64:ff9b::192.0.2.1", Scope::Global},
      {"64:ff9b:1::192.0.2.1", Scope::Reserved},
      {"100::1", Scope::Reserved},
      {"1fff::1", Scope::Reserved},
      {"2000::", Scope::Global},
      {"2001:db8::1", Scope::Global},
      {"2002:a00:1::1", Scope::Private},
      {"2002:c000:201::1", Scope::Global},
      {"3fff:ffff::1", Scope::Global},
      {"4000::", Scope::Reserved},
      {"fbff::1", Scope::Reserved},
      {"fc00::", Scope::Private},
      {"fdff:ffff::1", Scope::Private},
      {"fe00::1", Scope::Reserved},
      {"fe80::1", Scope::LinkLocal},
      {"febf::1", Scope::LinkLocal},
      {"fec0::1", Scope::Private},
      {"ff00::", Scope::Multicast},
      {"ff02::1", Scope::Multicast},
  };
  for (const auto& [text, scope] : expected) {
    CAPTURE(text);
    CHECK(scope_of(address(text)) == scope);
  }
}

TEST_CASE("hashes spread neighbours over the low bits", "[net][hash]") {
  // 4096 neighbouring keys into 4096 buckets: a random function fills about 63 %.
  const auto filled = [](auto&& hash_of) {
    std::set<std::size_t> low;
    std::set<std::size_t> high;
    for (std::uint32_t i = 0; i < 4096; ++i) {
      const std::size_t hash = hash_of(i);
      low.insert(hash % 4096);
      high.insert(hash >> (8 * sizeof hash - 12));
    }
    return std::min(low.size(), high.size());
  };
  const std::hash<IpAddress> hash;
  CHECK(filled([&](std::uint32_t i) { return hash(Ipv4{0xc0a80000 + i}); }) > 2400);
  CHECK(filled([&](std::uint32_t i) { return hash(Ipv4{i << 20}); }) > 2400);
  CHECK(filled([&](std::uint32_t i) {
          auto octets = address("2001:db8::").v6()->get();
          octets[6] = static_cast<std::uint8_t>(i >> 8);
          octets[7] = static_cast<std::uint8_t>(i);
          return hash(Ipv6{octets});
        }) > 2400);
  CHECK(filled([&](std::uint32_t i) {
          return EndpointHash{}({make_ipv4(192, 0, 2, 1), Port{static_cast<std::uint16_t>(i)}});
        }) > 2400);
  CHECK(filled([&](std::uint32_t i) {
          return EndpointHash{}({Ipv4{0xc0a80000 + i / 16}, Port{static_cast<std::uint16_t>(i % 16)}});
        }) > 2400);
}

TEST_CASE("addresses and endpoints are keys", "[net][hash]") {
  std::unordered_set<IpAddress> addresses{address("192.0.2.1"), address("::"), address("0.0.0.0")};
  CHECK(addresses.size() == 3);
  CHECK_FALSE(addresses.insert(address("192.0.2.1")).second);
  CHECK(addresses.insert(address("::ffff:192.0.2.1")).second);
  std::unordered_set<Endpoint, EndpointHash> endpoints{{address("192.0.2.1"), Port{1}}};
  CHECK(endpoints.insert({address("192.0.2.1"), Port{2}}).second);
  CHECK_FALSE(endpoints.insert({address("192.0.2.1"), Port{1}}).second);
  CHECK(std::hash<IpAddress>{}(address("::")) != std::hash<IpAddress>{}(address("0.0.0.0")));
}

TEST_CASE("IPv4 addresses in IPv6 clothes", "[net][address]") {
  CHECK(is_v4_mapped(*parse_address("::ffff:192.0.2.1")));
  CHECK_FALSE(is_v4_mapped(*parse_address("192.0.2.1")));
  CHECK_FALSE(is_v4_mapped(*parse_address("64:ff9b::192.0.2.1")));
  CHECK_FALSE(is_v4_mapped(*parse_address("::ffff:0:192.0.2.1")));
}
