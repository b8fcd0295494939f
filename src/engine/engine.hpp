// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "config/config.hpp"
#include "dns/schedule.hpp"
#include "engine/event.hpp"
#include "engine/first_bytes.hpp"
#include "engine/flow.hpp"
#include "nft/element.hpp"

namespace icqgate::engine {

// Addresses that no server and no peer outside can have: the inside networks and the gateway's own addresses.
struct Surroundings {
  std::vector<Subnet> inside;  // networks on the LAN side
  std::vector<IpAddress> own;  // the gateway's addresses, the outside ones included
};

// For `status`: copies, nothing borrowed.
struct Snapshot {
  struct Address {
    std::string host;
    Endpoint server;
    std::string source;                            // "answer", "held answer", "saved" or "static"
    std::chrono::seconds age;                      // since it came in
    std::optional<std::chrono::seconds> ttl_left;  // 0: over, and kept; nullopt: static
    std::chrono::seconds expires_in;
    std::size_t flows;  // alive
  };
  struct Session {
    FlowKey flow;
    std::optional<Uin> uin;
    std::string state;  // "login", "online", "blind"
    std::chrono::seconds since;
  };
  struct Pinhole {
    Ipv4 client;
    Port port;
    Uin uin;
    std::string kind;   // "direct"
    std::string state;  // "probation", "open"
    std::chrono::seconds expires_in;
    std::uint32_t peers;  // verified on it so far
  };
  struct Return {
    Ipv4 peer;
    Ipv4 client;
    Port port;
    std::chrono::seconds expires_in;
  };
  std::vector<Address> addresses;
  std::vector<dns::Schedule::NameState> names;
  std::vector<Session> sessions;
  std::vector<Pinhole> pinholes;
  std::vector<Return> returns;
  std::array<std::uint64_t, kWhatCount> happened{};
  std::array<std::uint64_t, kReasonCount> refused{};  // refusals of anything, by reason
};

// What the configuration says of names, for dns::Schedule.
[[nodiscard]] std::vector<dns::DomainName> names_of(const config::Config& config);
[[nodiscard]] dns::SchedulePolicy policy_of(const config::Config& config, std::uint64_t seed);

// The only one to decide (design.md 4): events in, actions out. Owns no descriptor, reads no clock; the same
// inputs give the same actions. `now` never goes back.
class Engine {
 public:
  // Where an address of a login host comes from.
  enum class Source : std::uint8_t { Answer, HeldAnswer, Saved, Static };

  // `seed`: of what must differ between gateways (when names are asked for).
  Engine(config::Config config, Surroundings surroundings, std::uint64_t seed = 1);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  ~Engine();

  // The actions are in the order in which they are to be done; the vector is reused by the next step.
  const std::vector<Action>& step(const Event& event, TimePoint now);
  // When step(Tick{}) is due at the latest.
  [[nodiscard]] std::optional<TimePoint> next_deadline() const;

  void surroundings(Surroundings surroundings) { surroundings_ = std::move(surroundings); }
  [[nodiscard]] Snapshot snapshot(TimePoint now) const;
  // What the next run may continue from (the event Restored).
  [[nodiscard]] Saved saved(TimePoint now) const;
  // Grows whenever something of saved() came or went; what merely moves on (ages, positions) does not count.
  [[nodiscard]] std::uint64_t saved_version() const noexcept { return saved_version_; }
  // The ports that servers are on, and those of flows that live: whose FlowsListed and FlowEnded are to tell
  // of.
  [[nodiscard]] std::set<Port> server_ports() const;
  // Those among them where flows count that are not followed as well.
  [[nodiscard]] std::set<Port> login_ports() const;
  // The elements that this run answers for: it renews them, or lets them end. Without those of the set peers,
  // which are put there once, for their time.
  [[nodiscard]] std::set<nft::Element> elements() const;

 private:
  // A listening port of a LAN client, open to whoever proves itself.
  struct Pinhole {
    Uin uin;
    FlowKey owner;             // the control flow that announced it
    std::uint64_t offset = 0;  // of that flow towards the server: acknowledged up to here, it is open
    bool open = false;
    bool orphan = false;                  // its session is moving to another server (protocol.md 1.8)
    std::optional<std::uint32_t> cookie;  // the client's own
    TimePoint until;                      // the kernel's timeout
    TimePoint check{};                    // when its one timer is due: others of the same key are stale
    TimePoint since{};                    // announced
    std::uint32_t peers = 0;
  };
  struct PinholeKey {
    Ipv4 client;
    Port port;
    friend auto operator<=>(const PinholeKey&, const PinholeKey&) = default;
  };
  // One peer may come back to the port that a LAN client's handshake named to it.
  struct Return {
    Uin uin;                  // the LAN client's
    std::optional<Uin> peer;  // the called one's, if the handshake said so
    TimePoint until;
  };
  struct ReturnKey {
    Ipv4 peer;
    Ipv4 client;
    Port port;
    friend auto operator<=>(const ReturnKey&, const ReturnKey&) = default;
  };
  // A peer flow whose handshake is not complete.
  struct PeerFlow {
    FirstBytes first;
    bool inbound = true;
    bool watched = false;      // outbound, and the other tables let it out by themselves
    bool refused = false;      // to be reset whenever it shows up
    bool told = false;         // the receiver of the refused segment was reset
    std::uint8_t bundles = 0;  // dropped because no reset could take their place
    bool held = false;         // its first segment was held back once (see first_bytes.hpp)
    TimePoint until;
  };
  // What a login or service cookie stands for: kept as a hash only (security.md, secrets).
  struct CookieMeaning {
    IpAddress client;
    std::optional<Uin> uin;
    bool service = false;
    TimePoint until;
    FlowKey from;  // the flow it was handed out on
  };
  // The login hosts (names, or addresses as text) that a server is allowed for; never null.
  using Hosts = std::shared_ptr<const std::vector<std::string>>;
  // An address of login hosts, which every client may reach on its ports.
  struct LoginAddress {
    struct Owner {
      dns::DomainName name;
      TimePoint ttl_end;
      TimePoint released{};  // when DNS, or the last flow that only this name explains, let go of it
    };
    std::vector<Owner> owners;  // the names that stand for it; each ends by itself
    bool fixed = false;         // the configuration names the address itself, with
    std::vector<Port> fixed_ports;
    std::vector<Port> ports;  // whose elements are in the set
    Hosts hosts;              // owners, and the address if fixed
    Source source = Source::Answer;
    TimePoint since;    // in the set
    TimePoint heard;    // named last
    TimePoint until;    // the kernel's timeout
    TimePoint check{};  // when its one timer is due: others of the same key are stale
  };
  // A login host's name: which ports, and what its answers may say.
  struct LoginName {
    std::vector<Port> ports;
    bool private_allowed = false;
    Hosts hosts{};                  // it alone: what most of its addresses have
    bool unresolved = false;        // and that was told
    bool cut = false;               // the same of an answer with more addresses than are taken
    TimePoint watched_until{};      // its timer
    std::set<IpAddress> refused{};  // what its answers name in vain, so that each is told once
  };
  struct ServerKey {
    IpAddress client;
    Endpoint server;
    friend auto operator<=>(const ServerKey&, const ServerKey&) = default;
  };
  struct ServerGrant {
    TimePoint until;
    std::size_t flows = 0;
    Hosts hosts;  // whose server it was that sent the client there
  };
  struct ClientState {
    std::vector<Uin> online;  // one entry per session, so a UIN may stand there twice
    std::size_t pinholes = 0;
    std::uint32_t opened = 0;  // in the minute that began at `minute`
    TimePoint minute{};
    std::uint32_t redirects = 0;  // in the same minute
  };
  // A redirect to a name, and the segments that wait for its address.
  struct Waiting {
    static constexpr std::size_t kMostHeld = 64;  // segments; further ones pass
    struct Grant {
      IpAddress client;
      Port port;
      Uin uin;
      Hosts hosts;
    };
    dns::Type type = dns::Type::A;  // asked for
    std::vector<Grant> grants;
    std::vector<std::pair<Lane, std::uint32_t>> held;
    std::vector<FlowKey> flows;  // whose segments these are: what the server sends again waits as well
    TimePoint until;
  };
  struct Timer {
    enum class Kind : std::uint8_t { Flow, Pinhole, Return, Peer, Cookie, Login, Server, Name, Unresolved };
    TimePoint when;
    Kind kind;
    std::variant<std::monostate, FlowKey, PinholeKey, ReturnKey, std::uint64_t, IpAddress, ServerKey,
                 std::string>
        key;
    friend bool operator>(const Timer& a, const Timer& b) { return a.when > b.when; }
  };

  static constexpr std::chrono::seconds kOldest{
      std::chrono::hours{24 * 365 * 10}};  // what a saved age is believed to be at most

  // control.cpp: flows to servers
  void on_control(const SegmentSeen& seen);
  void open_flow(const FlowKey& key, const SegmentSeen& seen);
  void on_flow_segment(const FlowKey& key, Flow& flow, const SegmentSeen& seen);
  [[nodiscard]] static bool is_another(const Flow& flow, const SegmentSeen& seen);
  bool feed(const FlowKey& key, Flow& flow, const SegmentSeen& seen);
  void resume(const FlowKey& key, Flow& flow, const SegmentSeen& seen);
  bool on_client_frame(const FlowKey& key, Flow& flow, const oscar::FlapReader::Frame& frame);
  bool on_server_frame(const FlowKey& key, Flow& flow, const oscar::FlapReader::Frame& frame);
  bool on_client_hello(const FlowKey& key, Flow& flow, Bytes payload);
  bool on_client_snac(const FlowKey& key, Flow& flow, const oscar::FlapReader::Frame& frame);
  bool on_server_snac(const FlowKey& key, Flow& flow, const oscar::FlapReader::Frame& frame);
  void go_blind(const FlowKey& key, Flow& flow, Reason reason);
  void end_flow(const FlowKey& key, Reason reason);
  void end_session(const FlowKey& key, Flow& flow, Reason reason);
  [[nodiscard]] bool is_server(const FlowKey& key) const;
  [[nodiscard]] bool is_login(const Endpoint& server) const;
  void close_flow(const FlowKey& key);
  [[nodiscard]] bool ended_lately(const FlowKey& key);
  void count_flow(const FlowKey& key, Flow& flow);
  void uncount_flow(const FlowKey& key, const Flow& flow);
  [[nodiscard]] Waiting* waiting_for(const SegmentSeen& seen, const FlowKey& key);

  // session.cpp: what a session says
  void on_login_reply(const FlowKey& key, Flow& flow, Bytes tlvs);
  void on_self_info(const FlowKey& key, Flow& flow, Bytes body);
  void on_buddies(const FlowKey& key, Flow& flow, Bytes body);
  void come_online(const FlowKey& key, Flow& flow);
  void on_status(const FlowKey& key, Flow& flow, Bytes body, std::uint64_t end);
  void announce(const FlowKey& key, Flow& flow, const oscar::DirectInfo& info, std::uint64_t end);
  [[nodiscard]] Reason judge_announcement(const FlowKey& key, const Flow& flow,
                                          const oscar::DirectInfo& info) const;
  [[nodiscard]] Reason judge_port(Port port) const;
  void refuse_announcement(const FlowKey& key, const Flow& flow, std::optional<Port> port, Reason reason);
  void promote(const FlowKey& key, Flow& flow);
  void close_pinhole(PinholeKey key, Reason reason);
  void release_forward(PinholeKey key);
  void renew_pinhole(PinholeKey key, Pinhole& pinhole, std::chrono::seconds span);
  void watch_pinhole(PinholeKey key, Pinhole& pinhole);
  void adopt_pinhole(PinholeKey key, Pinhole& pinhole, const FlowKey& heir, Flow& flow);

  // names.cpp: login hosts and redirects
  void allow_server(const FlowKey& key, Flow& flow, const oscar::Target& target, Bytes cookie, bool service);
  void grant(const IpAddress& client, const Endpoint& server, std::optional<Uin> uin, const std::string& name,
             const Hosts& hosts);
  [[nodiscard]] Reason judge_target(const IpAddress& address, bool private_allowed) const;
  [[nodiscard]] bool is_inside(const IpAddress& address) const;
  [[nodiscard]] bool may_name_private(const std::vector<std::string>& hosts) const;
  [[nodiscard]] bool is_configured(const std::vector<std::string>& hosts) const;
  [[nodiscard]] bool may_reach(const IpAddress& client, const Endpoint& server,
                               const std::vector<std::string>& hosts) const;
  [[nodiscard]] bool is_server_port(Port port) const;
  void read_names();
  void ask_due();
  void on_answer(const NameAnswered& answered);
  void on_name_failed(const NameFailed& failed);
  void on_answer_held(const AnswerHeld& held);
  void on_server_missed(const ServerMissed& missed);
  [[nodiscard]] dns::Answer judged(const dns::Query& query, LoginName& name, const dns::Answer& answer);
  void note_size(const dns::Query& query, LoginName& name, std::size_t addresses);
  void note_failure(const dns::Query& query, const std::string& why);
  void watch_name(const dns::DomainName& name);
  void release_waiting(const std::string& name, Reason reason);
  bool grant_all(const Waiting::Grant& wanted, const std::vector<IpAddress>& addresses,
                 const std::string& name);

  // addresses.cpp: the life of a login host's address
  void allow(const dns::Query& query, const std::vector<dns::Schedule::Fresh>& fresh, Source source);
  [[nodiscard]] std::size_t room_for(const dns::Query& query,
                                     const std::vector<dns::Schedule::Fresh>& fresh) const;
  [[nodiscard]] static bool is_of(const IpAddress& address, const LoginAddress& login,
                                  const dns::Query& query);
  LoginAddress& put_address(const IpAddress& address, Source source);
  void settle(const IpAddress& address, LoginAddress& login);
  void note_owners(const IpAddress& address, LoginAddress& login, Reason gone);
  [[nodiscard]] Hosts hosts_of(const IpAddress& address, const LoginAddress& login) const;
  [[nodiscard]] std::vector<Port> ports_of(const LoginAddress& login) const;
  [[nodiscard]] bool gives_port(const dns::DomainName& name, Port port) const;
  [[nodiscard]] bool is_named(const IpAddress& address, const LoginAddress::Owner& owner) const;
  [[nodiscard]] bool explained(const IpAddress& address, const LoginAddress& login, Port port,
                               const LoginAddress::Owner& but) const;
  void drop_owners(const IpAddress& address, LoginAddress& login);
  [[nodiscard]] TimePoint named_end(const LoginAddress& login) const;
  [[nodiscard]] bool is_held(const IpAddress& address, const LoginAddress& login) const;
  void drop_address(const IpAddress& address, Reason reason);
  void keep_limits(const dns::Query& query);
  void finish_answer();
  // For eviction, the first to go being the least.
  enum class Hold : std::uint8_t {
    IdleOver,  // no flow, and DNS names it no more
    Idle,
    UsedOver,  // a flow, and DNS names it no more
    Kept,      // a flow, or named by the newest answer
  };
  struct Candidate {
    Hold hold;
    bool in_use;
    TimePoint heard;
    IpAddress address;
    friend auto operator<=>(const Candidate&, const Candidate&) = default;
  };
  [[nodiscard]] bool in_use(const IpAddress& address, const LoginAddress& login) const;
  [[nodiscard]] Hold hold_of(const IpAddress& address, const LoginAddress& login) const;
  void evict(std::vector<Candidate>& candidates, std::size_t most, const dns::Query* query);
  void fix_addresses();
  void flow_on(const Endpoint& server);
  void flow_off(const Endpoint& server);
  void watch_passing(const FlowKey& key);
  void on_flows_listed(const FlowsListed& listed);
  void on_flow_ended(const FlowKey& key);

  // memory.cpp: across restarts and reloads
  void on_restored(const Restored& restored);
  void restore_session(const Saved::Session& saved);
  [[nodiscard]] bool may_restore(const Saved::Session& saved) const;
  void restore_pinhole(const Saved::Pinhole& saved);
  void on_reconfigured(const config::Config& config);
  void end_disallowed();
  [[nodiscard]] bool is_client(const IpAddress& address) const;

  // peer.cpp: peers' flows
  void on_peer(const SegmentSeen& seen);
  void judge_inbound(const FlowKey& key, PeerFlow& flow, const SegmentSeen& seen);
  void judge_outbound(const FlowKey& key, PeerFlow& flow, const SegmentSeen& seen);
  [[nodiscard]] Reason judge_cookie(const FlowKey& owner, const Pinhole& pinhole,
                                    const peer::Handshake& handshake) const;
  void refuse_peer(const FlowKey& key, const SegmentSeen& seen, What what, Reason reason,
                   const peer::Handshake* handshake);
  void reset_peer(const FlowKey& key, PeerFlow& flow, const SegmentSeen& seen);
  void remember_refused(const FlowKey& key, PeerFlow& flow);
  void forget_refused(bool one_at_least);
  void forget_oldest();
  void open_return(const FlowKey& key, const peer::Handshake& handshake);
  void close_return(const ReturnKey& key, Reason reason);

  // engine.cpp
  void on_timer(const Timer& timer);
  void arm(TimePoint when, Timer::Kind kind, decltype(Timer::key) key) {
    timers_.push({when, kind, std::move(key)});
  }
  void verdict(const SegmentSeen& seen, Verdict::Kind kind) {
    actions_.push_back(Verdict{seen.lane, seen.packet, kind});
  }
  void change(nft::Change::Kind kind, const nft::Element& element, std::chrono::seconds timeout = {}) {
    actions_.push_back(ChangeElement{{kind, element, timeout}});
  }
  void report(Report report);
  [[nodiscard]] ClientState& client(const IpAddress& address) { return clients_[address]; }

  config::Config config_;
  std::uint64_t seed_;
  Surroundings surroundings_;
  dns::Schedule schedule_;
  std::map<dns::DomainName, LoginName> login_names_;
  std::map<std::string, bool> hosts_;  // all login hosts, names and addresses: may they name private ones?
  dns::DomainName missed_last_;        // asked for last because of a miss: the others have their turn
  bool started_ = false;
  TimePoint now_{};
  std::vector<Action> actions_;
  TimePoint names_due_{};                 // when schedule_ has to be asked next
  std::optional<dns::Query> unfinished_;  // the query whose answer came last: finish_answer() is due
  TimePoint named_last_{};                // when an address was put in, or named again, last
  bool hold_ = false;                     // the segment at hand waits for a name
  std::string hold_name_;

  std::unordered_map<FlowKey, std::unique_ptr<Flow>, FlowKeyHash> flows_;
  std::map<PinholeKey, Pinhole> pinholes_;
  std::map<Port, PinholeKey> forwards_;  // masquerade: who has the outside port
  std::map<ReturnKey, Return> returns_;
  std::unordered_map<FlowKey, PeerFlow, FlowKeyHash> peers_;
  std::deque<std::pair<TimePoint, FlowKey>> ended_flows_;    // lately: what still comes of them is no news
  std::deque<std::pair<TimePoint, FlowKey>> begun_peers_;    // of peers_, incomplete when put here
  std::deque<std::pair<TimePoint, FlowKey>> refused_peers_;  // of peers_, oldest first
  std::unordered_map<std::uint64_t, CookieMeaning> cookies_;
  std::unordered_map<IpAddress, LoginAddress> logins_;
  std::unordered_set<FlowKey, FlowKeyHash> passing_;  // flows to login servers that are not followed
  std::unordered_map<Endpoint, std::size_t, EndpointHash> live_;  // flows of flows_ and passing_, by server
  std::map<ServerKey, ServerGrant> servers_;
  std::unordered_map<IpAddress, ClientState> clients_;
  std::map<std::string, Waiting> waiting_;
  // What names of redirects stood for a moment ago: clients that come together need no query each.
  struct Resolved {
    std::vector<IpAddress> addresses;
    TimePoint until;
  };
  std::map<dns::Query, Resolved> resolved_;
  std::priority_queue<Timer, std::vector<Timer>, std::greater<>> timers_;
  std::uint64_t saved_version_ = 0;
  std::map<dns::Query, std::string> last_failure_;  // so that a lookup's failure is reported once per change
  std::array<std::uint64_t, kWhatCount> happened_{};
  std::array<std::uint64_t, kReasonCount> refused_{};
};

}  // namespace icqgate::engine
