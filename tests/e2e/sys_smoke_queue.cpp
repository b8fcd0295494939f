// SPDX-License-Identifier: GPL-2.0-or-later
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <vector>

#include "sys/nfqueue.hpp"
#include "sys_smoke.hpp"

namespace icqgate::smoke {

using sys::Failure;
using sys::NfQueue;
using sys::QueuedPacket;
using sys::Verdict;

namespace {

constexpr std::uint16_t kPort = 4000, kQueue = 7;
constexpr std::size_t kUdpHeaders = 28;

// Reads until `count` packets were handled or nothing comes for a while.
std::size_t receive_all(NfQueue& queue, std::size_t count, const NfQueue::Handler& handler) {
  std::size_t handled = 0;
  while (handled < count && readable(queue.fd(), 300)) handled += must(queue.receive(handler), "receive");
  return handled;
}

std::string payload_of(const QueuedPacket& packet) {
  if (packet.packet.size() < kUdpHeaders) return {};
  return std::string{as_text(packet.packet.subspan(kUdpHeaders))};
}

void test_verdicts(const sys::UniqueFd& server, const sys::UniqueFd& client) {
  auto queue = must(NfQueue::open(kQueue, Failure::Closed), "open");
  const auto second = NfQueue::open(kQueue, Failure::Closed);
  expect(!second && second.error().code == EBUSY, "a second reader is told EBUSY");
  expect(sys::queue_state(kQueue).has_value(), "the queue is listed in /proc");
  expect(!sys::queue_state(kQueue + 1), "a queue that is not there is not listed");

  std::string seen;
  send_udp(client, kPort, "accept me");
  receive_all(queue, 1, [&](const QueuedPacket& packet) {
    seen = payload_of(packet);
    queue.verdict(packet.id, Verdict::Accept);
    expect(packet.in_ifindex == 1 && packet.out_ifindex == 0, "interface indices (lo, none)");
    expect(packet.queue == kQueue && packet.mark == 0 && !packet.truncated,
           "queue number, mark, not truncated");
  });
  expect(seen == "accept me", "the packet starts at its IP header");
  expect(receive_udp(server) == "accept me", "Accept lets it through");

  send_udp(client, kPort, "drop me");
  receive_all(queue, 1, [&](const QueuedPacket& packet) { queue.verdict(packet.id, Verdict::Drop); });
  expect(receive_udp(server).empty(), "Drop drops it");

  send_udp(client, kPort, "repeat me");
  int times = 0;
  receive_all(queue, 2, [&](const QueuedPacket& packet) {
    ++times;
    queue.verdict(packet.id, Verdict::Repeat, 0x2000000);
  });
  expect(times == 1 && receive_udp(server) == "repeat me",
         "Repeat starts at the first rule, with the new mark");

  send_udp(client, kPort, "change me");
  receive_all(queue, 1, [&](const QueuedPacket& packet) {
    std::vector<std::byte> changed(packet.packet.begin(), packet.packet.end());
    changed[kUdpHeaders] = std::byte{'C'};
    changed[26] = changed[27] = std::byte{0};  // UDP: no checksum
    queue.verdict(packet.id, Verdict::Accept, {}, changed);
  });
  expect(receive_udp(server) == "Change me", "a replacement takes the packet's stead");

  send_udp(client, kPort, std::string(65507, 'x'));
  bool truncated = false;
  receive_all(queue, 1, [&](const QueuedPacket& packet) {
    truncated = packet.truncated && packet.packet.size() == 65531;
    queue.verdict(packet.id, Verdict::Accept);
  });
  expect(truncated && receive_udp(server).size() == 65507,
         "a packet of 65535 bytes is cut for us, whole for the server");
  expect(queue.counters().refused_verdicts == 0 && queue.counters().malformed == 0,
         "no verdict refused so far");
}

void test_many(const sys::UniqueFd& server, const sys::UniqueFd& client) {
  auto queue = must(NfQueue::open(kQueue, Failure::Closed), "open");
  constexpr std::size_t kCount = 1000;
  std::vector<std::uint32_t> held;
  for (std::size_t i = 0; i < kCount; ++i) send_udp(client, kPort, std::to_string(i));
  const auto hold = [&](const QueuedPacket& packet) { held.push_back(packet.id); };
  expect(must(queue.receive(hold), "receive") == NfQueue::kPerCall, "one call is bounded");
  receive_all(queue, kCount - NfQueue::kPerCall, hold);
  const auto state = sys::queue_state(kQueue);
  expect(state && state->waiting == kCount && state->dropped == 0, "1000 packets are held");

  // Ascending, descending and one twice, all in few datagrams of many messages.
  for (std::size_t i = 0; i < kCount / 2; ++i) queue.verdict(held[i], Verdict::Accept);
  for (std::size_t i = kCount; i > kCount / 2; --i) queue.verdict(held[i - 1], Verdict::Accept);
  queue.verdict(held[0], Verdict::Drop);
  expect(queue.flush().has_value(), "verdicts given later are sent by flush()");
  std::size_t arrived = 0;
  while (!receive_udp(server, 100).empty()) ++arrived;
  expect(arrived == kCount, fmt::format("all of them arrive ({})", arrived));
  (void)must(queue.receive(hold), "receive");
  expect(queue.counters().refused_verdicts == 1, "the second verdict for one id is refused, and counted");

  // One message refused in the middle of a datagram stops none behind it.
  send_udp(client, kPort, "behind");
  receive_all(queue, 1, [&](const QueuedPacket& packet) {
    queue.verdict(packet.id + 1000, Verdict::Accept);
    queue.verdict(packet.id, Verdict::Accept);
  });
  expect(receive_udp(server) == "behind", "a refused verdict does not stop those behind it");

  send_udp(client, kPort, "held at the end");
  receive_all(queue, 1, hold);
  auto moved = std::move(queue);
  send_udp(client, kPort, "recorded at the end");
  receive_all(moved, 1, hold);
  moved.verdict(held.back(), Verdict::Accept);
  {
    const auto gone = std::move(moved);
  }
  expect(!sys::queue_state(kQueue), "the destructor unbinds the queue");
  expect(receive_udp(server) == "recorded at the end" && receive_udp(server).empty(),
         "it sends recorded verdicts; the kernel drops the rest");
}

void test_overflow(const sys::UniqueFd& server, const sys::UniqueFd& client) {
  for (const auto mode : {Failure::Open, Failure::Closed}) {
    auto queue = must(NfQueue::open(kQueue, mode, 4), "open");
    for (int i = 0; i < 20; ++i) send_udp(client, kPort, "x");
    std::size_t arrived = 0;
    while (!receive_udp(server, 100).empty()) ++arrived;
    const auto state = sys::queue_state(kQueue);
    if (mode == Failure::Open) {
      expect(arrived == 16, fmt::format("fail-open: what does not fit passes ({})", arrived));
    } else {
      expect(arrived == 0 && state && state->dropped == 16,
             "fail-closed: what does not fit is dropped, and counted");
    }
  }
  {
    auto queue = must(NfQueue::open(kQueue, Failure::Closed), "open");
    const int tiny = 4096;
    (void)setsockopt(queue.fd(), SOL_SOCKET, SO_RCVBUF, &tiny, sizeof tiny);
    for (int i = 0; i < 200; ++i) send_udp(client, kPort, "x");
    const auto accept = [&](const QueuedPacket& packet) { queue.verdict(packet.id, Verdict::Accept); };
    const std::size_t handled = receive_all(queue, 200, accept);
    const auto state = sys::queue_state(kQueue);
    expect(handled < 200 && queue.counters().lost > 0, "ENOBUFS is counted");
    expect(state && state->user_dropped == 200 - handled, "and /proc says how many packets that were");
    while (!receive_udp(server, 50).empty()) {
    }
    send_udp(client, kPort, "after");
    receive_all(queue, 1, accept);
    expect(receive_udp(server) == "after", "the queue goes on after ENOBUFS");
  }
  constexpr std::string_view kText =
      "    7 4242718183     3 2 65531     1     2       99  1\n65535      1     0 2 65531 0 0 1 1\n";
  const auto state = sys::parse_queue_state(kText, 7);
  expect(state && state->port_id == 4242718183 && state->waiting == 3 && state->dropped == 1 &&
             state->user_dropped == 2,
         "a line of nfnetlink_queue");
  expect(sys::parse_queue_state(kText, 65535).has_value() && !sys::parse_queue_state(kText, 3) &&
             !sys::parse_queue_state("7 1", 7) && !sys::parse_queue_state("", 7),
         "other lines of it");
}

}  // namespace

void test_queue() {
  queue_udp(kPort, kQueue);
  const auto server = udp_socket(kPort);
  const auto client = udp_socket(0);
  test_verdicts(server, client);
  test_many(server, client);
  test_overflow(server, client);
}

void bench_queue(double seconds) {
  queue_udp(kPort, kQueue);
  auto queue = must(NfQueue::open(kQueue, Failure::Closed), "open");
  const auto server = udp_socket(kPort);  // fills up and drops: the queue is what is measured
  const pid_t sender = fork();
  if (sender == 0) {
    const auto client = udp_socket(0);
    auto to = socket_address(kPort);
    std::array<char, 64> payload{};
    iovec part{payload.data(), payload.size()};
    std::array<mmsghdr, 64> burst{};
    for (auto& one : burst) one.msg_hdr = {&to, sizeof to, &part, 1, nullptr, 0, 0};
    while (getppid() != 1) {
      pollfd writable{client.get(), POLLOUT, 0};
      (void)poll(&writable, 1, 100);
      (void)sendmmsg(client.get(), burst.data(), burst.size(), 0);
    }
    std::_Exit(0);
  }
  const auto now = [] { return std::chrono::steady_clock::now(); };
  const auto start = now();
  rusage before{}, after{};
  getrusage(RUSAGE_SELF, &before);
  std::size_t packets = 0, calls = 0;
  const NfQueue::Handler accept = [&](const QueuedPacket& packet) {
    queue.verdict(packet.id, Verdict::Accept);
  };
  while (now() - start < std::chrono::duration<double>{seconds}) {
    if (!readable(queue.fd(), 100)) continue;
    packets += must(queue.receive(accept), "receive");
    ++calls;
  }
  getrusage(RUSAGE_SELF, &after);
  kill(sender, SIGKILL);
  waitpid(sender, nullptr, 0);
  const auto cpu = [](const rusage& usage) {
    return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
  };
  const auto state = sys::queue_state(kQueue);
  const double count = static_cast<double>(std::max<std::size_t>(packets, 1));
  fmt::print(
      "  {:.0f} packets/s, {:.2f} us CPU each (verdict and delivery included), {:.1f} per call; dropped {}, "
      "{}\n",
      static_cast<double>(packets) / seconds, (cpu(after) - cpu(before)) * 1e6 / count,
      count / static_cast<double>(std::max<std::size_t>(calls, 1)), state ? state->dropped : 0,
      state ? state->user_dropped : 0);
}

}  // namespace icqgate::smoke
