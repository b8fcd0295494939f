// SPDX-License-Identifier: GPL-2.0-or-later
#include "peer/transfer.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "vectors.hpp"

namespace icqgate::peer {
namespace {

using test::from_hex;
using Buffer = std::vector<std::byte>;
using Kind = TransferDecision::Kind;
using Decide = TransferDecision (*)(Bytes, std::uint64_t) noexcept;

constexpr std::uint64_t kCookie = 0xa1a2a3a4a5a6a700;

Buffer changed(std::string_view hex, std::size_t at, std::string_view with) {
  auto bytes = from_hex(hex);
  std::ranges::copy(from_hex(with), bytes.begin() + static_cast<std::ptrdiff_t>(at));
  return bytes;
}

// Pidgin's prompt: no cookie, no flags.
Buffer vector_o03() {
  auto bytes = changed(test::kO01, 8, "0000000000000000");
  std::fill_n(bytes.begin() + 100, 3, std::byte{0});
  return bytes;
}

bool same(const TransferDecision& a, const TransferDecision& b) {
  return a.kind == b.kind && a.refusal == b.refusal && a.header == b.header && a.type == b.type &&
         a.zero_cookie == b.zero_cookie;
}

// The fewest bytes at which there is a verdict, having checked at every length that it comes once and stays,
// whatever follows.
std::size_t decided_at(Decide decide, Buffer stream, std::uint64_t cookie = kCookie) {
  stream.resize(stream.size() + 20, std::byte{0xee});
  const auto last = decide(stream, cookie);
  REQUIRE(last.kind != Kind::NeedMore);
  std::size_t at = stream.size();
  while (at > 0 && decide(Bytes{stream}.first(at - 1), cookie).kind != Kind::NeedMore) --at;
  for (std::size_t size = 0; size <= stream.size(); ++size) {
    // A copy of this size: under the sanitizers, a look beyond it shows.
    const Buffer exact(stream.begin(), stream.begin() + static_cast<std::ptrdiff_t>(size));
    const auto decision = decide(exact, cookie);
    if (size < at)
      CHECK(decision.kind == Kind::NeedMore);
    else
      CHECK(same(decision, last));
  }
  return at;
}

TransferDecision accepted(Decide decide, Bytes bytes, std::uint64_t cookie = kCookie) {
  const auto decision = decide(bytes, cookie);
  REQUIRE(decision.kind == Kind::Accept);
  return decision;
}

TransferRefusal refused(Decide decide, Bytes bytes, std::uint64_t cookie = kCookie) {
  const auto decision = decide(bytes, cookie);
  REQUIRE(decision.kind == Kind::Refuse);
  return decision.refusal;
}

TEST_CASE("OFT2 with the cookie of the message or none is accepted after 16 bytes", "[peer][transfer]") {
  struct Expected {
    Buffer bytes;
    std::uint16_t type;
    bool zero_cookie;
  };
  for (const auto& [bytes, type, zero_cookie] : {
           Expected{from_hex(test::kO01), 0x0101, false}, Expected{from_hex(test::kO02), 0x0202, false},
           Expected{vector_o03(), 0x0101, true},
           Expected{changed(test::kO01, 3, "33"), 0x0101, false},  // OFT3
       }) {
    const auto decision = accepted(decide_oft, bytes);
    CHECK(decision.header == 256);
    CHECK(decision.type == type);
    CHECK(decision.zero_cookie == zero_cookie);
    CHECK(decided_at(decide_oft, bytes) == 16);
    CHECK(refused(decide_odc, bytes) == TransferRefusal::NotTransfer);
    CHECK(decided_at(decide_odc, bytes) == 2);
  }
}

TEST_CASE("ODC2 with the cookie of the message is accepted after 20 bytes", "[peer][transfer]") {
  const auto bytes = from_hex(test::kO04);
  const auto decision = accepted(decide_odc, bytes);
  CHECK(decision.header == 76);
  CHECK(decision.type == 0);
  CHECK_FALSE(decision.zero_cookie);
  CHECK(decided_at(decide_odc, bytes) == 20);
  CHECK(refused(decide_oft, bytes) == TransferRefusal::NotTransfer);
  CHECK(decided_at(decide_oft, bytes) == 2);
}

TEST_CASE("another cookie is refused, of whichever byte", "[peer][transfer]") {
  for (std::size_t at = 0; at < 8; ++at) {
    auto oft = from_hex(test::kO01);
    oft[8 + at] ^= std::byte{1};
    CHECK(refused(decide_oft, oft) == TransferRefusal::WrongCookie);
    CHECK(decided_at(decide_oft, oft) == 16);
    auto odc = from_hex(test::kO04);
    odc[12 + at] ^= std::byte{1};
    CHECK(refused(decide_odc, odc) == TransferRefusal::WrongCookie);
    CHECK(decided_at(decide_odc, odc) == 20);
  }
  const auto no_cookie = changed(test::kO04, 12, "0000000000000000");
  CHECK(refused(decide_odc, no_cookie) == TransferRefusal::WrongCookie);
  CHECK(accepted(decide_odc, no_cookie, 0).zero_cookie);
  CHECK(refused(decide_oft, from_hex(test::kO01), 0) == TransferRefusal::WrongCookie);
  // One byte that is not zero is a cookie.
  CHECK(refused(decide_oft, changed(test::kO01, 8, "0000000000000001")) == TransferRefusal::WrongCookie);
}

TEST_CASE("OFT headers: lengths and types", "[peer][transfer]") {
  for (const auto* type :
       {"0101", "0202", "0204", "0205", "0106", "0207", "1108", "1209", "120a", "120b", "120c"}) {
    const auto want = from_hex(type);
    CHECK(accepted(decide_oft, changed(test::kO01, 6, type)).type ==
          (std::to_integer<unsigned>(want[0]) << 8 | std::to_integer<unsigned>(want[1])));
  }
  for (const auto* type : {"0000", "0100", "0102", "0201", "0203", "1208", "120d", "ffff", "0001"}) {
    const auto bytes = changed(test::kO01, 6, type);
    CHECK(refused(decide_oft, bytes) == TransferRefusal::BadHeader);
    CHECK(decided_at(decide_oft, bytes) == 8);
  }
  CHECK(accepted(decide_oft, changed(test::kO01, 4, "0800")).header == 2048);
  CHECK(accepted(decide_oft, changed(test::kO01, 4, "0101")).header == 257);
  for (const auto* length : {"0000", "00ff", "0801", "ffff", "0001"}) {
    const auto bytes = changed(test::kO01, 4, length);
    CHECK(refused(decide_oft, bytes) == TransferRefusal::BadHeader);
    CHECK(decided_at(decide_oft, bytes) == 8);
  }
}

TEST_CASE("ODC headers: lengths and types", "[peer][transfer]") {
  CHECK(accepted(decide_odc, changed(test::kO04, 4, "0800")).header == 2048);
  for (const auto* length : {"0000", "004b", "0801", "4c00", "ffff"}) {
    const auto bytes = changed(test::kO04, 4, length);
    CHECK(refused(decide_odc, bytes) == TransferRefusal::BadHeader);
    CHECK(decided_at(decide_odc, bytes) == 8);
  }
  for (const auto* type : {"0000", "0002", "0101", "0100"})
    CHECK(refused(decide_odc, changed(test::kO04, 6, type)) == TransferRefusal::BadHeader);
}

TEST_CASE("everything else is no transfer, from the first byte that shows it", "[peer][transfer]") {
  for (const auto decide : {decide_oft, decide_odc}) {
    for (const auto& [name, hex] : test::kVectors) {
      INFO(name);
      if (name[0] == 'O' && name <= std::string_view{"O04"}) continue;
      const auto bytes = from_hex(hex);
      CHECK(refused(decide, bytes) == TransferRefusal::NotTransfer);
      CHECK(decided_at(decide, bytes) == 1);
    }
  }
  for (const auto& [hex, at] :
       {std::pair{"4f4f", 2}, {"4f46543100", 4}, {"4f46543400", 4}, {"4f465500", 3}}) {
    CHECK(refused(decide_oft, from_hex(hex)) == TransferRefusal::NotTransfer);
    CHECK(decided_at(decide_oft, from_hex(hex)) == static_cast<std::size_t>(at));
  }
  for (const auto& [hex, at] : {std::pair{"4f44433100", 4}, {"4f44433300", 4}, {"4f445400", 3}})
    CHECK(decided_at(decide_odc, from_hex(hex)) == static_cast<std::size_t>(at));
}

std::size_t proxy_decided_at(Buffer bytes, ProxyFrame want) {
  bytes.resize(bytes.size() + 12, std::byte{0xee});
  std::size_t at = 0;
  for (std::size_t size = 0; size <= bytes.size(); ++size) {
    const Buffer exact(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    const auto frame = looks_like_proxy(exact);
    if (frame == ProxyFrame::NeedMore) {
      CHECK(size == at);
      at = size + 1;
    } else {
      CHECK(frame == want);
    }
  }
  return at;
}

TEST_CASE("frames of the rendezvous proxy", "[peer][transfer]") {
  for (const auto hex : {test::kO05, test::kO06, test::kO07})
    CHECK(proxy_decided_at(from_hex(hex), ProxyFrame::Yes) == 10);
  for (const auto* type : {"0001", "0002", "0003", "0004", "0005"})
    CHECK(looks_like_proxy(changed(test::kO05, 4, type)) == ProxyFrame::Yes);
  for (const auto* type : {"0000", "0006", "0105", "ffff"})
    CHECK(proxy_decided_at(changed(test::kO05, 4, type), ProxyFrame::No) == 6);
  for (const auto* length : {"0000", "0009", "0201", "ffff", "2d00"})
    CHECK(proxy_decided_at(changed(test::kO05, 0, length), ProxyFrame::No) == 2);
  for (const auto* length : {"000a", "0200"})
    CHECK(looks_like_proxy(changed(test::kO05, 0, length)) == ProxyFrame::Yes);
  for (const auto* magic : {"044b", "0443", "4a04", "0000"})
    CHECK(proxy_decided_at(changed(test::kO05, 2, magic), ProxyFrame::No) == 4);
  for (std::size_t at = 6; at < 10; ++at)
    CHECK(proxy_decided_at(changed(test::kO05, at, "01"), ProxyFrame::No) == 10);
}

TEST_CASE("nothing else is a frame of the proxy", "[peer][transfer]") {
  for (const auto& [name, hex] : test::kVectors) {
    INFO(name);
    const bool proxy = name >= std::string_view{"O05"} && name <= std::string_view{"O07"};
    const auto bytes = from_hex(hex);
    if (!proxy && bytes.size() >= 10) CHECK(looks_like_proxy(bytes) == ProxyFrame::No);
  }
}

}  // namespace
}  // namespace icqgate::peer
