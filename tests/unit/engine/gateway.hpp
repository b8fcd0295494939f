// SPDX-License-Identifier: GPL-2.0-or-later
// A gateway in memory: the engine between the kernel's model and a clock that the test sets. Whatever a test
// plays, the rules of design.md 4 are held against every step; what breaks one throws Violation.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../packet_builder.hpp"
#include "engine/engine.hpp"
#include "engine/kernel_model.hpp"

namespace icqgate::test {

using engine::FlowKey;
using engine::KernelModel;
using engine::Lane;
using engine::Reason;
using engine::Report;
using engine::Side;
using engine::TimePoint;
using engine::Verdict;
using engine::What;
using std::chrono::milliseconds;
using std::chrono::seconds;

struct Violation : std::logic_error {
  using std::logic_error::logic_error;
};

inline constexpr Ipv4 kClient = make_ipv4(192, 168, 1, 20);
inline constexpr Ipv4 kOther = make_ipv4(192, 168, 1, 21);
inline constexpr Ipv4 kOutside = make_ipv4(203, 0, 113, 5);
inline constexpr Ipv4 kLogin = make_ipv4(192, 0, 2, 5);
inline constexpr Ipv4 kLogin2 = make_ipv4(192, 0, 2, 6);
inline constexpr Ipv4 kBos = make_ipv4(198, 51, 100, 25);
inline constexpr Ipv4 kPeer = make_ipv4(198, 51, 100, 7);
inline constexpr Port kOscar{5190};
inline constexpr Port kPort{24567};
inline constexpr Uin kUser{100001};
inline constexpr Uin kFriend{200002};

inline config::Config test_config() {
  config::Config config;
  config.login_hosts = {{"login.icq.com", std::nullopt}};
  config.login_ports = {kOscar};
  config.lan = {"lan0"};
  config.wan = {"wan0"};
  config.clients = {*parse_subnet("192.168.1.0/24")};
  config.port_range = {Port{24500}, Port{24599}};
  return config;
}
inline engine::Surroundings test_surroundings() {
  return {{*parse_subnet("192.168.1.0/24"), *parse_subnet("192.168.9.0/24")},
          {make_ipv4(192, 168, 1, 1), kOutside}};
}

// As conntrack lists them, with ids nobody knows.
inline std::vector<engine::ListedFlow> listed(const std::vector<FlowKey>& flows) {
  std::vector<engine::ListedFlow> list;
  for (const FlowKey& flow : flows) list.push_back({flow, 0, true});
  return list;
}

struct Outcome {
  KernelModel::Path path{};
  std::optional<Verdict::Kind> verdict{};  // of a queued one that was not held
  bool held = false;

  [[nodiscard]] bool queued() const {
    return path == KernelModel::Path::Control || path == KernelModel::Path::Peer;
  }
  // Reaches the other side, as far as icqgate goes.
  [[nodiscard]] bool arrives() const {
    if (!queued()) return path == KernelModel::Path::Allowed || path == KernelModel::Path::Elsewhere;
    return verdict == Verdict::Kind::Pass || verdict == Verdict::Kind::Verify ||
           verdict == Verdict::Kind::Release;
  }
};

class Gateway {
 public:
  explicit Gateway(config::Config c = test_config(), engine::Surroundings around = test_surroundings())
      : config{std::move(c)}, surroundings{around}, engine{config, std::move(around)}, model{config} {
    step(engine::Tick{});
  }

  // One that has not met its first event.
  struct Idle {};
  Gateway(Idle, config::Config c)
      : config{std::move(c)},
        surroundings{test_surroundings()},
        engine{config, surroundings},
        model{config} {}

  // --- what happens
  void step(const engine::Event& event) {
    bool judged = false;
    std::vector<FlowKey> ended;
    for (const engine::Action& action : engine.step(event, now)) {
      if (const auto* given = std::get_if<Verdict>(&action)) {
        judged = true;
        take(*given);
      } else if (const auto* change = std::get_if<engine::ChangeElement>(&action)) {
        take(change->change, judged);
      } else if (const auto* end = std::get_if<engine::EndFlow>(&action)) {
        ended.push_back(end->flow);
      } else if (const auto* ask = std::get_if<engine::Ask>(&action)) {
        asked.push_back(ask->query);
      } else if (const auto* find = std::get_if<engine::FindFlow>(&action)) {
        wanted.push_back(find->flow);
      } else {
        reports.push_back(std::get<Report>(action));
      }
    }
    check();
    // conntrack reports what it forgets, our own doing included.
    for (const FlowKey& flow : ended) {
      model.end(flow);
      step(engine::FlowEnded{flow});
    }
    // What an answer left to do once its addresses are in: the daemon's timer is due at once.
    if (const auto due = engine.next_deadline(); answered(event) && due && *due <= now) step(engine::Tick{});
  }

  static bool answered(const engine::Event& event) {
    return std::holds_alternative<engine::NameAnswered>(event) ||
           std::holds_alternative<engine::AnswerHeld>(event);
  }

  Outcome segment(Side from, const TcpSegment& segment) {
    Outcome outcome;
    outcome.path = model.classify(segment, from, now);
    if (!outcome.queued()) return outcome;
    const Lane lane = outcome.path == KernelModel::Path::Control ? Lane::Control : Lane::Peer;
    const std::uint32_t id = ++last_packet_;
    const FlowKey flow = from == Side::Lan ? FlowKey{segment.source, segment.destination}
                                           : FlowKey{segment.destination, segment.source};
    waiting_[{lane, id}] = {flow, now};
    step(engine::SegmentSeen{lane, from, id, segment});
    const auto verdict = verdicts_.find({lane, id});
    outcome.held = verdict == verdicts_.end();
    if (!outcome.held) outcome.verdict = verdict->second;
    if (outcome.held && lane == Lane::Peer) throw Violation{"a peer's segment is held back"};
    return outcome;
  }

  Outcome packet(Side from, const PacketBuilder& builder) {
    const auto bytes = builder.bytes();
    const auto parsed = parse_packet(bytes);
    if (!parsed) throw Violation{"the test built a packet that does not parse"};
    return segment(from, std::get<TcpSegment>(*parsed));
  }

  // Lets time pass as the daemon does: a tick at every deadline.
  void pass(std::chrono::milliseconds span) {
    const TimePoint end = now + span;
    for (std::size_t round = 0;; ++round) {
      const auto due = engine.next_deadline();
      if (!due || *due > end) break;
      if (*due > now) round = 0;
      if (round > 100) throw Violation{"a deadline never passes"};
      now = std::max(now, *due);
      step(engine::Tick{});
    }
    now = end;
    step(engine::Tick{});
  }

  void answer(const std::string& name, const std::vector<IpAddress>& addresses, seconds ttl = seconds{300},
              dns::Type type = dns::Type::A) {
    dns::Answer answer;
    answer.question = name;
    answer.type = type;
    for (const IpAddress& address : addresses) answer.addresses.push_back({address, ttl});
    answer.negative_ttl = ttl;
    step(engine::NameAnswered{{name, type}, answer});
  }
  void fail(const std::string& name, const std::string& why = "SERVFAIL", dns::Type type = dns::Type::A) {
    step(engine::NameFailed{{name, type}, why});
  }
  // What a LAN client is told, held until the addresses in it are allowed. True: it was let go.
  bool held_answer(const std::string& name, const std::vector<IpAddress>& addresses,
                   seconds ttl = seconds{300}) {
    dns::Answer answer;
    answer.question = name;
    for (const IpAddress& address : addresses) answer.addresses.push_back({address, ttl});
    const std::uint32_t id = ++last_packet_;
    waiting_[{Lane::Names, id}] = {{}, now};
    step(engine::AnswerHeld{id, {name, dns::Type::A}, answer});
    return verdicts_.contains({Lane::Names, id});
  }
  void answer_login() {
    answer("login.icq.com", {kLogin, kLogin2});
    answer("login.icq.com", {}, seconds{300}, dns::Type::Aaaa);
  }

  // --- what came of it
  [[nodiscard]] std::size_t count(What what, std::optional<Reason> reason = std::nullopt) const {
    return static_cast<std::size_t>(std::count_if(reports.begin(), reports.end(), [&](const Report& report) {
      return report.what == what && (!reason || report.reason == *reason);
    }));
  }
  [[nodiscard]] bool pinhole(Ipv4 client, Port port) const {
    return model.holds(nft::Element::pinhole(client, port), now);
  }
  [[nodiscard]] std::size_t live(nft::SetId set) const { return model.elements(set, now).size(); }
  // "open", "probation" or "" as `status` says.
  [[nodiscard]] std::string state(Ipv4 client, Port port) const {
    for (const auto& one : engine.snapshot(now).pinholes)
      if (one.client == client && one.port == port) return one.state;
    return "";
  }
  [[nodiscard]] std::optional<Verdict::Kind> verdict_of(Lane lane, std::uint32_t id) const {
    const auto found = verdicts_.find({lane, id});
    return found == verdicts_.end() ? std::nullopt : std::optional{found->second};
  }
  [[nodiscard]] std::uint32_t last_packet() const { return last_packet_; }
  [[nodiscard]] std::size_t held() const { return waiting_.size(); }
  void forget() {  // what was recorded so far
    reports.clear();
    asked.clear();
    changes.clear();
  }

  config::Config config;
  engine::Surroundings surroundings;
  TimePoint now{std::chrono::hours{1000}};
  engine::Engine engine;
  KernelModel model;
  std::vector<Report> reports;
  std::vector<dns::Query> asked;
  std::vector<FlowKey> wanted;  // whose number in conntrack is
  std::vector<nft::Change> changes;

 private:
  struct Queued {
    FlowKey flow;
    TimePoint since;
  };
  using Id = std::pair<Lane, std::uint32_t>;

  void take(const Verdict& verdict) {
    const Id id{verdict.lane, verdict.packet};
    const auto found = waiting_.find(id);
    if (found == waiting_.end()) throw Violation{"a verdict for a packet that does not wait"};
    model.apply(verdict.kind, found->second.flow);
    verdicts_[id] = verdict.kind;
    waiting_.erase(found);
  }

  void take(const nft::Change& change, bool judged) {
    using Kind = nft::Change::Kind;
    if (change.kind != Kind::Remove) {
      if (judged && !model.holds(change.element, now)) throw Violation{"an element comes after its verdict"};
      if (change.timeout <= milliseconds{0}) throw Violation{"an element for ever"};
      judge(change.element);
    }
    model.apply(change, now);
    changes.push_back(change);
  }

  [[nodiscard]] bool inside(Ipv4 address) const {
    const auto holds = [&](const Subnet& subnet) { return subnet.contains(address); };
    return std::any_of(config.clients.begin(), config.clients.end(), holds);
  }

  // What may never be in a set, whatever was said on the wire.
  void judge(const nft::Element& element) const {
    ByteReader key{element.key()};
    const auto address = [&key] { return Ipv4{key.u32be().value_or(0)}; };
    const auto listener = [&](Ipv4 client) {
      const Port port{key.u16be().value_or(0)};
      if (!inside(client)) throw Violation{"a port of somebody who is no client"};
      if (!config.port_range.contains(port)) throw Violation{"a port outside the range"};
      if (port.get() < 1024 || config::is_denied(port, config)) throw Violation{"a denied port"};
    };
    const auto outside = [&](Ipv4 one) {
      const auto scope = scope_of(one);
      const auto holds = [&](const Subnet& subnet) { return subnet.contains(one); };
      if (scope != Scope::Global && scope != Scope::Private) throw Violation{"an address nobody can have"};
      if (inside(one) || std::any_of(surroundings.inside.begin(), surroundings.inside.end(), holds))
        throw Violation{"an inside address as a server or peer"};
      if (std::find(surroundings.own.begin(), surroundings.own.end(), IpAddress{one}) !=
          surroundings.own.end())
        throw Violation{"an address of the gateway as a server or peer"};
    };
    switch (element.set()) {
      case nft::SetId::Login4:
        return outside(address());
      case nft::SetId::Servers4:
      case nft::SetId::Peers: {
        if (!inside(address())) throw Violation{"a grant for somebody who is no client"};
        return outside(address());
      }
      case nft::SetId::Sessions:
        if (!inside(address())) throw Violation{"a session of somebody who is no client"};
        return;
      case nft::SetId::Pinholes:
        return listener(address());
      case nft::SetId::Returns: {
        outside(address());
        return listener(address());
      }
      case nft::SetId::Forwards: {
        ByteReader data{element.data()};
        const Ipv4 client{data.u32be().value_or(0)};
        const auto inner = data.u16be();
        if (inner != ByteReader{element.key()}.u16be()) throw Violation{"another port outside than inside"};
        // The kernel refuses the whole transaction: the key is there with other data.
        for (const nft::Element& there : model.elements(nft::SetId::Forwards, now))
          if (std::ranges::equal(there.key(), element.key()) && !(there == element))
            throw Violation{"one outside port for two clients"};
        return listener(client);
      }
      case nft::SetId::Login6:
      case nft::SetId::Servers6:
        return;
      case nft::SetId::DnsServers4:
      case nft::SetId::DnsServers6:
        throw Violation{"the engine has no say in whose DNS answers count"};
    }
  }

  void check() const {
    for (const auto& [id, queued] : waiting_)
      if (now - queued.since > milliseconds{1500}) throw Violation{"a packet waits for ever"};
    // What the engine believes of its pinholes and what the kernel holds is the same.
    const auto believed = engine.snapshot(now).pinholes;
    for (const auto& one : believed)
      if (!pinhole(one.client, one.port)) throw Violation{"a pinhole lapsed in the kernel"};
    if (live(nft::SetId::Pinholes) != believed.size()) throw Violation{"a pinhole nobody knows of"};
    if (engine.snapshot(now).returns.size() != live(nft::SetId::Returns))
      throw Violation{"a return nobody knows of, or one that lapsed"};
    if (!config.masquerade) return;
    for (const auto& one : believed)
      if (!model.holds(nft::Element::forward(one.port, one.client, one.port), now))
        throw Violation{"a pinhole without its outside port"};
  }

  std::map<Id, Queued> waiting_;
  std::map<Id, Verdict::Kind> verdicts_;
  std::uint32_t last_packet_ = 0;
};

}  // namespace icqgate::test
