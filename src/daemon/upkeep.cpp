// SPDX-License-Identifier: GPL-2.0-or-later
// What is looked after beside the packets: other programs on this host, the resolver, conntrack, the state
// file.
#include <fmt/ranges.h>

#include <algorithm>

#include "daemon/service.hpp"
#include "daemon/state_file.hpp"
#include "daemon/surroundings.hpp"
#include "sys/interfaces.hpp"
#include "sys/log.hpp"

namespace icqgate::daemon {

using Clock = std::chrono::steady_clock;

namespace {
// Whether to say it: once for as long as it stays the same. "": nothing is wrong.
bool is_news(std::string& told, const std::string& now) {
  if (told == now) return false;
  told = now;
  return true;
}
}  // namespace

engine::Surroundings read_surroundings(const config::Config& config) {
  engine::Surroundings surroundings;
  if (const auto lan = sys::interface_addresses(config.lan))
    for (const auto& one : *lan) surroundings.inside.push_back(one.subnet);
  if (const auto all = sys::interface_addresses({"*"}))
    for (const auto& one : *all) surroundings.own.push_back(one.address);
  return surroundings;
}

void Service::look_around() {
  sides_.clear();
  engine_.surroundings(read_surroundings(config_));
  std::vector<std::string> patterns = config_.lan;
  patterns.insert(patterns.end(), config_.wan.begin(), config_.wan.end());
  trust_dns_servers();
  watch_writer();
  auto missing = sys::missing_interfaces(patterns);
  if (!missing || *missing == missing_) return;
  missing_ = std::move(*missing);
  if (missing_.empty()) {
    sys::log_notice("all interfaces of 'lan' and 'wan' are there");
  } else {
    sys::log_warning("no interface is called {}: nothing passes there until one is",
                     fmt::join(missing_, ", "));
  }
}

// --- the table

void Service::watch_table() {
  if (!table_descriptor_.is_open()) {
    boost::system::error_code error;  // no room for another watch, say
    table_descriptor_.assign(table_.events_fd(), error);
    const bool news = is_news(table_events_error_, error ? error.message() : "");
    if (error) {
      if (news)
        sys::log_warning("events of nftables: {}; the table is looked at from time to time instead",
                         error.message());
      return;
    }
    if (news) sys::log_notice("nftables tells events again");
  }
  table_descriptor_.async_wait(Descriptor::wait_read, [this](boost::system::error_code error) {
    if (error) return;
    repair_table();
    watch_table();
  });
}

void Service::repair_table() {
  const Repair repair = table_.on_events();
  const std::string who = repair.program.empty() ? "another program" : "program " + repair.program;
  // A call that came too soon after others has not looked: what was wrong may be so yet.
  const bool looked = !repair.again || !repair.error.empty();
  if (looked && is_news(repair_error_, repair.error)) {
    if (!repair.error.empty()) {
      sys::log_error("table inet {} was changed by {} and can't be put back: {}", config_.table, who,
                     repair.error);
    } else if (!repair.table && repair.elements == 0) {
      sys::log_notice("table inet {} is as it should be again", config_.table);
    }
  }
  if (repair.table)
    sys::log_warning("table inet {} was removed or changed by {}: put back with all that is live",
                     config_.table, who);
  if (repair.elements > 0)
    sys::log_warning(
        "table inet {}: {} removed by {}: put back", config_.table,
        repair.elements == 1 ? "an element was" : fmt::format("{} elements were", repair.elements), who);
  for (const auto& what : repair.added)
    sys::log_warning("table inet {}: {} has put {}, which is left alone", config_.table, who, what);
  if (!repair.again) return;
  repair_timer_.expires_after(*repair.again);
  repair_timer_.async_wait([this](boost::system::error_code error) {
    if (!error) repair_table();
  });
}

// Events tell at once; this is for those that got lost, and for what could not be put right by then.
void Service::look_after_table() {
  repair_table();
  if (!table_descriptor_.is_open()) watch_table();
  if (table_.intact()) return;
  if (const auto restored = table_.restore(); restored) {
    repair_error_.clear();
    sys::log_warning("table inet {} was removed or replaced by another program: restored with what was live",
                     config_.table);
  } else if (is_news(repair_error_, restored.error())) {
    sys::log_error("table inet {} was removed or replaced by another program and can't be restored: {}",
                   config_.table, restored.error());
  }
}

// --- names

std::string Service::dns_servers() const {
  std::vector<std::string> words;
  for (const Endpoint& server : resolver_->servers())
    words.push_back(server.port == Port{53} ? to_string(server.address) : to_string(server));
  return words.empty() ? "none" : fmt::format("{}", fmt::join(words, ", "));
}

void Service::follow_resolver() {
  if (!config_.resolvers.empty()) return;
  const auto stamp = sys::FileStamp::of(sys::Resolver::kSystemFile);
  if (stamp == resolv_conf_) return;
  resolv_conf_ = stamp;
  resolver_->reload();
  sys::log_notice("{} has changed: asking DNS servers {}", sys::Resolver::kSystemFile, dns_servers());
  trust_dns_servers();
  step(engine::ResolverChanged{});
}

// Whose answers to LAN clients count. A resolver on this host needs no mention: its answers come from here.
void Service::trust_dns_servers() {
  std::set<IpAddress> wanted{config_.dns_servers.begin(), config_.dns_servers.end()};
  if (wanted.empty()) {
    for (const Endpoint& server : resolver_->servers()) wanted.insert(server.address);
  }
  if (!config_.hold_answers) wanted.clear();
  std::erase_if(wanted, [](const IpAddress& one) { return scope_of(one) == Scope::Loopback; });
  for (const IpAddress& server : wanted)
    if (!trusted_.contains(server))
      changes_.push_back({nft::Change::Kind::Add, nft::Element::dns_server(server)});
  for (const IpAddress& server : trusted_)
    if (!wanted.contains(server))
      changes_.push_back({nft::Change::Kind::Remove, nft::Element::dns_server(server)});
  if (flush_changes()) trusted_ = std::move(wanted);  // else the next look tries again
}

// --- conntrack

namespace {
// As the forward hook sees it: between destination NAT and source NAT.
engine::FlowKey key_of(const sys::Flow& flow) { return {flow.original.source, flow.reply.source}; }
}  // namespace

bool Service::is_watched(const sys::Flow& flow) const {
  return (flow.mark & table_.marks().mask) == table_.marks().watched;
}

// Which flows to servers are alive. The kernel picks them by port, so other flows cost next to nothing.
void Service::list_flows_again() {
  flows_timer_.expires_after(list_span_);
  flows_timer_.async_wait([this](boost::system::error_code error) {
    if (error) return;
    list_flows();
    list_flows_again();
  });
}

void Service::list_flows() {
  list_again_ = listing_.has_value();
  if (list_again_) return;
  watch_flows();
  (void)queues_.control.flush();  // a flow whose first packet waits is not listed
  const auto login_ports = engine_.login_ports();
  const auto& marks = table_.marks();
  std::vector<FlowLister::Wanted> wanted;
  for (const Port port : engine_.server_ports())
    // Where a login server only sends some client to (443, say), other programs' flows are none of ours.
    wanted.push_back(
        {port, login_ports.contains(port) ? sys::MarkFilter{} : sys::MarkFilter{marks.watched, marks.mask}});
  listing_ = Clock::now();
  lister_.begin(std::move(wanted));
}

void Service::take_list(const FlowLister::List& list) {
  engine::FlowsListed listed{.ports = list.ports, .flows = {}, .since = listing_};
  for (const sys::Flow& flow : list.flows)
    if (!flow.ended() && !ended_meanwhile_.contains(key_of(flow)))
      listed.flows.push_back({key_of(flow), flow.id, is_watched(flow)});
  listing_.reset();
  ended_meanwhile_.clear();
  step(listed);
  // The walk costs others something as well: a thousandth of the time, but it has to be known what is alive.
  constexpr std::chrono::milliseconds kSeldom = std::chrono::minutes{5};
  list_took_ = list.took;
  list_span_ = std::clamp<std::chrono::milliseconds>(1000 * list_took_, kListFlows, kSeldom);
  if (list_again_) list_flows_soon();
}

void Service::find_wanted() {
  engine::FlowsListed found;
  for (const auto& flow : std::exchange(wanted_, {}))
    if (const auto one = conntrack_.find_forwarded({flow.inside, flow.outside}); one && *one)
      found.flows.push_back({flow, (*one)->id, is_watched(**one)});
  if (!found.flows.empty()) step(found);
}

// Flows to an address that has just come in may be older than what we know of it.
void Service::list_flows_soon() {
  if (list_armed_) return;
  list_armed_ = true;
  constexpr std::chrono::milliseconds kSoon{1000};
  soon_timer_.expires_after(std::clamp<std::chrono::milliseconds>(100 * list_took_, kSoon, kListFlows));
  soon_timer_.async_wait([this](boost::system::error_code error) {
    list_armed_ = false;
    if (!error) list_flows();
  });
}

// Subscribes to the ends of flows to servers; anew when there are other ports.
void Service::watch_flows() {
  auto ports = engine_.server_ports();
  if (flow_events_ && ports == watched_ports_) return;
  const auto failed = [this](const std::string& error) {
    if (is_news(flow_events_error_, error))
      sys::log_warning("conntrack events: {}; flows are listed instead", error);
  };
  auto events = sys::ConntrackEvents::open({ports.begin(), ports.end()});
  if (!events) return failed(to_string(events.error()));
  if (flows_descriptor_.is_open()) flows_descriptor_.release();
  flow_events_ = std::move(*events);
  watched_ports_ = std::move(ports);
  flow_events_lost_ = 0;
  boost::system::error_code unwatched;
  flows_descriptor_.assign(flow_events_->fd(), unwatched);
  if (unwatched) {
    flow_events_.reset();
    return failed(unwatched.message());
  }
  if (is_news(flow_events_error_, "")) sys::log_notice("conntrack tells events again");
  wait_for_flows();
}

void Service::wait_for_flows() {
  flows_descriptor_.async_wait(Descriptor::wait_read, [this](boost::system::error_code error) {
    if (error || !flow_events_) return;
    std::vector<sys::Flow> ended;
    (void)flow_events_->receive([&ended](const sys::Flow& flow) { ended.push_back(flow); });
    if (!ended.empty()) (void)queues_.control.flush();  // a flow whose first packet waits is not there yet
    for (const sys::Flow& flow : ended) {
      // A client that is quick has a new connection on the same ports by now: that one has not ended.
      const auto again = conntrack_.find(flow.original);
      if (again && *again && !(*again)->ended() && is_watched(**again)) continue;
      if (listing_) ended_meanwhile_.insert(key_of(flow));
      step(engine::FlowEnded{key_of(flow)});
    }
    wait_for_flows();  // first: list_flows() may subscribe anew, which ends this wait
    if (flow_events_->lost() != flow_events_lost_) {
      flow_events_lost_ = flow_events_->lost();
      list_flows();
    }
  });
}

// --- memory

void Service::take_up_state() {
  engine::Restored restored;
  bool found = false;
  if (!config_.state.empty()) {
    const auto folder = config_.state.substr(0, config_.state.rfind('/'));
    if (const auto made = sys::make_private_directory(folder.empty() ? "/" : folder); !made)
      sys::log_warning("{}: {}: the next start will not know of this run", folder, to_string(made.error()));
    const auto text = sys::read_private_file(config_.state, kMostStateBytes);
    if (!text) {
      sys::log_warning("{}; nothing is taken up from it", text.error());
    } else if (*text) {
      auto saved = decode_state(**text, std::chrono::system_clock::now());
      if (saved) {
        found = true;
        restored.saved = std::move(*saved);
      } else {
        sys::log_warning("{}: {}; nothing is taken up from it", config_.state, saved.error());
      }
    }
    writer_ = std::make_unique<StateWriter>(config_.state);
  }
  // A walk over conntrack takes its milliseconds: only where there is a session that it may confirm.
  std::set<Port> ports;
  for (const auto& session : restored.saved.sessions) ports.insert(session.flow.outside.port);
  const auto& marks = table_.marks();
  for (const Port port : ports) {
    // Others come by without being seen: what they do next would not be known.
    const sys::MarkFilter watched{marks.watched, marks.mask};
    constexpr int kTries = 5;  // it may have changed meanwhile
    auto flows = conntrack_.dump_to_port(port, watched);
    for (int i = 1; !flows && i < kTries; ++i) flows = conntrack_.dump_to_port(port, watched);
    if (!flows) {
      sys::log_error("conntrack can't be read: {}; sessions with servers on port {} are not taken up",
                     to_string(flows.error()), port.get());
      continue;
    }
    for (const sys::Flow& flow : *flows)
      if (flow.state == sys::TcpState::Established) restored.alive.push_back({key_of(flow), flow.id, true});
  }
  step(restored);
  forget_foreign();
  saved_version_ = engine_.saved_version();
  if (!found) return;
  const auto now = engine_.snapshot(Clock::now());
  const auto& was = restored.saved;
  const auto addresses = std::ranges::count(now.addresses, "saved", &engine::Snapshot::Address::source);
  sys::log_notice("{}: {} addresses, {} of {} sessions and {} of {} pinholes taken up", config_.state,
                  addresses, now.sessions.size(), was.sessions.size(), now.pinholes.size(),
                  was.pinholes.size());
}

// An adopted table may hold what another configuration allowed, or what the state file does not know any
// more: nobody would renew it, and nobody take it out. What a peer may be reached at has its own end, and
// goes at once if its client has no session.
void Service::forget_foreign() {
  using nft::SetId;
  const auto known = engine_.elements();
  for (const auto set : {SetId::Login4, SetId::Login6, SetId::Servers4, SetId::Servers6, SetId::Sessions,
                         SetId::Pinholes, SetId::Returns, SetId::Forwards})
    for (const nft::Element& element : table_.elements(set))
      if (!known.contains(element)) changes_.push_back({nft::Change::Kind::Remove, element});
  for (const nft::Element& element : table_.elements(SetId::Peers)) {
    ByteReader key{element.key()};
    if (!known.contains(nft::Element::session(Ipv4{key.u32be().value_or(0)})))
      changes_.push_back({nft::Change::Kind::Remove, element});
  }
  flush_changes();
}

// Soon after a change, and from time to time for what moves by itself; never more often, for the disk's sake.
void Service::save_if_changed() {
  constexpr std::chrono::seconds kSoon{1};
  constexpr std::chrono::minutes kSeldom{15};
  if (!writer_ || save_armed_) return;
  const bool changed = engine_.saved_version() != saved_version_;
  if (!changed && Clock::now() - saved_at_ < kSeldom) return;
  save_armed_ = true;
  save_timer_.expires_after(kSoon);
  save_timer_.async_wait([this](boost::system::error_code error) {
    save_armed_ = false;
    if (!error) save();
  });
}

void Service::watch_writer() {
  if (!writer_) return;
  const auto problem = writer_->take_problem();
  if (!problem) return;
  writer_problem_ = *problem;
  if (problem->empty()) {
    sys::log_notice("{}: can be written again", config_.state);
  } else {
    sys::log_warning("{}: the next start may know less than it could", *problem);
  }
}

void Service::save() {
  if (!writer_) return;
  watch_writer();
  saved_version_ = engine_.saved_version();
  saved_at_ = Clock::now();
  writer_->submit(engine_.saved(saved_at_));
}

}  // namespace icqgate::daemon
