// SPDX-License-Identifier: GPL-2.0-or-later
// Connections between peers: the first bytes decide (protocol.md 9; security.md S14 to S16).
#include <algorithm>

#include "engine/engine.hpp"

namespace icqgate::engine {

using std::chrono::seconds;

namespace {

constexpr seconds kHandshakeDeadline{30};  // protocol.md 9, segmentation
constexpr seconds kRefusedMemory{60};      // while a refused sender tries again
constexpr seconds kReturnLife{60};         // "the matching return flow, for a short while"
constexpr std::size_t kMostPeerFlows = 16'384;
constexpr std::size_t kMostReturns = 16'384;

Reason reason_of(peer::Refusal refusal) {
  return static_cast<Reason>(static_cast<std::size_t>(Reason::NotIcq) + static_cast<std::size_t>(refusal));
}
static_assert(static_cast<int>(Reason::Transfer) - static_cast<int>(Reason::NotIcq) ==
              static_cast<int>(peer::Refusal::Transfer));

// A body whose two length bytes were overtaken: FF and a known version. Its first arrival is held back once,
// so that the earlier segment can come first; if none comes, the retransmission is judged as it stands.
bool may_miss_its_prefix(Bytes first) {
  return first.size() >= 3 && first[0] == std::byte{0xff} && first[1] >= std::byte{2} &&
         first[1] <= std::byte{11} && first[2] == std::byte{0};
}

}  // namespace

void Engine::on_peer(const SegmentSeen& seen) {
  const TcpSegment& segment = seen.segment;
  const FlowKey key = seen.from == Side::Lan ? FlowKey{segment.source, segment.destination}
                                             : FlowKey{segment.destination, segment.source};
  auto found = peers_.find(key);
  if (found != peers_.end() && found->second.refused) {
    reset_peer(key, found->second, seen);
    return;
  }
  if (segment.payload.empty()) {
    if (found != peers_.end() && (segment.flags & (TcpSegment::kFin | TcpSegment::kRst)) != 0)
      peers_.erase(found);
    verdict(seen, Verdict::Kind::Pass);
    return;
  }
  const bool fresh = found == peers_.end();
  if (fresh) {
    if (peers_.size() >= kMostPeerFlows) forget_refused(true);
    if (peers_.size() >= kMostPeerFlows) forget_oldest();
    if (peers_.size() >= kMostPeerFlows) {  // a flood: nothing is opened by it, and what is not ours passes
      verdict(seen, seen.lane == Lane::Peer ? Verdict::Kind::Drop : Verdict::Kind::Release);
      return;
    }
    PeerFlow flow;
    const auto inside = key.inside.address.v4();
    const auto outside = key.outside.address.v4();
    // Inbound ones come to the port range only (ruleset, to_listener). There, what a peer says first is never
    // taken for an answer, even if the pinhole has closed since.
    flow.inbound = seen.lane == Lane::Peer && inside && outside &&
                   (pinholes_.contains({*inside, key.inside.port}) ||
                    returns_.contains({*outside, *inside, key.inside.port}) ||
                    (config_.port_range.contains(key.inside.port) &&
                     (seen.from == Side::Wan || !clients_.contains(key.inside.address))));
    flow.until = now_ + kHandshakeDeadline;
    found = peers_.emplace(key, flow).first;
  }
  if (found->second.inbound) {
    judge_inbound(key, found->second, seen);
  } else {
    judge_outbound(key, found->second, seen);
  }
  // Most are decided by their first segment: only the others need a deadline.
  if (!fresh) return;
  while (!begun_peers_.empty() && begun_peers_.front().first <= now_) begun_peers_.pop_front();
  if (const auto still = peers_.find(key); still != peers_.end() && !still->second.refused) {
    arm(still->second.until, Timer::Kind::Peer, key);
    begun_peers_.emplace_back(still->second.until, key);
  }
}

void Engine::remember_refused(const FlowKey& key, PeerFlow& flow) {
  flow.refused = true;
  flow.until = now_ + kRefusedMemory;
  refused_peers_.emplace_back(flow.until, key);
}

// A flood of openings that never end must not keep out the good ones: the oldest handshake still incomplete
// makes room.
void Engine::forget_oldest() {
  while (!begun_peers_.empty()) {
    const auto [until, key] = begun_peers_.front();
    begun_peers_.pop_front();
    const auto found = peers_.find(key);
    if (found == peers_.end() || found->second.refused || found->second.until != until) continue;
    actions_.emplace_back(EndFlow{key});
    peers_.erase(found);
    return;
  }
}

// Those whose time is over; or the oldest before its time, so that a flood of refusals does not keep out the
// good ones. The refused connection itself is over: should its sender go on, it is judged anew.
void Engine::forget_refused(bool one_at_least) {
  while (!refused_peers_.empty()) {
    const auto [until, key] = refused_peers_.front();
    if (until > now_ && !one_at_least) return;
    refused_peers_.pop_front();
    const auto found = peers_.find(key);
    if (found == peers_.end() || !found->second.refused || found->second.until != until) continue;
    actions_.emplace_back(EndFlow{key});
    peers_.erase(found);
    one_at_least = false;
  }
}

void Engine::refuse_peer(const FlowKey& key, const SegmentSeen& seen, What what, Reason reason,
                         const peer::Handshake* handshake) {
  PeerFlow& flow = peers_[key];
  const bool not_icq = reason == Reason::NotIcq;
  report({.what = what,
          .reason = reason,
          .client = key.inside.address,
          .port = flow.inbound ? key.inside.port : key.outside.port,
          .remote = key.outside,
          .peer_uin = handshake != nullptr ? std::optional{handshake->source} : std::nullopt,
          .version = handshake != nullptr ? handshake->version : std::uint16_t{0},
          .text = not_icq ? std::string{peer::guess_protocol(flow.first.known())} : std::string{}});
  if (config_.peer_check != config::PeerCheck::Strict) {  // only told
    verdict(seen, Verdict::Kind::Verify);
    peers_.erase(key);
    return;
  }
  remember_refused(key, flow);
  reset_peer(key, flow, seen);
}

// Both sides are told: in place of the refused segment its receiver gets a reset, and the sender when it
// tries again. Only then conntrack forgets the flow: a retransmission has to find its way back here by the
// flow's mark.
void Engine::reset_peer(const FlowKey& key, PeerFlow& flow, const SegmentSeen& seen) {
  if (flow.told) {
    verdict(seen, Verdict::Kind::Repeat);
    actions_.emplace_back(EndFlow{key});
    return;
  }
  constexpr std::uint8_t kMostBundles = 4;  // a retransmission is a single segment, sooner or later
  if (seen.bundled && flow.bundles < kMostBundles) {
    ++flow.bundles;
    verdict(seen, Verdict::Kind::Drop);
    return;
  }
  flow.told = true;
  verdict(seen, Verdict::Kind::Refuse);
}

Reason Engine::judge_cookie(const FlowKey& owner, const Pinhole& pinhole,
                            const peer::Handshake& handshake) const {
  if (!config_.check_cookie || !handshake.cookie || !handshake.cookie_counts()) return Reason::None;
  const auto flow = flows_.find(owner);
  if (flow == flows_.end()) return Reason::None;
  const auto& buddies = flow->second->buddies;
  const auto at = std::lower_bound(buddies.begin(), buddies.end(), handshake.source,
                                   [](const Buddy& buddy, Uin uin) { return buddy.uin < uin; });
  if (at == buddies.end() || at->uin != handshake.source)
    return Reason::None;  // none is known: the UIN decides
  return handshake.cookie == at->cookie || handshake.cookie == pinhole.cookie ? Reason::None : Reason::Cookie;
}

void Engine::judge_inbound(const FlowKey& key, PeerFlow& flow, const SegmentSeen& seen) {
  const auto inside = key.inside.address.v4();
  const auto outside = key.outside.address.v4();
  if (!inside || !outside) {
    refuse_peer(key, seen, What::PeerRefused, Reason::NoPinhole, nullptr);
    return;
  }
  const auto pinhole = pinholes_.find({*inside, key.inside.port});
  const auto back = returns_.find({*outside, *inside, key.inside.port});
  const bool open = pinhole != pinholes_.end() && pinhole->second.open;
  if (!open && back == returns_.end()) {
    if (pinhole != pinholes_.end()) {
      // Not yet: the sender tries again, and by then the server has acknowledged the announcement or it never
      // will.
      ++refused_[static_cast<std::size_t>(Reason::Probation)];
      verdict(seen, Verdict::Kind::Drop);
      return;
    }
    refuse_peer(key, seen, What::PeerRefused, Reason::NoPinhole, nullptr);
    return;
  }
  if (seen.from == Side::Lan) {
    verdict(seen, Verdict::Kind::Drop);  // a listener has nothing to say before the peer has proved itself
    return;
  }
  if (flow.first.put(seen.segment.sequence, seen.segment.payload, flow.held) != FirstBytes::Put::Ok) {
    refuse_peer(key, seen, What::PeerRefused, Reason::Overlap, nullptr);
    return;
  }
  const Uin owner = open ? pinhole->second.uin : back->second.uin;
  const Bytes known = flow.first.known();
  const peer::Decision decision = peer::decide(
      known, {.destination = owner, .not_source = owner, .allow_old_versions = config_.allow_old_versions});
  switch (decision.kind) {
    case peer::Decision::Kind::NeedMore:
      verdict(seen, flow.first.beyond() ? Verdict::Kind::Drop : Verdict::Kind::Pass);
      return;
    case peer::Decision::Kind::Refuse:
      if (!flow.held && decision.refusal == peer::Refusal::NotIcq && may_miss_its_prefix(known)) {
        flow.held = true;
        verdict(seen, Verdict::Kind::Drop);
        return;
      }
      refuse_peer(key, seen, What::PeerRefused, reason_of(decision.refusal), nullptr);
      return;
    case peer::Decision::Kind::Accept:
      break;
  }
  Reason reason = Reason::None;
  if (open) {
    reason = judge_cookie(pinhole->second.owner, pinhole->second, decision.handshake);
  } else if (back->second.peer && decision.handshake.source != *back->second.peer) {
    reason = Reason::WrongPeer;
  }
  if (reason != Reason::None) {
    refuse_peer(key, seen, What::PeerRefused, reason, &decision.handshake);
    return;
  }
  if (open) ++pinhole->second.peers;
  report({.what = What::PeerVerified,
          .client = key.inside.address,
          .uin = owner,
          .port = key.inside.port,
          .remote = key.outside,
          .peer_uin = decision.handshake.source,
          .version = decision.handshake.version,
          .text = open ? "" : "return"});
  verdict(seen, Verdict::Kind::Verify);
  peers_.erase(key);
}

void Engine::judge_outbound(const FlowKey& key, PeerFlow& flow, const SegmentSeen& seen) {
  const bool strict =
      seen.lane == Lane::Peer;  // only our mark lets it out; else the other tables do by themselves
  const auto state = clients_.find(key.inside.address);
  flow.watched = !strict;
  const auto none_of_ours = [&](Reason reason) {
    if (strict) {
      refuse_peer(key, seen, What::OutboundRefused, reason, nullptr);
    } else {
      verdict(seen, Verdict::Kind::Release);
      peers_.erase(key);
    }
  };
  const auto verified = [&](const peer::Handshake* handshake, const char* text) {
    report({.what = What::OutboundVerified,
            .client = key.inside.address,
            .uin = handshake != nullptr ? std::optional{handshake->source} : std::nullopt,
            .port = key.outside.port,
            .remote = key.outside,
            .peer_uin = handshake != nullptr ? handshake->destination : std::nullopt,
            .version = handshake != nullptr ? handshake->version : std::uint16_t{0},
            .text = text});
    verdict(seen, Verdict::Kind::Verify);
    peers_.erase(key);
  };
  if (state == clients_.end() || state->second.online.empty()) {
    if (strict) {
      none_of_ours(Reason::NoSession);
    } else {
      // Watched, and not by this run: a session that an earlier one followed. It passes as it did (S1).
      verdict(seen, Verdict::Kind::Verify);
      peers_.erase(key);
    }
    return;
  }
  if (seen.from == Side::Wan) {
    // In direct connections the connector speaks first; in transfers the listener may (protocol.md 7.1).
    const auto transfer = peer::looks_like_transfer(seen.segment.payload);
    if (transfer == peer::Transfer::No || transfer == peer::Transfer::NeedMore) {
      none_of_ours(Reason::NotIcq);
    } else {
      verified(nullptr, transfer == peer::Transfer::Oft ? "file transfer" : "direct IM");
    }
    return;
  }
  if (flow.first.put(seen.segment.sequence, seen.segment.payload, flow.held) != FirstBytes::Put::Ok) {
    none_of_ours(Reason::Overlap);
    return;
  }
  const Bytes known = flow.first.known();
  const peer::Decision decision = peer::decide(known, {});
  switch (decision.kind) {
    case peer::Decision::Kind::NeedMore:
      verdict(seen, strict && flow.first.beyond() ? Verdict::Kind::Drop : Verdict::Kind::Pass);
      return;
    case peer::Decision::Kind::Refuse:
      if (decision.refusal == peer::Refusal::Transfer) {
        const auto transfer = peer::looks_like_transfer(known);
        if (transfer == peer::Transfer::NeedMore) {
          verdict(seen, Verdict::Kind::Pass);
        } else if (transfer == peer::Transfer::No) {
          none_of_ours(Reason::NotIcq);
        } else {
          verified(nullptr, transfer == peer::Transfer::Oft ? "file transfer" : "direct IM");
        }
        return;
      }
      if (!flow.held && decision.refusal == peer::Refusal::NotIcq && may_miss_its_prefix(known)) {
        flow.held = true;
        verdict(seen, Verdict::Kind::Drop);
        return;
      }
      none_of_ours(reason_of(decision.refusal));
      return;
    case peer::Decision::Kind::Accept:
      break;
  }
  const auto& online = state->second.online;
  const Uin source = decision.handshake.source;
  if (source != Uin{} && std::find(online.begin(), online.end(), source) == online.end()) {
    refuse_peer(key, seen, What::OutboundRefused, Reason::ForeignUin, &decision.handshake);
    return;
  }
  open_return(key, decision.handshake);
  verified(&decision.handshake, "");
}

void Engine::open_return(const FlowKey& key, const peer::Handshake& handshake) {
  const auto inside = key.inside.address.v4();
  const auto outside = key.outside.address.v4();
  if (!inside || !outside || !handshake.listening_port || handshake.source == Uin{}) return;
  const Port port = *handshake.listening_port;
  if (pinholes_.contains({*inside, port})) return;  // open to everybody who proves himself
  if (const Reason reason = judge_port(port); reason != Reason::None) {
    report({.what = What::AnnounceRefused,
            .reason = reason,
            .client = key.inside.address,
            .uin = handshake.source,
            .port = port,
            .remote = key.outside});
    return;
  }
  const ReturnKey back{*outside, *inside, port};
  if (returns_.size() >= kMostReturns && !returns_.contains(back)) return;
  if (config_.masquerade) {
    const auto taken = forwards_.find(port);
    if (taken != forwards_.end() && taken->second.client != *inside) return;  // the outside port is another's
    forwards_[port] = {*inside, port};
    change(nft::Change::Kind::Renew, nft::Element::forward(port, *inside, port), kReturnLife);
  }
  returns_[back] = Return{handshake.source, handshake.destination, now_ + kReturnLife};
  arm(now_ + kReturnLife, Timer::Kind::Return, back);
  change(nft::Change::Kind::Renew, nft::Element::returning(back.peer, back.client, back.port), kReturnLife);
  report({.what = What::ReturnOpened,
          .client = key.inside.address,
          .uin = handshake.source,
          .port = port,
          .remote = Endpoint{key.outside.address, Port{}},
          .peer_uin = handshake.destination});
}

void Engine::close_return(const ReturnKey& key, Reason reason) {
  const auto found = returns_.find(key);
  if (found == returns_.end()) return;
  report({.what = What::ReturnClosed,
          .reason = reason,
          .client = IpAddress{key.client},
          .uin = found->second.uin,
          .port = key.port,
          .remote = Endpoint{key.peer, Port{}}});
  returns_.erase(found);
  release_forward({key.client, key.port});
}

}  // namespace icqgate::engine
