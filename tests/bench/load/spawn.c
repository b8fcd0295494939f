// SPDX-License-Identifier: GPL-2.0-or-later
// Starts a program and tells how long it took, from before the fork: to its end, or to a word in its output.
// Then it stays, reading on, until its own standard input ends, and sends the program SIGTERM.
//
// usage: spawn [--until WORD] PROGRAM ARGUMENT...
// prints {"time": ns}; exit status 1 if the program failed, or ended without the word
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "bench.h"

enum { kPatienceMs = 20000 };

static void tell(uint64_t start) {
  printf("{\"time\": %llu}\n", (unsigned long long)(now_ns() - start));
  fflush(stdout);
}

static int end_of(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char** argv) {
  const int waits = argc > 2 && strcmp(argv[1], "--until") == 0;
  char** program = argv + (waits ? 3 : 1);
  if (program >= argv + argc) {
    fprintf(stderr, "usage: %s [--until WORD] PROGRAM ARGUMENT...\n", argv[0]);
    return 2;
  }
  int output[2];
  if (pipe2(output, O_CLOEXEC) < 0) fail("pipe");
  const uint64_t start = now_ns();
  const pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(output[1], STDOUT_FILENO);
    dup2(output[1], STDERR_FILENO);
    execvp(program[0], program);
    fail("%s", program[0]);
  }
  close(output[1]);
  static char text[0x10000];  // what it has said, as far as that fits
  size_t used = 0;
  int ready = 0;
  for (;;) {
    struct pollfd readable[2] = {{.fd = output[0], .events = POLLIN},
                                 {.fd = ready ? STDIN_FILENO : -1, .events = POLLIN}};
    if (poll(readable, 2, ready ? -1 : kPatienceMs) <= 0) fail("%s: silent\n%s", program[0], text);
    if (readable[0].revents != 0) {
      if (used + 1 >= sizeof text) used = 0;
      const ssize_t size = read(output[0], text + used, sizeof text - 1 - used);
      if (size <= 0) break;
      used += (size_t)size;
      text[used] = '\0';
      if (waits && !ready && strstr(text, argv[2]) != NULL) {
        ready = 1;
        tell(start);
      }
    } else if (readable[1].revents != 0) {
      kill(child, SIGTERM);
      while (read(output[0], text, sizeof text) > 0) {
      }
      return end_of(child);
    }
  }
  const int status = end_of(child);
  if (status != 0 || waits) fail("%s: exit status %d\n%s", program[0], status, text);
  tell(start);
  return 0;
}
