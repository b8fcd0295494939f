// SPDX-License-Identifier: GPL-2.0-or-later
// The DNS server of a gateway's program that asks by itself. Every question for A gets an answer of 8 new
// addresses, all others none. A line with a number on standard input measures so many answers, one after the
// other: from the answer's arrival at the gateway's interface to the kernel's event that the last of its
// addresses is in the set. A question that comes meanwhile waits in the socket, so that no two answers meet.
//
// usage: answered SERVER-NETNS ADDRESS GATEWAY-NETNS SET TTL
// prints "ready", and {"times": [ns, ...]} for each line; ends with its standard input
#define _GNU_SOURCE
#include "dns.h"

static int server;
static size_t answers;  // so far

// Answers the next question. -> nanoseconds, 0 for one that has no addresses, and for one that is not watched
static uint64_t answer_one(struct Watch* watch, unsigned ttl, int measure) {
  struct Question question;
  receive_question(server, &question);
  if (question.type != kTypeA) {
    send_answer(server, &question, 0, ttl);
    return 0;
  }
  const uint32_t addresses = addresses_of(answers++);
  expect_elements(watch, addresses);
  send_answer(server, &question, addresses, ttl);
  if (!measure) return 0;
  while (watch->complete == 0) {
    wait_for(mnl_socket_get_fd(watch->events), -1, "the addresses of an answer in the set");
    read_events(watch);
  }
  const uint64_t arrived = last_arrival(watch);
  if (arrived == 0) fail("the gateway has got no DNS answer, yet its set has the addresses");
  return watch->complete - arrived;
}

int main(int argc, char** argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: %s SERVER-NETNS ADDRESS GATEWAY-NETNS SET TTL\n", argv[0]);
    return 2;
  }
  const unsigned ttl = (unsigned)strtoul(argv[5], NULL, 10);
  enter(argv[1]);
  server = bound_udp(endpoint(argv[2], 53));
  limit_waits(server, 10);
  struct Watch watch;
  open_watch(&watch, argv[3], argv[4]);
  puts("ready");
  fflush(stdout);
  for (;;) {
    struct pollfd readable[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = server, .events = POLLIN}};
    if (poll(readable, 2, -1) < 0) fail("poll");
    if (readable[0].revents == 0) {
      answer_one(&watch, ttl, 0);
      continue;
    }
    char line[32];
    const ssize_t size = read(STDIN_FILENO, line, sizeof line - 1);
    if (size <= 0) return 0;
    line[size] = '\0';
    const size_t count = strtoul(line, NULL, 10);
    uint64_t* times = calloc(count, sizeof *times);
    for (size_t done = 0; done < count;) {
      times[done] = answer_one(&watch, ttl, 1);
      done += times[done] != 0;
    }
    printf("{");
    print_times("times", times, count);
    printf("}\n");
    fflush(stdout);
    free(times);
  }
}
