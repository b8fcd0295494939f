// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <fmt/format.h>
#include <netinet/in.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "net/address.hpp"
#include "sys/error.hpp"
#include "sys/unique_fd.hpp"

namespace icqgate::smoke {

// Counts and prints; a failed one does not stop the others.
void expect(bool holds, std::string_view what);
// Ends the program: what follows makes no sense without it.
[[noreturn]] void give_up(std::string_view what);

template <class T, class E>
T must(Result<T, E> result, std::string_view what) {
  if (result) return std::move(*result);
  if constexpr (std::is_same_v<E, sys::SysError>) {
    give_up(fmt::format("{}: {}", what, to_string(result.error())));
  } else if constexpr (std::is_same_v<E, std::string>) {
    give_up(fmt::format("{}: {}", what, result.error()));
  } else {
    give_up(what);
  }
}

// True if the command ended with 0. Its output is left out unless it fails.
bool shell(const std::string& command);

// What times are to be multiplied by on an emulated machine: SYS_SMOKE_SLOW, or 1.
double slow_factor();

inline constexpr Ipv4 kLoopback = make_ipv4(127, 0, 0, 1);

sockaddr_in socket_address(std::uint16_t port);
sys::UniqueFd udp_socket(std::uint16_t port);  // 0: unbound
bool send_udp(const sys::UniqueFd& socket, std::uint16_t port, std::string_view payload);
std::string receive_udp(const sys::UniqueFd& socket, int milliseconds = 200);  // "": nothing came
bool readable(int fd, int milliseconds);

// Sends UDP packets to `port` of this host into a queue: the native statement where the kernel has it, else
// the xt target (iptables-nft). A packet mark of 0x2000000 gets past the queue.
void queue_udp(std::uint16_t port, std::uint16_t queue);

void test_queue();
void bench_queue(double seconds);
void test_conntrack();
void test_flows();
void bench_flows(std::uint32_t count);
void test_nftables();
void test_table();
void test_names();
void test_interfaces();
void test_resolver();
void test_servers();
void test_files();
void test_state();

}  // namespace icqgate::smoke
