// SPDX-License-Identifier: GPL-2.0-or-later
#include "daemon/service.hpp"

#include <fmt/format.h>
#include <net/if.h>

#include <array>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <csignal>
#include <random>
#include <utility>

#include "daemon/readiness.hpp"
#include "daemon/status_json.hpp"
#include "daemon/surroundings.hpp"
#include "sys/interfaces.hpp"
#include "sys/log.hpp"

namespace icqgate::daemon {

namespace asio = boost::asio;
using engine::Lane;
using engine::Side;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::chrono::seconds kLookAround{10};     // addresses, names of interfaces, the table
constexpr std::chrono::seconds kFollowResolver{2};  // resolv.conf

Result<sys::NfQueue, std::string> open_queue(std::uint16_t number, sys::Failure mode, const char* key) {
  auto queue = sys::NfQueue::open(number, mode);
  if (queue) return std::move(*queue);
  const int code = queue.error().code;
  if (code == EBUSY)
    return tl::make_unexpected(fmt::format(
        "queue {} is read by another program: is another icqgate running? (choose another number with '{}')",
        number, key));
  if (code == EPERM)
    return tl::make_unexpected(
        fmt::format("queue {}: not permitted; icqgate run needs CAP_NET_ADMIN", number));
  return tl::make_unexpected(fmt::format("queue {}: {}", number, to_string(queue.error())));
}

}  // namespace

Service::Service(const config::Config& config, ReadConfig read_config, Table table, Queues queues,
                 sys::Conntrack conntrack, sys::UniqueFd lock)
    : config_{config},
      read_config_{std::move(read_config)},
      table_{std::move(table)},
      queues_{std::move(queues)},
      conntrack_{std::move(conntrack)},
      lister_{[this](FlowLister::List list) {
        asio::post(loop_, [this, list = std::move(list)] { take_list(list); });
      }},
      engine_{config, read_surroundings(config), std::random_device{}()},
      queue_descriptors_{Descriptor{loop_}, Descriptor{loop_}, Descriptor{loop_}},
      table_descriptor_{loop_},
      flows_descriptor_{loop_},
      timer_{loop_},
      surroundings_timer_{loop_},
      table_timer_{loop_},
      repair_timer_{loop_},
      resolver_timer_{loop_},
      flows_timer_{loop_},
      soon_timer_{loop_},
      save_timer_{loop_},
      signals_{loop_, SIGTERM, SIGINT, SIGHUP},
      resolver_{std::make_unique<sys::Resolver>(loop_, config.resolvers)},
      resolv_conf_{sys::FileStamp::of(sys::Resolver::kSystemFile)},
      started_{Clock::now()},
      lock_{std::move(lock)} {}

// What the loop watches is not its own: each of these is closed by the object that opened it.
Service::~Service() {
  for (Descriptor& descriptor : queue_descriptors_)
    if (descriptor.is_open()) descriptor.release();
  if (table_descriptor_.is_open()) table_descriptor_.release();
  if (flows_descriptor_.is_open()) flows_descriptor_.release();
}

Result<std::unique_ptr<Service>, std::string> Service::start(const config::Config& config,
                                                             ReadConfig read_config) {
  if (const auto why = sys::no_place_for_file(config.state); !config.state.empty() && !why.empty())
    return tl::make_unexpected(fmt::format(
        "state: '{}' {}; expected the path of a file of icqgate's own, or none", config.state, why));
  auto lock = sys::lock_instance("icqgate/" + config.table);
  if (!lock) {
    if (lock.error().code == EADDRINUSE)
      return tl::make_unexpected(
          fmt::format("another icqgate runs here with the table inet {}", config.table));
    return tl::make_unexpected(to_string(lock.error()));
  }
  // The queues first: whoever holds them is the one icqgate of this network namespace, and a second one must
  // not touch the first one's table.
  auto control = open_queue(config.queue_control, sys::Failure::Open, "queue-control");
  if (!control) return tl::make_unexpected(control.error());
  auto peer = open_queue(config.queue_peer, sys::Failure::Closed, "queue-peer");
  if (!peer) return tl::make_unexpected(peer.error());
  auto names = open_queue(config.queue_names, sys::Failure::Open, "queue-names");
  if (!names) return tl::make_unexpected(names.error());
  auto conntrack = sys::Conntrack::open();
  if (!conntrack) return tl::make_unexpected(to_string(conntrack.error()));
  auto table = Table::open(config);
  if (!table) return tl::make_unexpected(table.error());
  const auto installed = table->install();
  if (!installed) return tl::make_unexpected("the kernel does not take the ruleset: " + installed.error());

  std::unique_ptr<Service> service{
      new Service{config, std::move(read_config), std::move(*table),
                  Queues{std::move(*control), std::move(*peer), std::move(*names)}, std::move(*conntrack),
                  std::move(*lock)}};
  for (const Lane lane : {Lane::Control, Lane::Peer, Lane::Names}) {
    boost::system::error_code error;
    service->queue_descriptors_[static_cast<std::size_t>(lane)].assign(service->queue(lane).fd(), error);
    if (error)
      return tl::make_unexpected(fmt::format("queue {}: {}", service->number(lane), error.message()));
  }
  auto socket =
      ControlSocket::open(service->loop_, config.socket,
                          [self = service.get()](const std::string& word) { return self->answer(word); });
  if (!socket) return tl::make_unexpected(socket.error());
  service->socket_ = std::move(*socket);
  const char* how = *installed == Table::Installed::Adopted    ? "adopted as an earlier run left it"
                    : *installed == Table::Installed::Replaced ? "adopted, what differed exchanged"
                                                               : "loaded";
  const Table& table_now = service->table_;
  sys::log_notice(
      "table inet {} {} ({}, timeouts renewed {}{}); ports {}-{}", config.table, how, table_now.queue_form(),
      table_now.update_form() == std::string_view{"in place"} ? "in place" : "by replacing",
      table_now.owned() ? ", owned" : "", config.port_range.first.get(), config.port_range.last.get());
  if (!table_now.persists())
    sys::log_notice("this kernel takes an owned table away with its owner: it will not outlive the service");
  return service;
}

bool Service::run() {
  for (const Lane lane : {Lane::Control, Lane::Peer, Lane::Names}) watch(lane);
  wait_for_signal();
  take_up_state();
  watch_table();
  trust_dns_servers();
  step(engine::Tick{});
  sys::log_notice("ready, asking DNS servers {}", dns_servers());
  tell_systemd("READY=1");
  every(surroundings_timer_, kLookAround, &Service::look_around);
  every(table_timer_, kLookAround, &Service::look_after_table);
  every(resolver_timer_, kFollowResolver, &Service::follow_resolver);
  asio::post(loop_, [this] { list_flows(); });
  list_flows_again();
  look_around();
  loop_.run();
  tell_systemd("STOPPING=1");
  if (writer_) {
    save();
    writer_->flush();
    watch_writer();
  }
  if (config_.flush_on_exit) {
    if (const auto removed = table_.remove(); !removed)
      sys::log_error("table inet {}: {}", config_.table, removed.error());
  } else {
    sys::log_notice("table inet {} stays until its timeouts end", config_.table);
  }
  return !failed_;
}

void Service::every(asio::steady_timer& timer, std::chrono::milliseconds span, void (Service::*what)()) {
  timer.expires_after(span);
  timer.async_wait([this, &timer, span, what](boost::system::error_code error) {
    if (error) return;
    (this->*what)();
    every(timer, span, what);
  });
}

void Service::watch(Lane lane) {
  queue_descriptors_[static_cast<std::size_t>(lane)].async_wait(
      Descriptor::wait_read, [this, lane](boost::system::error_code error) {
        if (error) return;
        drain(lane);
        watch(lane);
      });
}

void Service::drain(Lane lane) {
  const auto before = queue(lane).counters().lost;
  const auto received =
      queue(lane).receive([this, lane](const sys::QueuedPacket& packet) { on_packet(lane, packet); });
  if (!received) {
    sys::log_error("queue {}: {}", number(lane), to_string(received.error()));
    failed_ = true;
    loop_.stop();
    return;
  }
  if (const auto lost = queue(lane).counters().lost; lost != before)
    sys::log_warning("queue {} overflowed {} times: packets were {}", number(lane), lost,
                     lane == Lane::Peer ? "dropped" : "let go unseen");
  after_step();
}

Side Service::side_of(std::uint32_t interface_index) {
  if (const auto known = sides_.find(interface_index); known != sides_.end()) return known->second;
  std::array<char, IF_NAMESIZE> name{};
  Side side = Side::Wan;
  if (if_indextoname(interface_index, name.data()) != nullptr)
    for (const auto& pattern : config_.lan)
      if (sys::matches_interface(pattern, name.data())) side = Side::Lan;
  sides_[interface_index] = side;
  return side;
}

void Service::on_packet(Lane lane, const sys::QueuedPacket& packet) {
  const Waiting waiting{lane, packet.id, packet.mark, packet.packet};
  if (lane == Lane::Names) {
    on_names_packet(packet);
    return;
  }
  const auto transport = parse_packet(packet.packet);
  const auto* segment = transport ? std::get_if<TcpSegment>(&*transport) : nullptr;
  if (segment == nullptr) {
    // Control fails open, peer fails closed.
    queue(lane).verdict(packet.id, lane == Lane::Control ? sys::Verdict::Accept : sys::Verdict::Drop);
    return;
  }
  engine::SegmentSeen seen{lane, side_of(packet.in_ifindex), packet.id, *segment, packet.gso};
  if (packet.truncated && seen.segment.missing == 0) seen.segment.missing = 1;
  step(seen, &waiting);
}

// A DNS answer for a login host on its way to a client, or the SYN of a client to a server that no set holds.
// Neither is ours to judge: it goes on as it was, only not before what it tells is in the kernel.
void Service::on_names_packet(const sys::QueuedPacket& packet) {
  const auto transport = parse_packet(packet.packet);
  if (const auto* datagram = transport ? std::get_if<UdpDatagram>(&*transport) : nullptr) {
    const auto answer = packet.truncated ? tl::make_unexpected(dns::MessageError::Truncated)
                                         : dns::parse_answer(datagram->payload);
    if (answer) {
      const Waiting waiting{Lane::Names, packet.id, packet.mark, packet.packet};
      step(engine::AnswerHeld{packet.id, {answer->question, answer->type}, *answer}, &waiting);
      return;
    }
  }
  const auto* segment = transport ? std::get_if<TcpSegment>(&*transport) : nullptr;
  // A SYN goes through the chain again, which lets it go on this time: later rules may know it.
  queues_.names.verdict(packet.id, segment != nullptr ? sys::Verdict::Repeat : sys::Verdict::Accept);
  if (segment != nullptr) {
    const Waiting nothing{Lane::Names, 0, 0, {}};
    step(engine::ServerMissed{segment->destination, segment->source.address}, &nothing);
  }
}

void Service::step(const engine::Event& event, const Waiting* waiting) {
  const auto now = Clock::now();
  for (const auto& action : engine_.step(event, now)) {
    if (const auto* change = std::get_if<engine::ChangeElement>(&action)) {
      changes_.push_back(change->change);
    } else if (const auto* verdict = std::get_if<engine::Verdict>(&action)) {
      flush_changes();  // kernel first: the element is in before the packet that announced it goes on
      give(*verdict, waiting);
    } else if (const auto* report = std::get_if<engine::Report>(&action)) {
      reports_.push_back(*report);  // told once the verdicts are out
      list_soon_ = list_soon_ || report->what == engine::What::AddressAdded;
    } else if (const auto* ended = std::get_if<engine::EndFlow>(&action)) {
      ended_.push_back(ended->flow);
    } else if (const auto* wanted = std::get_if<engine::FindFlow>(&action)) {
      wanted_.push_back(wanted->flow);
    } else if (const auto* question = std::get_if<engine::Ask>(&action)) {
      ask(question->query);
    }
  }
  flush_changes();
  if (waiting == nullptr) after_step();
}

void Service::give(const engine::Verdict& verdict, const Waiting* waiting) {
  using Kind = engine::Verdict::Kind;
  auto& target = queue(verdict.lane);
  if (verdict.lane == Lane::Names) {
    target.verdict(verdict.packet, sys::Verdict::Accept);
    return;
  }
  if (waiting == nullptr || waiting->id != verdict.packet || waiting->lane != verdict.lane) {
    // A packet that was held: its own mark is not known any more, and it has the right one from its chain.
    target.verdict(verdict.packet, verdict.kind == Kind::Pass ? sys::Verdict::Accept : sys::Verdict::Drop);
    return;
  }
  const auto& marks = table_.marks();
  const auto marked = [&](std::uint32_t value) { return (waiting->mark & ~marks.mask) | value; };
  switch (verdict.kind) {
    case Kind::Pass:
      target.verdict(verdict.packet, sys::Verdict::Accept, marked(marks.verified));
      return;
    case Kind::Verify:
      target.verdict(verdict.packet, sys::Verdict::Accept, marked(marks.watched));
      return;
    case Kind::Release:
      target.verdict(verdict.packet, sys::Verdict::Accept, marked(marks.pending));
      return;
    case Kind::Drop:
      target.verdict(verdict.packet, sys::Verdict::Drop);
      return;
    case Kind::Repeat:
      target.verdict(verdict.packet, sys::Verdict::Repeat, marked(marks.pending));
      return;
    case Kind::Refuse: {
      // The receiver is told at once; the sender when its retransmission meets Repeat (kernel.md: a reject
      // rule resets the sender only, and the other end would hang).
      const auto reset = cut_to_reset(waiting->packet);
      if (reset) {
        target.verdict(verdict.packet, sys::Verdict::Accept, marked(marks.verified), *reset);
      } else {
        target.verdict(verdict.packet, sys::Verdict::Drop);
      }
      return;
    }
  }
}

bool Service::flush_changes() {
  if (changes_.empty()) return true;
  const auto applied = table_.apply(changes_);
  const std::string error = applied ? "" : applied.error();
  if (std::exchange(changes_error_, error) != error && !applied)
    sys::log_error("table inet {}: {} changes not taken: {}", config_.table, changes_.size(), error);
  changes_.clear();
  return applied.has_value();
}

void Service::after_step() {
  if (!ended_.empty()) {
    (void)queues_.control.flush();
    (void)queues_.peer.flush();
    for (const auto& flow : ended_) (void)conntrack_.destroy_forwarded({flow.outside, flow.inside});
    ended_.clear();
  }
  (void)queues_.control.flush();  // verdicts for packets that were held
  for (const auto& report : reports_) log_.write(report, Clock::now());
  reports_.clear();
  if (!wanted_.empty()) find_wanted();
  if (std::exchange(list_soon_, false)) list_flows_soon();
  save_if_changed();
  arm_timer();
}

void Service::ask(const dns::Query& query) {
  resolver_->ask(query.name, static_cast<std::uint16_t>(query.type),
                 [this, query](sys::Resolver::Reply reply) {
                   if (!reply.message) {
                     step(engine::NameFailed{query, reply.message.error()});
                     return;
                   }
                   const auto answer = dns::parse_answer(*reply.message);
                   if (!answer) {
                     step(engine::NameFailed{query, "an answer that makes no sense"});
                   } else if (answer->question != query.name || answer->type != query.type) {
                     step(engine::NameFailed{query, "an answer to another question"});
                   } else {
                     step(engine::NameAnswered{query, *answer});
                   }
                 });
}

void Service::arm_timer() {
  const auto next = engine_.next_deadline();
  if (next == armed_) return;
  armed_ = next;
  timer_.cancel();
  if (!next) return;
  timer_.expires_at(*next);
  timer_.async_wait([this](boost::system::error_code error) {
    if (error) return;
    armed_.reset();
    step(engine::Tick{});
  });
}

void Service::wait_for_signal() {
  signals_.async_wait([this](boost::system::error_code error, int number) {
    if (error) return;
    if (number == SIGHUP) {
      reload();
      wait_for_signal();
      return;
    }
    sys::log_notice("ending on {}", number == SIGTERM ? "SIGTERM" : "SIGINT");
    loop_.stop();
  });
}

std::string Service::answer(const std::string& word) {
  if (word != "status") return "{\"error\":\"unknown word; expected: status\"}\n";
  const auto now = Clock::now();
  std::vector<QueueStatus> queues;
  for (const Lane lane : {Lane::Control, Lane::Peer, Lane::Names}) {
    const auto& counters = queue(lane).counters();
    QueueStatus one{.number = number(lane),
                    .lane = lane == Lane::Control ? "control"
                            : lane == Lane::Peer  ? "peer"
                                                  : "names",
                    .received = counters.received,
                    .lost = counters.lost};
    if (const auto state = sys::queue_state(one.number)) {
      one.waiting = state->waiting;
      one.dropped = state->dropped + state->user_dropped;
    }
    queues.push_back(one);
  }
  const ServiceStatus service{.table = config_.table,
                              .queue_form = table_.queue_form(),
                              .timeout_update = table_.update_form(),
                              .owner = table_.owned(),
                              .state = config_.state,
                              .state_problem = writer_problem_,
                              .uptime = std::chrono::duration_cast<std::chrono::seconds>(now - started_)};
  return status_json(engine_.snapshot(now), service, now, queues, table_.counters());
}

}  // namespace icqgate::daemon
