// SPDX-License-Identifier: GPL-2.0-or-later
// Which servers the resolver asks, for which names, and what it does when one of them is of no use.
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/udp.hpp>
#include <cctype>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <vector>

#include "sys/resolver.hpp"
#include "sys_smoke.hpp"

namespace icqgate::smoke {

namespace {

using boost::asio::ip::udp;
using sys::Resolver;
constexpr std::uint16_t kA = 1, kDns = 53;
constexpr int kSilent = -1, kServFail = 2, kNxDomain = 3, kRefused = 5;

// A name server on the loop of the resolver under test. It has one opinion on every name: its rcode (0: one
// address), or says nothing.
class Server {
 public:
  Server(boost::asio::io_context& loop, const char* address, int rcode)
      : socket_{loop, udp::endpoint{boost::asio::ip::make_address(address), kDns}}, rcode_{rcode} {
    receive();
  }
  [[nodiscard]] const std::vector<std::string>& asked() const { return asked_; }

 private:
  void receive() {
    socket_.async_receive_from(boost::asio::buffer(query_), from_, [this](auto error, std::size_t size) {
      if (error) return;
      if (size > 17) answer(size);
      receive();
    });
  }
  void answer(std::size_t size) {
    std::string name;
    std::size_t at = 12;
    for (std::size_t length = query_[at]; length != 0 && at + length + 1 < size; length = query_[at]) {
      for (std::size_t i = 1; i <= length; ++i) name += static_cast<char>(std::tolower(query_[at + i]));
      name += '.';
      at += length + 1;
    }
    asked_.push_back(name);
    if (rcode_ == kSilent) return;
    std::vector<std::uint8_t> reply(query_.begin(), query_.begin() + static_cast<std::ptrdiff_t>(at + 5));
    reply[2] |= 0x80;
    reply[3] = static_cast<std::uint8_t>(0x80 | rcode_);
    reply[7] = rcode_ == 0;
    reply[11] = 0;  // no OPT in return
    const std::array<std::uint8_t, 16> address{0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1};
    if (rcode_ == 0) reply.insert(reply.end(), address.begin(), address.end());
    socket_.send_to(boost::asio::buffer(reply), from_);
  }

  udp::socket socket_;
  int rcode_;
  udp::endpoint from_;
  std::array<std::uint8_t, 512> query_{};
  std::vector<std::string> asked_;
};

Endpoint at(const char* address, std::uint16_t port = kDns) { return {*parse_address(address), Port{port}}; }

struct Outcome {
  int rcode = -1, answers = -1, calls = 0;
  std::string words;
  double seconds = 0;
};

Outcome ask(boost::asio::io_context& loop, Resolver& resolver, const char* name) {
  Outcome outcome;
  const auto start = std::chrono::steady_clock::now();
  resolver.ask(name, kA, [&](Resolver::Reply reply) {
    ++outcome.calls;
    outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (!reply.message) {
      outcome.words = reply.message.error();
    } else if (reply.message->size() > 11) {
      outcome.rcode = std::to_integer<int>((*reply.message)[3]) & 15;
      outcome.answers = std::to_integer<int>((*reply.message)[7]);
    }
    loop.stop();
  });
  loop.restart();
  loop.run_for(std::chrono::seconds{40});
  return outcome;
}

void test_failover() {
  struct Case {
    const char* what;
    std::optional<int> first;  // nullopt: nobody listens there
    double most;               // seconds
  };
  for (const auto& [what, first, most] :
       {Case{"answers", 0, 0.5}, Case{"does not listen", {}, 0.5}, Case{"says SERVFAIL", kServFail, 0.5},
        Case{"says REFUSED", kRefused, 0.5}, Case{"is silent", kSilent, 2}}) {
    boost::asio::io_context loop;
    std::optional<Server> one;
    if (first) one.emplace(loop, "127.0.0.2", *first);
    Server other{loop, "127.0.0.3", 0};
    Resolver resolver{loop, {at("127.0.0.2"), at("127.0.0.3")}};
    const auto outcome = ask(loop, resolver, "login.icq.com");
    expect(outcome.answers == 1 && outcome.seconds < most && other.asked().empty() == (first == 0),
           fmt::format("first server {}: an address after {:.1f} ms", what, outcome.seconds * 1000));
  }
  boost::asio::io_context loop;
  Server one{loop, "127.0.0.2", kServFail};
  Server other{loop, "127.0.0.3", kRefused};
  Resolver resolver{loop, {at("127.0.0.2"), at("127.0.0.3")}};
  const auto outcome = ask(loop, resolver, "login.icq.com");
  expect(outcome.rcode == kServFail && outcome.calls == 1 && one.asked().size() + other.asked().size() <= 4,
         fmt::format("neither does well: the first one's answer, after {} questions",
                     one.asked().size() + other.asked().size()));
}

// This process' own /etc/resolv.conf.
class SystemFile {
 public:
  SystemFile() {
    char pattern[] = "/tmp/sys_smoke.XXXXXX";
    const int fd = mkstemp(pattern);
    char real[PATH_MAX];
    if (fd < 0 || unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        realpath(Resolver::kSystemFile, real) == nullptr ||
        mount(pattern, real, nullptr, MS_BIND, nullptr) != 0) {
      give_up("a resolv.conf of our own");
    }
    close(fd);
    (void)chmod(pattern, 0644);
    path_ = pattern;
    mounted_ = real;
  }
  ~SystemFile() {
    (void)umount2(mounted_.c_str(), MNT_DETACH);
    (void)unlink(path_.c_str());
  }
  SystemFile(const SystemFile&) = delete;
  SystemFile& operator=(const SystemFile&) = delete;
  void say(std::string_view text) const { std::ofstream{path_, std::ios::trunc} << text; }

 private:
  std::string path_, mounted_;
};

void test_system_file() {
  const SystemFile file;
  file.say("search example.org icq.com\noptions ndots:5 attempts:1 timeout:1\nnameserver 127.0.0.2\n");
  setenv("LOCALDOMAIN", "example.net", 1);
  boost::asio::io_context loop;
  Server one{loop, "127.0.0.2", kNxDomain};
  Server other{loop, "127.0.0.3", 0};
  Resolver resolver{loop, {}};
  expect(resolver.servers() == std::vector{at("127.0.0.2")}, "the servers are those of resolv.conf");
  for (const char* name : {"login", "login.icq.com", "login.icq.com."}) {
    const auto outcome = ask(loop, resolver, name);
    expect(outcome.rcode == kNxDomain && outcome.calls == 1, fmt::format("{}: NXDOMAIN", name));
  }
  expect(one.asked() == std::vector<std::string>{"login.", "login.icq.com.", "login.icq.com."},
         "no search domain was tried");

  file.say("nameserver 127.0.0.3\nnameserver 2001:db8::53\n");
  expect(ask(loop, resolver, "login.icq.com").rcode == kNxDomain, "not read again by itself");
  resolver.reload();
  expect(resolver.servers() == std::vector{at("127.0.0.3"), at("2001:db8::53")} &&
             ask(loop, resolver, "login.icq.com").answers == 1,
         "reload() does");
  file.say("# nobody\n");
  resolver.reload();
  expect(resolver.servers() == std::vector{at("127.0.0.1")}, "no server named: the host's own");
  unsetenv("LOCALDOMAIN");

  Resolver given{loop, {at("127.0.0.3", 0), at("2001:db8::1", 5353)}};
  expect(given.servers() == std::vector{at("127.0.0.3"), at("2001:db8::1", 5353)}, "servers given stay");
}

void test_no_descriptors() {
  const SystemFile file;
  file.say("nameserver 127.0.0.2\n");
  boost::asio::io_context loop;
  Server one{loop, "127.0.0.2", 0};
  Server other{loop, "127.0.0.3", 0};
  Resolver resolver{loop, {}};
  rlimit before{};
  (void)getrlimit(RLIMIT_NOFILE, &before);
  const rlimit none{0, before.rlim_max};
  const auto without = [&](const auto& step) {
    (void)setrlimit(RLIMIT_NOFILE, &none);
    step();
    (void)setrlimit(RLIMIT_NOFILE, &before);
  };
  Outcome outcome;
  without([&] { outcome = ask(loop, resolver, "login.icq.com"); });
  expect(outcome.calls == 1 && outcome.words == "socket: Too many open files" && outcome.seconds < 1,
         fmt::format("no descriptor left: {} after {:.1f} s", outcome.words, outcome.seconds));
  file.say("nameserver 127.0.0.3\n");
  without([&] {
    resolver.reload();
    outcome = ask(loop, resolver, "login.icq.com");
  });
  expect(outcome.calls == 1 && !outcome.words.empty() && resolver.servers() == std::vector{at("127.0.0.2")},
         "and none to read resolv.conf with: the servers stay");
  expect(
      ask(loop, resolver, "login.icq.com").answers == 1 && resolver.servers() == std::vector{at("127.0.0.3")},
      "descriptors again: it is read, and asked");

  std::optional<Resolver> late;
  without([&] {
    late.emplace(loop, std::vector<Endpoint>{});
    outcome = ask(loop, *late, "login.icq.com");
  });
  expect(outcome.words == "resolver: /etc/resolv.conf: open: Too many open files",
         "none from the beginning: " + outcome.words);
  expect(ask(loop, *late, "login.icq.com").answers == 1, "descriptors again: an address");
}

}  // namespace

void test_servers() {
  test_failover();
  test_system_file();
  test_no_descriptors();
}

}  // namespace icqgate::smoke
