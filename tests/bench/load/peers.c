// SPDX-License-Identifier: GPL-2.0-or-later
// New peer connections: connect, PEER_INIT, first answer. The listener is a process of its own in the LAN,
// the connector is this one; both end when the count is reached, or 3 s after the last thing that happened.
//
// usage: peers LISTENER-NETNS ADDRESS PORT UIN CONNECTOR-NETNS COUNT AT-A-TIME
// prints {"connections": N, "failed": N, "seconds": S, "times": [ns, ...]}
#define _GNU_SOURCE
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "bench.h"

enum { kMostAtATime = 1024, kPatience = 3 };

static unsigned char handshake[kHandshakeSize];
static unsigned char answer[kAnswerSize];

static void serve(int listener) {
  close(STDOUT_FILENO);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int loop = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
  epoll_ctl(loop, EPOLL_CTL_ADD, listener, &event);
  struct epoll_event events[256];
  for (;;) {
    const int count = epoll_wait(loop, events, 256, -1);
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (fd == listener) {
        int made;
        while ((made = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
          event = (struct epoll_event){.events = EPOLLIN, .data.fd = made};
          epoll_ctl(loop, EPOLL_CTL_ADD, made, &event);
        }
        continue;
      }
      unsigned char got[512];
      if (recv(fd, got, sizeof got, 0) == kHandshakeSize) {
        send(fd, answer, sizeof answer, MSG_NOSIGNAL);
      } else {
        close(fd);
      }
    }
  }
}

static void one_at_a_time(struct sockaddr_in to, size_t count, uint64_t* times, size_t* done,
                          size_t* failed) {
  for (size_t i = 0; i < count && *failed < 20; ++i) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    limit_waits(fd, kPatience);
    unsigned char got[kAnswerSize];
    const uint64_t start = now_ns();
    if (connect(fd, (struct sockaddr*)&to, sizeof to) == 0 &&
        send(fd, handshake, sizeof handshake, MSG_NOSIGNAL) == sizeof handshake &&
        recv(fd, got, sizeof got, MSG_WAITALL) == sizeof got) {
      times[(*done)++] = now_ns() - start;
    } else {
      ++*failed;
    }
    close_with_reset(fd);
  }
}

struct Slot {
  int fd;
  int sent;
  uint64_t start;
};

static void begin(int loop, struct Slot* slots, size_t at, struct sockaddr_in to) {
  struct Slot* slot = &slots[at];
  slot->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (slot->fd < 0) fail("socket");
  slot->sent = 0;
  slot->start = now_ns();
  if (connect(slot->fd, (struct sockaddr*)&to, sizeof to) < 0 && errno != EINPROGRESS) fail("connect");
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u64 = at};
  epoll_ctl(loop, EPOLL_CTL_ADD, slot->fd, &event);
}

static void many_at_a_time(struct sockaddr_in to, size_t count, size_t at_a_time, uint64_t* times,
                           size_t* done, size_t* failed) {
  struct Slot slots[kMostAtATime];
  struct epoll_event events[256];
  const int loop = epoll_create1(EPOLL_CLOEXEC);
  size_t begun = 0;
  while (begun < at_a_time && begun < count) begin(loop, slots, begun++, to);
  while (*done + *failed < count) {
    const int ready = epoll_wait(loop, events, 256, kPatience * 1000);
    if (ready <= 0) {  // those under way will not come any more
      *failed = count - *done;
      return;
    }
    for (int i = 0; i < ready; ++i) {
      struct Slot* slot = &slots[events[i].data.u64];
      unsigned char got[kAnswerSize];
      int over = 0;
      if (events[i].events & (EPOLLERR | EPOLLHUP)) {
        over = 1;
        ++*failed;
      } else {
        if (!slot->sent && (events[i].events & EPOLLOUT)) {
          slot->sent = 1;
          over = send(slot->fd, handshake, sizeof handshake, MSG_NOSIGNAL) != sizeof handshake;
          if (over) ++*failed;
        }
        if (!over && (events[i].events & EPOLLIN)) {
          over = 1;
          if (recv(slot->fd, got, sizeof got, 0) == sizeof got) {
            times[(*done)++] = now_ns() - slot->start;
          } else {
            ++*failed;
          }
        }
      }
      if (!over) continue;
      close_with_reset(slot->fd);
      if (begun < count) {
        ++begun;
        begin(loop, slots, events[i].data.u64, to);
      }
    }
  }
}

int main(int argc, char** argv) {
  if (argc != 8) {
    fprintf(stderr, "usage: %s LISTENER-NETNS ADDRESS PORT UIN CONNECTOR-NETNS COUNT AT-A-TIME\n", argv[0]);
    return 2;
  }
  const struct sockaddr_in to = endpoint(argv[2], strtoul(argv[3], NULL, 10));
  const uint32_t uin = (uint32_t)strtoul(argv[4], NULL, 10);
  const size_t count = strtoul(argv[6], NULL, 10);
  const size_t at_a_time = strtoul(argv[7], NULL, 10);
  if (count == 0 || at_a_time == 0 || at_a_time > kMostAtATime) fail("COUNT or AT-A-TIME out of range");
  alarm(120);
  build_handshake(handshake, uin);
  build_answer(answer, uin);

  enter(argv[1]);
  const int listener = listen_on(to, SOCK_NONBLOCK);
  const pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) serve(listener);
  close(listener);

  enter(argv[5]);
  uint64_t* times = calloc(count, sizeof *times);
  size_t done = 0, failed = 0;
  const uint64_t start = now_ns();
  if (at_a_time == 1) {
    one_at_a_time(to, count, times, &done, &failed);
  } else {
    many_at_a_time(to, count, at_a_time, times, &done, &failed);
  }
  const double seconds = (double)(now_ns() - start) / 1e9;
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  printf("{\"connections\": %zu, \"failed\": %zu, \"seconds\": %.6f, ", done, failed, seconds);
  print_times("times", times, done);
  printf("}\n");
  return 0;
}
