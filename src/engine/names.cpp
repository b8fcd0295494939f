// SPDX-License-Identifier: GPL-2.0-or-later
// Which servers may be reached: the login hosts' addresses, and where a login server sends a client
// (security.md S3, S20).
#include <fmt/format.h>

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
constexpr std::size_t kMostResolved = 1024;
constexpr seconds kLeastResolved{2};

}  // namespace

// The login hosts of the configuration: names with their ports, and addresses.
void Engine::read_names() {
  std::map<dns::DomainName, LoginName> names;
  for (const auto& host : config_.login_hosts) {
    const auto* name = std::get_if<dns::DomainName>(&host.host);
    if (name == nullptr) continue;
    LoginName& entry = names[*name];
    const std::vector<Port> ports = host.port ? std::vector<Port>{*host.port} : config_.login_ports;
    entry.ports.insert(entry.ports.end(), ports.begin(), ports.end());
    entry.private_allowed = entry.private_allowed || host.private_allowed;
    if (!entry.hosts) entry.hosts = std::make_shared<const std::vector<std::string>>(1, *name);
  }
  for (auto& [name, entry] : names) {
    std::sort(entry.ports.begin(), entry.ports.end());
    entry.ports.erase(std::unique(entry.ports.begin(), entry.ports.end()), entry.ports.end());
    if (const auto known = login_names_.find(name); known != login_names_.end())
      entry.unresolved = known->second.unresolved;
  }
  login_names_ = std::move(names);
  hosts_.clear();
  for (const auto& host : config_.login_hosts) {
    const auto* address = std::get_if<IpAddress>(&host.host);
    bool& may = hosts_[address != nullptr ? to_string(*address) : std::get<dns::DomainName>(host.host)];
    // An address of the configuration that is private itself says enough.
    may = may || host.private_allowed || (address != nullptr && scope_of(*address) == Scope::Private);
  }
}

void Engine::ask_due() {
  for (const dns::Query& query : schedule_.due(now_)) {
    actions_.emplace_back(Ask{query});
    watch_name(query.name);
  }
  for (const auto& [query, address] : schedule_.expire(now_)) {
    const auto login = logins_.find(address);
    if (login == logins_.end()) continue;
    for (auto& owner : login->second.owners)
      if (owner.name == query.name) owner.released = now_;
    settle(address, login->second);
  }
  names_due_ = schedule_.next_deadline().value_or(TimePoint::max());
}

bool Engine::is_inside(const IpAddress& address) const {
  const auto holds = [&address](const Subnet& subnet) { return subnet.contains(address); };
  return std::any_of(config_.clients.begin(), config_.clients.end(), holds) ||
         std::any_of(surroundings_.inside.begin(), surroundings_.inside.end(), holds) ||
         std::find(surroundings_.own.begin(), surroundings_.own.end(), address) != surroundings_.own.end();
}

Reason Engine::judge_target(const IpAddress& address, bool private_allowed) const {
  switch (scope_of(address)) {
    case Scope::Global:
      break;
    case Scope::Private:
      if (is_inside(address)) return Reason::ForbiddenTarget;
      // Not fc00::/7, so another way to write a private IPv4 address, perhaps one inside.
      if (!address.is_v4() && (address.v6()->get()[0] & 0xfe) != 0xfc) return Reason::ForbiddenTarget;
      if (!private_allowed) return Reason::PrivateAddress;
      break;
    default:
      return Reason::ForbiddenTarget;
  }
  if (is_v4_mapped(address)) return Reason::ForbiddenTarget;  // never on the wire (RFC 4291 2.5.5.2)
  return is_inside(address) ? Reason::ForbiddenTarget : Reason::None;
}

bool Engine::may_name_private(const std::vector<std::string>& hosts) const {
  return std::any_of(hosts.begin(), hosts.end(), [this](const std::string& host) {
    const auto known = hosts_.find(host);
    return known != hosts_.end() && known->second;
  });
}

bool Engine::is_configured(const std::vector<std::string>& hosts) const {
  return std::any_of(hosts.begin(), hosts.end(),
                     [this](const std::string& host) { return hosts_.contains(host); });
}

// Any server may be on these; others only name the port they are on themselves.
bool Engine::is_server_port(Port port) const {
  const auto listed = [port](const std::vector<Port>& ports) {
    return std::find(ports.begin(), ports.end(), port) != ports.end();
  };
  return port.get() == 443 || (port.get() >= 5190 && port.get() <= 5199) || listed(config_.login_ports) ||
         listed(config_.server_ports);
}

// By what the configuration says today: a server of a login host, its own address or where such a one had
// sent this client.
bool Engine::may_reach(const IpAddress& client, const Endpoint& server,
                       const std::vector<std::string>& hosts) const {
  const bool login = is_login(server);
  return is_client(client) && (login || is_configured(hosts)) &&
         judge_target(server.address, login || may_name_private(hosts)) == Reason::None;
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
  if (port != key.outside.port && !is_server_port(port)) {
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
  // Only a server of a login host that may have such an address itself may name one: networks without a
  // public server (security.md S3).
  if (literal != nullptr) {
    if (judge_target(*literal, may_name_private(*flow.hosts)) != Reason::None) {
      refuse(Reason::ForbiddenTarget, text);
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
    grant(key.inside.address, {*literal, port}, flow.uin, "", flow.hosts);
    return;
  }
  const auto type = key.inside.address.is_v4() ? dns::Type::A : dns::Type::Aaaa;
  const Waiting::Grant wanted{key.inside.address, port, flow.uin.value_or(Uin{}), flow.hosts};
  if (const auto known = resolved_.find({text, type});
      known != resolved_.end() && known->second.until > now_) {
    if (!grant_all(wanted, known->second.addresses, text)) refuse(Reason::Unresolved, text);
    return;
  }
  Waiting& waiting = waiting_[text];
  if (waiting.grants.empty()) {
    if (!schedule_.spend(now_)) {
      waiting_.erase(text);
      refuse(Reason::QueryBudget, text);
      return;
    }
    waiting.until = now_ + kHoldLimit;
    arm(waiting.until, Timer::Kind::Name, text);
    waiting.type = type;
    actions_.emplace_back(Ask{{text, waiting.type}});
  }
  waiting.grants.push_back(wanted);
  if (waiting.held.size() < Waiting::kMostHeld) {
    hold_ = true;
    hold_name_ = text;
  }
}

void Engine::grant(const IpAddress& from, const Endpoint& server, std::optional<Uin> uin,
                   const std::string& name, const Hosts& hosts) {
  if (!may_reach(from, server, *hosts)) return;  // any more: the configuration has changed meanwhile
  auto& granted = servers_[{from, server}];
  granted.until = now_ + kGrantLife;
  granted.hosts = hosts;
  arm(granted.until, Timer::Kind::Server, ServerKey{from, server});
  change(nft::Change::Kind::Renew, nft::Element::server(from, server), kGrantLife);
  report({.what = What::Redirected, .client = from, .uin = uin, .remote = server, .text = name});
}

// What is left of an answer once the addresses that may be no server's are out. Each of these is told once.
dns::Answer Engine::judged(const dns::Query& query, LoginName& name, const dns::Answer& answer) {
  constexpr std::size_t kMostTold = 64;
  dns::Answer good = answer;
  good.addresses.clear();
  for (const auto& record : answer.addresses) {
    if (record.address.is_v4() != (query.type == dns::Type::A)) continue;
    const Reason reason = judge_target(record.address, name.private_allowed);
    if (reason == Reason::None) {
      good.addresses.push_back(record);
      continue;
    }
    ++refused_[static_cast<std::size_t>(reason)];
    if (name.refused.size() >= kMostTold || !name.refused.insert(record.address).second) continue;
    report({.what = What::AddressRefused,
            .reason = reason,
            .remote = Endpoint{record.address, Port{}},
            .text = query.name});
  }
  return good;
}

// Told when it begins, not at every answer.
void Engine::note_size(const dns::Query& query, LoginName& name, std::size_t addresses) {
  const bool cut = addresses > config_.addresses_per_name;
  if (std::exchange(name.cut, cut) || !cut) return;
  report(
      {.what = What::AnswerCut,
       .reason = Reason::OverLimit,
       .text = fmt::format("{}: {} addresses, {} taken", query.name, addresses, config_.addresses_per_name)});
}

void Engine::on_answer(const NameAnswered& answered) {
  const dns::Query& query = answered.query;
  if (const auto name = login_names_.find(query.name); name != login_names_.end()) {
    const dns::Answer good = judged(query, name->second, answered.answer);
    if (good.addresses.empty() && !answered.answer.addresses.empty()) {
      // It says nothing that counts, so it is no reason to forget what was good.
      on_name_failed({query, "only addresses that no server may have"});
    } else {
      allow(query, schedule_.answered(query, good, now_), Source::Answer);
      note_failure(query, schedule_.last_error(query));
      if (!good.addresses.empty()) note_size(query, name->second, good.addresses.size());
    }
    watch_name(query.name);
  }
  const auto found = waiting_.find(query.name);
  if (found == waiting_.end() || found->second.type != query.type) return;
  Resolved resolved;
  seconds ttl = config_.ttl_max;
  for (const auto& record : answered.answer.addresses) {
    if (resolved.addresses.size() >= kMostTargets) break;
    resolved.addresses.push_back(record.address);
    ttl = std::min(ttl, record.ttl);
  }
  bool any = false;
  for (const auto& wanted : found->second.grants)
    any = grant_all(wanted, resolved.addresses, query.name) || any;
  if (any && (resolved_.size() < kMostResolved || resolved_.contains(query))) {
    // A TTL of 0 is for who asks once; clients that come together are sent to the same place.
    resolved.until = now_ + std::max(ttl, kLeastResolved);
    resolved_[query] = std::move(resolved);
    arm(resolved_[query].until, Timer::Kind::Name, query.name);
  }
  release_waiting(query.name, any ? Reason::None : Reason::Unresolved);
}

bool Engine::grant_all(const Waiting::Grant& wanted, const std::vector<IpAddress>& addresses,
                       const std::string& name) {
  bool any = false;
  for (const IpAddress& address : addresses) {
    if (address.is_v4() != wanted.client.is_v4() ||
        judge_target(address, may_name_private(*wanted.hosts)) != Reason::None)
      continue;
    any = true;
    grant(wanted.client, {address, wanted.port}, wanted.uin, name, wanted.hosts);
  }
  return any;
}

// Told once per change: "" is no failure.
void Engine::note_failure(const dns::Query& query, const std::string& why) {
  auto& last = last_failure_[query];
  if (last == why) return;
  last = why;
  if (why.empty()) return;
  report({.what = What::LookupFailed,
          .text = fmt::format("{} {}: {}", query.name, query.type == dns::Type::A ? "A" : "AAAA", why)});
}

// A name that has had no usable answer for a while is worth a warning, and its return worth a word.
void Engine::watch_name(const dns::DomainName& text) {
  constexpr seconds kAWhile{60};
  const auto found = login_names_.find(text);
  if (found == login_names_.end()) return;
  LoginName& name = found->second;
  const auto since = schedule_.unresolved_since(text);
  if (!since) {
    if (std::exchange(name.unresolved, false)) report({.what = What::NameResolved, .text = text});
    return;
  }
  if (name.unresolved) return;
  if (now_ < *since + kAWhile) {
    if (name.watched_until <= now_) arm(name.watched_until = *since + kAWhile, Timer::Kind::Unresolved, text);
    return;
  }
  name.unresolved = true;
  const std::string four = schedule_.last_error({text, dns::Type::A});
  const std::string words = four.empty() ? schedule_.last_error({text, dns::Type::Aaaa}) : four;
  report({.what = What::NameUnresolved, .text = fmt::format("{}: {}", text, words)});
}

void Engine::on_answer_held(const AnswerHeld& held) {
  if (const auto name = login_names_.find(held.query.name); name != login_names_.end()) {
    const dns::Answer good = judged(held.query, name->second, held.answer);
    allow(held.query, schedule_.heard(held.query, good, now_), Source::HeldAnswer);
  }
  actions_.emplace_back(Verdict{Lane::Names, held.packet, Verdict::Kind::Pass});
}

// Its own resolver may have told the client of an address that ours has not told us (yet).
void Engine::on_server_missed(const ServerMissed& missed) {
  if (is_login(missed.server)) return;  // it has come in meanwhile
  const auto type = missed.server.address.is_v4() ? dns::Type::A : dns::Type::Aaaa;
  bool asked = false;
  auto name = login_names_.upper_bound(missed_last_);
  for (std::size_t i = 0; i < login_names_.size(); ++i, ++name) {
    if (name == login_names_.end()) name = login_names_.begin();
    if (!gives_port(name->first, missed.server.port)) continue;
    const auto hurried = schedule_.hurry({name->first, type}, now_);
    if (hurried == dns::Schedule::Hurried::NoBudget) {
      ++refused_[static_cast<std::size_t>(Reason::QueryBudget)];
      break;  // the next miss goes on from here
    }
    missed_last_ = name->first;
    asked = asked || hurried == dns::Schedule::Hurried::Yes;
  }
  if (asked) report({.what = What::ServerMissed, .client = missed.client, .remote = missed.server});
}

void Engine::on_name_failed(const NameFailed& failed) {
  if (login_names_.contains(failed.query.name)) {
    schedule_.failed(failed.query, failed.why, now_);
    note_failure(failed.query, failed.why);
    watch_name(failed.query.name);
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
