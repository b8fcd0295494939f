// SPDX-License-Identifier: GPL-2.0-or-later
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <csignal>
#include <map>
#include <vector>

#include "sys/resolver.hpp"
#include "sys_smoke.hpp"

namespace icqgate::smoke {

namespace {

using sys::Resolver;
constexpr std::uint16_t kDnsPort = 5301, kA = 1, kTxt = 16;

// A dnsmasq of our own in this namespace, ended with the object.
class Dnsmasq {
 public:
  Dnsmasq() : child_{fork()} {
    if (child_ != 0) return;
    std::vector<std::string> words{"dnsmasq",
                                   "--keep-in-foreground",
                                   "--conf-file=/dev/null",
                                   "--no-resolv",
                                   "--no-hosts",
                                   "--user=root",
                                   "--pid-file=",
                                   "--listen-address=127.0.0.1",
                                   "--bind-interfaces",
                                   fmt::format("--port={}", kDnsPort),
                                   "--host-record=login.icq.com,192.0.2.1,60",
                                   "--host-record=login.icq.com,192.0.2.2,60",
                                   "--local=/icq.com/"};
    for (int i = 0; i < 12; ++i) {  // more than 512 bytes: the answer comes over TCP
      words.push_back("--txt-record=long.icq.com," + std::string(200, static_cast<char>('a' + i)));
    }
    std::vector<char*> arguments;
    for (auto& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    execvp("dnsmasq", arguments.data());
    std::_Exit(127);
  }
  ~Dnsmasq() {
    kill(child_, SIGTERM);
    waitpid(child_, nullptr, 0);
  }

 private:
  pid_t child_;
};

Endpoint server(std::uint16_t port) { return {kLoopback, Port{port}}; }

struct Answer {
  std::vector<std::byte> message;
  std::string words;
  int calls = 0;
  double seconds = 0;
  [[nodiscard]] int rcode() const { return message.size() > 3 ? std::to_integer<int>(message[3]) & 15 : -1; }
  [[nodiscard]] int answers() const { return message.size() > 7 ? std::to_integer<int>(message[7]) : -1; }
};

Resolver::Callback into(Answer& answer) {
  return [&answer, start = std::chrono::steady_clock::now()](Resolver::Reply reply) {
    ++answer.calls;
    answer.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (reply.message) {
      answer.message = *reply.message;
    } else {
      answer.words = reply.message.error();
    }
  };
}

Answer ask(std::vector<Endpoint> servers, const char* name, std::uint16_t qtype) {
  boost::asio::io_context loop;
  Resolver resolver{loop, std::move(servers)};
  Answer answer;
  resolver.ask(name, qtype, into(answer));
  if (answer.calls != 0) expect(false, "the callback came from inside ask()");
  loop.run_for(std::chrono::seconds{30});
  return answer;
}

int open_descriptors() {
  int count = 0;
  for (int fd = 0; fd < 256; ++fd) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

}  // namespace

void test_resolver() {
  const Dnsmasq dnsmasq;
  Answer first;
  for (int i = 0; i < 50 && first.message.empty(); ++i) {
    first = ask({server(kDnsPort)}, "login.icq.com", kA);
    usleep(100'000);
  }
  expect(first.rcode() == 0 && first.answers() == 2 && first.calls == 1,
         fmt::format("two addresses ({} {})", first.answers(), first.words));
  const int descriptors = open_descriptors();
  expect(ask({server(kDnsPort)}, "login.icq.com.", kA).answers() == 2, "a name with its final dot");
  const auto nothing = ask({server(kDnsPort)}, "nothere.icq.com", kA);
  expect(nothing.rcode() == 3, "NXDOMAIN comes as a message");
  const auto no_data = ask({server(kDnsPort)}, "login.icq.com", 28);
  expect(no_data.rcode() == 0 && no_data.answers() == 0, "NODATA comes as a message");
  const auto large = ask({server(kDnsPort)}, "long.icq.com", kTxt);
  expect(large.message.size() > 2000, fmt::format("TCP after a cut answer ({} bytes)", large.message.size()));
  const auto refused = ask({server(kDnsPort)}, "elsewhere.example", kA);
  expect(refused.rcode() == 5 && refused.calls == 1, "REFUSED comes as a message " + refused.words);
  const auto closed = ask({server(1)}, "login.icq.com", kA);
  expect(closed.words == "connection refused", "no server at that port: " + closed.words);
  expect(ask({server(1), server(kDnsPort)}, "login.icq.com", kA).answers() == 2,
         "the second server stands in");
  const auto wrong = ask({server(kDnsPort)}, "a..b", kA);
  expect(!wrong.words.empty() && wrong.calls == 1, "not a name: " + wrong.words);
  expect(ask({server(kDnsPort)}, std::string(300, 'a').c_str(), kA).calls == 1,
         "a label too long is answered");

  const auto silent = udp_socket(5302);
  const auto late = ask({server(5302)}, "login.icq.com", kA);
  expect(late.words == "timed out" && late.seconds > 2.9 && late.seconds < 15,
         fmt::format("a silent server: {} after {:.1f} s", late.words, late.seconds));

  {
    boost::asio::io_context loop;
    Resolver resolver{loop, {server(kDnsPort)}};
    std::map<int, Answer> many;
    for (int i = 0; i < 200; ++i) resolver.ask("login.icq.com", kA, into(many[i]));
    loop.run_for(std::chrono::seconds{30});
    int good = 0;
    for (const auto& [_, answer] : many) good += answer.answers() == 2 && answer.calls == 1;
    expect(good == 200, fmt::format("200 questions at once ({})", good));

    Answer reloaded, from_callback;
    resolver.ask("login.icq.com", kA, into(reloaded));
    resolver.reload();
    resolver.ask("login.icq.com", kA, [&](Resolver::Reply) {
      resolver.reload();
      resolver.ask("login.icq.com", kA, into(from_callback));
    });
    loop.restart();
    loop.run_for(std::chrono::seconds{10});
    expect(reloaded.answers() == 2 && reloaded.calls == 1, "a question under way survives reload()");
    expect(from_callback.answers() == 2, "reload() and ask() from inside a callback");
  }
  {
    boost::asio::io_context loop;
    Answer never;
    auto resolver = std::make_unique<Resolver>(loop, std::vector{server(5302)});
    resolver->ask("login.icq.com", kA, into(never));
    resolver->ask("a..b", kA, into(never));
    resolver.reset();
    loop.run_for(std::chrono::seconds{1});
    expect(never.calls == 0, "no callback after the destructor");
  }
  expect(open_descriptors() == descriptors + 1, "no descriptor is left open");
}

}  // namespace icqgate::smoke
