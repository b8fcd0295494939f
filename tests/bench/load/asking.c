// SPDX-License-Identifier: GPL-2.0-or-later
// A DNS client behind a gateway, and the server that its questions reach in the end, through the gateway or
// through a forwarder on it. One question at a time, for one name, with a pause between two; every answer has
// 8 addresses. The time is taken from the client's send() to its recv(). With a set to watch, a second time:
// from the answer's arrival at the gateway to the kernel's event that the last address is in the set, and
// `before` counts the answers whose addresses were in it when the client had its answer.
//
// usage: asking SERVER-NETNS ADDRESS CLIENT-NETNS ASKED-ADDRESS ASKED-PORT NAME COUNT FIRST-ANSWER
// fresh|known
//               TTL PAUSE-US [GATEWAY-NETNS SET]
//        fresh: other addresses in every answer; known: always those of FIRST-ANSWER
// prints {"times": [ns, ...], "inserted": [ns, ...], "before": N}; `inserted` is empty and `before` 0 without
// a set
#define _GNU_SOURCE
#include "dns.h"

static size_t build_question(unsigned char* out, unsigned id, const char* name) {
  memset(out, 0, 12);
  put_u16be(out, id);
  out[2] = 1;  // recursion desired
  out[5] = 1;
  size_t at = 12;
  while (*name != '\0') {
    const size_t length = strcspn(name, ".");
    if (length == 0 || length > 63 || at + length + 6 > kMessageRoom) fail("'%s' is no domain name", name);
    out[at++] = (unsigned char)length;
    memcpy(out + at, name, length);
    at += length;
    name += length + (name[length] == '.');
  }
  memcpy(out + at, "\0\0\1\0\1", 5);
  return at + 5;
}

static void check_answer(int client, unsigned id, uint32_t first) {
  unsigned char message[kMessageRoom];
  const ssize_t size = recv(client, message, sizeof message, MSG_DONTWAIT);
  if (size < 12 || u16be(message) != id) fail("the client has got something else than its answer");
  if ((message[3] & 15) != 0 || u16be(message + 6) != kPerAnswer)
    fail("rcode %d and %u records in the client's answer", message[3] & 15, u16be(message + 6));
  const uint32_t address = htonl(first);
  if (memmem(message, (size_t)size, &address, sizeof address) == NULL) fail("an answer from some cache");
}

int main(int argc, char** argv) {
  if (argc != 12 && argc != 14) {
    fprintf(stderr,
            "usage: %s SERVER-NETNS ADDRESS CLIENT-NETNS ASKED-ADDRESS ASKED-PORT NAME COUNT FIRST-ANSWER "
            "fresh|known TTL PAUSE-US [GATEWAY-NETNS SET]\n",
            argv[0]);
    return 2;
  }
  const struct sockaddr_in asked = endpoint(argv[4], strtoul(argv[5], NULL, 10));
  const size_t count = strtoul(argv[7], NULL, 10);
  const size_t first = strtoul(argv[8], NULL, 10);
  const int fresh = strcmp(argv[9], "fresh") == 0;
  const unsigned ttl = (unsigned)strtoul(argv[10], NULL, 10);
  const useconds_t pause = (useconds_t)strtoul(argv[11], NULL, 10);
  const int watching = argc == 14;
  alarm(300);
  enter(argv[1]);
  const int server = bound_udp(endpoint(argv[2], 53));
  limit_waits(server, 10);
  enter(argv[3]);
  const int client = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (client < 0 || connect(client, (const struct sockaddr*)&asked, sizeof asked) < 0) fail("connect");
  struct Watch watch;
  if (watching) open_watch(&watch, argv[12], argv[13]);

  uint64_t* times = calloc(count, sizeof *times);
  uint64_t* inserted = calloc(count, sizeof *inserted);
  size_t before = 0;
  for (size_t i = 0; i < count; ++i) {
    const unsigned id = (unsigned)(i + 1) & 0xffff;
    const uint32_t addresses = addresses_of(fresh ? first + i : first);
    unsigned char message[kMessageRoom];
    const size_t size = build_question(message, id, argv[6]);
    if (pause != 0) usleep(pause);
    if (watching) expect_elements(&watch, addresses);

    const uint64_t start = now_ns();
    if (send(client, message, size, 0) != (ssize_t)size) fail("a question could not be sent");
    struct Question question;
    receive_question(server, &question);
    send_answer(server, &question, addresses, ttl);
    if (!watching) {
      wait_for(client, -1, "the client's answer");
      times[i] = now_ns() - start;
      check_answer(client, id, addresses);
      continue;
    }
    while (times[i] == 0 || watch.complete == 0) {
      wait_for(times[i] == 0 ? client : -1, mnl_socket_get_fd(watch.events), "an answer and its addresses");
      read_events(&watch);
      struct pollfd answer = {.fd = client, .events = POLLIN};
      if (times[i] != 0 || poll(&answer, 1, 0) == 0) continue;
      times[i] = now_ns() - start;
      check_answer(client, id, addresses);
      read_events(&watch);  // those that were on their way while the answer was
      before += watch.complete != 0;
    }
    const uint64_t arrived = last_arrival(&watch);
    if (arrived == 0) fail("the gateway has got no DNS answer, yet its set has the addresses");
    inserted[i] = watch.complete - arrived;
  }
  printf("{");
  print_times("times", times, count);
  printf(", ");
  print_times("inserted", inserted, watching ? count : 0);
  printf(", \"before\": %zu}\n", before);
  return 0;
}
