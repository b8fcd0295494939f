// SPDX-License-Identifier: GPL-2.0-or-later
// What the load programs share: network namespaces, the clock, and ending with a reason. Every program makes
// the sockets of both ends itself, each in its namespace, so that one clock times both and no other process
// stands between.
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

__attribute__((format(printf, 1, 2), noreturn)) static inline void fail(const char* format, ...) {
  const int code = errno;
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fprintf(stderr, " (errno %d: %s)\n", code, strerror(code));
  exit(1);
}

static inline uint64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

// Sockets made from here on belong to that namespace.
static inline void enter(const char* namespace_path) {
  const int fd = open(namespace_path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, CLONE_NEWNET) < 0) fail("%s", namespace_path);
  close(fd);
}

static inline struct sockaddr_in endpoint(const char* address, unsigned long port) {
  struct sockaddr_in result = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (inet_pton(AF_INET, address, &result.sin_addr) != 1) fail("'%s' is no IPv4 address", address);
  return result;
}

static inline void set_option(int fd, int level, int name, int value) {
  if (setsockopt(fd, level, name, &value, sizeof value) < 0) fail("setsockopt %d %d", level, name);
}

static inline int listen_on(struct sockaddr_in where, int flags) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
  if (fd < 0) fail("socket");
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (bind(fd, (struct sockaddr*)&where, sizeof where) < 0) fail("bind to port %u", ntohs(where.sin_port));
  if (listen(fd, 4096) < 0) fail("listen");
  return fd;
}

// No call on this socket waits longer.
static inline void limit_waits(int fd, long seconds) {
  const struct timeval limit = {.tv_sec = seconds};
  if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0 ||
      setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0)
    fail("SO_RCVTIMEO");
}

// close() then sends a reset: no port stays in TIME_WAIT, and a run can make more connections than there are
// ports.
static inline void close_with_reset(int fd) {
  const struct linger none = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
  close(fd);
}

static inline void print_times(const char* name, const uint64_t* times, size_t count) {
  printf("\"%s\": [", name);
  for (size_t i = 0; i < count; ++i) printf("%s%llu", i ? "," : "", (unsigned long long)times[i]);
  printf("]");
}

static inline void put_u16be(unsigned char* at, unsigned value) {
  at[0] = (unsigned char)(value >> 8);
  at[1] = (unsigned char)value;
}

static inline void put_u32le(unsigned char* at, uint32_t value) {
  for (int i = 0; i < 4; ++i) at[i] = (unsigned char)(value >> 8 * i);
}

// PEER_INIT of version 8 (protocol.md 6.2): 2 bytes of length and a body of 48.
enum { kHandshakeSize = 50, kAnswerSize = 54 };

static inline void build_handshake(unsigned char* out, uint32_t to_uin) {
  memset(out, 0, kHandshakeSize);
  out[0] = 0x30;
  out[2] = 0xff;
  out[3] = 8;
  out[5] = 0x2b;
  put_u32le(out + 7, to_uin);
  put_u32le(out + 13, 30001);   // the port that the connector listens on
  put_u32le(out + 17, 200002);  // its own UIN
  out[29] = 4;
  put_u32le(out + 30, 30001);
  put_u32le(out + 38, 80);
  put_u32le(out + 42, 3);
}

// PEER_ACK and the listener's own PEER_INIT.
static inline void build_answer(unsigned char* out, uint32_t own_uin) {
  memset(out, 0, kAnswerSize);
  out[0] = 1;
  build_handshake(out + 4, 200002);
  put_u32le(out + 4 + 17, own_uin);
}

static inline void read_all(int fd, void* to, size_t size, const char* what) {
  size_t have = 0;
  while (have < size) {
    const ssize_t got = recv(fd, (char*)to + have, size - have, 0);
    if (got <= 0) fail("%s: %zu of %zu bytes came", what, have, size);
    have += (size_t)got;
  }
}

static inline void write_all(int fd, const void* from, size_t size, const char* what) {
  if (send(fd, from, size, MSG_NOSIGNAL) != (ssize_t)size) fail("%s: could not be sent", what);
}
