// SPDX-License-Identifier: GPL-2.0-or-later
// Which servers may be reached: the login hosts' addresses, and where a login server sends a client
// (security.md S3, S20).
#include <algorithm>

#include "engine/engine.hpp"
#include "engine/secret_hash.hpp"

namespace icqgate::engine {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

namespace {

constexpr minutes kCookieLife{2};         // from redirect to log-on (protocol.md 1.6)
constexpr seconds kGrantLife{120};        // the same for the server's element
constexpr milliseconds kHoldLimit{1500};  // a segment waits no longer for a name: the client resolves it too
constexpr std::uint32_t kMostRedirectsPerMinute = 60;  // of one client
constexpr std::size_t kMostTargets = 16;               // addresses of a name that a redirect gives
constexpr std::size_t kMostCookies = 200'000;

}  // namespace

void Engine::start_names() {
  for (const auto& host : config_.login_hosts) {
    const std::vector<Port> ports = host.port ? std::vector<Port>{*host.port} : config_.login_ports;
    if (const auto* name = std::get_if<dns::DomainName>(&host.host)) {
      auto& all = login_names_[*name];
      all.insert(all.end(), ports.begin(), ports.end());
      std::sort(all.begin(), all.end());
      all.erase(std::unique(all.begin(), all.end()), all.end());
    } else {
      for (const Port port : ports)
        add_login({std::get<IpAddress>(host.host), port}, "", config_.ttl_max + config_.keep);
    }
  }
}

void Engine::ask_due() {
  for (const dns::Query& query : schedule_.due(now_)) actions_.emplace_back(Ask{query});
  schedule_.expire(now_);  // what ends there ends in logins_ by its own timer
  names_due_ = schedule_.next_deadline().value_or(TimePoint::max());
}

void Engine::add_login(const Endpoint& server, const std::string& host, seconds span) {
  const auto [at, fresh] = logins_.try_emplace(server);
  LoginAddress& login = at->second;
  if (!fresh && login.host.empty() && !host.empty()) return;  // the configuration names it: it stays anyway
  login.host = host;
  login.span = span;
  login.until = now_ + span;
  change(nft::Change::Kind::Renew, nft::Element::login(server), span);
  if (!fresh) return;
  arm(login.until - std::min(span / 2, seconds{30}), Timer::Kind::Login, server);
  report({.what = What::AddressAdded, .remote = server, .text = host});
}

bool Engine::is_inside(const IpAddress& address) const {
  const auto holds = [&address](const Subnet& subnet) { return subnet.contains(address); };
  return std::any_of(config_.clients.begin(), config_.clients.end(), holds) ||
         std::any_of(surroundings_.inside.begin(), surroundings_.inside.end(), holds) ||
         std::find(surroundings_.own.begin(), surroundings_.own.end(), address) != surroundings_.own.end();
}

// Is there a network with private addresses outside? Then a server there may have one too. In front of the
// internet a name that resolves to such an address is a mistake or an attack (security.md S20).
bool Engine::private_outside() const {
  return std::any_of(surroundings_.own.begin(), surroundings_.own.end(), [this](const IpAddress& own) {
    const auto holds = [&own](const Subnet& subnet) { return subnet.contains(own); };
    return scope_of(own) == Scope::Private &&
           std::none_of(config_.clients.begin(), config_.clients.end(), holds) &&
           std::none_of(surroundings_.inside.begin(), surroundings_.inside.end(), holds);
  });
}

Reason Engine::judge_target(const IpAddress& address, bool private_allowed) const {
  switch (scope_of(address)) {
    case Scope::Global:
      break;
    case Scope::Private:
      if (!private_allowed) return Reason::ForbiddenTarget;
      break;
    default:
      return Reason::ForbiddenTarget;
  }
  return is_inside(address) ? Reason::ForbiddenTarget : Reason::None;
}

void Engine::allow_server(const FlowKey& key, Flow& flow, const oscar::Target& target, Bytes cookie,
                          bool service) {
  const auto refuse = [&](Reason reason, const std::string& text) {
    report({.what = What::RedirectRefused,
            .reason = reason,
            .client = key.inside.address,
            .uin = flow.uin,
            .remote = key.outside,
            .text = text});
  };
  const auto* literal = std::get_if<IpAddress>(&target.host);
  const std::string text = literal != nullptr ? to_string(*literal) : std::get<std::string>(target.host);
  // Without a port the server means the one this connection uses (protocol.md 1.5).
  const Port port = target.port.value_or(key.outside.port);
  const auto listed = [port](const std::vector<Port>& ports) {
    return std::find(ports.begin(), ports.end(), port) != ports.end();
  };
  const bool usual = port == key.outside.port || port.get() == 443 ||
                     (port.get() >= 5190 && port.get() <= 5199) || listed(config_.login_ports) ||
                     listed(config_.server_ports);
  if (!usual) {
    refuse(Reason::ServerPort, text + ":" + std::to_string(port.get()));
    return;
  }
  ClientState& state = client(key.inside.address);
  if (now_ - state.minute >= minutes{1}) {
    state.minute = now_;
    state.opened = 0;
    state.redirects = 0;
  }
  if (++state.redirects > kMostRedirectsPerMinute || cookies_.size() >= kMostCookies) {
    refuse(Reason::TooOften, text);
    return;
  }
  // Only a server that has such an address itself may name one: networks without a public server (security.md
  // S3).
  const bool private_allowed = scope_of(key.outside.address) == Scope::Private;
  if (literal != nullptr) {
    if (const Reason reason = judge_target(*literal, private_allowed); reason != Reason::None) {
      refuse(reason, text);
      return;
    }
    if (literal->is_v4() != key.inside.address.is_v4()) {
      refuse(Reason::BadTarget, text);
      return;
    }
  }
  const std::uint64_t hash = secret_hash(cookie);
  cookies_[hash] = CookieMeaning{key.inside.address, flow.uin, service, now_ + kCookieLife, key};
  arm(now_ + kCookieLife, Timer::Kind::Cookie, hash);
  if (literal != nullptr) {
    grant(key.inside.address, {*literal, port}, flow.uin, "");
    return;
  }
  Waiting& waiting = waiting_[text];
  if (waiting.grants.empty()) {
    waiting.until = now_ + kHoldLimit;
    arm(waiting.until, Timer::Kind::Name, text);
    waiting.type = key.inside.address.is_v4() ? dns::Type::A : dns::Type::Aaaa;
    actions_.emplace_back(Ask{{text, waiting.type}});
  }
  waiting.grants.push_back({key.inside.address, port, private_allowed, flow.uin.value_or(Uin{})});
  if (waiting.held.size() < Waiting::kMostHeld) {
    hold_ = true;
    hold_name_ = text;
  }
}

void Engine::grant(const IpAddress& from, const Endpoint& server, std::optional<Uin> uin,
                   const std::string& name) {
  auto& granted = servers_[{from, server}];
  granted.until = now_ + kGrantLife;
  arm(granted.until, Timer::Kind::Server, ServerKey{from, server});
  change(nft::Change::Kind::Renew, nft::Element::server(from, server), kGrantLife);
  report({.what = What::Redirected, .client = from, .uin = uin, .remote = server, .text = name});
}

void Engine::on_answer(const NameAnswered& answered) {
  const dns::Query& query = answered.query;
  if (const auto ports = login_names_.find(query.name); ports != login_names_.end()) {
    for (const auto& fresh : schedule_.answered(query, answered.answer, now_)) {
      if (const Reason reason = judge_target(fresh.address, private_outside()); reason != Reason::None) {
        if (fresh.added)
          report({.what = What::LookupFailed,
                  .reason = reason,
                  .remote = Endpoint{fresh.address, Port{}},
                  .text = query.name});
        continue;
      }
      for (const Port port : ports->second)
        add_login({fresh.address, port}, query.name, fresh.ttl + config_.keep);
    }
    last_failure_.erase(query);
  }
  const auto found = waiting_.find(query.name);
  if (found == waiting_.end() || found->second.type != query.type) return;
  bool any = false;
  std::size_t count = 0;
  for (const auto& record : answered.answer.addresses) {
    if (++count > kMostTargets) break;
    for (const auto& wanted : found->second.grants) {
      if (record.address.is_v4() != wanted.client.is_v4()) continue;
      if (judge_target(record.address, wanted.private_allowed) != Reason::None) continue;
      any = true;
      grant(wanted.client, {record.address, wanted.port}, wanted.uin, query.name);
    }
  }
  release_waiting(query.name, any ? Reason::None : Reason::Unresolved);
}

void Engine::on_name_failed(const NameFailed& failed) {
  if (login_names_.contains(failed.query.name)) {
    schedule_.failed(failed.query, failed.why, now_);
    auto& last = last_failure_[failed.query];
    if (last != failed.why) {
      last = failed.why;
      report({.what = What::LookupFailed,
              .reason = Reason::Unresolved,
              .text = failed.query.name + ": " + failed.why});
    }
  }
  if (const auto found = waiting_.find(failed.query.name);
      found != waiting_.end() && found->second.type == failed.query.type)
    release_waiting(failed.query.name, Reason::Unresolved);
}

void Engine::release_waiting(const std::string& name, Reason reason) {
  const auto found = waiting_.find(name);
  if (found == waiting_.end()) return;
  if (reason != Reason::None)
    for (const auto& wanted : found->second.grants)
      report({.what = What::RedirectRefused,
              .reason = reason,
              .client = wanted.client,
              .uin = wanted.uin,
              .text = name});
  for (const auto& [lane, packet] : found->second.held)
    actions_.emplace_back(Verdict{lane, packet, Verdict::Kind::Pass});
  waiting_.erase(found);
}

}  // namespace icqgate::engine
