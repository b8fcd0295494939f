// SPDX-License-Identifier: GPL-2.0-or-later
// The life of a login host's address in the set: in by an answer, renewed while a name or a flow holds it,
// out a while (`keep`) after the last of them let go (security.md S3, S20).
#include <algorithm>
#include <iterator>
#include <utility>

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

// The names among the hosts of an address.
std::string names_in(const std::vector<std::string>& hosts, const IpAddress& address) {
  const std::string literal = to_string(address);
  std::string text;
  for (const auto& host : hosts)
    if (host != literal) text += (text.empty() ? "" : ", ") + host;
  return text;
}

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
    login.since = login.until = now_;
    login.source = source;
    ++saved_version_;
  }
  login.heard = named_last_ = now_;
  // An answer of our own is the better word; what is remembered, the weakest.
  if (!login.fixed && (source == Source::Answer || login.source == Source::Saved)) login.source = source;
  return login;
}

// What is known is renewed; what is new comes in as far as there is room, or will be once those have gone
// that room_for() counts out. (Without that bound one more than the limit would come and go with every
// answer, if flows hold what is not named any more.)
void Engine::allow(const dns::Query& query, const std::vector<dns::Schedule::Fresh>& fresh, Source source) {
  if (fresh.empty()) return;
  named_last_ = now_;
  const std::uint64_t before = saved_version_;
  for (const bool known : {true, false}) {
    const auto is_known = [this](const auto& one) { return logins_.contains(one.address); };
    if (!known && std::all_of(fresh.begin(), fresh.end(), is_known)) break;
    std::size_t room = known ? fresh.size() : room_for(query, fresh);
    for (const auto& [address, ttl, added] : fresh) {
      if (logins_.contains(address) != known) continue;
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
        ++saved_version_;
        note_owners(address, login, Reason::Expired);
      } else {
        owner->ttl_end = now_ + ttl;
      }
      settle(address, login);
    }
  }
  if (saved_version_ != before) unfinished_ = query;  // else nothing came
}

// How many new addresses an answer may bring, once its known ones are renewed: what is idle makes room, and
// what only flows hold, beyond half of the limit (else a client with a flow to every address would keep a
// server that moved out).
std::size_t Engine::room_for(const dns::Query& query, const std::vector<dns::Schedule::Fresh>& fresh) const {
  struct Count {
    std::size_t kept = 0, used_over = 0;
    [[nodiscard]] std::size_t room(std::size_t most) const {
      return most - std::min(most, kept + std::min(used_over, most / 2));
    }
  } of_name, all;
  // Nothing else is kept than what the answer has named just now, and what has a flow: no look at all the
  // rest.
  std::vector<IpAddress> addresses;
  addresses.reserve(fresh.size() + live_.size());
  for (const auto& one : fresh) addresses.push_back(one.address);
  for (const auto& [server, flows] : live_) addresses.push_back(server.address);
  std::sort(addresses.begin(), addresses.end());
  addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
  for (const IpAddress& address : addresses) {
    const auto login = logins_.find(address);
    if (login == logins_.end() || login->second.fixed) continue;
    const Hold hold = hold_of(address, login->second);
    if (hold < Hold::UsedOver) continue;
    const bool own = is_of(address, login->second, query);
    for (Count* count : {&all, own ? &of_name : nullptr})
      if (count != nullptr) ++(hold == Hold::Kept ? count->kept : count->used_over);
  }
  return std::min(of_name.room(config_.addresses_per_name), all.room(config_.addresses_total));
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

Engine::Hosts Engine::hosts_of(const IpAddress& address, const LoginAddress& login) const {
  if (!login.fixed && login.owners.size() == 1)
    if (const auto name = login_names_.find(login.owners[0].name); name != login_names_.end())
      return name->second.hosts;
  std::vector<std::string> hosts;
  for (const auto& owner : login.owners) hosts.push_back(owner.name);
  if (login.fixed) hosts.push_back(to_string(address));
  return std::make_shared<const std::vector<std::string>>(std::move(hosts));
}

// After a change of the owners: elements for ports that came, none for those that went. New ones get their
// timeout by settle().
void Engine::note_owners(const IpAddress& address, LoginAddress& login, Reason gone_for) {
  const Hosts before = std::exchange(login.hosts, hosts_of(address, login));
  const std::vector<Port> ports = ports_of(login);
  if (ports == login.ports) return;
  std::vector<Port> fresh;
  std::set_difference(ports.begin(), ports.end(), login.ports.begin(), login.ports.end(),
                      std::back_inserter(fresh));
  for (const Port port : fresh)
    report({.what = What::AddressAdded,
            .remote = Endpoint{address, port},
            .text = names_in(*login.hosts, address)});
  std::vector<Port> gone;
  std::set_difference(login.ports.begin(), login.ports.end(), ports.begin(), ports.end(),
                      std::back_inserter(gone));
  for (const Port port : gone) {
    change(nft::Change::Kind::Remove, nft::Element::login({address, port}));
    report({.what = What::AddressGone,
            .reason = gone_for,
            .remote = Endpoint{address, port},
            .text = names_in(*before, address)});
  }
  login.ports = ports;
  if (!fresh.empty()) login.until = now_;  // so that settle() puts all of them in
}

bool Engine::gives_port(const dns::DomainName& name, Port port) const {
  const auto known = login_names_.find(name);
  return known != login_names_.end() &&
         std::binary_search(known->second.ports.begin(), known->second.ports.end(), port);
}

bool Engine::is_named(const IpAddress& address, const LoginAddress::Owner& owner) const {
  return schedule_.holds({owner.name, address.is_v4() ? dns::Type::A : dns::Type::Aaaa}, address);
}

// Whether flows to that port have a reason besides this owner: another name of today, or the configuration.
bool Engine::explained(const IpAddress& address, const LoginAddress& login, Port port,
                       const LoginAddress::Owner& but) const {
  if (login.fixed &&
      std::find(login.fixed_ports.begin(), login.fixed_ports.end(), port) != login.fixed_ports.end())
    return true;
  return std::any_of(login.owners.begin(), login.owners.end(), [&](const auto& owner) {
    return owner.name != but.name && gives_port(owner.name, port) && is_named(address, owner);
  });
}

// A name that does not stand for the address any more takes its ports along (and its right to private
// addresses), although another name holds the address. Not while a flow lives that only this one explains.
void Engine::drop_owners(const IpAddress& address, LoginAddress& login) {
  std::vector<dns::DomainName> over;
  for (const auto& owner : login.owners) {
    if (is_named(address, owner) || std::max(owner.ttl_end, owner.released) + config_.keep > now_) continue;
    const bool held = std::any_of(login.ports.begin(), login.ports.end(), [&](Port port) {
      return gives_port(owner.name, port) && live_.contains({address, port}) &&
             !explained(address, login, port, owner);
    });
    if (!held) over.push_back(owner.name);
  }
  // All of them: the address itself goes, or stays.
  if (over.empty() || (!login.fixed && over.size() == login.owners.size())) return;
  std::erase_if(login.owners, [&over](const auto& owner) {
    return std::find(over.begin(), over.end(), owner.name) != over.end();
  });
  ++saved_version_;
  note_owners(address, login, Reason::Expired);
}

// Until when it stays by what DNS has said, once nothing holds it.
TimePoint Engine::named_end(const LoginAddress& login) const {
  TimePoint end = login.since;
  for (const auto& owner : login.owners) end = std::max({end, owner.ttl_end, owner.released});
  return end + config_.keep;
}

bool Engine::is_held(const IpAddress& address, const LoginAddress& login) const {
  return login.fixed || in_use(address, login) || schedule_.holds(address);
}

// Brings the kernel's timeout, and the timer that looks at it next, in line with what holds the address.
void Engine::settle(const IpAddress& address, LoginAddress& login) {
  const bool several = login.owners.size() + (login.fixed ? 1 : 0) > 1;
  if (several) drop_owners(address, login);
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
  TimePoint check =
      held
          ? login.until - std::min<TimePoint::duration>((login.until - now_) / 2, kEarly)
          // An end within kSlack of the kernel's is not worth a change; a timer in the past would never rest.
          : std::max(login.until, end);
  if (several)
    for (const auto& owner : login.owners)
      if (const auto over = std::max(owner.ttl_end, owner.released) + config_.keep;
          over > now_ && !is_named(address, owner))
        check = std::min(check, over);
  // The one that is armed comes soon enough, and arms the next: renewals, however many, leave no timers
  // behind.
  if (login.check > now_ && login.check <= check) return;
  login.check = check;
  arm(check, Timer::Kind::Login, address);
}

void Engine::drop_address(const IpAddress& address, Reason reason) {
  const auto found = logins_.find(address);
  if (found == logins_.end()) return;
  const LoginAddress login = std::move(found->second);
  logins_.erase(found);
  ++saved_version_;
  for (const auto& owner : login.owners)
    schedule_.forget({owner.name, address.is_v4() ? dns::Type::A : dns::Type::Aaaa}, address);
  for (const Port port : login.ports) {
    change(nft::Change::Kind::Remove, nft::Element::login({address, port}));
    report({.what = What::AddressGone,
            .reason = reason,
            .remote = Endpoint{address, port},
            .text = names_in(*login.hosts, address)});
  }
}

bool Engine::in_use(const IpAddress& address, const LoginAddress& login) const {
  return std::any_of(login.ports.begin(), login.ports.end(),
                     [&](Port port) { return live_.contains({address, port}); });
}

Engine::Hold Engine::hold_of(const IpAddress& address, const LoginAddress& login) const {
  if (login.heard == named_last_) return Hold::Kept;
  const auto in_time = [this](const auto& owner) { return owner.ttl_end > now_; };
  const bool named =
      std::any_of(login.owners.begin(), login.owners.end(), in_time) || schedule_.holds(address);
  if (in_use(address, login)) return named ? Hold::Kept : Hold::UsedOver;
  return named ? Hold::Idle : Hold::IdleOver;
}

// addresses-per-name and addresses-total: idle addresses go first, then those that only flows hold, and among
// them those named longest ago. A flow to one that goes all the same goes on: its mark, not the set, lets it
// pass.
void Engine::keep_limits(const dns::Query& query) {
  std::vector<Candidate> of_name;
  std::vector<Candidate> all;
  of_name.reserve(logins_.size());
  all.reserve(logins_.size());
  for (const auto& [address, login] : logins_) {
    if (login.fixed) continue;
    const Candidate one{hold_of(address, login), in_use(address, login), login.heard, address};
    all.push_back(one);
    if (is_of(address, login, query)) of_name.push_back(one);
  }
  evict(of_name, config_.addresses_per_name, &query);
  if (all.size() <= config_.addresses_total) return;
  std::erase_if(all, [this](const Candidate& one) { return !logins_.contains(one.address); });
  evict(all, config_.addresses_total, nullptr);
}

// `query`: for its limit, which is no reason to take an address from another name that holds it.
void Engine::evict(std::vector<Candidate>& candidates, std::size_t most, const dns::Query* query) {
  if (candidates.size() <= most) return;
  const auto excess = static_cast<std::ptrdiff_t>(candidates.size() - most);
  std::nth_element(candidates.begin(), candidates.begin() + excess, candidates.end());
  std::sort(candidates.begin(), candidates.begin() + excess);  // in an order that does not depend on hashes
  for (auto one = candidates.begin(); one != candidates.begin() + excess; ++one) {
    LoginAddress& login = logins_.at(one->address);
    const bool shared =
        query != nullptr &&
        std::any_of(login.owners.begin(), login.owners.end(), [&](const LoginAddress::Owner& owner) {
          return owner.name != query->name && is_named(one->address, owner);
        });
    if (!shared) {
      drop_address(one->address, Reason::OverLimit);
      continue;
    }
    schedule_.forget(*query, one->address);
    std::erase_if(login.owners, [query](const auto& owner) { return owner.name == query->name; });
    ++saved_version_;
    note_owners(one->address, login, Reason::OverLimit);
    settle(one->address, login);
  }
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
    }
    std::erase_if(login.owners, [this](const auto& owner) { return !login_names_.contains(owner.name); });
    if (!login.fixed && login.owners.empty()) {
      drop_address(address, Reason::Reconfigured);
      continue;
    }
    note_owners(address, login, Reason::Reconfigured);
    settle(address, login);
  }
}

void Engine::flow_on(const Endpoint& server) {
  if (++live_[server] > 1) return;
  if (const auto login = logins_.find(server.address); login != logins_.end())
    settle(server.address, login->second);
}

void Engine::flow_off(const Endpoint& server) {
  const auto count = live_.find(server);
  if (count == live_.end() || --count->second > 0) return;
  live_.erase(count);
  const auto login = logins_.find(server.address);
  if (login == logins_.end()) return;
  for (auto& owner : login->second.owners)
    if (gives_port(owner.name, server.port) && !explained(server.address, login->second, server.port, owner))
      owner.released = now_;
  settle(server.address, login->second);
}

// A flow to a login server that is not followed: it holds the address all the same.
void Engine::watch_passing(const FlowKey& key) {
  constexpr std::size_t kMostPassing = 200'000;
  if (flows_.contains(key) || passing_.size() >= kMostPassing || !is_login(key.outside)) return;
  if (passing_.insert(key).second) flow_on(key.outside);
}

void Engine::on_flow_ended(const FlowKey& key) {
  if (passing_.erase(key) > 0) flow_off(key.outside);
  end_flow(key, Reason::ConnectionClosed);
}

// conntrack is right about what is alive, whatever was missed.
void Engine::on_flows_listed(const FlowsListed& listed) {
  const auto told = [&listed](const FlowKey& key) {
    return std::find(listed.ports.begin(), listed.ports.end(), key.outside.port) != listed.ports.end();
  };
  std::unordered_set<FlowKey, FlowKeyHash> alive;
  for (const auto& [key, id, watched] : listed.flows) {
    alive.insert(key);
    // One that began after the list did may stand in it as what had its ports before.
    if (const auto flow = flows_.find(key);
        flow != flows_.end() && (!listed.since || flow->second->since < *listed.since)) {
      const std::uint32_t before = std::exchange(flow->second->conntrack, id);
      // Its ports are another connection's by now, whose beginning went by unseen.
      if (!watched || (before != 0 && id != 0 && before != id)) on_flow_ended(key);
    }
    watch_passing(key);
  }
  std::vector<FlowKey> over;
  for (const FlowKey& key : passing_)
    if (told(key) && !alive.contains(key)) over.push_back(key);
  for (const auto& [key, flow] : flows_)
    if (told(key) && !alive.contains(key) && listed.since.value_or(now_) - flow->since >= kYoung)
      over.push_back(key);
  std::sort(over.begin(), over.end());  // the order of a hash map is nobody's business
  for (const FlowKey& key : over) on_flow_ended(key);
}

}  // namespace icqgate::engine
