// SPDX-License-Identifier: GPL-2.0-or-later
// Flows between LAN clients and OSCAR servers: from the SYN on, bytes in order, FLAP from byte 0 (security.md
// S1-S5).
#include <algorithm>

#include "engine/engine.hpp"
#include "engine/secret_hash.hpp"

namespace icqgate::engine {

using oscar::Channel;

namespace {

constexpr std::size_t kMostFlows = 200'000;  // beyond, new flows only pass
constexpr std::size_t kMostTimers =
    1'000'000;                            // the same: a flow that ended leaves its timer behind for a while
constexpr std::uint32_t kNear = 1 << 20;  // around the expected byte: where a reset is believed, and where a
                                          // flow of an earlier run may go on

// The other side has bytes that never came by here (a queue that was full, a table that was away): what was
// in them is not known, and nothing behind them would be in its place. conntrack refuses an acknowledgement
// of what was never sent. A FIN counts one.
bool acknowledges_unseen(const Flow& flow, const SegmentSeen& seen) {
  if (!seen.segment.has(TcpSegment::kAck) || seen.segment.has(TcpSegment::kRst)) return false;
  const bool from_lan = seen.from == Side::Lan;
  const tcp::Stream* stream = !from_lan ? &flow.to_server : flow.to_client ? &*flow.to_client : nullptr;
  if (stream == nullptr) return false;
  const auto beyond =
      static_cast<std::int32_t>(seen.segment.acknowledgment - stream->sequence_at(stream->delivered()));
  const std::int32_t allowed = (from_lan ? flow.server_fin : flow.client_fin) ? 1 : 0;
  return beyond > allowed && beyond <= static_cast<std::int32_t>(tcp::Stream::kMaxDistance);
}

FlowKey key_of(const SegmentSeen& seen) {
  const auto& [source, destination] = std::tie(seen.segment.source, seen.segment.destination);
  return seen.from == Side::Lan ? FlowKey{source, destination} : FlowKey{destination, source};
}

}  // namespace

bool Engine::is_server(const FlowKey& key) const {
  return is_login(key.outside) || servers_.contains({key.inside.address, key.outside});
}

// Where a flow was counted is remembered: a server may get into the other list while the flow lives.
void Engine::count_flow(const FlowKey& key, Flow& flow) {
  flow_on(key.outside);
  if (passing_.erase(key) > 0) flow_off(key.outside);
  const auto grant = servers_.find({key.inside.address, key.outside});
  if (is_login(key.outside)) {
    flow.hosts = logins_.at(key.outside.address).hosts;
  } else if (grant != servers_.end()) {
    ++grant->second.flows;
    flow.granted = true;
    flow.hosts = grant->second.hosts;
  }
}

void Engine::uncount_flow(const FlowKey& key, const Flow& flow) {
  flow_off(key.outside);
  if (!flow.granted) return;
  const auto grant = servers_.find({key.inside.address, key.outside});
  if (grant != servers_.end() && --grant->second.flows == 0)
    arm(std::max(now_, grant->second.until), Timer::Kind::Server, grant->first);
}

// A server that hears nothing of a segment held back sends it again: neither may overtake the element.
Engine::Waiting* Engine::waiting_for(const SegmentSeen& seen, const FlowKey& key) {
  if (seen.from != Side::Wan || seen.segment.payload.empty()) return nullptr;
  for (auto& [name, waiting] : waiting_)
    if (waiting.held.size() < Waiting::kMostHeld &&
        std::find(waiting.flows.begin(), waiting.flows.end(), key) != waiting.flows.end())
      return &waiting;
  return nullptr;
}

void Engine::on_control(const SegmentSeen& seen) {
  const FlowKey key = key_of(seen);
  const TcpSegment& segment = seen.segment;
  auto found = flows_.find(key);
  constexpr std::uint8_t kAll = TcpSegment::kSyn | TcpSegment::kAck | TcpSegment::kRst | TcpSegment::kFin;
  if (seen.from == Side::Lan && (segment.flags & kAll) == TcpSegment::kSyn) {
    const bool again =
        found != flows_.end() && found->second->to_server.sequence_at(0) == segment.sequence + 1;
    if (!again) {
      if (found != flows_.end()) end_flow(key, Reason::ConnectionClosed);
      // A SYN comes here as well when one to a peer, already watched, is sent again: no server of ours, so
      // nothing it says may teach a redirect or a port (S3).
      if (is_server(key)) open_flow(key, seen);
    }
    verdict(seen, Verdict::Kind::Pass);
    return;
  }
  if (found != flows_.end() && is_another(*found->second, seen)) {
    end_flow(key, Reason::ConnectionClosed);
    found = flows_.end();
  }
  if (found != flows_.end()) {
    on_flow_segment(key, *found->second, seen);
    return;
  }
  if (Waiting* waiting = waiting_for(seen, key); waiting != nullptr) {
    waiting->held.emplace_back(seen.lane, seen.packet);  // of a flow that has ended since
    return;
  }
  if (!is_server(key)) {
    on_peer(seen);  // an outbound flow that the other tables let out by themselves
    return;
  }
  if (segment.payload.empty() && segment.missing == 0) {
    verdict(seen, Verdict::Kind::Pass);  // the end of a flow already counted as over
    return;
  }
  if (ended_lately(key)) {
    verdict(seen, Verdict::Kind::Pass);
    return;
  }
  // Never pick a flow up mid-stream (S1). It passes, and nothing is learned from it.
  watch_passing(key);
  report({.what = What::FlowBlind,
          .reason = Reason::MidStream,
          .client = key.inside.address,
          .remote = key.outside});
  verdict(seen, Verdict::Kind::Verify);
}

// What the other side sent before it heard of the end, or sends again after it.
bool Engine::ended_lately(const FlowKey& key) {
  constexpr std::chrono::seconds kLately{10};
  while (!ended_flows_.empty() && ended_flows_.front().first + kLately <= now_) ended_flows_.pop_front();
  return std::any_of(ended_flows_.begin(), ended_flows_.end(),
                     [&key](const auto& one) { return one.second == key; });
}

// Its own segments ended it: a few more may follow.
void Engine::close_flow(const FlowKey& key) {
  constexpr std::size_t kMostRemembered = 256;
  if (ended_flows_.size() >= kMostRemembered) ended_flows_.pop_front();
  ended_flows_.emplace_back(now_, key);
  end_flow(ended_flows_.back().second, Reason::ConnectionClosed);  // `key` may be of the flow itself
}

void Engine::open_flow(const FlowKey& key, const SegmentSeen& seen) {
  if (!seen.segment.payload.empty() || seen.segment.missing > 0) return;  // will be met mid-stream
  if (flows_.size() >= kMostFlows || timers_.size() >= kMostTimers) {
    report({.what = What::FlowBlind,
            .reason = Reason::OverLimit,
            .client = key.inside.address,
            .remote = key.outside});
    return;
  }
  auto flow = std::make_unique<Flow>(seen.segment.sequence);
  flow->since = flow->heard = now_;
  flow->check = now_ + std::min(config_.pinhole_timeout / 2, config_.session_idle);
  arm(flow->check, Timer::Kind::Flow, key);
  count_flow(key, *flow);
  flows_.emplace(key, std::move(flow));
  report({.what = What::ControlOpened, .client = key.inside.address, .remote = key.outside});
}

void Engine::on_flow_segment(const FlowKey& key, Flow& flow, const SegmentSeen& seen) {
  const TcpSegment& segment = seen.segment;
  flow.heard = now_;
  hold_ = false;

  if (seen.from == Side::Wan && segment.has(TcpSegment::kSyn | TcpSegment::kAck)) {
    if (!flow.to_client && segment.acknowledgment == flow.to_server.sequence_at(0))
      flow.to_client.emplace(segment.sequence);
    verdict(seen, Verdict::Kind::Pass);
    return;
  }
  if (!flow.blind && acknowledges_unseen(flow, seen)) go_blind(key, flow, Reason::MidStream);
  if (segment.has(TcpSegment::kAck)) {
    if (seen.from == Side::Wan) {
      flow.to_server.acknowledge(segment.acknowledgment);
      promote(key, flow);
    } else if (flow.to_client) {
      flow.to_client->acknowledge(segment.acknowledgment);
    }
  }
  if (flow.resuming_client || flow.resuming_server) resume(key, flow, seen);
  if (!flow.blind && (!segment.payload.empty() || segment.missing > 0)) feed(key, flow, seen);
  if (flow.blind && !segment.payload.empty())
    (seen.from == Side::Lan ? flow.blind_to_server : flow.blind_to_client) =
        segment.sequence + static_cast<std::uint32_t>(segment.payload.size());

  const tcp::Stream* stream = seen.from == Side::Lan ? &flow.to_server
                              : flow.to_client       ? &*flow.to_client
                                                     : nullptr;
  bool over = false;
  if (stream != nullptr) {
    const std::uint32_t expected = stream->sequence_at(stream->delivered());
    const auto end = segment.sequence + static_cast<std::uint32_t>(segment.payload.size());
    // A FIN counts where the stream has arrived, a reset only near there: a forged one far off must not close
    // what is open. (What conntrack calls INVALID never comes here.)
    auto& fin = seen.from == Side::Lan ? flow.client_fin : flow.server_fin;
    if (segment.has(TcpSegment::kFin)) fin = end;
    over = fin && (*fin == expected || flow.blind);
    // Where a blind stream has arrived is not known.
    over = over ||
           (segment.has(TcpSegment::kRst) && (flow.blind || segment.sequence - expected + kNear / 2 < kNear));
  } else {
    over = segment.has(TcpSegment::kRst | TcpSegment::kAck) &&
           segment.acknowledgment == flow.to_server.sequence_at(0);  // the SYN was refused
  }
  if (!hold_ && waiting_for(seen, key) != nullptr) {
    waiting_for(seen, key)->held.emplace_back(seen.lane, seen.packet);
    if (over) close_flow(key);
    return;
  }
  if (hold_) {
    auto& waiting = waiting_[hold_name_];
    waiting.held.emplace_back(seen.lane, seen.packet);
    waiting.flows.push_back(key);
    if (over) close_flow(key);
    return;
  }
  // A blind flow without a session has nothing left to tell. One with a session is still watched for its end.
  // At the end there is nothing more to learn from the other direction (a sign-off behind the server's FIN,
  // say) unless what a name holds back is to come again.
  const bool waits = std::any_of(waiting_.begin(), waiting_.end(), [&key](const auto& waiting) {
    return std::find(waiting.second.flows.begin(), waiting.second.flows.end(), key) !=
           waiting.second.flows.end();
  });
  const bool done = (flow.blind && !flow.online && !flow.port) || (over && !waits);
  verdict(seen, done ? Verdict::Kind::Verify : Verdict::Kind::Pass);
  if (over || done) close_flow(key);
}

// Connections with the ports of one of an earlier run, begun while nobody looked, are at quite another place:
// conntrack lets nothing else far off through.
bool Engine::is_another(const Flow& flow, const SegmentSeen& seen) {
  if ((!flow.resuming_client && !flow.resuming_server) || flow.same_in_conntrack) return false;
  const auto far = [](const tcp::Stream& stream, std::uint32_t number) {
    const std::uint32_t expected = stream.sequence_at(stream.delivered());
    return number - expected + kNear / 2 >= kNear;
  };
  const bool from_lan = seen.from == Side::Lan;
  const tcp::Stream& own = from_lan ? flow.to_server : *flow.to_client;
  const tcp::Stream& other = from_lan ? *flow.to_client : flow.to_server;
  return far(own, seen.segment.sequence) ||
         (seen.segment.has(TcpSegment::kAck) && far(other, seen.segment.acknowledgment));
}

// A flow of an earlier run goes on only where it had stopped, byte for byte, in both directions (S1); what
// its acknowledgements tell, acknowledges_unseen() has seen.
void Engine::resume(const FlowKey& key, Flow& flow, const SegmentSeen& seen) {
  const bool from_lan = seen.from == Side::Lan;
  const tcp::Stream& own = from_lan ? flow.to_server : *flow.to_client;
  bool& resuming = from_lan ? flow.resuming_client : flow.resuming_server;
  const auto ahead = static_cast<std::int32_t>(seen.segment.sequence - own.sequence_at(own.delivered()));
  if (flow.blind) {
    resuming = false;  // it is near enough
  } else if (resuming && ahead > 0) {
    go_blind(key, flow, Reason::MidStream);
  } else if (ahead == 0) {
    resuming = false;
  }
}

bool Engine::feed(const FlowKey& key, Flow& flow, const SegmentSeen& seen) {
  const bool to_server = seen.from == Side::Lan;
  if (seen.segment.missing > 0 || (!to_server && !flow.to_client)) {
    go_blind(key, flow, seen.segment.missing > 0 ? Reason::CutPacket : Reason::MidStream);
    return false;
  }
  tcp::Stream& stream = to_server ? flow.to_server : *flow.to_client;
  const auto bytes = stream.push(seen.segment.sequence, seen.segment.payload);
  if (!bytes) {
    go_blind(key, flow,
             bytes.error() == tcp::StreamError::OverCap ? Reason::StreamOverCap : Reason::StreamConflict);
    return false;
  }
  oscar::FlapReader& reader = to_server ? flow.client_frames : flow.server_frames;
  reader.feed(*bytes);
  for (;;) {
    const auto frame = reader.next();
    if (!frame) {
      if (frame.error() == oscar::FlapError::NeedMore) return true;
      go_blind(key, flow, Reason::NotOscar);
      return false;
    }
    if (!(to_server ? on_client_frame(key, flow, *frame) : on_server_frame(key, flow, *frame))) return false;
  }
}

bool Engine::on_client_frame(const FlowKey& key, Flow& flow, const oscar::FlapReader::Frame& frame) {
  const bool hello = frame.flap.channel == static_cast<std::uint8_t>(Channel::NewConnection);
  if (hello != (flow.role == Flow::Role::Unknown)) {
    go_blind(key, flow,
             hello ? Reason::BadState : Reason::NotOscar);  // exactly the first frame is a hello (S4)
    return false;
  }
  if (hello) return on_client_hello(key, flow, frame.flap.payload);
  switch (static_cast<Channel>(frame.flap.channel)) {
    case Channel::Snac:
      return on_client_snac(key, flow, frame);
    case Channel::Close:
      if (flow.role == Flow::Role::Session) {
        end_session(key, flow, Reason::Logout);
        go_blind(key, flow, Reason::None);  // nothing behind a sign-off counts
        return false;
      }
      return true;
    default:
      return true;
  }
}

bool Engine::on_client_hello(const FlowKey& key, Flow& flow, Bytes payload) {
  const auto hello = oscar::parse_client_hello(payload);
  if (!hello) {
    go_blind(key, flow, Reason::NotOscar);
    return false;
  }
  if (hello->cookie.empty()) {
    flow.role = Flow::Role::Login;
    flow.credentials = hello->has_password && hello->names_user;
    flow.uin = hello->uin;
    if (flow.credentials)
      report({.what = What::LoginSeen, .client = key.inside.address, .uin = flow.uin, .remote = key.outside});
    return true;
  }
  flow.role = Flow::Role::Session;
  const auto meaning = cookies_.find(secret_hash(hello->cookie));
  if (meaning == cookies_.end()) {
    // No login of it was seen here (over HTTPS, or before a restart): fine with a login server, whose (01,0F)
    // will name the UIN. A server that is allowed by a redirect only is allowed for that redirect's cookie
    // only (S3).
    if (!is_login(key.outside)) {
      go_blind(key, flow, Reason::ForeignCookie);
      return false;
    }
    return true;
  }
  if (meaning->second.client != key.inside.address) {
    go_blind(key, flow, Reason::ForeignCookie);
    return false;
  }
  flow.login_cookie = meaning->first;
  flow.uin = meaning->second.uin;
  if (meaning->second.service) flow.role = Flow::Role::Service;
  return true;
}

bool Engine::on_client_snac(const FlowKey& key, Flow& flow, const oscar::FlapReader::Frame& frame) {
  const auto snac = oscar::parse_snac(frame.flap.payload);
  if (!snac) return true;  // malformed inside a good frame: ignored (vector C04)
  constexpr std::uint16_t kLoginFamily = 0x17;
  if ((flow.role == Flow::Role::Login) != (snac->family == kLoginFamily) &&
      flow.role != Flow::Role::Service) {
    go_blind(key, flow, Reason::BadState);
    return false;
  }
  if (flow.role == Flow::Role::Login) {
    if (snac->is(0x17, 0x06) || snac->is(0x17, 0x02)) {
      const auto uin = oscar::parse_login_uin(snac->body);
      if (flow.uin && uin && flow.uin != uin) {
        go_blind(key, flow, Reason::BadState);
        return false;
      }
      flow.uin = uin;
      if (snac->is(0x17, 0x02)) {
        flow.credentials = true;
        report(
            {.what = What::LoginSeen, .client = key.inside.address, .uin = flow.uin, .remote = key.outside});
      }
    }
    return true;
  }
  if (flow.role == Flow::Role::Session && snac->is(0x01, 0x1e)) on_status(key, flow, snac->body, frame.end);
  return true;
}

bool Engine::on_server_frame(const FlowKey& key, Flow& flow, const oscar::FlapReader::Frame& frame) {
  const bool hello = frame.flap.channel == static_cast<std::uint8_t>(Channel::NewConnection);
  if (hello == flow.server_hello) {
    go_blind(key, flow, hello ? Reason::BadState : Reason::NotOscar);
    return false;
  }
  if (hello) {
    if (!oscar::parse_server_hello(frame.flap.payload)) {
      go_blind(key, flow, Reason::NotOscar);
      return false;
    }
    flow.server_hello = true;
    return true;
  }
  if (flow.role == Flow::Role::Unknown) {
    go_blind(key, flow, Reason::BadState);  // an answer to nothing
    return false;
  }
  switch (static_cast<Channel>(frame.flap.channel)) {
    case Channel::Snac:
      return on_server_snac(key, flow, frame);
    case Channel::Close:
      if (flow.role == Flow::Role::Login) {
        on_login_reply(key, flow, frame.flap.payload);
      } else if (flow.role == Flow::Role::Session) {
        end_session(key, flow, Reason::Kicked);
        go_blind(key, flow, Reason::None);
        return false;
      }
      return true;
    default:
      return true;
  }
}

bool Engine::on_server_snac(const FlowKey& key, Flow& flow, const oscar::FlapReader::Frame& frame) {
  if (flow.role == Flow::Role::Service) return true;
  const auto snac = oscar::parse_snac(frame.flap.payload);
  if (!snac) return true;
  if (flow.role == Flow::Role::Login) {
    if (snac->is(0x17, 0x03)) on_login_reply(key, flow, snac->body);
    return true;
  }
  flow.server_spoke = true;
  if (snac->is(0x01, 0x0f)) {
    on_self_info(key, flow, snac->body);
  } else if (snac->is(0x01, 0x05)) {
    if (const auto redirect = oscar::parse_service_redirect(snac->body))
      allow_server(key, flow, redirect->target, redirect->cookie, true);
  } else if (snac->is(0x01, 0x12)) {
    if (const auto migration = oscar::parse_migration(snac->body)) {
      flow.moving = true;
      allow_server(key, flow, migration->target, migration->cookie, false);
    }
  } else if (snac->is(0x03, 0x0b)) {
    on_buddies(key, flow, snac->body);
  }
  come_online(key, flow);
  return true;
}

void Engine::go_blind(const FlowKey& key, Flow& flow, Reason reason) {
  flow.blind = true;
  flow.client_frames = oscar::FlapReader{};
  flow.server_frames = oscar::FlapReader{};
  flow.blind_to_server = flow.to_server.sequence_at(flow.to_server.delivered());
  if (flow.to_client) flow.blind_to_client = flow.to_client->sequence_at(flow.to_client->delivered());
  if (reason == Reason::None) return;
  // Whether the server acknowledges what was announced, or something else in that place, can't be told now.
  if (flow.port) {
    const PinholeKey announced{*key.inside.address.v4(), *flow.port};
    if (const auto pinhole = pinholes_.find(announced);
        pinhole != pinholes_.end() && !pinhole->second.open && pinhole->second.owner == key)
      close_pinhole(announced, reason);
  }
  report({.what = What::FlowBlind,
          .reason = reason,
          .client = key.inside.address,
          .uin = flow.uin,
          .remote = key.outside});
}

void Engine::end_session(const FlowKey& key, Flow& flow, Reason reason) {
  if (flow.port) {
    const PinholeKey pinhole_key{*key.inside.address.v4(), *flow.port};
    const auto found = pinholes_.find(pinhole_key);
    flow.port.reset();
    if (found != pinholes_.end() && found->second.owner == key) {
      if (flow.moving && found->second.open) {
        // The client logs on elsewhere and often does not announce its port again (protocol.md 1.8).
        constexpr std::chrono::seconds kGrace{30};
        found->second.orphan = true;
        renew_pinhole(pinhole_key, found->second, kGrace);
      } else {
        close_pinhole(pinhole_key, reason);
      }
    }
  }
  if (!flow.online) return;
  flow.online = false;
  ++saved_version_;
  ClientState& state = client(key.inside.address);
  if (flow.uin) {
    const auto one = std::find(state.online.begin(), state.online.end(), *flow.uin);
    if (one != state.online.end()) state.online.erase(one);
  }
  if (state.online.empty() && key.inside.address.is_v4())
    change(nft::Change::Kind::Remove, nft::Element::session(*key.inside.address.v4()));
  if (state.online.empty() && state.pinholes == 0) clients_.erase(key.inside.address);
  report({.what = What::SessionEnded,
          .reason = reason,
          .client = key.inside.address,
          .uin = flow.uin,
          .remote = key.outside});
}

void Engine::end_flow(const FlowKey& key, Reason reason) {
  const auto found = flows_.find(key);
  if (found == flows_.end()) return;
  end_session(key, *found->second, reason);
  uncount_flow(key, *found->second);
  flows_.erase(found);
}

}  // namespace icqgate::engine
