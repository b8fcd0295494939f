// SPDX-License-Identifier: GPL-2.0-or-later
#include "nft/element.hpp"

#include <catch2/catch.hpp>

#include "packet_builder.hpp"
#include "vectors.hpp"

using namespace icqgate;
using namespace icqgate::nft;
using icqgate::test::from_hex;

namespace {

constexpr Ipv4 kClient = make_ipv4(192, 168, 1, 20);
constexpr Ipv4 kPeer = make_ipv4(198, 51, 100, 7);
constexpr Port kPort{24567};  // 5ff7

bool same(Bytes bytes, std::string_view hex) { return std::ranges::equal(bytes, Bytes{from_hex(hex)}); }

}  // namespace

TEST_CASE("keys byte by byte: fields padded to four, network order", "[nft][element]") {
  CHECK(same(Element::login({kPeer, Port{5190}}).key(),
             "c6336407"
             "14460000"));
  CHECK(same(Element::server(kClient, {kPeer, Port{443}}).key(),
             "c0a80114"
             "c6336407"
             "01bb0000"));
  CHECK(same(Element::session(kClient).key(), "c0a80114"));
  CHECK(same(Element::pinhole(kClient, kPort).key(),
             "c0a80114"
             "5ff70000"));
  CHECK(same(Element::returning(kPeer, kClient, kPort).key(),
             "c6336407"
             "c0a80114"
             "5ff70000"));
  CHECK(same(Element::peer(kClient, kPeer, kPort).key(),
             "c0a80114"
             "c6336407"
             "5ff70000"));
  // A port that is the whole key is not padded; the map's data is a concatenation again.
  CHECK(same(Element::forward(kPort, kClient, Port{1025}).key(), "5ff7"));
  CHECK(same(Element::forward(kPort, kClient, Port{1025}).data(),
             "c0a80114"
             "04010000"));
  for (const Element& one : {Element::session(kClient), Element::pinhole(kClient, kPort)})
    CHECK(one.data().empty());
}

TEST_CASE("IPv6 keys", "[nft][element]") {
  const auto client = *parse_address("2001:db8::20");
  const auto server = *parse_address("2001:db8:1::5");
  const auto login = Element::login({server, Port{5190}});
  CHECK(login.set() == SetId::Login6);
  CHECK(same(login.key(),
             "20010db8000100000000000000000005"
             "14460000"));
  const auto grant = Element::server(client, {server, Port{5190}});
  CHECK(grant.set() == SetId::Servers6);
  CHECK(grant.key().size() == Element::kMaxKey - 4);
  CHECK(to_string(grant) == "2001:db8::20 . 2001:db8:1::5 . 5190");
}

TEST_CASE("text as nft prints it", "[nft][element]") {
  CHECK(to_string(Element::pinhole(kClient, kPort)) == "192.168.1.20 . 24567");
  CHECK(to_string(Element::session(kClient)) == "192.168.1.20");
  CHECK(to_string(Element::forward(kPort, kClient, kPort)) == "24567 : 192.168.1.20 . 24567");
  CHECK(to_string(Element::returning(kPeer, kClient, kPort)) == "198.51.100.7 . 192.168.1.20 . 24567");
}

TEST_CASE("what the kernel dumps becomes the same element, and nothing else does", "[nft][element]") {
  const std::vector<Element> all{
      Element::login({kPeer, kPort}),
      Element::server(kClient, {kPeer, kPort}),
      Element::session(kClient),
      Element::pinhole(kClient, kPort),
      Element::returning(kPeer, kClient, kPort),
      Element::peer(kClient, kPeer, kPort),
      Element::forward(kPort, kClient, kPort),
      Element::login({*parse_address("2001:db8::5"), kPort}),
      Element::server(*parse_address("2001:db8::20"), {*parse_address("2001:db8::5"), kPort})};
  for (const Element& one : all) {
    CHECK(Element::from_kernel(one.set(), one.key(), one.data()) == one);
    CHECK_FALSE(Element::from_kernel(one.set(), one.key().first(one.key().size() - 1), one.data()));
    CHECK_FALSE(Element::from_kernel(one.set(), {}, one.data()));
    std::vector<std::byte> longer(one.key().begin(), one.key().end());
    longer.push_back(std::byte{0});
    CHECK_FALSE(Element::from_kernel(one.set(), longer, one.data()));
    longer.assign(one.data().begin(), one.data().end());
    longer.push_back(std::byte{0});
    CHECK_FALSE(Element::from_kernel(one.set(), one.key(), longer));
    for (const Element& other : all) CHECK((one == other) == (&one == &other));
  }
  for (std::size_t set = 0; set < kSetCount; ++set)
    CHECK(set_by_name(set_name(static_cast<SetId>(set))) == static_cast<SetId>(set));
  CHECK_FALSE(set_by_name("pinhole"));
  CHECK_FALSE(set_by_name(""));
}

TEST_CASE("elements are ordered by set, key, data", "[nft][element]") {
  CHECK(Element::pinhole(kClient, Port{1}) < Element::pinhole(kClient, Port{2}));
  CHECK(Element::pinhole(kClient, Port{255}) < Element::pinhole(kClient, Port{256}));
  CHECK(Element::forward(kPort, kClient, kPort) < Element::forward(kPort, kPeer, kPort));
  CHECK(Element::session(kPeer) < Element::pinhole(kClient, kPort));
}
