// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/replay.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace icqgate::cli {

using engine::FlowKey;
using engine::Reason;
using engine::Side;
using engine::Verdict;
using std::chrono::seconds;

namespace {

constexpr seconds kFirstRetry{1};        // the initial retransmission timeout of TCP (RFC 6298 2.1)
constexpr std::uint32_t kMostTries = 5;  // then its sender is taken to have given up
constexpr std::size_t kMostWaiting = 64;
// Timers between two packets; a capture whose clock jumps by years must not keep us for years.
constexpr std::size_t kMostDeadlines = 100'000;

bool is_opening(const TcpSegment& segment) {
  constexpr std::uint8_t kAll = TcpSegment::kSyn | TcpSegment::kAck | TcpSegment::kRst | TcpSegment::kFin;
  return (segment.flags & kAll) == TcpSegment::kSyn;
}

// The gateway's own outside address is not in a capture of its inside. Where one on a private network is
// needed, the first of these that is no client's stands for it.
std::vector<IpAddress> stand_in(const config::Config& config, Replay::Outside outside) {
  if (outside == Replay::Outside::Internet) return {};
  for (const Ipv4 candidate :
       {make_ipv4(10, 255, 255, 254), make_ipv4(172, 31, 255, 254), make_ipv4(192, 168, 255, 254)}) {
    const bool inside = std::any_of(config.clients.begin(), config.clients.end(),
                                    [&](const Subnet& subnet) { return subnet.contains(candidate); });
    if (!inside) return {candidate};
  }
  return {};
}

}  // namespace

Replay::Replay(const config::Config& config, const CapturedAnswers& answers, Outside outside, Tell tell)
    : config_{config},
      own_{stand_in(config, outside)},
      engine_{config, {config.clients, own_}},
      model_{config},
      sides_{config.clients},
      answers_{answers},
      tell_{std::move(tell)} {}

void Replay::segment(const TcpSegment& segment, TimePoint at) {
  advance(at);
  auto from = sides_.of(segment.source.address, segment.destination.address);
  if (!from && is_opening(segment) && sides_.untold(segment.source.address, segment.destination.address) &&
      model_.holds(nft::Element::login(segment.destination), *now_)) {
    summary_.sides_untold = true;
    sides_.learn_inside(segment.source.address);
    engine_.surroundings({sides_.learned(), own_});
    from = Side::Lan;
  }
  if (!from) return;
  const FlowKey key = *from == Side::Lan ? FlowKey{segment.source, segment.destination}
                                         : FlowKey{segment.destination, segment.source};
  Flow& flow = flows_[key];
  if (is_opening(segment) && !(flow.begun && flow.isn == segment.sequence)) {
    flow = Flow{};
    flow.begun = true;
    flow.isn = segment.sequence;
  }
  if (!flow.begun) {
    // The real table treats what it meets in the middle by the direction that conntrack guesses. A capture
    // that begins there says nothing about that.
    if (segment.payload.empty() || !model_.holds(nft::Element::login(key.outside), *now_)) return;
    ++summary_.mid_stream;
    if (!std::exchange(flow.met, true)) ++summary_.mid_stream_flows;
    return;
  }
  if (flow.refused) {
    if (!segment.payload.empty()) ++summary_.after_refusal;
    return;
  }
  // Behind a dropped segment nothing else comes but what overtook it: neither its sender nor, without its
  // data, the receiver would have gone on.
  const bool behind =
      !flow.waiting.empty() &&
      (*from != flow.waiting.front().from ||
       static_cast<std::int32_t>(segment.sequence - flow.waiting.front().segment.sequence) >= 0);
  if (!behind) {
    feed(key, flow, segment, *from);
  } else if (flow.waiting.size() < kMostWaiting) {
    flow.waiting.push_back({segment, *from, {segment.payload.begin(), segment.payload.end()}});
  }
}

void Replay::advance(TimePoint to) {
  if (!now_) {
    now_ = to;
    step(engine::Tick{});
    return;
  }
  to = std::max(to, *now_);
  for (std::size_t count = 0; count < kMostDeadlines; ++count) {
    auto next = engine_.next_deadline();
    const bool retry = !retries_.empty() && (!next || retries_.begin()->first <= *next);
    if (retry) next = retries_.begin()->first;
    if (!next || *next > to) break;
    const bool stuck = !retry && *next <= *now_ && count > 0;  // its time has come and it asks for no other
    if (stuck) break;
    now_ = std::max(*now_, *next);
    if (retry) {
      const FlowKey key = retries_.begin()->second;
      retries_.erase(retries_.begin());
      send_again(key);
    } else {
      step(engine::Tick{});
    }
  }
  now_ = to;
  if (const auto next = engine_.next_deadline(); next && *next <= to) step(engine::Tick{});
}

void Replay::step(const engine::Event& event) {
  perform(engine_.step(event, *now_));
  while (!asked_.empty()) {
    const dns::Query query = asked_.front();
    asked_.pop_front();
    answer(query);
  }
}

// In the order given, as the daemon does. Questions come last: their answers are steps of their own.
void Replay::perform(const std::vector<engine::Action>& actions) {
  for (const engine::Action& action : actions) {
    if (const auto* change = std::get_if<engine::ChangeElement>(&action)) {
      model_.apply(change->change, *now_);
    } else if (const auto* verdict = std::get_if<Verdict>(&action)) {
      const auto whose = undecided_.find(verdict->packet);
      if (whose == undecided_.end()) continue;
      model_.apply(verdict->kind, whose->second);
      if (verdict->packet == packets_) verdict_ = verdict->kind;
      if (verdict->kind == Verdict::Kind::Refuse) flows_[whose->second].refused = true;
      undecided_.erase(whose);
    } else if (const auto* end = std::get_if<engine::EndFlow>(&action)) {
      model_.end(end->flow);
      flows_[end->flow].refused = true;
    } else if (const auto* ask = std::get_if<engine::Ask>(&action)) {
      asked_.push_back(ask->query);
    } else if (const auto* report = std::get_if<engine::Report>(&action)) {
      tell_(*now_, to_string(report->what), describe(*report), *report);
    }
  }
}

void Replay::answer(const dns::Query& query) {
  if (const dns::Answer* known = answers_.find(query)) {
    perform(engine_.step(engine::NameAnswered{query, *known}, *now_));
    return;
  }
  const bool login =
      std::any_of(config_.login_hosts.begin(), config_.login_hosts.end(), [&](const auto& host) {
        const auto* name = std::get_if<dns::DomainName>(&host.host);
        return name != nullptr && *name == query.name;
      });
  if (!login) {
    perform(engine_.step(engine::NameFailed{query, "not in the capture"}, *now_));
    return;
  }
  const auto other = query.type == dns::Type::A ? dns::Type::Aaaa : dns::Type::A;
  if (answers_.find({query.name, other}) == nullptr) summary_.unknown_names.insert(query.name);
}

void Replay::feed(const FlowKey& key, Flow& flow, const TcpSegment& segment, Side from) {
  verdict_.reset();
  judge(key, flow, segment, from);
  if (verdict_ != Verdict::Kind::Drop || flow.refused) return;
  if (flow.waiting.empty()) retries_.emplace(*now_ + kFirstRetry, key);
  // What overtook a segment and is dropped too goes before it: it is the earlier one.
  flow.waiting.push_front({segment, from, {segment.payload.begin(), segment.payload.end()}});
}

void Replay::judge(const FlowKey& key, Flow& flow, const TcpSegment& segment, Side from) {
  using Path = engine::KernelModel::Path;
  const Path path = model_.classify(segment, from, *now_);
  switch (path) {
    case Path::Elsewhere:
    case Path::Allowed:
      return;
    case Path::NoPinhole:
      ++summary_.no_pinhole;
      refuse_in_kernel(key, flow, "no-pinhole", Reason::NoPinhole);
      return;
    case Path::Late:
      ++summary_.late;
      refuse_in_kernel(key, flow, "late", Reason::Deadline);
      return;
    case Path::Peer:
      if (config_.peer_check == config::PeerCheck::Off) {  // chain peer_queue: the pinhole alone decides
        model_.apply(Verdict::Kind::Verify, key);
        return;
      }
      break;
    case Path::Control:
      break;
  }
  undecided_.emplace(++packets_, key);
  step(engine::SegmentSeen{path == Path::Peer ? engine::Lane::Peer : engine::Lane::Control, from, packets_,
                           segment});
}

void Replay::send_again(const FlowKey& key) {
  const auto found = flows_.find(key);
  if (found == flows_.end()) return;
  Flow& flow = found->second;
  std::deque<Waiting> waiting;
  waiting.swap(flow.waiting);
  while (!waiting.empty() && !flow.refused) {
    Waiting& one = waiting.front();
    one.segment.payload = one.payload;
    verdict_.reset();
    judge(key, flow, one.segment, one.from);
    if (verdict_ == Verdict::Kind::Drop) break;
    flow.tries = 0;
    waiting.pop_front();
  }
  if (waiting.empty() || flow.refused || ++flow.tries >= kMostTries) return;
  flow.waiting.swap(waiting);
  retries_.emplace(*now_ + kFirstRetry * (1 << flow.tries), key);
}

void Replay::refuse_in_kernel(const FlowKey& key, Flow& flow, std::string_view event, Reason reason) {
  flow.refused = true;
  tell_(*now_, event,
        fmt::format("connection from {} to port {} of {} refused: {} ({})", to_string(key.outside),
                    key.inside.port.get(), to_string(key.inside.address), to_string(reason), explain(reason)),
        engine::Report{.what = engine::What::PeerRefused,
                       .reason = reason,
                       .client = key.inside.address,
                       .port = key.inside.port,
                       .remote = key.outside});
}

Replay::Summary Replay::summary() const {
  Summary all = summary_;
  all.engine = engine_.snapshot(now_.value_or(TimePoint{}));
  return all;
}

}  // namespace icqgate::cli
