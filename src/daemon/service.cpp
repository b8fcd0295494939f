// SPDX-License-Identifier: GPL-2.0-or-later
#include "daemon/service.hpp"

#include <fmt/format.h>
#include <net/if.h>

#include <array>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <csignal>

#include "daemon/status_json.hpp"
#include "sys/interfaces.hpp"
#include "sys/log.hpp"

#ifdef ICQGATE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

namespace icqgate::daemon {

namespace asio = boost::asio;
using engine::Lane;
using engine::Side;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::chrono::seconds kLookAround{10};  // how often addresses and interface names are read again

engine::Surroundings read_surroundings(const config::Config& config) {
  engine::Surroundings surroundings;
  if (const auto lan = sys::interface_addresses(config.lan))
    for (const auto& one : *lan) surroundings.inside.push_back(one.subnet);
  if (const auto all = sys::interface_addresses({"*"}))
    for (const auto& one : *all) surroundings.own.push_back(one.address);
  return surroundings;
}

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

void tell_manager([[maybe_unused]] const char* state) {
#ifdef ICQGATE_SYSTEMD
  sd_notify(0, state);
#endif
}

}  // namespace

Service::Service(const config::Config& config, Table table, sys::NfQueue control, sys::NfQueue peer,
                 sys::Conntrack conntrack, sys::UniqueFd lock)
    : config_{config},
      table_{std::move(table)},
      control_{std::move(control)},
      peer_{std::move(peer)},
      conntrack_{std::move(conntrack)},
      engine_{config, read_surroundings(config)},
      control_descriptor_{loop_, control_.fd()},
      peer_descriptor_{loop_, peer_.fd()},
      timer_{loop_},
      surroundings_timer_{loop_},
      table_timer_{loop_},
      signals_{loop_, SIGTERM, SIGINT, SIGHUP},
      resolver_{std::make_unique<sys::Resolver>(loop_, config.resolvers)},
      started_{Clock::now()},
      lock_{std::move(lock)} {}

Result<std::unique_ptr<Service>, std::string> Service::start(const config::Config& config) {
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
  auto conntrack = sys::Conntrack::open();
  if (!conntrack) return tl::make_unexpected(to_string(conntrack.error()));
  auto table = Table::open(config);
  if (!table) return tl::make_unexpected(table.error());
  const auto installed = table->install();
  if (!installed) return tl::make_unexpected("the kernel does not take the ruleset: " + installed.error());

  std::unique_ptr<Service> service{new Service{config, std::move(*table), std::move(*control),
                                               std::move(*peer), std::move(*conntrack), std::move(*lock)}};
  auto socket =
      ControlSocket::open(service->loop_, config.socket,
                          [self = service.get()](const std::string& word) { return self->answer(word); });
  if (!socket) return tl::make_unexpected(socket.error());
  service->socket_ = std::move(*socket);
  const char* how = *installed == Table::Installed::Adopted    ? "adopted as an earlier run left it"
                    : *installed == Table::Installed::Replaced ? "replaced, live elements carried over"
                                                               : "loaded";
  sys::log_notice(
      "table inet {} {}{}; ports {}-{}", config.table, how,
      *installed == Table::Installed::Adopted ? "" : fmt::format(" ({})", service->table_.queue_form()),
      config.port_range.first.get(), config.port_range.last.get());
  return service;
}

bool Service::run() {
  watch(Lane::Control);
  watch(Lane::Peer);
  wait_for_signal();
  look_around();
  look_after_table();
  step(engine::Tick{});
  sys::log_notice("ready");
  tell_manager("READY=1");
  loop_.run();
  tell_manager("STOPPING=1");
  if (config_.flush_on_exit) {
    if (const auto removed = table_.remove(); !removed)
      sys::log_error("table inet {}: {}", config_.table, removed.error());
  } else {
    sys::log_notice("table inet {} stays until its timeouts end", config_.table);
  }
  control_descriptor_.release();
  peer_descriptor_.release();
  return !failed_;
}

void Service::watch(Lane lane) {
  auto& descriptor = lane == Lane::Control ? control_descriptor_ : peer_descriptor_;
  descriptor.async_wait(asio::posix::stream_descriptor::wait_read,
                        [this, lane](boost::system::error_code error) {
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
    sys::log_error("queue {}: {}", lane == Lane::Control ? config_.queue_control : config_.queue_peer,
                   to_string(received.error()));
    failed_ = true;
    loop_.stop();
    return;
  }
  if (const auto lost = queue(lane).counters().lost; lost != before)
    sys::log_warning("queue {} overflowed {} times: packets were {}",
                     lane == Lane::Control ? config_.queue_control : config_.queue_peer, lost,
                     lane == Lane::Control ? "let go unseen" : "dropped");
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
    } else if (const auto* ended = std::get_if<engine::EndFlow>(&action)) {
      ended_.push_back(ended->flow);
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

void Service::flush_changes() {
  if (changes_.empty()) return;
  if (const auto applied = table_.apply(changes_); !applied)
    sys::log_error("table inet {}: {} changes not taken: {}", config_.table, changes_.size(),
                   applied.error());
  changes_.clear();
}

void Service::after_step() {
  if (!ended_.empty()) {
    (void)control_.flush();
    (void)peer_.flush();
    for (const auto& flow : ended_) (void)conntrack_.destroy_forwarded({flow.outside, flow.inside});
    ended_.clear();
  }
  (void)control_.flush();  // verdicts for packets that were held
  for (const auto& report : reports_) log_.write(report, Clock::now());
  reports_.clear();
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
      sys::log_notice(
          "the configuration is read at start only: restart to apply changes (live flows and pinholes stay)");
      wait_for_signal();
      return;
    }
    sys::log_notice("ending on {}", number == SIGTERM ? "SIGTERM" : "SIGINT");
    loop_.stop();
  });
}

void Service::look_around() {
  sides_.clear();
  engine_.surroundings(read_surroundings(config_));
  surroundings_timer_.expires_after(kLookAround);
  surroundings_timer_.async_wait([this](boost::system::error_code error) {
    if (!error) look_around();
  });
}

void Service::look_after_table() {
  // `nft flush ruleset` by others happens (kernel.md, trap 10).
  constexpr std::chrono::seconds kEvery{2};
  if (!table_.intact()) {
    if (const auto restored = table_.restore(); restored) {
      sys::log_warning("table inet {} was removed or replaced by somebody else: restored with what was live",
                       config_.table);
    } else {
      sys::log_error("table inet {} was removed or replaced by somebody else and can't be restored: {}",
                     config_.table, restored.error());
    }
  }
  table_timer_.expires_after(kEvery);
  table_timer_.async_wait([this](boost::system::error_code error) {
    if (!error) look_after_table();
  });
}

std::string Service::answer(const std::string& word) {
  if (word != "status") return "{\"error\":\"unknown word; expected: status\"}\n";
  const auto now = Clock::now();
  std::vector<QueueStatus> queues;
  for (const Lane lane : {Lane::Control, Lane::Peer}) {
    const auto& counters = queue(lane).counters();
    QueueStatus one{.number = lane == Lane::Control ? config_.queue_control : config_.queue_peer,
                    .lane = lane == Lane::Control ? "control" : "peer",
                    .received = counters.received,
                    .lost = counters.lost};
    if (const auto state = sys::queue_state(one.number)) {
      one.waiting = state->waiting;
      one.dropped = state->dropped + state->user_dropped;
    }
    queues.push_back(one);
  }
  return status_json(engine_.snapshot(now), config_.table, table_.queue_form(),
                     std::chrono::duration_cast<std::chrono::seconds>(now - started_), now, queues,
                     table_.counters());
}

}  // namespace icqgate::daemon
