// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "net/address.hpp"
#include "sys/conntrack.hpp"

namespace icqgate::daemon {

// Lists conntrack's flows on a thread of its own: the walk over a large table takes its time (40 ms for
// 50,000 flows, more than a second under a flood of SYNs), and no packet may wait for that.
class FlowLister {
 public:
  struct Wanted {
    Port port;  // of the first packet's destination, before any NAT
    sys::MarkFilter marked;
  };
  struct List {
    std::vector<Port> ports;  // those of the wanted that could be read
    std::vector<sys::Flow> flows;
    std::chrono::milliseconds took{0};
  };
  // `done` is called on that thread, or by begin() itself if no thread is to be had.
  explicit FlowLister(std::function<void(List)> done) : done_{std::move(done)} {}
  // Waits for what is under way.
  ~FlowLister();
  FlowLister(const FlowLister&) = delete;
  FlowLister& operator=(const FlowLister&) = delete;

  // Not before the last one was handed to `done`.
  void begin(std::vector<Wanted> wanted);

 private:
  void work(const std::vector<Wanted>& wanted) const;

  std::function<void(List)> done_;
  std::thread worker_;
};

}  // namespace icqgate::daemon
