// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/engine.hpp"

#include <algorithm>
#include <utility>

namespace icqgate::engine {

using std::chrono::duration_cast;
using std::chrono::seconds;

namespace {

seconds left(TimePoint until, TimePoint now) {
  return until > now ? duration_cast<seconds>(until - now) : seconds{0};
}

std::string_view word_of(Engine::Source source) {
  switch (source) {
    case Engine::Source::Answer:
      return "answer";
    case Engine::Source::HeldAnswer:
      return "held answer";
    case Engine::Source::Saved:
      return "saved";
    case Engine::Source::Static:
      return "static";
  }
  return "";
}

}  // namespace

std::vector<dns::DomainName> names_of(const config::Config& config) {
  std::vector<dns::DomainName> names;
  for (const auto& host : config.login_hosts)
    if (const auto* name = std::get_if<dns::DomainName>(&host.host)) names.push_back(*name);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

dns::SchedulePolicy policy_of(const config::Config& config, std::uint64_t seed) {
  return {
      .ttl_min = config.ttl_min,
      .ttl_max = config.ttl_max,
      .retry_most = std::chrono::seconds{15},  // the last good addresses serve, but new ones are not known
      .most_addresses = config.addresses_per_name,
      .jitter_percent = 10,
      .seed = seed,
      .queries_per_minute = config.queries_per_minute};
}

Engine::Engine(config::Config config, Surroundings surroundings, std::uint64_t seed)
    : config_{std::move(config)},
      seed_{seed},
      surroundings_{std::move(surroundings)},
      schedule_{names_of(config_), policy_of(config_, seed)} {
  read_names();
}

Engine::~Engine() = default;

const std::vector<Action>& Engine::step(const Event& event, TimePoint now) {
  actions_.clear();
  now_ = now;
  if (!started_) {
    started_ = true;
    fix_addresses();
  }
  // What is due comes first: an event is judged by the state of its own time.
  finish_answer();
  while (!timers_.empty() && timers_.top().when <= now) {
    const Timer timer = timers_.top();
    timers_.pop();
    on_timer(timer);
  }
  forget_refused(false);
  if (const auto* seen = std::get_if<SegmentSeen>(&event)) {
    if (seen->lane == Lane::Control) {
      on_control(*seen);
    } else {
      on_peer(*seen);
    }
  } else if (const auto* ended = std::get_if<FlowEnded>(&event)) {
    on_flow_ended(ended->flow);
    // A refused one is remembered for its time: what its sender still tries has to be reset.
    if (const auto peer = peers_.find(ended->flow); peer != peers_.end() && !peer->second.refused)
      peers_.erase(peer);
  } else if (const auto* answered = std::get_if<NameAnswered>(&event)) {
    on_answer(*answered);
  } else if (const auto* failed = std::get_if<NameFailed>(&event)) {
    on_name_failed(*failed);
  } else if (const auto* held = std::get_if<AnswerHeld>(&event)) {
    on_answer_held(*held);
  } else if (const auto* missed = std::get_if<ServerMissed>(&event)) {
    on_server_missed(*missed);
  } else if (const auto* listed = std::get_if<FlowsListed>(&event)) {
    on_flows_listed(*listed);
  } else if (std::holds_alternative<ResolverChanged>(event)) {
    schedule_.hurry_failed(now);
  } else if (const auto* restored = std::get_if<Restored>(&event)) {
    on_restored(*restored);
  } else if (const auto* reconfigured = std::get_if<Reconfigured>(&event)) {
    on_reconfigured(reconfigured->config);
  }
  // The schedule looks at all of its names; a packet in between changes none of them. After an answer there
  // is time for that once its addresses are in the kernel: a client waits for them.
  if (!unfinished_ && (now >= names_due_ || !std::holds_alternative<SegmentSeen>(event))) ask_due();
  return actions_;
}

// What an answer leaves to do: its name's limits, and what to ask next.
void Engine::finish_answer() {
  const auto query = std::exchange(unfinished_, std::nullopt);
  if (!query) return;
  keep_limits(*query);
  ask_due();
}

std::optional<TimePoint> Engine::next_deadline() const {
  if (unfinished_) return now_;
  auto next = schedule_.next_deadline();
  if (!timers_.empty() && (!next || timers_.top().when < *next)) next = timers_.top().when;
  if (!refused_peers_.empty() && (!next || refused_peers_.front().first < *next))
    next = refused_peers_.front().first;
  return next;
}

void Engine::report(Report report) {
  ++happened_[static_cast<std::size_t>(report.what)];
  switch (report.what) {
    case What::AnnounceRefused:
    case What::RedirectRefused:
    case What::PeerRefused:
    case What::OutboundRefused:
    case What::FlowBlind:
      ++refused_[static_cast<std::size_t>(report.reason)];
      break;
    default:
      break;
  }
  actions_.emplace_back(std::move(report));
}

// Timers are never taken back: each looks at what it finds now, and is armed anew if its time has moved.
void Engine::on_timer(const Timer& timer) {
  using Kind = Timer::Kind;
  switch (timer.kind) {
    case Kind::Flow: {
      const auto& key = std::get<FlowKey>(timer.key);
      const auto found = flows_.find(key);
      if (found == flows_.end() || found->second->check != timer.when) return;
      Flow& flow = *found->second;
      if (now_ - flow.heard >= config_.session_idle) {
        end_flow(key, Reason::Idle);
        return;
      }
      if (const auto grant = servers_.find({key.inside.address, key.outside});
          grant != servers_.end() && may_reach(key.inside.address, key.outside, *grant->second.hosts)) {
        grant->second.until = now_ + config_.pinhole_timeout;
        change(nft::Change::Kind::Renew, nft::Element::server(key.inside.address, key.outside),
               config_.pinhole_timeout);
        arm(grant->second.until, Kind::Server, ServerKey{key.inside.address, key.outside});
      }
      if (flow.online && key.inside.address.is_v4())
        change(nft::Change::Kind::Renew, nft::Element::session(*key.inside.address.v4()),
               config_.pinhole_timeout);
      flow.check = std::min(now_ + config_.pinhole_timeout / 2, flow.heard + config_.session_idle);
      arm(flow.check, Kind::Flow, key);
      return;
    }
    case Kind::Pinhole: {
      const auto key = std::get<PinholeKey>(timer.key);
      const auto found = pinholes_.find(key);
      if (found == pinholes_.end() || found->second.check != timer.when) return;
      Pinhole& pinhole = found->second;
      if (pinhole.until <= now_) {
        close_pinhole(key, Reason::Expired);
        return;
      }
      if (pinhole.open && !pinhole.orphan) {
        renew_pinhole(key, pinhole, config_.pinhole_timeout);
      } else {
        watch_pinhole(key, pinhole);
      }
      return;
    }
    case Kind::Return: {
      const auto key = std::get<ReturnKey>(timer.key);
      const auto found = returns_.find(key);
      if (found == returns_.end()) return;
      if (found->second.until > now_) {
        arm(found->second.until, Kind::Return, key);
        return;
      }
      close_return(key, Reason::Expired);
      return;
    }
    case Kind::Peer: {
      const auto& key = std::get<FlowKey>(timer.key);
      const auto found = peers_.find(key);
      if (found == peers_.end() || found->second.until > now_) return;
      if (found->second.refused) return;
      if (found->second.watched) {  // too slow to be followed, which is nothing to end it for
        peers_.erase(found);
        return;
      }
      // Whatever it sends from now on is answered with a reset.
      remember_refused(key, found->second);
      report({.what = found->second.inbound ? What::PeerRefused : What::OutboundRefused,
              .reason = Reason::Deadline,
              .client = key.inside.address,
              .port = key.inside.port,
              .remote = key.outside});
      return;
    }
    case Kind::Cookie: {
      const auto found = cookies_.find(std::get<std::uint64_t>(timer.key));
      if (found == cookies_.end() || found->second.until > now_) return;
      // A client that was sent on and never came: nothing is kept of it.
      if (const auto state = clients_.find(found->second.client);
          state != clients_.end() && state->second.online.empty() && state->second.pinholes == 0)
        clients_.erase(state);
      cookies_.erase(found);
      return;
    }
    case Kind::Server: {
      const auto& key = std::get<ServerKey>(timer.key);
      const auto found = servers_.find(key);
      if (found != servers_.end() && found->second.flows == 0 && found->second.until <= now_)
        servers_.erase(found);
      return;
    }
    case Kind::Login: {
      const auto& address = std::get<IpAddress>(timer.key);
      const auto found = logins_.find(address);
      if (found == logins_.end() || found->second.check != timer.when) return;
      found->second.check = {};
      settle(address, found->second);
      return;
    }
    case Kind::Unresolved:
      watch_name(std::get<std::string>(timer.key));
      return;
    case Kind::Name: {
      const auto& name = std::get<std::string>(timer.key);
      const auto found = waiting_.find(name);
      if (found != waiting_.end() && found->second.until <= now_) release_waiting(name, Reason::Unresolved);
      for (const auto type : {dns::Type::A, dns::Type::Aaaa})
        if (const auto known = resolved_.find({name, type});
            known != resolved_.end() && known->second.until <= now_)
          resolved_.erase(known);
      return;
    }
  }
}

Snapshot Engine::snapshot(TimePoint now) const {
  Snapshot s;
  for (const auto& [address, login] : logins_) {
    TimePoint ttl_end{};
    std::string host;
    for (const auto& owner : login.owners) {
      ttl_end = std::max(ttl_end, owner.ttl_end);
      host += (host.empty() ? "" : ", ") + owner.name;
    }
    for (const Port port : login.ports) {
      const auto flows = live_.find({address, port});
      s.addresses.push_back({host.empty() ? to_string(address) : host, Endpoint{address, port},
                             std::string{word_of(login.source)}, duration_cast<seconds>(now - login.since),
                             login.fixed ? std::nullopt : std::optional{left(ttl_end, now)},
                             left(login.until, now), flows == live_.end() ? 0 : flows->second});
    }
  }
  std::sort(s.addresses.begin(), s.addresses.end(), [](const auto& a, const auto& b) {
    return std::tie(a.host, a.server) < std::tie(b.host, b.server);
  });
  s.names = schedule_.state();
  for (const auto& [key, flow] : flows_) {
    if (flow->role == Flow::Role::Service) continue;
    s.sessions.push_back({key, flow->uin,
                          flow->blind    ? "blind"
                          : flow->online ? "online"
                                         : "login",
                          duration_cast<seconds>(now - flow->since)});
  }
  std::sort(s.sessions.begin(), s.sessions.end(),
            [](const auto& a, const auto& b) { return a.flow < b.flow; });
  for (const auto& [key, pinhole] : pinholes_)
    s.pinholes.push_back({key.client, key.port, pinhole.uin, "direct", pinhole.open ? "open" : "probation",
                          left(pinhole.until, now), pinhole.peers});
  for (const auto& [key, back] : returns_)
    s.returns.push_back({key.peer, key.client, key.port, left(back.until, now)});
  s.happened = happened_;
  s.refused = refused_;
  return s;
}

}  // namespace icqgate::engine
