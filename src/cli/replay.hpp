// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "cli/captured_answers.hpp"
#include "cli/sides.hpp"
#include "engine/engine.hpp"
#include "engine/kernel_model.hpp"

namespace icqgate::cli {

// Runs the engine over the TCP segments of a capture, with KernelModel in the kernel's place. The capture
// goes on whatever the verdicts are; so what follows a refusal on the same flow is counted and no more, and a
// segment that is dropped for now comes again as its sender would have sent it.
class Replay {
 public:
  using TimePoint = engine::TimePoint;
  // `event`: a word of engine::What, or "no-pinhole" and "late" for what the kernel decides by itself.
  using Tell = std::function<void(TimePoint, std::string_view event, const std::string& sentence,
                                  const engine::Report&)>;

  // Whether the gateway stands before the internet or before a network of private addresses: there a login
  // server's name may resolve to one (security.md S20).
  enum class Outside { Internet, PrivateNetwork };

  // `answers` has to outlive this.
  Replay(const config::Config& config, const CapturedAnswers& answers, Outside outside, Tell tell);

  // In the order of the capture; a time that goes back counts as the latest so far.
  void segment(const TcpSegment& segment, TimePoint at);

  struct Summary {
    engine::Snapshot engine;
    std::uint64_t no_pinhole = 0;     // flows refused by the kernel
    std::uint64_t late = 0;           // likewise
    std::uint64_t after_refusal = 0;  // segments that the capture has on refused flows, behind the refusal
    std::uint64_t mid_stream = 0;     // segments with data to and from login servers on flows without a SYN
    std::uint64_t mid_stream_flows = 0;   // their flows
    bool sides_untold = false;            // a connection to a login server between two private addresses
    std::set<std::string> unknown_names;  // login hosts whose address the capture does not tell
  };
  [[nodiscard]] Summary summary() const;

 private:
  // A segment that a verdict dropped, or one behind it that would not have been sent without it.
  struct Waiting {
    TcpSegment segment;
    engine::Side from;
    std::vector<std::byte> payload;
  };
  struct Flow {
    bool begun = false;  // its SYN is in the capture
    std::uint32_t isn = 0;
    bool refused = false;
    bool met = false;  // counted among mid_stream_flows
    std::deque<Waiting> waiting;
    std::uint32_t tries = 0;
  };

  void advance(TimePoint to);
  void step(const engine::Event& event);
  void perform(const std::vector<engine::Action>& actions);
  void answer(const dns::Query& query);
  void feed(const engine::FlowKey& key, Flow& flow, const TcpSegment& segment, engine::Side from);
  void judge(const engine::FlowKey& key, Flow& flow, const TcpSegment& segment, engine::Side from);
  void send_again(const engine::FlowKey& key);
  void refuse_in_kernel(const engine::FlowKey& key, Flow& flow, std::string_view event,
                        engine::Reason reason);

  config::Config config_;
  std::vector<IpAddress> own_;  // the gateway's
  engine::Engine engine_;
  engine::KernelModel model_;
  Sides sides_;
  const CapturedAnswers& answers_;
  Tell tell_;
  std::optional<TimePoint> now_;
  std::uint32_t packets_ = 0;
  std::unordered_map<std::uint32_t, engine::FlowKey> undecided_;  // packet id: whose
  std::deque<dns::Query> asked_;
  std::unordered_map<engine::FlowKey, Flow, engine::FlowKeyHash> flows_;
  std::multimap<TimePoint, engine::FlowKey> retries_;
  std::optional<engine::Verdict::Kind> verdict_;  // of the segment at hand
  Summary summary_;
};

}  // namespace icqgate::cli
