// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

#include "config/config.hpp"
#include "engine/event.hpp"
#include "nft/batch.hpp"

namespace icqgate::engine {

// The dynamic ruleset in memory, for `trace` and for tests: sets with timeouts, the marks of flows, and which
// queue a segment would go to (nft/ruleset.cpp is the original; each decision below names its chain). No
// other firewall is assumed: what our table has no opinion of is Elsewhere.
class KernelModel {
 public:
  explicit KernelModel(const config::Config& config);

  enum class Path {
    Elsewhere,  // none of ours
    Allowed,    // passes in the kernel
    Control,    // to the control queue
    Peer,       // to the peer queue
    NoPinhole,  // dropped: a new connection to the port range, nothing open there
    Late,       // reset: first data after the deadline
  };
  // `from`: which side of the gateway the segment comes from.
  Path classify(const TcpSegment& segment, Side from, TimePoint now);

  void apply(const nft::Change& change, TimePoint now);
  // What the verdict does to the flow of the segment it was given for.
  void apply(Verdict::Kind verdict, const FlowKey& flow);
  void end(const FlowKey& flow) { flows_.erase(flow); }

  [[nodiscard]] bool holds(const nft::Element& element, TimePoint now) const;
  [[nodiscard]] std::vector<nft::Element> elements(nft::SetId set, TimePoint now) const;

 private:
  enum class Mark : std::uint8_t { None, Verified, Pending, Watched };
  struct Conntrack {
    bool from_lan = true;
    Mark mark = Mark::None;
    std::optional<TimePoint> admitted_until{};
  };

  [[nodiscard]] bool is_client(const IpAddress& address) const;

  config::Config config_;
  std::map<nft::Element, TimePoint> elements_;
  std::unordered_map<FlowKey, Conntrack, FlowKeyHash> flows_;
};

}  // namespace icqgate::engine
