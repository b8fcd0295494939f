// SPDX-License-Identifier: GPL-2.0-or-later
// Tries the wrappers of src/sys on the running kernel, in a network namespace that this program makes for
// itself. Usage (root): sys_smoke [queue|conntrack|flows|nftables|table|names|interfaces|resolver|servers|
// files|state|bench [SECONDS]|bench-flows [COUNT]]...; none: all but the two last.
#include "sys_smoke.hpp"

#include <arpa/inet.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "sys/ruleset_loader.hpp"

namespace icqgate::smoke {

namespace {
int failed = 0;
int passed = 0;
}  // namespace

void expect(bool holds, std::string_view what) {
  ++(holds ? passed : failed);
  fmt::print("  {} {}\n", holds ? "ok    " : "FAILED", what);
  std::fflush(stdout);
}

void give_up(std::string_view what) {
  fmt::print("  FAILED {} (ending here)\n", what);
  std::exit(1);
}

bool shell(const std::string& command) {
  return std::system(("out=$( (" + command + ") 2>&1) || { echo \"$out\" >&2; exit 1; }").c_str()) == 0;
}

double slow_factor() {
  const char* const given = std::getenv("SYS_SMOKE_SLOW");
  return given != nullptr ? std::max(1.0, std::atof(given)) : 1.0;
}

sockaddr_in socket_address(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

sys::UniqueFd udp_socket(std::uint16_t port) {
  sys::UniqueFd fd{socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  const int size = 8 << 20;
  (void)setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  (void)setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
  const auto address = socket_address(port);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) give_up("bind");
  return fd;
}

bool send_udp(const sys::UniqueFd& socket, std::uint16_t port, std::string_view payload) {
  const auto to = socket_address(port);
  return sendto(socket.get(), payload.data(), payload.size(), 0, reinterpret_cast<const sockaddr*>(&to),
                sizeof to) == static_cast<ssize_t>(payload.size());
}

bool readable(int fd, int milliseconds) {
  pollfd entry{fd, POLLIN, 0};
  return poll(&entry, 1, milliseconds) == 1;
}

std::string receive_udp(const sys::UniqueFd& socket, int milliseconds) {
  std::string payload(0x10000, '\0');
  if (!readable(socket.get(), milliseconds)) return {};
  const ssize_t size = recv(socket.get(), payload.data(), payload.size(), 0);
  payload.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  return payload;
}

void queue_udp(std::uint16_t port, std::uint16_t queue) {
  static bool told = false;
  const std::string native = fmt::format(
      "table ip smoke {{ chain input {{ type filter hook input priority 0; "
      "meta mark 0x2000000 accept; udp dport {} queue num {}; }}; }}",
      port, queue);
  const bool has_native = sys::load_ruleset(native, sys::DryRun::No).has_value();
  if (!has_native &&
      !shell(fmt::format("iptables-nft -I INPUT -p udp --dport {} -j NFQUEUE --queue-num {} && "
                         "iptables-nft -I INPUT -m mark --mark 0x2000000 -j ACCEPT",
                         port, queue))) {
    give_up("no way to queue a packet");
  }
  if (!std::exchange(told, true)) {
    fmt::print("  queueing by the {}\n", has_native ? "queue statement" : "xt target");
  }
}

}  // namespace icqgate::smoke

int main(int argc, char** argv) {
  using namespace icqgate::smoke;
  if (unshare(CLONE_NEWNET) != 0) give_up("unshare(CLONE_NEWNET): needs root");
  if (!shell("ip link set lo up")) give_up("ip link set lo up");

  std::vector<std::string_view> wanted(argv + 1, argv + argc);
  if (wanted.empty())
    wanted = {"queue",      "conntrack", "flows",   "nftables", "table", "names",
              "interfaces", "resolver",  "servers", "files",    "state"};
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    fmt::print("{}\n", wanted[i]);
    if (wanted[i] == "queue") {
      test_queue();
    } else if (wanted[i] == "conntrack") {
      test_conntrack();
    } else if (wanted[i] == "flows") {
      test_flows();
    } else if (wanted[i] == "nftables") {
      test_nftables();
    } else if (wanted[i] == "table") {
      test_table();
    } else if (wanted[i] == "names") {
      test_names();
    } else if (wanted[i] == "interfaces") {
      test_interfaces();
    } else if (wanted[i] == "resolver") {
      test_resolver();
    } else if (wanted[i] == "servers") {
      test_servers();
    } else if (wanted[i] == "files") {
      test_files();
    } else if (wanted[i] == "state") {
      test_state();
    } else if (wanted[i] == "bench") {
      const double seconds = i + 1 < wanted.size() ? std::atof(argv[i + 2]) : 0;
      bench_queue(seconds > 0 ? seconds : 3);
      if (seconds > 0) ++i;
    } else if (wanted[i] == "bench-flows") {
      const int count = i + 1 < wanted.size() ? std::atoi(argv[i + 2]) : 0;
      bench_flows(count > 0 ? static_cast<std::uint32_t>(count) : 50'000);
      if (count > 0) ++i;
    } else {
      give_up("unknown part");
    }
  }
  fmt::print("{} passed, {} failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
