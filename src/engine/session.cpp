// SPDX-License-Identifier: GPL-2.0-or-later
// What a session says, and what of it becomes a pinhole (protocol.md 3 to 4; security.md S5 to S13).
#include <algorithm>

#include "engine/engine.hpp"

namespace icqgate::engine {

using std::chrono::minutes;
using std::chrono::seconds;

namespace {

constexpr std::uint32_t kMostOpenedPerMinute = 10;  // new ports of one client (S11)
constexpr std::size_t kMostBuddies = 1000;          // of one session; the real lists end at a few hundred
constexpr std::uint16_t kMostToldPeers = 256;       // elements in `peers` by one session
constexpr seconds kToldPeerLife{3600};

// Types that a client announces although it listens (protocol.md 4.3); 2 is a SOCKS proxy's port, 0 none at
// all.
bool may_listen(std::uint8_t type, const std::set<std::uint8_t>& configured) {
  return configured.empty() ? type == 1 || (type >= 3 && type <= 6) : configured.contains(type);
}

}  // namespace

void Engine::on_login_reply(const FlowKey& key, Flow& flow, Bytes tlvs) {
  if (!flow.credentials) {
    go_blind(key, flow, Reason::BadState);  // an answer to a question nobody asked
    return;
  }
  const oscar::LoginReply reply = oscar::parse_login_reply(tlvs);
  const auto refuse = [&](What what, Reason reason) {
    report({.what = what,
            .reason = reason,
            .client = key.inside.address,
            .uin = flow.uin,
            .remote = key.outside});
  };
  if (reply.bad_target) {
    refuse(What::RedirectRefused, Reason::BadTarget);
  } else if (!reply.redirects()) {
    if (reply.error) refuse(What::LoginRefused, Reason::LoginFailed);
  } else if (flow.uin && reply.uin && flow.uin != reply.uin) {
    refuse(What::RedirectRefused, Reason::BadState);
  } else {
    if (reply.uin) flow.uin = reply.uin;
    allow_server(key, flow, *reply.target, reply.cookie, false);
  }
}

void Engine::on_self_info(const FlowKey& key, Flow& flow, Bytes body) {
  const auto info = oscar::parse_self_info(body);
  if (!info) return;
  if (info->external) flow.external = info->external;
  if (!info->uin || flow.uin == info->uin) return;
  if (flow.online) {  // the server's word counts (protocol.md 3), but nothing may stay open under another's
                      // name
    end_session(key, flow, Reason::Replaced);
  }
  flow.uin = info->uin;
}

void Engine::on_buddies(const FlowKey& key, Flow& flow, Bytes body) {
  for (const oscar::UserInfo& info : oscar::parse_buddies(body)) {
    if (!info.uin || !info.direct || info.direct->all_zero)
      continue;  // without 0x0C: a status change, old data stay
    const oscar::DirectInfo& direct = *info.direct;
    if (direct.cookie) {
      const auto at = std::lower_bound(flow.buddies.begin(), flow.buddies.end(), *info.uin,
                                       [](const Buddy& buddy, Uin uin) { return buddy.uin < uin; });
      if (at != flow.buddies.end() && at->uin == *info.uin) {
        at->cookie = *direct.cookie;
      } else if (flow.buddies.size() < kMostBuddies) {
        flow.buddies.insert(at, Buddy{*info.uin, *direct.cookie});
      }
    }
    // Where it listens: its external address if the server says one (protocol.md 4.6), else the one it gives
    // itself.
    const Ipv4 address = info.external.value_or(direct.internal);
    const auto from = key.inside.address.v4();
    if (!from || !direct.port || direct.port->get() < 1024 || flow.told_peers >= kMostToldPeers) continue;
    if (judge_target(address, true) != Reason::None) continue;
    ++flow.told_peers;
    change(nft::Change::Kind::Renew, nft::Element::peer(*from, address, *direct.port), kToldPeerLife);
  }
}

void Engine::come_online(const FlowKey& key, Flow& flow) {
  if (flow.online || flow.role != Flow::Role::Session || !flow.server_spoke || !flow.uin) return;
  flow.online = true;
  ClientState& state = client(key.inside.address);
  if (state.online.empty() && key.inside.address.is_v4())
    change(nft::Change::Kind::Renew, nft::Element::session(*key.inside.address.v4()),
           config_.pinhole_timeout);
  state.online.push_back(*flow.uin);
  ++saved_version_;
  actions_.emplace_back(FindFlow{key});
  report({.what = What::SessionOpened, .client = key.inside.address, .uin = flow.uin, .remote = key.outside});
  // A session that moved here from another server keeps its pinhole.
  if (const auto source = key.inside.address.v4()) {
    for (auto at = pinholes_.lower_bound({*source, Port{0}});
         at != pinholes_.end() && at->first.client == *source; ++at) {
      if (!at->second.orphan || at->second.uin != *flow.uin) continue;
      adopt_pinhole(at->first, at->second, key, flow);
      break;
    }
    // Or from one that is still there, if the client logs on before it leaves.
    const auto meaning = cookies_.find(flow.login_cookie);
    const auto old = meaning != cookies_.end() ? flows_.find(meaning->second.from) : flows_.end();
    if (!flow.port && old != flows_.end() && old->second->moving && old->second->port &&
        old->second->uin == flow.uin && meaning->second.from.inside.address == key.inside.address) {
      const auto at = pinholes_.find({*source, *old->second->port});
      if (at != pinholes_.end() && at->second.open && at->second.owner == old->first) {
        old->second->port.reset();
        adopt_pinhole(at->first, at->second, key, flow);
      }
    }
  }
  if (flow.announced) {
    const auto info = *std::exchange(flow.announced, std::nullopt);
    announce(key, flow, info, flow.announced_end);
  }
}

void Engine::on_status(const FlowKey& key, Flow& flow, Bytes body, std::uint64_t end) {
  const oscar::StatusUpdate status = oscar::parse_status_update(body);
  if (status.contradictory) {
    refuse_announcement(key, flow, std::nullopt, Reason::Contradictory);
    return;
  }
  if (!status.direct) return;  // nothing announced: the known port stays (protocol.md 4.1)
  if (!flow.online) {
    // Not counted before the server has accepted the login (S5); the last one said is looked at then.
    flow.announced = status.direct;
    flow.announced_end = end;
    return;
  }
  announce(key, flow, *status.direct, end);
}

Reason Engine::judge_port(Port port) const {
  if (!config_.port_range.contains(port)) return Reason::OutsideRange;
  if (config::is_denied(port, config_)) return Reason::DeniedPort;
  return Reason::None;
}

Reason Engine::judge_announcement(const FlowKey& key, const Flow& flow, const oscar::DirectInfo& info) const {
  const auto source = key.inside.address.v4();
  if (!source) return Reason::Ipv6Session;
  // The address in the announcement is a claim; it must be the client's, or the outside address that stands
  // for it (S7).
  const bool own = info.internal == Ipv4{} || info.internal == *source || info.internal == flow.external ||
                   std::find(surroundings_.own.begin(), surroundings_.own.end(), IpAddress{info.internal}) !=
                       surroundings_.own.end();
  if (!own) return Reason::OtherHost;
  if (!may_listen(info.type, config_.dc_types)) return Reason::DcType;
  if (const Reason reason = judge_port(*info.port); reason != Reason::None) return reason;
  const PinholeKey wanted{*source, *info.port};
  if (const auto there = pinholes_.find(wanted); there != pinholes_.end()) {
    const Pinhole& pinhole = there->second;
    // The same user again, whose old session has not ended yet, takes it over; nobody else does (S8).
    if (pinhole.owner != key && pinhole.uin != *flow.uin) return Reason::PortTaken;
    return Reason::None;
  }
  if (const auto taken = forwards_.find(*info.port);
      config_.masquerade && taken != forwards_.end() && taken->second.client != *source)
    return Reason::PortTaken;
  if (const auto known = clients_.find(key.inside.address); known != clients_.end()) {
    const std::size_t after = known->second.pinholes - (flow.port ? 1 : 0) + 1;
    if (after > config_.ports_per_client) return Reason::TooMany;
    if (now_ - known->second.minute < minutes{1} && known->second.opened >= kMostOpenedPerMinute)
      return Reason::TooOften;
  }
  return Reason::None;
}

void Engine::refuse_announcement(const FlowKey& key, const Flow& flow, std::optional<Port> port,
                                 Reason reason) {
  report({.what = What::AnnounceRefused,
          .reason = reason,
          .client = key.inside.address,
          .uin = flow.uin,
          .port = port,
          .remote = key.outside});
}

void Engine::announce(const FlowKey& key, Flow& flow, const oscar::DirectInfo& info, std::uint64_t end) {
  if (info.bad_port) {
    refuse_announcement(key, flow, std::nullopt, Reason::BadPort);
    return;
  }
  flow.cookie = info.cookie;
  const auto source = key.inside.address.v4();
  const auto close_old = [&](Reason reason) {
    if (flow.port && source) close_pinhole({*source, *flow.port}, reason);
  };
  if (!info.port) {
    close_old(Reason::PortWithdrawn);
    return;
  }
  const Reason reason = judge_announcement(key, flow, info);
  if (reason != Reason::None) {
    refuse_announcement(key, flow, info.port, reason);
    // It listens elsewhere now, where nothing may be opened: the old port is nobody's. A claim that is false
    // in itself changes nothing.
    const bool moved =
        flow.port && flow.port != info.port && reason != Reason::OtherHost && reason != Reason::TooOften;
    if (moved || reason == Reason::DcType) close_old(Reason::Replaced);
    return;
  }
  const PinholeKey wanted{*source, *info.port};
  if (const auto there = pinholes_.find(wanted); there != pinholes_.end()) {
    Pinhole& pinhole = there->second;
    if (pinhole.owner != key) {
      if (const auto old = flows_.find(pinhole.owner); old != flows_.end()) old->second->port.reset();
      if (flow.port && flow.port != info.port) close_old(Reason::Replaced);
      pinhole.owner = key;
      pinhole.orphan = false;
      pinhole.open = false;  // this session's own announcement has to be acknowledged
      pinhole.offset = end;
      watch_pinhole(wanted, pinhole);
    }
    flow.port = info.port;
    pinhole.cookie = info.cookie;
    promote(key, flow);
    return;
  }
  close_old(Reason::Replaced);
  ClientState& state = client(key.inside.address);
  if (now_ - state.minute >= minutes{1}) {
    state.minute = now_;
    state.opened = 0;
    state.redirects = 0;
  }
  ++state.opened;
  ++state.pinholes;
  Pinhole pinhole;
  pinhole.uin = *flow.uin;
  pinhole.owner = key;
  pinhole.since = now_;
  pinhole.offset = end;
  pinhole.cookie = info.cookie;
  flow.port = info.port;
  if (config_.masquerade) forwards_[wanted.port] = wanted;
  renew_pinhole(wanted, pinholes_.emplace(wanted, pinhole).first->second, config_.pinhole_timeout);
  report({.what = What::PinholeProbation,
          .client = key.inside.address,
          .uin = flow.uin,
          .port = info.port,
          .remote = key.outside,
          .version = info.version});
  promote(key, flow);
}

void Engine::promote(const FlowKey& key, Flow& flow) {
  if (!flow.port || !key.inside.address.is_v4()) return;
  const auto found = pinholes_.find({*key.inside.address.v4(), *flow.port});
  if (found == pinholes_.end() || found->second.open || found->second.owner != key) return;
  if (flow.to_server.acknowledged() < found->second.offset) return;
  found->second.open = true;
  ++saved_version_;
  watch_pinhole(found->first, found->second);
  report({.what = What::PinholeOpened,
          .client = key.inside.address,
          .uin = found->second.uin,
          .port = flow.port,
          .remote = key.outside});
}

void Engine::renew_pinhole(PinholeKey key, Pinhole& pinhole, seconds span) {
  pinhole.until = now_ + span;
  change(nft::Change::Kind::Renew, nft::Element::pinhole(key.client, key.port), span);
  if (config_.masquerade)
    change(nft::Change::Kind::Renew, nft::Element::forward(key.port, key.client, key.port), span);
  watch_pinhole(key, pinhole);
}

// An open pinhole is looked at in time to renew it, any other when it ends.
void Engine::watch_pinhole(PinholeKey key, Pinhole& pinhole) {
  const bool renewed = pinhole.open && !pinhole.orphan;
  pinhole.check =
      renewed ? std::max<TimePoint>(now_, pinhole.until - config_.pinhole_timeout / 2) : pinhole.until;
  arm(pinhole.check, Timer::Kind::Pinhole, key);
}

void Engine::adopt_pinhole(PinholeKey key, Pinhole& pinhole, const FlowKey& heir, Flow& flow) {
  pinhole.orphan = false;
  pinhole.owner = heir;
  ++saved_version_;
  flow.port = key.port;
  flow.cookie = pinhole.cookie;
  renew_pinhole(key, pinhole, config_.pinhole_timeout);
}

// The outside port is given back once nothing inside is reached by it.
void Engine::release_forward(PinholeKey key) {
  const auto forward = forwards_.find(key.port);
  if (forward == forwards_.end() || forward->second != key || pinholes_.contains(key)) return;
  const bool used = std::any_of(returns_.begin(), returns_.end(), [&key](const auto& back) {
    return back.first.client == key.client && back.first.port == key.port;
  });
  if (used) return;
  forwards_.erase(forward);
  change(nft::Change::Kind::Remove, nft::Element::forward(key.port, key.client, key.port));
}

void Engine::close_pinhole(PinholeKey key, Reason reason) {
  const auto found = pinholes_.find(key);
  if (found == pinholes_.end()) return;
  const Pinhole pinhole = found->second;
  pinholes_.erase(found);
  ++saved_version_;
  if (const auto owner = flows_.find(pinhole.owner); owner != flows_.end() && owner->second->port == key.port)
    owner->second->port.reset();
  change(nft::Change::Kind::Remove, nft::Element::pinhole(key.client, key.port));
  release_forward(key);
  if (const auto state = clients_.find(IpAddress{key.client});
      state != clients_.end() && state->second.pinholes > 0)
    --state->second.pinholes;
  if (const auto state = clients_.find(IpAddress{key.client});
      state != clients_.end() && state->second.online.empty() && state->second.pinholes == 0)
    clients_.erase(state);
  report({.what = What::PinholeClosed,
          .reason = reason,
          .client = IpAddress{key.client},
          .uin = pinhole.uin,
          .port = key.port});
}

}  // namespace icqgate::engine
