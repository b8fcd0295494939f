// SPDX-License-Identifier: GPL-2.0-or-later
// The life of a login host's address in the set: in by an answer, renewed while a name or a flow holds it,
// out a while (`keep`) after the last of them let go (security.md S3, S20).
#include <algorithm>
#include <iterator>

#include "engine/engine.hpp"

namespace icqgate::engine {

using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr seconds kYoung{
    5};  // a flow whose first packet may still wait for a verdict: not listed by conntrack
constexpr seconds kLeastHold{60};  // of the kernel's timeout while a name or flow holds an address
constexpr seconds kEarly{30};      // renewed so long before it ends
constexpr milliseconds kSlack{
    1000};  // a timeout that moves by less is left alone: a cache counts whole seconds

}  // namespace

bool Engine::is_login(const Endpoint& server) const {
  const auto login = logins_.find(server.address);
  return login != logins_.end() && std::find(login->second.ports.begin(), login->second.ports.end(),
                                             server.port) != login->second.ports.end();
}

Engine::LoginAddress& Engine::put_address(const IpAddress& address, Source source) {
  const auto [at, fresh] = logins_.try_emplace(address);
  LoginAddress& login = at->second;
  if (fresh) {
    login.since = login.released = login.until = now_;
    login.source = source;
    ++saved_version_;
    for (const FlowKey& key : passing_)  // of before it was known to be a login server's
      if (key.outside.address == address) ++login.flows;
  }
  login.heard = now_;
  // An answer of our own is the better word; what is remembered, the weakest.
  if (!login.fixed && (source == Source::Answer || login.source == Source::Saved)) login.source = source;
  return login;
}

// What is known is renewed; what is new comes in as far as there is room, or will be once the idle addresses
// that this answer does not name have gone. (Without that bound one more than the limit would come and go
// with every answer, if a flow holds one that is not named any more.)
void Engine::allow(const dns::Query& query, const std::vector<dns::Schedule::Fresh>& fresh, Source source) {
  if (fresh.empty()) return;
  for (const bool known : {true, false}) {
    std::size_t room = known ? fresh.size() : room_for(query);
    for (const auto& [address, ttl, added] : fresh) {
      const auto there = logins_.find(address);
      const bool renewed = there != logins_.end() && there->second.heard == now_;
      if (renewed || (there != logins_.end()) != known) continue;
      if (room == 0) {
        schedule_.forget(query, address);
        continue;
      }
      --room;
      LoginAddress& login = put_address(address, source);
      const auto owner = std::find_if(login.owners.begin(), login.owners.end(),
                                      [&query](const auto& one) { return one.name == query.name; });
      if (owner == login.owners.end()) {
        login.owners.push_back({query.name, now_ + ttl});
        set_ports(address, login, ports_of(login));
      } else {
        owner->ttl_end = now_ + ttl;
      }
      settle(address, login);
    }
  }
  keep_limits(query);
}

// How many new addresses an answer may bring, once its known ones are renewed.
std::size_t Engine::room_for(const dns::Query& query) const {
  std::size_t of_name = 0;
  std::size_t all = 0;
  std::size_t idle_of_name = 0;
  std::size_t idle = 0;
  for (const auto& [address, login] : logins_) {
    if (login.fixed) continue;
    const bool goes = login.flows == 0 && login.heard < now_;
    const bool own = is_of(address, login, query);
    ++all;
    if (own) ++of_name;
    if (goes) ++idle;
    if (goes && own) ++idle_of_name;
  }
  const auto room = [](std::size_t most, std::size_t there, std::size_t going) {
    return most - std::min(most, there - going);
  };
  return std::min(room(config_.addresses_per_name, of_name, idle_of_name),
                  room(config_.addresses_total, all, idle));
}

bool Engine::is_of(const IpAddress& address, const LoginAddress& login, const dns::Query& query) {
  return address.is_v4() == (query.type == dns::Type::A) &&
         std::any_of(login.owners.begin(), login.owners.end(),
                     [&query](const auto& owner) { return owner.name == query.name; });
}

std::vector<Port> Engine::ports_of(const LoginAddress& login) const {
  if (!login.fixed && login.owners.size() == 1) {
    const auto name = login_names_.find(login.owners[0].name);
    return name == login_names_.end() ? std::vector<Port>{} : name->second.ports;
  }
  std::set<Port> ports;
  if (login.fixed) ports.insert(login.fixed_ports.begin(), login.fixed_ports.end());
  for (const auto& owner : login.owners)
    if (const auto name = login_names_.find(owner.name); name != login_names_.end())
      ports.insert(name->second.ports.begin(), name->second.ports.end());
  return {ports.begin(), ports.end()};
}

// Elements for ports that came, none for those that went. New ones get their timeout by settle().
void Engine::set_ports(const IpAddress& address, LoginAddress& login, const std::vector<Port>& ports) {
  if (ports == login.ports) return;
  std::string text;
  for (const auto& owner : login.owners) text += (text.empty() ? "" : ", ") + owner.name;
  std::vector<Port> fresh;
  std::set_difference(ports.begin(), ports.end(), login.ports.begin(), login.ports.end(),
                      std::back_inserter(fresh));
  for (const Port port : fresh)
    report({.what = What::AddressAdded, .remote = Endpoint{address, port}, .text = text});
  std::vector<Port> gone;
  std::set_difference(login.ports.begin(), login.ports.end(), ports.begin(), ports.end(),
                      std::back_inserter(gone));
  for (const Port port : gone) {
    change(nft::Change::Kind::Remove, nft::Element::login({address, port}));
    report({.what = What::AddressGone,
            .reason = Reason::Reconfigured,
            .remote = Endpoint{address, port},
            .text = text});
  }
  login.ports = ports;
  if (!fresh.empty()) login.until = now_;  // so that settle() puts all of them in
}

// Until when it stays by what DNS has said, once nothing holds it.
TimePoint Engine::named_end(const LoginAddress& login) const {
  TimePoint end = login.released;
  for (const auto& owner : login.owners) end = std::max(end, owner.ttl_end);
  return end + config_.keep;
}

bool Engine::is_held(const IpAddress& address, const LoginAddress& login) const {
  return login.fixed || login.flows > 0 || schedule_.holds(address);
}

// Brings the kernel's timeout, and the timer that looks at it next, in line with what holds the address.
void Engine::settle(const IpAddress& address, LoginAddress& login) {
  const bool held = is_held(address, login);
  TimePoint end = named_end(login);
  bool renew = end > login.until + kSlack;
  if (login.fixed) {
    end = now_ + config_.ttl_max + config_.keep;
  } else if (held) {
    end = std::max<TimePoint>(end, now_ + std::max(config_.keep, kLeastHold));
  } else {
    renew = renew || end + kSlack < login.until;
  }
  if (end <= now_) {
    drop_address(address, Reason::Expired);
    return;
  }
  // What is held has its timeout move on with the clock: renewed in time, not at every look.
  if (renew || (held && login.until <= now_ + kEarly)) {
    login.until = end;
    for (const Port port : login.ports)
      change(nft::Change::Kind::Renew, nft::Element::login({address, port}),
             std::chrono::ceil<seconds>(end - now_));
  }
  const TimePoint check =
      held
          ? login.until - std::min<TimePoint::duration>((login.until - now_) / 2, kEarly)
          // An end within kSlack of the kernel's is not worth a change; a timer in the past would never rest.
          : std::max(login.until, end);
  if (check == login.check) return;
  login.check = check;
  arm(check, Timer::Kind::Login, address);
}

void Engine::drop_address(const IpAddress& address, Reason reason) {
  const auto found = logins_.find(address);
  if (found == logins_.end()) return;
  const LoginAddress login = std::move(found->second);
  logins_.erase(found);
  ++saved_version_;
  std::string text;
  for (const auto& owner : login.owners) {
    text += (text.empty() ? "" : ", ") + owner.name;
    schedule_.forget({owner.name, address.is_v4() ? dns::Type::A : dns::Type::Aaaa}, address);
  }
  for (const Port port : login.ports) {
    change(nft::Change::Kind::Remove, nft::Element::login({address, port}));
    report({.what = What::AddressGone, .reason = reason, .remote = Endpoint{address, port}, .text = text});
  }
}

// addresses-per-name and addresses-total: idle addresses go first, and among them those named longest ago. A
// flow to one that goes all the same goes on: its mark, not the set, lets it pass.
void Engine::keep_limits(const dns::Query& query) {
  std::vector<Candidate> of_name;
  std::vector<Candidate> all;
  of_name.reserve(logins_.size());
  all.reserve(logins_.size());
  for (const auto& [address, login] : logins_) {
    if (login.fixed) continue;
    const Candidate one{login.flows > 0, login.heard, address};
    all.push_back(one);
    if (is_of(address, login, query)) of_name.push_back(one);
  }
  evict(of_name, config_.addresses_per_name);
  if (all.size() <= config_.addresses_total) return;
  std::erase_if(all, [this](const Candidate& one) { return !logins_.contains(one.address); });
  evict(all, config_.addresses_total);
}

void Engine::evict(std::vector<Candidate>& candidates, std::size_t most) {
  if (candidates.size() <= most) return;
  const auto excess = static_cast<std::ptrdiff_t>(candidates.size() - most);
  std::nth_element(candidates.begin(), candidates.begin() + excess, candidates.end());
  std::sort(candidates.begin(), candidates.begin() + excess);  // in an order that does not depend on hashes
  for (auto one = candidates.begin(); one != candidates.begin() + excess; ++one)
    drop_address(one->address, Reason::OverLimit);
}

// Addresses that the configuration names itself.
void Engine::fix_addresses() {
  std::map<IpAddress, std::set<Port>> wanted;
  for (const auto& host : config_.login_hosts) {
    const auto* address = std::get_if<IpAddress>(&host.host);
    if (address == nullptr) continue;
    auto& ports = wanted[*address];
    if (host.port) {
      ports.insert(*host.port);
    } else {
      ports.insert(config_.login_ports.begin(), config_.login_ports.end());
    }
  }
  for (const auto& [address, ports] : wanted) {
    LoginAddress& login = put_address(address, Source::Static);
    login.fixed = true;
    login.source = Source::Static;
    login.fixed_ports = {ports.begin(), ports.end()};
  }
  std::vector<IpAddress> all;
  for (const auto& [address, login] : logins_) all.push_back(address);
  for (const IpAddress& address : all) {
    LoginAddress& login = logins_.at(address);
    if (login.fixed && !wanted.contains(address)) {
      login.fixed = false;
      login.source = Source::Answer;
      login.released = now_;
    }
    std::erase_if(login.owners, [this](const auto& owner) { return !login_names_.contains(owner.name); });
    if (!login.fixed && login.owners.empty()) {
      drop_address(address, Reason::Reconfigured);
      continue;
    }
    set_ports(address, login, ports_of(login));
    settle(address, login);
  }
}

void Engine::flow_on(const IpAddress& address) {
  const auto login = logins_.find(address);
  if (login != logins_.end() && ++login->second.flows == 1) settle(address, login->second);
}

void Engine::flow_off(const IpAddress& address) {
  const auto login = logins_.find(address);
  if (login == logins_.end() || login->second.flows == 0 || --login->second.flows > 0) return;
  login->second.released = now_;
  settle(address, login->second);
}

// A flow to a login server that is not followed: it holds the address all the same.
void Engine::watch_passing(const FlowKey& key) {
  constexpr std::size_t kMostPassing = 200'000;
  if (flows_.contains(key) || passing_.size() >= kMostPassing || !is_login(key.outside)) return;
  if (passing_.insert(key).second) flow_on(key.outside.address);
}

void Engine::on_flow_ended(const FlowKey& key) {
  if (passing_.erase(key) > 0) flow_off(key.outside.address);
  end_flow(key, Reason::ConnectionClosed);
}

// conntrack is right about what is alive, whatever was missed.
void Engine::on_flows_listed(const FlowsListed& listed) {
  const auto told = [&listed](const FlowKey& key) {
    return std::find(listed.ports.begin(), listed.ports.end(), key.outside.port) != listed.ports.end();
  };
  const std::unordered_set<FlowKey, FlowKeyHash> alive{listed.flows.begin(), listed.flows.end()};
  for (const FlowKey& key : listed.flows) watch_passing(key);
  std::vector<FlowKey> over;
  for (const FlowKey& key : passing_)
    if (told(key) && !alive.contains(key)) over.push_back(key);
  for (const auto& [key, flow] : flows_)
    if (told(key) && !alive.contains(key) && now_ - flow->since >= kYoung) over.push_back(key);
  std::sort(over.begin(), over.end());  // the order of a hash map is nobody's business
  for (const FlowKey& key : over) on_flow_ended(key);
}

}  // namespace icqgate::engine
