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
#include "dns/schedule.hpp"
#include "engine/reason.hpp"
#include "net/address.hpp"
#include "net/packet.hpp"
#include "nft/batch.hpp"

namespace icqgate::engine {

using TimePoint = std::chrono::steady_clock::time_point;

// A TCP flow as the forward hook sees it: `inside` is the LAN client's end, with its own address (translated
// back where NAT is at work), `outside` the other one.
struct FlowKey {
  Endpoint inside;
  Endpoint outside;
  friend auto operator<=>(const FlowKey&, const FlowKey&) noexcept = default;
};
struct FlowKeyHash {
  std::size_t operator()(const FlowKey& key) const noexcept {
    const EndpointHash hash;
    const std::size_t outside = hash(key.outside);
    return hash(key.inside) ^ (outside + 0x9e3779b97f4a7c15u + (outside << 6) + (outside >> 2));
  }
};

// The queue a packet waits in: Control may fail open, Peer fails closed (design.md 4).
enum class Lane : std::uint8_t { Control, Peer };
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
// Nothing but the time.
struct Tick {};

using Event = std::variant<Tick, SegmentSeen, FlowEnded, NameAnswered, NameFailed>;

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
  LookupFailed,
};
inline constexpr std::size_t kWhatCount = static_cast<std::size_t>(What::LookupFailed) + 1;
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

using Action = std::variant<Verdict, ChangeElement, EndFlow, Ask, Report>;

// One line for people: "session of 100003 at 192.168.1.20 with 192.0.2.5:5190" ...
[[nodiscard]] std::string describe(const Report& report);

}  // namespace icqgate::engine
