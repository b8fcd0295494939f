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

std::set<Port> Engine::login_ports() const {
  std::set<Port> ports{config_.login_ports.begin(), config_.login_ports.end()};
  for (const auto& [name, entry] : login_names_) ports.insert(entry.ports.begin(), entry.ports.end());
  for (const auto& [address, login] : logins_) ports.insert(login.ports.begin(), login.ports.end());
  return ports;
}

std::set<Port> Engine::server_ports() const {
  std::set<Port> ports = login_ports();
  for (const auto& [key, grant] : servers_) ports.insert(key.server.port);
  for (const auto& [server, flows] : live_) ports.insert(server.port);
  return ports;
}

std::set<nft::Element> Engine::elements() const {
  std::set<nft::Element> all;
  for (const auto& [address, login] : logins_)
    for (const Port port : login.ports) all.insert(nft::Element::login({address, port}));
  for (const auto& [key, grant] : servers_) all.insert(nft::Element::server(key.client, key.server));
  for (const auto& [address, state] : clients_)
    if (address.is_v4() && !state.online.empty()) all.insert(nft::Element::session(*address.v4()));
  for (const auto& [key, pinhole] : pinholes_) all.insert(nft::Element::pinhole(key.client, key.port));
  for (const auto& [key, back] : returns_)
    all.insert(nft::Element::returning(key.peer, key.client, key.port));
  for (const auto& [port, key] : forwards_) all.insert(nft::Element::forward(port, key.client, key.port));
  return all;
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
    if (!flow->online || !flow->to_client) continue;
    // Within a frame, or beyond a hole, there is more to know than a position.
    const auto exact = [](const tcp::Stream& stream, const oscar::FlapReader& frames) {
      return !stream.has_gap() && !frames.inside_frame();
    };
    const auto arrived = [](const tcp::Stream& stream) { return stream.sequence_at(stream.delivered()); };
    saved.sessions.push_back({.flow = key,
                              .conntrack = flow->conntrack,
                              .hosts = *flow->hosts,
                              .uin = flow->uin,
                              .online = true,
                              .moving = flow->moving,
                              .external = flow->external,
                              .exact = !flow->blind && exact(flow->to_server, flow->client_frames) &&
                                       exact(*flow->to_client, flow->server_frames),
                              .to_server = flow->blind ? flow->blind_to_server : arrived(flow->to_server),
                              .to_client = flow->blind ? flow->blind_to_client : arrived(*flow->to_client),
                              .age = duration_cast<seconds>(now - flow->since),
                              .silent = duration_cast<seconds>(now - flow->heard)});
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
    note_owners(one.address, login, Reason::Expired);
    settle(one.address, login);
  }
  for (const auto& [name, entry] : login_names_)
    for (const auto type : {dns::Type::A, dns::Type::Aaaa}) keep_limits({name, type});

  std::unordered_map<FlowKey, std::uint32_t, FlowKeyHash> alive;
  for (const auto& [flow, id, watched] : restored.alive) alive[flow] = id;
  for (const auto& session : restored.saved.sessions) {
    const auto flow = alive.find(session.flow);
    // With another number it is another connection, on the same ports.
    const bool same = flow != alive.end() &&
                      (session.conntrack == 0 || flow->second == 0 || session.conntrack == flow->second);
    if (!same || !may_restore(session)) continue;
    restore_session(session);
    Flow& restored_flow = *flows_.at(session.flow);
    restored_flow.conntrack = flow->second;
    restored_flow.same_in_conntrack = session.conntrack != 0 && session.conntrack == flow->second;
  }
  for (const auto& pinhole : restored.saved.pinholes) restore_pinhole(pinhole);
  for (const auto& [flow, id] : alive) watch_passing(flow);
}

bool Engine::may_restore(const Saved::Session& saved) const {
  const FlowKey& key = saved.flow;
  return saved.online && saved.uin && !flows_.contains(key) &&
         key.inside.address.is_v4() == key.outside.address.is_v4() &&
         may_reach(key.inside.address, key.outside, saved.hosts);
}

void Engine::restore_session(const Saved::Session& saved) {
  const FlowKey& key = saved.flow;
  auto flow = std::make_unique<Flow>(saved.to_server - 1);
  flow->to_client.emplace(saved.to_client - 1);
  flow->role = Flow::Role::Session;
  flow->server_hello = flow->server_spoke = flow->online = true;
  flow->blind = !saved.exact;
  flow->blind_to_server = saved.to_server;
  flow->blind_to_client = saved.to_client;
  flow->resuming_client = flow->resuming_server = true;
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
    grant.hosts = std::make_shared<const std::vector<std::string>>(saved.hosts);
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
          .reason = saved.exact ? Reason::None : Reason::MidStream,
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

  end_disallowed();
}

// What only the configuration of before allowed. Flows go on, as established ones do everywhere; they open
// nothing any more.
void Engine::end_disallowed() {
  for (auto& [key, flow] : flows_) {
    if (may_reach(key.inside.address, key.outside, *flow->hosts)) continue;
    flow->moving = false;  // nowhere that would be allowed
    end_session(key, *flow, Reason::Reconfigured);
    if (!flow->blind) go_blind(key, *flow, Reason::None);
  }
  std::vector<PinholeKey> shut;
  for (const auto& [key, pinhole] : pinholes_)
    if (!is_client(IpAddress{key.client}) || judge_port(key.port) != Reason::None) shut.push_back(key);
  std::map<Ipv4, std::vector<std::pair<TimePoint, PinholeKey>>> of_client;
  for (const auto& [key, pinhole] : pinholes_)
    if (std::find(shut.begin(), shut.end(), key) == shut.end())
      of_client[key.client].emplace_back(pinhole.since, key);
  for (auto& [address, ports] : of_client) {
    std::sort(ports.begin(), ports.end());  // the newest beyond ports-per-client
    for (std::size_t i = config_.ports_per_client; i < ports.size(); ++i) shut.push_back(ports[i].second);
  }
  for (const PinholeKey key : shut) close_pinhole(key, Reason::Reconfigured);
  std::vector<ReturnKey> gone;
  for (const auto& [key, back] : returns_)
    if (!is_client(IpAddress{key.client}) || judge_port(key.port) != Reason::None) gone.push_back(key);
  for (const ReturnKey& key : gone) {
    change(nft::Change::Kind::Remove, nft::Element::returning(key.peer, key.client, key.port));
    close_return(key, Reason::Reconfigured);
  }
  for (auto& [key, grant] : servers_) {
    if (may_reach(key.client, key.server, *grant.hosts) &&
        (is_server_port(key.server.port) || login_ports().contains(key.server.port)))
      continue;
    change(nft::Change::Kind::Remove, nft::Element::server(key.client, key.server));
    grant.until = now_;
    arm(now_, Timer::Kind::Server, key);
  }
}

}  // namespace icqgate::engine
