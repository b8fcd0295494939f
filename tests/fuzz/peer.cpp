// needs: peer
// SPDX-License-Identifier: GPL-2.0-or-later
// The decision about a peer's first bytes: once there is a verdict, more bytes never change it; 64 bytes
// always suffice; what is accepted is what was expected.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "peer/handshake.hpp"

namespace {

using namespace icqgate;
using namespace icqgate::peer;
using Kind = Decision::Kind;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_accepted(const Decision& decision, Bytes first, const Expectation& expectation) {
  const auto& handshake = decision.handshake;
  require(decision.consumed <= first.size() && decision.consumed <= kMaxHandshake);
  require(decision.consumed == std::size_t{2} + handshake.body_length);
  require(std::to_integer<std::size_t>(first[0]) == handshake.body_length);
  require(handshake.version >= 2 && handshake.version <= 11);
  require(handshake.source.get() != 0 || handshake.connect_id != 0);
  require(handshake.source != expectation.not_source);
  require(!handshake.listening_port || handshake.listening_port->get() != 0);
  const bool old = handshake.body_length == 26;
  require(!old || expectation.allow_old_versions);
  require(old == !handshake.destination.has_value() && old == !handshake.cookie.has_value());
  if (!old && expectation.destination) require(handshake.destination == expectation.destination);
  if (handshake.cookie_counts()) require(handshake.cookie.has_value());
}

void check(Bytes stream, const Expectation& expectation) {
  Decision verdict;
  for (std::size_t size = 0; size <= stream.size(); ++size) {
    const Decision decision = decide(stream.first(size), expectation);
    if (verdict.kind != Kind::NeedMore) {
      require(decision.kind == verdict.kind && decision.consumed == verdict.consumed);
      require(decision.kind != Kind::Refuse || decision.refusal == verdict.refusal);
    }
    verdict = decision;
    if (decision.kind == Kind::Accept) check_accepted(decision, stream.first(size), expectation);
    if (decision.kind == Kind::Refuse) require(!to_string(decision.refusal).empty());
    if (size >= kMaxHandshake) require(decision.kind != Kind::NeedMore);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes whole = std::as_bytes(std::span{data, size});
  const Bytes stream = whole.first(std::min<std::size_t>(size, 96));
  constexpr Uin kUser{100001};
  const std::array<Expectation, 4> expectations{{
      {.destination = kUser, .not_source = kUser},
      {.destination = kUser, .not_source = kUser, .allow_old_versions = false},
      {.destination = Uin{200002}},
      {},
  }};
  for (const auto& expectation : expectations) check(stream, expectation);

  Transfer last = Transfer::NeedMore;
  for (std::size_t length = 0; length <= stream.size(); ++length) {
    const Transfer transfer = looks_like_transfer(stream.first(length));
    require(last == Transfer::NeedMore || transfer == last);
    require(length < 8 || transfer != Transfer::NeedMore);
    last = transfer;
  }
  // Whatever has a name in the log as another protocol is refused.
  if (!guess_protocol(stream).empty()) require(decide(stream, {}).kind == Kind::Refuse);
  return 0;
}
