// SPDX-License-Identifier: GPL-2.0-or-later
#include "daemon/flow_lister.hpp"

#include <utility>

#include "sys/thread.hpp"

namespace icqgate::daemon {

FlowLister::~FlowLister() {
  if (worker_.joinable()) worker_.join();
}

void FlowLister::begin(std::vector<Wanted> wanted) {
  if (worker_.joinable()) worker_.join();  // it has called done_, so there is nothing to wait for
  auto thread = sys::start_thread([this, wanted] { work(wanted); });
  if (thread) {
    worker_ = std::move(*thread);
  } else {
    work(wanted);
  }
}

void FlowLister::work(const std::vector<Wanted>& wanted) const {
  const auto start = std::chrono::steady_clock::now();
  List list;
  // A socket of its own: the other one's answers are for who asked there.
  if (auto conntrack = sys::Conntrack::open()) {
    for (const auto& [port, marked] : wanted) {
      auto flows = conntrack->dump_to_port(port, marked);
      if (!flows) continue;  // changed meanwhile: the next list will do
      list.ports.push_back(port);
      list.flows.insert(list.flows.end(), flows->begin(), flows->end());
    }
  }
  list.took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start);
  done_(std::move(list));
}

}  // namespace icqgate::daemon
