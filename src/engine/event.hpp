// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/strong.hpp"
#include "config/config.hpp"
#include "dns/schedule.hpp"
#include "engine/reason.hpp"
#include "engine/saved.hpp"
#include "net/address.hpp"
#include "net/packet.hpp"
#include "nft/batch.hpp"

namespace icqgate::engine {

using TimePoint = std::chrono::steady_clock::time_point;

// The queue a packet waits in: Control and Names may fail open, Peer fails closed (design.md 4).
enum class Lane : std::uint8_t { Control, Peer, Names };
enum class Side : std::uint8_t { Lan, Wan };

// --- in

// A packet waits for a verdict: exactly one Verdict for (lane, packet) comes, at once or with a later step.
struct SegmentSeen {
  Lane lane = Lane::Control;
  Side from = Side::Lan;
  std::uint32_t packet = 0;
  TcpSegment segment;    // borrowed for the step only
  bool bundled = false;  // stands for several segments (GSO): no reset can take its place
};
// conntrack has forgotten the flow.
struct FlowEnded {
  FlowKey flow;
};
struct NameAnswered {
  dns::Query query;
  dns::Answer answer;
};
struct NameFailed {
  dns::Query query;
  std::string why;  // the resolver's own words
};
// A DNS answer on its way to a LAN client, from a server that is trusted (the ruleset's dns_servers), held in
// the lane Names: it is let go once its addresses are allowed.
struct AnswerHeld {
  std::uint32_t packet = 0;
  dns::Query query;
  dns::Answer answer;
};
// A LAN client tries to reach a server on a login port that no set holds.
struct ServerMissed {
  Endpoint server;
  IpAddress client = Ipv4{};
};
// A flow that conntrack has.
struct ListedFlow {
  FlowKey flow;
  std::uint32_t id = 0;  // its number there, never that of another one at the same time; 0: not known
  bool watched = true;   // it has the mark of flows whose beginning was seen
};
// All flows that conntrack has, whose original destination port is one of `ports`, and that are not over.
struct FlowsListed {
  std::vector<Port> ports;
  std::vector<ListedFlow> flows;
  std::optional<TimePoint> since = {};  // when the list was begun, if not now: later flows may be missing
};
// Another resolver answers from now on.
struct ResolverChanged {};
// What an earlier run left, before the first other event. `alive`: flows that conntrack still has and that
// still come by the control queue.
struct Restored {
  Saved saved;
  std::vector<ListedFlow> alive;
};
// The administrator wants it otherwise. Keys of the table itself (config::restart_keys) are the same.
struct Reconfigured {
  config::Config config;
};
// Nothing but the time.
struct Tick {};

using Event = std::variant<Tick, SegmentSeen, FlowEnded, NameAnswered, NameFailed, AnswerHeld, ServerMissed,
                           FlowsListed, ResolverChanged, Restored, Reconfigured>;

// --- out

struct Verdict {
  enum class Kind : std::uint8_t {
    Pass,     // let go
    Verify,   // let go, and nothing of this flow is asked about again
    Release,  // let go, and the flow is none of ours: other tables decide
    Drop,     // not now: the sender will try again
    Refuse,   // to the receiver goes a reset in its place; the sender is reset when it tries again (Repeat)
    Repeat,   // reset the sender
  };
  Lane lane = Lane::Control;
  std::uint32_t packet = 0;
  Kind kind = Kind::Pass;
};
// All changes between two verdicts belong together: one transaction, done before the next verdict is given.
struct ChangeElement {
  nft::Change change;
};
// The conntrack entry is to go.
struct EndFlow {
  FlowKey flow;
};
struct Ask {
  dns::Query query;
};
// conntrack's number of that flow is wanted: as FlowsListed, of no port.
struct FindFlow {
  FlowKey flow;
};

// What happened, for log, trace, monitor.
enum class What : std::uint8_t {
  ControlOpened,  // a flow to a server began
  LoginSeen,      // a UIN asked to be let in
  LoginRefused,
  Redirected,  // a server sent the client to another
  RedirectRefused,
  SessionOpened,  // the server accepted the login
  SessionEnded,
  FlowBlind,  // nothing is learned from this flow any more
  AnnounceRefused,
  PinholeProbation,  // the port is open for handshakes, no peer passes yet
  PinholeOpened,
  PinholeClosed,
  ReturnOpened,  // one peer may come back to the port named to it
  ReturnClosed,
  PeerVerified,
  PeerRefused,
  OutboundVerified,
  OutboundRefused,
  AddressAdded,
  AddressGone,
  AddressRefused,  // an answer named it, and it may not be a server's
  AnswerCut,       // an answer names more addresses than are taken
  LookupFailed,
  NameUnresolved,   // no usable answer for a while
  NameResolved,     // after that: there is one again
  ServerMissed,     // a client tried a server that is not known: its name is asked for again
  SessionRestored,  // of an earlier run
};
inline constexpr std::size_t kWhatCount = static_cast<std::size_t>(What::SessionRestored) + 1;
[[nodiscard]] std::string_view to_string(What what) noexcept;  // kebab-case: "pinhole-opened"

struct Report {
  What what{};
  Reason reason = Reason::None;
  std::optional<IpAddress> client{};
  std::optional<Uin> uin{};          // the client's
  std::optional<Port> port{};        // the listening port, where one is meant
  std::optional<Endpoint> remote{};  // server or peer
  std::optional<Uin> peer_uin{};
  std::uint16_t version = 0;  // of a direct connection; 0 if none is meant
  std::string text{};         // a name, a protocol guessed, the resolver's words
};

using Action = std::variant<Verdict, ChangeElement, EndFlow, FindFlow, Ask, Report>;

// One line for people: "session of 100003 at 192.168.1.20 with 192.0.2.5:5190" ...
[[nodiscard]] std::string describe(const Report& report);

}  // namespace icqgate::engine
