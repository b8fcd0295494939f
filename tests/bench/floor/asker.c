// SPDX-License-Identifier: GPL-2.0-or-later
// The floor of a program that asks DNS by itself: one question after the other for a number of names, each
// answer's 8 addresses put into a set by one bare transaction. Nothing is checked, remembered or taken out;
// the kernel's timeout does that. One of the names is due every PAUSE-US.
//
// usage: asker SERVER TABLE SET NAMES PAUSE-US
//        NAMES: how many: login0.icq.test and so on, as the bench has them
// Prints "ready" and ends with a signal.
#define _GNU_SOURCE
#include "netfilter.h"

static struct Transaction transaction;

static size_t build_question(unsigned char* out, unsigned number) {
  memset(out, 0, 12);
  put_u16be(out, number);
  out[2] = 1;  // recursion desired
  out[5] = 1;
  char label[16];
  const int length = snprintf(label, sizeof label, "login%u", number);
  unsigned char* at = out + 12;
  *at++ = (unsigned char)length;
  memcpy(at, label, (size_t)length);
  memcpy(at + length, "\3icq\4test\0\0\1\0\1", 14);
  return (size_t)(at + length + 14 - out);
}

int main(int argc, char** argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: %s SERVER TABLE SET NAMES PAUSE-US\n", argv[0]);
    return 2;
  }
  const struct sockaddr_in server = endpoint(argv[1], 53);
  const unsigned names = (unsigned)strtoul(argv[4], NULL, 10);
  const useconds_t pause = (useconds_t)strtoul(argv[5], NULL, 10);
  if (names == 0) fail("NAMES out of range");
  transaction.netlink = open_netfilter();
  transaction.table = argv[2];
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (const struct sockaddr*)&server, sizeof server) < 0) fail("connect");
  limit_waits(fd, 60);
  puts("ready");
  fflush(stdout);
  for (unsigned i = 0;; i = (i + 1) % names) {
    unsigned char message[512];
    usleep(pause);
    const size_t asked = build_question(message, i);
    if (send(fd, message, asked, 0) != (ssize_t)asked) fail("a question could not be sent");
    const ssize_t size = recv(fd, message, sizeof message, 0);
    if (size < 0) fail("no answer came");
    const unsigned char* addresses = answer_addresses(message, (size_t)size);
    if (addresses == NULL) fail("an answer without 8 addresses");
    add_addresses(&transaction, argv[3], addresses, kAnswerAddresses, kRecordSize, htons(5190), 2000);
  }
}
