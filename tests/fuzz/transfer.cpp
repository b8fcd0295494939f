// needs: peer
// SPDX-License-Identifier: GPL-2.0-or-later
// OFT2, ODC2 and the rendezvous proxy: a verdict comes at a fixed length at the latest and stays; what is
// accepted carries the cookie; nothing is two things at once. Input: the cookie expected, the stream.
#include "peer/transfer.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>

namespace {

using namespace icqgate;
using namespace icqgate::peer;
using Kind = TransferDecision::Kind;

void require(bool holds) {
  if (!holds) std::abort();
}

std::uint64_t u64be(Bytes bytes) {
  std::uint64_t value = 0;
  for (const auto byte : bytes.first(8)) value = value << 8 | std::to_integer<std::uint64_t>(byte);
  return value;
}

bool same(const TransferDecision& a, const TransferDecision& b) {
  return a.kind == b.kind && a.refusal == b.refusal && a.header == b.header && a.type == b.type &&
         a.zero_cookie == b.zero_cookie;
}

TransferDecision check(Bytes stream, std::uint64_t cookie, Transfer wanted) {
  const bool oft = wanted == Transfer::Oft;
  const std::size_t cookie_at = oft ? 8 : 12;
  TransferDecision verdict;
  for (std::size_t size = 0; size <= stream.size(); ++size) {
    const Bytes first = stream.first(size);
    const auto decision = oft ? decide_oft(first, cookie) : decide_odc(first, cookie);
    require(verdict.kind == Kind::NeedMore || same(decision, verdict));
    require(size < cookie_at + 8 || decision.kind != Kind::NeedMore);
    verdict = decision;
    if (decision.kind != Kind::Accept) continue;
    require(size >= cookie_at + 8 && looks_like_transfer(first) == wanted);
    require(decision.header >= (oft ? 256 : 76) && decision.header <= 2048);
    const auto carried = u64be(stream.subspan(cookie_at));
    require(decision.zero_cookie == (carried == 0));
    require(carried == cookie || (oft && carried == 0));
  }
  return verdict;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes whole = std::as_bytes(std::span{data, size});
  if (size < 8) return 0;
  const Bytes stream = whole.subspan(8, std::min<std::size_t>(size - 8, 64));
  const std::uint64_t cookie = u64be(whole);
  const auto oft = check(stream, cookie, Transfer::Oft);
  const auto odc = check(stream, cookie, Transfer::Odc);

  ProxyFrame last = ProxyFrame::NeedMore;
  for (std::size_t length = 0; length <= stream.size(); ++length) {
    const auto frame = looks_like_proxy(stream.first(length));
    require(last == ProxyFrame::NeedMore || frame == last);
    require(length < 10 || frame != ProxyFrame::NeedMore);
    last = frame;
  }
  const int accepted = (oft.kind == Kind::Accept) + (odc.kind == Kind::Accept) + (last == ProxyFrame::Yes);
  require(accepted <= 1);
  // What the magic, the length and the type say is what the cookie's check refuses last.
  if (oft.kind == Kind::Refuse && oft.refusal == TransferRefusal::WrongCookie)
    require(looks_like_transfer(stream) == Transfer::Oft);
  if (odc.kind == Kind::Refuse && odc.refusal == TransferRefusal::WrongCookie)
    require(looks_like_transfer(stream) == Transfer::Odc);
  return 0;
}
