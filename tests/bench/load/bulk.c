// SPDX-License-Identifier: GPL-2.0-or-later
// One TCP connection, as many bytes as go through in a time. With a UIN the connection begins as one between
// peers (PEER_INIT, answer); with UIN 0 as no protocol at all.
//
// usage: bulk RECEIVER-NETNS ADDRESS PORT UIN CONNECTOR-NETNS SECONDS up|down
//        up: the connector sends, the listener receives; down: the other way
// prints {"bytes": N, "seconds": S}
#define _GNU_SOURCE
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "bench.h"

enum { kChunk = 256 * 1024 };
static char chunk[kChunk];

static void send_for(int fd, double seconds) {
  const uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
  while (now_ns() < end)
    if (send(fd, chunk, sizeof chunk, MSG_NOSIGNAL) <= 0) fail("the receiver has gone");
  shutdown(fd, SHUT_WR);
}

struct Result {
  unsigned long long bytes;
  double seconds;
};

static struct Result receive(int fd) {
  struct Result result = {0, 0};
  uint64_t first = 0, last = 0;
  for (;;) {
    const ssize_t got = recv(fd, chunk, sizeof chunk, 0);
    if (got < 0) fail("receiving after %llu bytes", result.bytes);
    if (got == 0) break;
    last = now_ns();
    if (first == 0) first = last;
    result.bytes += (unsigned long long)got;
  }
  result.seconds = (double)(last - first) / 1e9;
  return result;
}

static struct Result one_end(int fd, int sends, double seconds) {
  limit_waits(fd, 5);
  struct Result result = {0, 0};
  if (sends) {
    send_for(fd, seconds);
    char rest;
    recv(fd, &rest, 1, 0);  // until the other end has everything
  } else {
    result = receive(fd);
  }
  close(fd);
  return result;
}

int main(int argc, char** argv) {
  if (argc != 8) {
    fprintf(stderr, "usage: %s LISTENER-NETNS ADDRESS PORT UIN CONNECTOR-NETNS SECONDS up|down\n", argv[0]);
    return 2;
  }
  const struct sockaddr_in to = endpoint(argv[2], strtoul(argv[3], NULL, 10));
  const uint32_t uin = (uint32_t)strtoul(argv[4], NULL, 10);
  const double seconds = strtod(argv[6], NULL);
  const int up = strcmp(argv[7], "up") == 0;
  alarm((unsigned)seconds + 20);
  unsigned char handshake[kHandshakeSize], answer[kAnswerSize];
  build_handshake(handshake, uin);
  build_answer(answer, uin);
  int pipes[2];
  if (pipe(pipes) < 0) fail("pipe");

  enter(argv[1]);
  const int listener = listen_on(to, 0);
  const pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int fd = accept(listener, NULL, NULL);
    if (fd < 0) fail("accept");
    limit_waits(fd, 5);
    if (uin != 0) {
      read_all(fd, handshake, sizeof handshake, "PEER_INIT");
      write_all(fd, answer, sizeof answer, "the answer");
    }
    const struct Result result = one_end(fd, !up, seconds);
    return write(pipes[1], &result, sizeof result) == sizeof result ? 0 : 1;
  }
  close(listener);
  enter(argv[5]);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  limit_waits(fd, 5);
  if (connect(fd, (const struct sockaddr*)&to, sizeof to) < 0) fail("connect");
  if (uin != 0) {
    write_all(fd, handshake, sizeof handshake, "PEER_INIT");
    read_all(fd, answer, sizeof answer, "the answer");
  }
  struct Result result = one_end(fd, up, seconds);
  struct Result other;
  if (read(pipes[0], &other, sizeof other) != sizeof other) fail("the listener ended early");
  waitpid(child, NULL, 0);
  if (up) result = other;
  printf("{\"bytes\": %llu, \"seconds\": %.6f}\n", result.bytes, result.seconds);
  return 0;
}
