// SPDX-License-Identifier: GPL-2.0-or-later
// Which packets the dynamic ruleset sends to the names queue, with real ones:
//
//   client 192.168.1.20 --- lan0 [ this namespace ] wan0 --- 203.0.113.53 (trusted), .54, .99
//          2001:db8:1::20         192.168.1.1              2001:db8:2::53
#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>

#include "daemon/table.hpp"
#include "sys/nfqueue.hpp"
#include "sys_smoke.hpp"

namespace icqgate::smoke {

using daemon::Table;
using nft::Element;
using Kind = nft::Change::Kind;

namespace {

constexpr std::uint16_t kQueue = 5192, kPort = 4053;

// A network namespace that lives as long as this.
class Namespace {
 public:
  Namespace() {
    std::array<int, 2> ready{};
    if (pipe2(ready.data(), O_CLOEXEC) != 0) give_up("pipe2");
    process_ = fork();
    if (process_ == 0) {
      (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (unshare(CLONE_NEWNET) == 0) (void)!write(ready[1], "x", 1);
      while (true) pause();
    }
    char byte = 0;
    if (read(ready[0], &byte, 1) != 1) give_up("a namespace");
    close(ready[0]);
    close(ready[1]);
  }
  Namespace(const Namespace&) = delete;
  Namespace& operator=(const Namespace&) = delete;
  ~Namespace() {
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }
  [[nodiscard]] std::string pid() const { return std::to_string(process_); }
  [[nodiscard]] bool run(const std::string& command) const {
    return shell("nsenter -n -t " + pid() + " sh -c '" + command + "'");
  }
  // A socket made inside stays inside.
  template <class Make>
  auto inside(Make make) const {
    const sys::UniqueFd here{open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)};
    const sys::UniqueFd there{open(("/proc/" + pid() + "/ns/net").c_str(), O_RDONLY | O_CLOEXEC)};
    if (setns(there.get(), CLONE_NEWNET) != 0) give_up("setns");
    auto made = make();
    if (setns(here.get(), CLONE_NEWNET) != 0) give_up("setns");
    return made;
  }

 private:
  pid_t process_ = 0;
};

struct Name {
  sockaddr_storage storage{};
  socklen_t size = 0;
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};
Name name_of(const char* address, std::uint16_t port) {
  Name name;
  if (std::strchr(address, ':') != nullptr) {
    sockaddr_in6 six{};
    six.sin6_family = AF_INET6;
    six.sin6_port = htons(port);
    inet_pton(AF_INET6, address, &six.sin6_addr);
    std::memcpy(&name.storage, &six, name.size = sizeof six);
  } else {
    sockaddr_in four{};
    four.sin_family = AF_INET;
    four.sin_port = htons(port);
    inet_pton(AF_INET, address, &four.sin_addr);
    std::memcpy(&name.storage, &four, name.size = sizeof four);
  }
  return name;
}

sys::UniqueFd bound(int type, const char* address, std::uint16_t port) {
  const Name name = name_of(address, port);
  sys::UniqueFd fd{socket(name.storage.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (bind(fd.get(), name.get(), name.size) != 0) give_up(std::string{"bind "} + address);
  return fd;
}

void send_to(const sys::UniqueFd& from, const std::string& payload, const char* address, std::uint16_t port) {
  const Name to = name_of(address, port);
  (void)sendto(from.get(), payload.data(), payload.size(), 0, to.get(), to.size);
}

enum class Message { Query, Answer };
std::string dns(Message kind, std::uint16_t id, const std::string& name) {
  std::string wire{static_cast<char>(id >> 8), static_cast<char>(id)};
  wire += kind == Message::Query ? std::string{"\x01\0", 2} : std::string{"\x81\x80", 2};
  wire += std::string{"\0\1\0\0\0\0\0\0", 8};
  for (std::size_t from = 0; from < name.size();) {
    const auto dot = std::min(name.find('.', from), name.size());
    wire += static_cast<char>(dot - from) + name.substr(from, dot - from);
    from = dot + 1;
  }
  return wire + std::string{"\0\0\1\0\1", 5};
}

}  // namespace

void test_names() {
  const Namespace lan, wan;
  const auto made = [&](const Namespace& where, const char* link, const char* addresses, const char* routes) {
    return shell(fmt::format("ip link add {0} type veth peer name veth0 netns {1} && ip link set {0} up",
                             link, where.pid())) &&
           where.run(fmt::format(
               "ip link set lo up; ip link set veth0 up; for a in {}; do ip addr add $a dev veth0 nodad "
               "2>/dev/null || ip addr add $a dev veth0; done",
               addresses)) &&
           where.run(routes);
  };
  if (!made(lan, "lan0", "192.168.1.20/24 2001:db8:1::20/64", "true") ||
      !made(wan, "wan0", "203.0.113.53/24 203.0.113.54/24 203.0.113.99/24 203.0.113.5/24 2001:db8:2::53/64",
            "true") ||
      !shell("ip addr add 192.168.1.1/24 dev lan0 && ip addr add 203.0.113.1/24 dev wan0 && "
             "ip addr add 2001:db8:1::1/64 dev lan0 nodad && ip addr add 2001:db8:2::1/64 dev wan0 nodad && "
             "echo 1 >/proc/sys/net/ipv4/ip_forward && echo 1 >/proc/sys/net/ipv6/conf/all/forwarding") ||
      !lan.run("ip route add default via 192.168.1.1; ip -6 route add default via 2001:db8:1::1") ||
      !wan.run("ip route add default via 203.0.113.1; ip -6 route add default via 2001:db8:2::1"))
    give_up("a network");

  config::Config config =
      must(config::parse("login-host = login.icq.com, login.messenger-of-long-names.example.org\n"
                         "client = 192.168.1.0/24, 2001:db8:1::/64\nlan = lan0\nwan = wan0\n",
                         "")
               .map_error([](const auto&) { return std::string{"configuration"}; }),
           "parse");
  auto queue = must(sys::NfQueue::open(kQueue, sys::Failure::Open), "NfQueue::open");
  auto table = must(Table::open(config), "open");
  (void)must(table.install(), "install");
  (void)must(table.apply({{Kind::Add, Element::dns_server(*parse_address("203.0.113.53")), {}},
                          {Kind::Add, Element::dns_server(*parse_address("2001:db8:2::53")), {}},
                          {Kind::Renew, Element::login({*parse_address("203.0.113.5"), Port{5190}}),
                           std::chrono::seconds{60}}}),
             "apply");

  const auto client = lan.inside([] { return bound(SOCK_DGRAM, "192.168.1.20", kPort); });
  const auto client6 = lan.inside([] { return bound(SOCK_DGRAM, "2001:db8:1::20", kPort); });
  const auto other_port = lan.inside([] { return bound(SOCK_DGRAM, "192.168.1.20", kPort + 1); });
  const auto trusted = wan.inside([] { return bound(SOCK_DGRAM, "203.0.113.53", 53); });
  const auto trusted6 = wan.inside([] { return bound(SOCK_DGRAM, "2001:db8:2::53", 53); });
  const auto stranger = wan.inside([] { return bound(SOCK_DGRAM, "203.0.113.54", 53); });
  const auto own = bound(SOCK_DGRAM, "192.168.1.1", 53);

  // Neighbour discovery takes its time on a link that has just come up.
  std::string warm;
  for (int i = 0; i < 50 && warm.empty(); ++i) {
    send_to(client6, "warm", "2001:db8:2::53", 53);
    warm = receive_udp(trusted6, 100);
  }
  while (!receive_udp(trusted6, 100).empty()) {
  }

  // Packets that wait in the queue; each goes on as it came.
  const auto release = [&](sys::Verdict verdict = sys::Verdict::Accept) {
    std::size_t count = 0;
    while (readable(queue.fd(), static_cast<int>(60 * slow_factor())))
      (void)must(queue.receive([&](const sys::QueuedPacket& packet) {
        ++count;
        queue.verdict(packet.id, verdict);
      }),
                 "receive");
    return count;
  };
  const std::string login = "login.icq.com";
  const auto asks = [&](const sys::UniqueFd& from, const sys::UniqueFd& at, std::uint16_t id,
                        const std::string& name, const char* server) {
    send_to(from, dns(Message::Query, id, name), server, 53);
    return receive_udp(at) == dns(Message::Query, id, name) && release() == 0;
  };
  // Whether the answer is held first, and arrives in the end.
  const auto held = [&](const sys::UniqueFd& from, const sys::UniqueFd& to, const std::string& answer,
                        const char* address, std::uint16_t port = kPort) {
    send_to(from, answer, address, port);
    const bool early = readable(to.get(), 30);
    const std::size_t count = release();
    if (receive_udp(to) != answer) expect(false, "an answer arrives in the end");
    return count == 1 && !early;
  };
  const char* const inside = "192.168.1.20";
  const auto answer = [&](std::uint16_t id) { return dns(Message::Answer, id, login); };

  expect(asks(client, trusted, 7, login, "203.0.113.53"), "a query passes, unqueued");
  expect(!held(trusted, client, answer(8), inside), "an answer under another id is not held");
  expect(!held(trusted, other_port, answer(7), inside, kPort + 1), "nor one to another port");
  expect(!held(stranger, client, answer(7), inside), "nor one of a server that is not ours");
  expect(!held(trusted, client, dns(Message::Answer, 7, "login.icq.org"), inside),
         "nor one for another name");
  expect(!held(trusted, client, dns(Message::Answer, 7, login + ".org"), inside),
         "nor one that only begins so");
  expect(!held(trusted, client, dns(Message::Query, 7, login), inside),
         "nor a query that comes as an answer");
  expect(!held(trusted, client, dns(Message::Answer, 7, "LOGIN.icq.com"), inside),
         "another case loses the hold");
  expect(held(trusted, client, answer(7), inside), "the answer to what was asked is held, then arrives");
  expect(!held(trusted, client, answer(7), inside), "a second one is not");
  expect(asks(client, trusted, 9, "www.example.org", "203.0.113.53") &&
             !held(trusted, client, dns(Message::Answer, 9, "www.example.org"), inside),
         "other names never leave the kernel");
  const std::string long_name = "login.messenger-of-long-names.example.org";
  expect(asks(client, trusted, 10, long_name, "203.0.113.53") &&
             !held(trusted, client, dns(Message::Answer, 10, "login.messenger-of-long-names.example.com"),
                   inside) &&
             held(trusted, client, dns(Message::Answer, 10, long_name), inside),
         "a name longer than one comparison, to its last byte");
  expect(asks(client6, trusted6, 11, login, "2001:db8:2::53"), "IPv6: asked");
  expect(held(trusted6, client6, answer(11), "2001:db8:1::20"), "IPv6: held");
  expect(asks(client, own, 12, login, "192.168.1.1") && held(own, client, answer(12), inside),
         "a resolver on the gateway itself");
  expect(!held(own, client, answer(12), inside), "once");

  const auto connect_to = [&](const char* address, std::uint16_t port) {
    return lan.inside([&] {
      auto fd = bound(SOCK_STREAM, "192.168.1.20", 0);
      const Name to = name_of(address, port);
      (void)connect(fd.get(), to.get(), to.size);
      return fd;
    });
  };
  {
    const auto known = connect_to("203.0.113.5", 5190);
    expect(release() == 0 && readable(known.get(), 200), "a SYN to a known server is not queued");
    const auto elsewhere = connect_to("203.0.113.99", 5191);
    expect(release() == 0, "nor one to another port");
    const auto first = connect_to("203.0.113.99", 5190);
    expect(!readable(first.get(), 30) && release(sys::Verdict::Repeat) == 1,
           "a SYN to an unknown server is queued; sent anew, not again");
    expect(readable(first.get(), 200), "and it went on to the server");
    const auto second = connect_to("203.0.113.99", 5190);
    expect(release() == 0 && readable(second.get(), 200), "nor is the next one for a while");
  }
  {
    const auto gone = std::move(queue);
  }
  send_to(client, dns(Message::Query, 13, login), "203.0.113.53", 53);
  expect(!receive_udp(trusted).empty(), "without a reader queries pass");
  send_to(trusted, answer(13), inside, kPort);
  expect(receive_udp(client) == answer(13), "answers pass");
  expect(readable(connect_to("203.0.113.54", 5190).get(), 200), "and SYNs");
  (void)must(table.remove(), "remove");
}

}  // namespace icqgate::smoke
