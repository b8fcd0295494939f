// SPDX-License-Identifier: GPL-2.0-or-later
// OSCAR sessions through a gateway: many clients, each with an address of its own, and the server they talk
// to. The clients come with a cookie and the server names their UIN (protocol.md 1.6): a session as it looks
// when the login itself went over HTTPS. Then they announce their listening port one after the other, and the
// time is taken from the client's send() to the server's having read it.
//
// usage: sessions SERVER-NETNS ADDRESS PORT CLIENT-NETNS FIRST-ADDRESS COUNT FIRST-UIN LISTENING-PORT [hold]
// prints {"online": N, "seconds": S, "times": [ns, ...]}; with `hold` it then stays until its standard input
// ends
#define _GNU_SOURCE
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "bench.h"

enum { kPatience = 5, kMost = 60000, kGroup = 400 };

struct Session {
  int client;
  int server;
};

static unsigned sequence;

static size_t flap(unsigned char* out, unsigned channel, size_t length) {
  out[0] = 0x2a;
  out[1] = (unsigned char)channel;
  put_u16be(out + 2, sequence++ & 0x7fff);
  put_u16be(out + 4, (unsigned)length);
  return 6 + length;
}

static size_t snac(unsigned char* out, unsigned family, unsigned subtype, size_t body) {
  memset(out + 6, 0, 10);
  put_u16be(out + 6, family);
  put_u16be(out + 8, subtype);
  return flap(out, 2, 10 + body);
}

static size_t server_hello(unsigned char* out) {
  memcpy(out + 6, "\0\0\0\1", 4);
  return flap(out, 1, 4);
}

static size_t client_hello(unsigned char* out, uint32_t uin) {
  enum { kCookie = 256 };
  memcpy(out + 6, "\0\0\0\1", 4);
  put_u16be(out + 10, 6);
  put_u16be(out + 12, kCookie);
  memset(out + 14, 0x5a, kCookie);
  put_u32le(out + 14, uin);
  return flap(out, 1, 8 + kCookie);
}

// (01,03), then (01,0F): the server's word for who it is.
static size_t welcome(unsigned char* out, uint32_t uin) {
  static const unsigned char families[] = {0, 1, 0, 2, 0, 3, 0, 4};
  memcpy(out + 16, families, sizeof families);
  size_t used = snac(out, 1, 3, sizeof families);
  unsigned char* info = out + used;
  const int digits = sprintf((char*)info + 17, "%u", uin);
  info[16] = (unsigned char)digits;
  unsigned char* rest = info + 17 + digits;
  memset(rest, 0, 4);
  put_u16be(rest + 2, 1);  // one TLV: the user class
  put_u16be(rest + 4, 1);
  put_u16be(rest + 6, 2);
  put_u16be(rest + 8, 0x50);
  return used + snac(info, 1, 0x0f, (size_t)(1 + digits + 4 + 6));
}

// (01,1E) with TLV 0x06 and a TLV 0x0C of 37 bytes (protocol.md 4.2).
static size_t announcement(unsigned char* out, unsigned port) {
  unsigned char* body = out + 16;
  memset(body, 0, 8 + 4 + 37);
  put_u16be(body, 6);
  put_u16be(body + 2, 4);
  put_u16be(body + 8, 0x0c);
  put_u16be(body + 10, 37);
  put_u16be(body + 12 + 6, port);
  body[12 + 8] = 4;
  put_u16be(body + 12 + 9, 8);
  return snac(out, 1, 0x1e, 8 + 4 + 37);
}

static struct Session come_online(int listener, struct sockaddr_in server, struct in_addr address,
                                  uint32_t uin) {
  unsigned char bytes[1024], got[1024];
  struct Session session;
  session.client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (session.client < 0) fail("socket");
  limit_waits(session.client, kPatience);
  set_option(session.client, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(session.client, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
  const struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr = address};
  if (bind(session.client, (const struct sockaddr*)&from, sizeof from) < 0)
    fail("bind to a client's address");
  if (connect(session.client, (const struct sockaddr*)&server, sizeof server) < 0)
    fail("connect to the server");
  session.server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  if (session.server < 0) fail("accept");
  limit_waits(session.server, kPatience);
  set_option(session.server, IPPROTO_TCP, TCP_NODELAY, 1);
  size_t size = server_hello(bytes);
  write_all(session.server, bytes, size, "the server's hello");
  read_all(session.client, got, size, "the server's hello");
  size = client_hello(bytes, uin);
  write_all(session.client, bytes, size, "the client's hello");
  read_all(session.server, got, size, "the client's hello");
  size = welcome(bytes, uin);
  write_all(session.server, bytes, size, "the server's welcome");
  read_all(session.client, got, size, "the server's welcome");
  return session;
}

// Busy, so that both processors stay awake: waking up would be measured instead.
static void settle(uint64_t nanoseconds) {
  const uint64_t end = now_ns() + nanoseconds;
  while (now_ns() < end) {
  }
}

static uint64_t announce(struct Session session, unsigned port) {
  unsigned char bytes[256], got[256];
  const size_t size = announcement(bytes, port);
  // Acknowledged at once and before the next one, not 40 ms later in the midst of another's measurement.
  set_option(session.server, IPPROTO_TCP, TCP_QUICKACK, 1);
  const uint64_t start = now_ns();
  write_all(session.client, bytes, size, "an announcement");
  read_all(session.server, got, size, "an announcement");
  const uint64_t took = now_ns() - start;
  settle(150000);
  return took;
}

static pid_t holders[kMost / kGroup + 1];
static size_t holder_count;

// To a child that holds them until the end: both ends of all sessions are more descriptors than one process
// may have.
static void hand_over(const struct Session* sessions, size_t count) {
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(STDOUT_FILENO);
    while (getppid() == parent) pause();
    _exit(0);
  }
  holders[holder_count++] = child;
  for (size_t i = 0; i < count; ++i) {
    close(sessions[i].client);
    close(sessions[i].server);
  }
}

int main(int argc, char** argv) {
  if (argc < 9) {
    fprintf(stderr,
            "usage: %s SERVER-NETNS ADDRESS PORT CLIENT-NETNS FIRST-ADDRESS COUNT FIRST-UIN LISTENING-PORT "
            "[hold]\n",
            argv[0]);
    return 2;
  }
  const struct sockaddr_in server = endpoint(argv[2], strtoul(argv[3], NULL, 10));
  const uint32_t first = ntohl(endpoint(argv[5], 0).sin_addr.s_addr);
  const size_t count = strtoul(argv[6], NULL, 10);
  const uint32_t first_uin = (uint32_t)strtoul(argv[7], NULL, 10);
  const unsigned port = (unsigned)strtoul(argv[8], NULL, 10);
  if (count == 0 || count > kMost) fail("COUNT out of range");
  alarm(120);

  enter(argv[1]);
  const int listener = listen_on(server, 0);
  limit_waits(listener, kPatience);
  enter(argv[4]);
  struct Session* sessions = calloc(kGroup, sizeof *sessions);
  uint64_t* times = calloc(count, sizeof *times);
  uint64_t logging_in = 0;
  for (size_t done = 0; done < count;) {
    const size_t group = count - done < kGroup ? count - done : kGroup;
    const uint64_t start = now_ns();
    for (size_t i = 0; i < group; ++i) {
      const uint32_t number = (uint32_t)(done + i);
      sessions[i] =
          come_online(listener, server, (struct in_addr){htonl(first + number)}, first_uin + number);
    }
    logging_in += now_ns() - start;
    usleep(200000);  // delayed acknowledgments of the welcomes
    for (size_t i = 0; i < group; ++i) times[done + i] = announce(sessions[i], port);
    done += group;
    hand_over(sessions, group);
  }
  const double seconds = (double)logging_in / 1e9;
  printf("{\"online\": %zu, \"seconds\": %.6f, ", count, seconds);
  print_times("times", times, count);
  printf("}\n");
  fflush(stdout);
  if (argc > 9) {
    alarm(0);
    char rest;
    while (read(STDIN_FILENO, &rest, 1) > 0) {
    }
  }
  for (size_t i = 0; i < holder_count; ++i) {
    kill(holders[i], SIGKILL);
    waitpid(holders[i], NULL, 0);
  }
  return 0;
}
