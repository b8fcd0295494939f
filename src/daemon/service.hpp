// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/result.hpp"
#include "config/config.hpp"
#include "daemon/control_socket.hpp"
#include "daemon/event_log.hpp"
#include "daemon/flow_lister.hpp"
#include "daemon/state_writer.hpp"
#include "daemon/table.hpp"
#include "engine/engine.hpp"
#include "sys/conntrack.hpp"
#include "sys/file.hpp"
#include "sys/instance_lock.hpp"
#include "sys/nfqueue.hpp"
#include "sys/resolver.hpp"

namespace icqgate::daemon {

// The running service: brings packets, answers and the time to the engine and does what it says, in its
// order. One loop. Packets that come meanwhile wait for whatever it does (kernel.md, trap 7), and it waits
// for the kernel alone, which answers inside the call: microseconds for a small file or for a change of
// elements, some milliseconds where the table is put back or compiled anew (a reload). The walk over
// conntrack that lists flows is FlowLister's, which has a thread of its own (only the start waits for one).
// Writing to the disk is StateWriter's, which has a thread of its own.
class Service {
 public:
  // Reads the configuration anew, for a reload: what it is now, or all that is wrong with it.
  using ReadConfig = std::function<Result<config::Config, std::vector<std::string>>()>;

  // Binds the queues, loads or adopts the table, takes up what an earlier run saved, opens the control
  // socket. The error says what is missing. From then on signals are kept for run().
  [[nodiscard]] static Result<std::unique_ptr<Service>, std::string> start(const config::Config& config,
                                                                           ReadConfig read_config);
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;
  ~Service();

  // Until SIGTERM or SIGINT. What waits for a verdict then is dropped: its sender tries again. False: it
  // ended because a queue failed.
  [[nodiscard]] bool run();

 private:
  struct Queues {
    sys::NfQueue control, peer, names;
  };
  Service(const config::Config& config, ReadConfig read_config, Table table, Queues queues,
          sys::Conntrack conntrack, sys::UniqueFd lock);

  struct Waiting {  // the packet that the handler has in hands
    engine::Lane lane{};
    std::uint32_t id = 0;
    std::uint32_t mark = 0;
    Bytes packet;
  };

  // A timer of the loop that does `what` every `span`, from now on.
  void every(boost::asio::steady_timer& timer, std::chrono::milliseconds span, void (Service::*what)());

  // service.cpp: packets in, verdicts and changes out
  void watch(engine::Lane lane);
  void drain(engine::Lane lane);
  void on_packet(engine::Lane lane, const sys::QueuedPacket& packet);
  void on_names_packet(const sys::QueuedPacket& packet);
  void step(const engine::Event& event, const Waiting* waiting = nullptr);
  void give(const engine::Verdict& verdict, const Waiting* waiting);
  bool flush_changes();  // false: the kernel did not take them (removals it may have, see Table::apply())
  void after_step();
  void find_wanted();
  [[nodiscard]] bool is_watched(const sys::Flow& flow) const;
  void ask(const dns::Query& query);
  void arm_timer();
  void wait_for_signal();
  [[nodiscard]] engine::Side side_of(std::uint32_t interface_index);
  [[nodiscard]] sys::NfQueue& queue(engine::Lane lane) {
    return lane == engine::Lane::Control ? queues_.control
           : lane == engine::Lane::Peer  ? queues_.peer
                                         : queues_.names;
  }
  [[nodiscard]] std::uint16_t number(engine::Lane lane) const {
    return lane == engine::Lane::Control ? config_.queue_control
           : lane == engine::Lane::Peer  ? config_.queue_peer
                                         : config_.queue_names;
  }
  [[nodiscard]] std::string answer(const std::string& word);

  // upkeep.cpp: what others do on this host, and what the next run is to know
  void look_around();
  void watch_table();
  void repair_table();
  void look_after_table();
  void follow_resolver();
  [[nodiscard]] std::string dns_servers() const;
  void trust_dns_servers();
  void list_flows();
  void take_list(const FlowLister::List& list);
  void list_flows_again();
  void list_flows_soon();
  void watch_flows();
  void wait_for_flows();
  void take_up_state();
  void forget_foreign();
  void save_if_changed();
  void save();
  void watch_writer();

  // reload.cpp
  void reload();

  using Descriptor = boost::asio::posix::stream_descriptor;

  config::Config config_;
  ReadConfig read_config_;
  boost::asio::io_context loop_{1};
  Table table_;
  Queues queues_;
  sys::Conntrack conntrack_;
  std::optional<sys::ConntrackEvents> flow_events_;
  std::set<Port> watched_ports_;   // by flow_events_
  std::string flow_events_error_;  // as told last
  std::uint64_t flow_events_lost_ = 0;
  static constexpr std::chrono::seconds kListFlows{30};  // at the soonest, beside the events
  std::chrono::milliseconds list_span_{kListFlows};
  std::chrono::milliseconds list_took_{0};  // the last one
  FlowLister lister_;
  std::optional<engine::TimePoint> listing_;  // since when one is under way
  std::unordered_set<engine::FlowKey, engine::FlowKeyHash> ended_meanwhile_;
  bool list_again_ = false;  // once it is over
  bool list_armed_ = false;  // one comes soon
  engine::Engine engine_;
  EventLog log_;
  std::array<Descriptor, 3> queue_descriptors_;  // by lane
  Descriptor table_descriptor_;
  Descriptor flows_descriptor_;
  boost::asio::steady_timer timer_;
  std::optional<engine::TimePoint> armed_;
  boost::asio::steady_timer surroundings_timer_;
  boost::asio::steady_timer table_timer_;
  boost::asio::steady_timer repair_timer_;
  std::string repair_error_;        // as told last
  std::string table_events_error_;  // as told last
  boost::asio::steady_timer resolver_timer_;
  boost::asio::steady_timer flows_timer_;
  boost::asio::steady_timer soon_timer_;  // a list of flows, for an address that is new
  boost::asio::steady_timer save_timer_;
  boost::asio::signal_set signals_;
  std::unique_ptr<sys::Resolver> resolver_;
  sys::FileStamp resolv_conf_;
  std::set<IpAddress> trusted_;       // in the sets dns_servers
  std::vector<std::string> missing_;  // interfaces, as told last
  std::unique_ptr<StateWriter> writer_;
  std::string writer_problem_;  // as told last
  std::uint64_t saved_version_ = 0;
  engine::TimePoint saved_at_{};
  bool save_armed_ = false;
  std::unique_ptr<ControlSocket> socket_;
  std::vector<nft::Change> changes_;     // of one decision: one transaction
  std::string changes_error_;            // why the last ones were not taken; told once
  std::vector<engine::Report> reports_;  // for the log
  std::vector<engine::FlowKey> ended_;   // conntrack entries to go once the verdicts are out
  std::vector<engine::FlowKey> wanted_;  // and those whose numbers are wanted
  bool list_soon_ = false;               // an address came in
  std::unordered_map<std::uint32_t, engine::Side> sides_;  // by interface index
  engine::TimePoint started_;
  sys::UniqueFd lock_;  // no other icqgate writes this table
  bool failed_ = false;
};

}  // namespace icqgate::daemon
