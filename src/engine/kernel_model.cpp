// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/kernel_model.hpp"

#include <algorithm>

namespace icqgate::engine {

using nft::Element;

KernelModel::KernelModel(const config::Config& config) : config_{config} {}

bool KernelModel::is_client(const IpAddress& address) const {
  return config_.clients.empty() ||
         std::any_of(config_.clients.begin(), config_.clients.end(),
                     [&](const Subnet& subnet) { return subnet.contains(address); });
}

bool KernelModel::holds(const Element& element, TimePoint now) const {
  const auto found = elements_.find(element);
  return found != elements_.end() && found->second > now;
}

std::vector<Element> KernelModel::elements(nft::SetId set, TimePoint now) const {
  std::vector<Element> live;
  for (const auto& [element, until] : elements_)
    if (element.set() == set && until > now) live.push_back(element);
  return live;
}

void KernelModel::apply(const nft::Change& change, TimePoint now) {
  switch (change.kind) {
    case nft::Change::Kind::Remove:
      elements_.erase(change.element);
      return;
    case nft::Change::Kind::Add:
      if (holds(change.element, now)) return;
      [[fallthrough]];
    case nft::Change::Kind::Renew:
      elements_[change.element] = change.timeout.count() == 0 ? TimePoint::max() : now + change.timeout;
      return;
  }
}

void KernelModel::apply(Verdict::Kind verdict, const FlowKey& flow) {
  const auto found = flows_.find(flow);
  if (found == flows_.end()) return;
  if (verdict == Verdict::Kind::Verify) found->second.mark = Mark::Verified;  // chain `after`
  if (verdict == Verdict::Kind::Release) found->second.mark = Mark::None;
}

KernelModel::Path KernelModel::classify(const TcpSegment& segment, Side from, TimePoint now) {
  const bool from_lan = from == Side::Lan;
  const FlowKey key =
      from_lan ? FlowKey{segment.source, segment.destination} : FlowKey{segment.destination, segment.source};
  constexpr std::uint8_t kAll = TcpSegment::kSyn | TcpSegment::kAck | TcpSegment::kRst | TcpSegment::kFin;
  const bool opening = (segment.flags & kAll) == TcpSegment::kSyn;
  const bool bare = segment.payload.empty() && segment.missing == 0;
  auto found = flows_.find(key);
  const bool fresh = found == flows_.end() || opening;
  if (fresh) found = flows_.insert_or_assign(key, Conntrack{.from_lan = from_lan}).first;
  Conntrack& flow = found->second;
  const bool reply = flow.from_lan != from_lan;

  if (flow.mark == Mark::Verified) return Path::Allowed;  // chain forward
  if (flow.mark == Mark::Watched) return Path::Control;
  if (flow.mark == Mark::Pending) return bare ? Path::Allowed : Path::Peer;

  const auto inside = key.inside.address.v4();
  const auto outside = key.outside.address.v4();
  if (from_lan) {  // chain from_lan
    if (reply) {
      const bool ours =
          inside && is_client(key.inside.address) && config_.port_range.contains(key.inside.port);
      if (!ours) return Path::Elsewhere;
      return bare ? Path::Allowed : Path::Peer;
    }
    const bool login = is_client(key.inside.address) && holds(Element::login(key.outside), now);
    const bool same_family = key.inside.address.is_v4() == key.outside.address.is_v4();
    if (login || (same_family && holds(Element::server(key.inside.address, key.outside), now))) {
      if (!opening) return Path::Allowed;
      flow.mark = Mark::Watched;
      return Path::Control;
    }
    if (opening && inside && outside && key.outside.port.get() >= 1024 &&
        holds(Element::session(*inside), now)) {
      // chain to_peer: known peers are ours; others are taken as let out by the other tables, and watched
      flow.mark =
          holds(Element::peer(*inside, *outside, key.outside.port), now) ? Mark::Pending : Mark::Watched;
      return Path::Allowed;
    }
    return Path::Elsewhere;
  }
  if (reply)
    return holds(Element::login(key.outside), now) ? Path::Allowed : Path::Elsewhere;  // chain to_lan
  if (!inside || !outside || !is_client(key.inside.address) || !config_.port_range.contains(key.inside.port))
    return Path::Elsewhere;
  if (opening) {  // chain to_listener
    if (!holds(Element::pinhole(*inside, key.inside.port), now) &&
        !holds(Element::returning(*outside, *inside, key.inside.port), now))
      return Path::NoPinhole;
    flow.admitted_until = now + std::chrono::seconds{30};
    return bare ? Path::Allowed : Path::NoPinhole;
  }
  if (bare) return Path::Allowed;
  return flow.admitted_until && *flow.admitted_until > now ? Path::Peer : Path::Late;
}

}  // namespace icqgate::engine
