// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.hpp"
#include "config/config.hpp"
#include "daemon/control_socket.hpp"
#include "daemon/event_log.hpp"
#include "daemon/table.hpp"
#include "engine/engine.hpp"
#include "sys/conntrack.hpp"
#include "sys/instance_lock.hpp"
#include "sys/nfqueue.hpp"
#include "sys/resolver.hpp"

namespace icqgate::daemon {

// The running service: brings packets, answers and the time to the engine and does what it says, in its
// order. One thread, one loop; nothing in it waits for anything but the loop (kernel.md, trap 7).
class Service {
 public:
  // Binds the queues, loads or adopts the table, opens the control socket. The error says what is missing.
  [[nodiscard]] static Result<std::unique_ptr<Service>, std::string> start(const config::Config& config);

  // Until SIGTERM or SIGINT. What waits for a verdict then is dropped: its sender tries again. False: it
  // ended because a queue failed.
  [[nodiscard]] bool run();

 private:
  Service(const config::Config& config, Table table, sys::NfQueue control, sys::NfQueue peer,
          sys::Conntrack conntrack, sys::UniqueFd lock);

  struct Waiting {  // the packet that the handler has in hands
    engine::Lane lane{};
    std::uint32_t id = 0;
    std::uint32_t mark = 0;
    Bytes packet;
  };

  void watch(engine::Lane lane);
  void drain(engine::Lane lane);
  void on_packet(engine::Lane lane, const sys::QueuedPacket& packet);
  void step(const engine::Event& event, const Waiting* waiting = nullptr);
  void give(const engine::Verdict& verdict, const Waiting* waiting);
  void flush_changes();
  void after_step();
  void ask(const dns::Query& query);
  void arm_timer();
  void wait_for_signal();
  void look_around();
  void look_after_table();
  [[nodiscard]] engine::Side side_of(std::uint32_t interface_index);
  [[nodiscard]] sys::NfQueue& queue(engine::Lane lane) {
    return lane == engine::Lane::Control ? control_ : peer_;
  }
  [[nodiscard]] std::string answer(const std::string& word);

  config::Config config_;
  boost::asio::io_context loop_{1};
  Table table_;
  sys::NfQueue control_;
  sys::NfQueue peer_;
  sys::Conntrack conntrack_;
  engine::Engine engine_;
  EventLog log_;
  boost::asio::posix::stream_descriptor control_descriptor_;
  boost::asio::posix::stream_descriptor peer_descriptor_;
  boost::asio::steady_timer timer_;
  std::optional<engine::TimePoint> armed_;
  boost::asio::steady_timer surroundings_timer_;
  boost::asio::steady_timer table_timer_;
  boost::asio::signal_set signals_;
  std::unique_ptr<sys::Resolver> resolver_;
  std::unique_ptr<ControlSocket> socket_;
  std::vector<nft::Change> changes_;     // of one decision: one transaction
  std::vector<engine::Report> reports_;  // for the log
  std::vector<engine::FlowKey> ended_;   // conntrack entries to go once the verdicts are out
  std::unordered_map<std::uint32_t, engine::Side> sides_;  // by interface index
  engine::TimePoint started_;
  sys::UniqueFd lock_;  // no other icqgate writes this table
  bool failed_ = false;
};

}  // namespace icqgate::daemon
