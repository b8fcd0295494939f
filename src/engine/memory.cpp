// SPDX-License-Identifier: GPL-2.0-or-later
// What outlives a restart, and what a changed configuration leaves (security.md S1, S13).
#include <algorithm>

#include "engine/engine.hpp"

namespace icqgate::engine {

using std::chrono::duration_cast;
using std::chrono::seconds;

bool Engine::is_client(const IpAddress& address) const {
  return config_.clients.empty() || std::any_of(config_.clients.begin(), config_.clients.end(),
                                                [&](const Subnet& one) { return one.contains(address); });
}

std::set<Port> Engine::server_ports() const {
  std::set<Port> ports{config_.login_ports.begin(), config_.login_ports.end()};
  for (const auto& [name, entry] : login_names_) ports.insert(entry.ports.begin(), entry.ports.end());
  for (const auto& [address, login] : logins_) ports.insert(login.ports.begin(), login.ports.end());
  for (const auto& [key, grant] : servers_) ports.insert(key.server.port);
  return ports;
}

Saved Engine::saved(TimePoint now) const {
  Saved saved;
  for (const auto& [address, login] : logins_)
    for (const auto& owner : login.owners)
      saved.addresses.push_back({owner.name, address, duration_cast<seconds>(owner.ttl_end - now),
                                 duration_cast<seconds>(now - login.since)});
  std::sort(saved.addresses.begin(), saved.addresses.end(), [](const auto& a, const auto& b) {
    return std::tie(a.name, a.address) < std::tie(b.name, b.address);
  });
  for (const auto& [key, flow] : flows_) {
    if (!flow->online) continue;
    Saved::Session session{.flow = key,
                           .uin = flow->uin,
                           .online = true,
                           .moving = flow->moving,
                           .external = flow->external,
                           .to_server = std::nullopt,
                           .to_client = std::nullopt,
                           .age = duration_cast<seconds>(now - flow->since),
                           .silent = duration_cast<seconds>(now - flow->heard)};
    // Within a frame, or beyond a hole, there is more to know than a position.
    const auto exact = [](const tcp::Stream& stream, const oscar::FlapReader& frames) {
      return !stream.has_gap() && !frames.inside_frame();
    };
    if (!flow->blind && flow->to_client && exact(flow->to_server, flow->client_frames) &&
        exact(*flow->to_client, flow->server_frames)) {
      session.to_server = flow->to_server.sequence_at(flow->to_server.delivered());
      session.to_client = flow->to_client->sequence_at(flow->to_client->delivered());
    }
    saved.sessions.push_back(session);
  }
  std::sort(saved.sessions.begin(), saved.sessions.end(),
            [](const auto& a, const auto& b) { return a.flow < b.flow; });
  for (const auto& [key, pinhole] : pinholes_) {
    const auto owner = flows_.find(pinhole.owner);
    if (pinhole.open && owner != flows_.end() && owner->second->online && owner->second->uin == pinhole.uin)
      saved.pinholes.push_back({.client = key.client,
                                .port = key.port,
                                .uin = pinhole.uin,
                                .owner = pinhole.owner,
                                .reason = "direct",
                                .peers = pinhole.peers,
                                .age = duration_cast<seconds>(now - pinhole.since)});
  }
  return saved;
}

// The file is believed in nothing that the rules of today, and conntrack, do not say as well.
void Engine::on_restored(const Restored& restored) {
  for (const auto& one : restored.saved.addresses) {
    const auto name = login_names_.find(one.name);
    if (name == login_names_.end() || judge_target(one.address, name->second.private_allowed) != Reason::None)
      continue;
    const dns::Query query{one.name, one.address.is_v4() ? dns::Type::A : dns::Type::Aaaa};
    schedule_.remember(query, one.address, one.ttl_left, now_);
    LoginAddress& login = put_address(one.address, Source::Saved);
    login.owners.push_back({one.name, now_ + std::clamp(one.ttl_left, seconds{0}, config_.ttl_max)});
    login.since = std::min(login.since, now_ - std::clamp(one.age, seconds{0}, kOldest));
    set_ports(one.address, login, ports_of(login));
    settle(one.address, login);
  }
  for (const auto& [name, entry] : login_names_)
    for (const auto type : {dns::Type::A, dns::Type::Aaaa}) keep_limits({name, type});

  const std::unordered_set<FlowKey, FlowKeyHash> alive{restored.alive.begin(), restored.alive.end()};
  for (const auto& session : restored.saved.sessions)
    if (alive.contains(session.flow)) restore_session(session);
  for (const auto& pinhole : restored.saved.pinholes) restore_pinhole(pinhole);
  for (const FlowKey& key : restored.alive) watch_passing(key);
}

void Engine::restore_session(const Saved::Session& saved) {
  const FlowKey& key = saved.flow;
  const bool possible = saved.online && saved.uin && is_client(key.inside.address) &&
                        key.inside.address.is_v4() == key.outside.address.is_v4() &&
                        judge_target(key.outside.address, true) == Reason::None && !flows_.contains(key);
  if (!possible) return;
  const bool exact = saved.to_server && saved.to_client;
  auto flow = std::make_unique<Flow>(saved.to_server.value_or(1) - 1);
  flow->to_client.emplace(saved.to_client.value_or(1) - 1);
  flow->role = Flow::Role::Session;
  flow->server_hello = flow->server_spoke = flow->online = true;
  flow->blind = !exact;
  flow->resuming_client = flow->resuming_server = exact;
  flow->uin = saved.uin;
  flow->moving = saved.moving;
  flow->external = saved.external;
  flow->since = now_ - std::clamp(saved.age, seconds{0}, kOldest);
  flow->heard = now_ - std::clamp(saved.silent, seconds{0}, config_.session_idle / 2);
  flow->check = now_ + std::min(config_.pinhole_timeout / 2, config_.session_idle / 2);
  arm(flow->check, Timer::Kind::Flow, key);
  if (!is_login(key.outside)) {
    auto& grant = servers_[{key.inside.address, key.outside}];
    grant.until = now_ + config_.pinhole_timeout;
    arm(grant.until, Timer::Kind::Server, ServerKey{key.inside.address, key.outside});
    change(nft::Change::Kind::Renew, nft::Element::server(key.inside.address, key.outside),
           config_.pinhole_timeout);
  }
  count_flow(key, *flow);
  ClientState& state = client(key.inside.address);
  if (state.online.empty() && key.inside.address.is_v4())
    change(nft::Change::Kind::Renew, nft::Element::session(*key.inside.address.v4()),
           config_.pinhole_timeout);
  state.online.push_back(*saved.uin);
  flows_.emplace(key, std::move(flow));
  ++saved_version_;
  report({.what = What::SessionRestored,
          .reason = exact ? Reason::None : Reason::MidStream,
          .client = key.inside.address,
          .uin = saved.uin,
          .remote = key.outside});
}

void Engine::restore_pinhole(const Saved::Pinhole& saved) {
  const PinholeKey key{saved.client, saved.port};
  if (!is_client(IpAddress{saved.client}) || judge_port(saved.port) != Reason::None ||
      pinholes_.contains(key))
    return;
  const auto owner = flows_.find(saved.owner);
  const auto state = clients_.find(IpAddress{saved.client});
  const auto forward = forwards_.find(saved.port);
  const bool lives = owner != flows_.end() && owner->second->online && owner->second->uin == saved.uin &&
                     !owner->second->port && owner->first.inside.address == IpAddress{saved.client} &&
                     state != clients_.end() && state->second.pinholes < config_.ports_per_client &&
                     (!config_.masquerade || forward == forwards_.end());
  if (!lives) {
    // Its session ended while nobody looked: what the kernel may still hold of it goes.
    change(nft::Change::Kind::Remove, nft::Element::pinhole(saved.client, saved.port));
    if (config_.masquerade && forward == forwards_.end())
      change(nft::Change::Kind::Remove, nft::Element::forward(saved.port, saved.client, saved.port));
    report({.what = What::PinholeClosed,
            .reason = Reason::ConnectionClosed,
            .client = IpAddress{saved.client},
            .uin = saved.uin,
            .port = saved.port});
    return;
  }
  Pinhole pinhole;
  pinhole.uin = saved.uin;
  pinhole.owner = saved.owner;
  pinhole.open = true;
  pinhole.peers = saved.peers;
  pinhole.since = now_ - std::clamp(saved.age, seconds{0}, kOldest);
  owner->second->port = saved.port;
  ++state->second.pinholes;
  ++saved_version_;
  if (config_.masquerade) forwards_[key.port] = key;
  renew_pinhole(key, pinholes_.emplace(key, pinhole).first->second, config_.pinhole_timeout);
  report({.what = What::PinholeOpened,
          .client = IpAddress{saved.client},
          .uin = saved.uin,
          .port = saved.port,
          .remote = saved.owner.outside});
}

void Engine::on_reconfigured(const config::Config& config) {
  config_ = config;
  read_names();
  schedule_.reconfigure(names_of(config_), policy_of(config_, seed_));
  std::erase_if(last_failure_, [this](const auto& one) { return !login_names_.contains(one.first.name); });

  // Names that may not stand for private addresses any more, and addresses that became our own side's.
  for (auto& known : logins_) {
    const IpAddress& address = known.first;
    std::erase_if(known.second.owners, [&address, this](const auto& owner) {
      const auto name = login_names_.find(owner.name);
      const bool keep =
          name != login_names_.end() && judge_target(address, name->second.private_allowed) == Reason::None;
      if (!keep) schedule_.forget({owner.name, address.is_v4() ? dns::Type::A : dns::Type::Aaaa}, address);
      return !keep;
    });
  }
  fix_addresses();
  for (const auto& [name, entry] : login_names_)
    for (const auto type : {dns::Type::A, dns::Type::Aaaa}) keep_limits({name, type});

  for (auto& [key, flow] : flows_) {
    if (is_client(key.inside.address)) continue;
    end_session(key, *flow, Reason::Reconfigured);
    if (!flow->blind) go_blind(key, *flow, Reason::None);
  }
  std::vector<PinholeKey> shut;
  for (const auto& [key, pinhole] : pinholes_)
    if (!is_client(IpAddress{key.client}) || judge_port(key.port) != Reason::None) shut.push_back(key);
  for (const PinholeKey key : shut) close_pinhole(key, Reason::Reconfigured);
  std::vector<ReturnKey> gone;
  for (const auto& [key, back] : returns_)
    if (!is_client(IpAddress{key.client}) || judge_port(key.port) != Reason::None) gone.push_back(key);
  for (const ReturnKey& key : gone) {
    change(nft::Change::Kind::Remove, nft::Element::returning(key.peer, key.client, key.port));
    close_return(key, Reason::Reconfigured);
  }
  for (auto& [key, grant] : servers_) {
    if (is_client(key.client)) continue;
    change(nft::Change::Kind::Remove, nft::Element::server(key.client, key.server));
    grant.until = now_;
    arm(now_, Timer::Kind::Server, key);
  }
}

}  // namespace icqgate::engine
