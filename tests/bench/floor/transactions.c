// SPDX-License-Identifier: GPL-2.0-or-later
// The floor of element updates: bare transactions on a set of address . port with timeouts. The elements are
// those of tests/bench/load/updates.cpp.
//
// usage: transactions TABLE SET ELEMENTS BATCHES add|replace|packed fresh|known
//        add: a message for each element, which renews its timeout where the kernel can (6.12)
//        replace: add, delete, add for each element: what older kernels need
//        packed: one message for all elements, as nft has it
//        fresh: the set is emptied before each transaction; known: the elements are in it
// prints {"times": [ns for one transaction, ...]}
#define _GNU_SOURCE
#include "netfilter.h"

static const uint32_t kFirstAddress = 0xc6120000;  // 198.18.0.0
enum { kPort = 5190, kTimeoutMs = 600000, kLongerMs = 660000, kMostElements = 1024 };

static struct Transaction transaction;
static const char* set;
static uint32_t timeout_ms;  // longer and shorter by turns: it can be seen afterwards that the last one took
static int begins_anew;

static void elements(int message, uint16_t flags, uint32_t first, uint32_t count) {
  struct nlmsghdr* header = begin_elements(&transaction, set, message, flags);
  if (count != 0) {  // else a deletion of all
    struct nlattr* list = mnl_attr_nest_start(header, NFTA_SET_ELEM_LIST_ELEMENTS);
    const uint32_t timeout = message == NFT_MSG_NEWSETELEM ? timeout_ms : 0;
    for (uint32_t i = first; i < first + count; ++i)
      // Without an expiration the kernel leaves an element alone whose timeout is the same already.
      put_element(header, htonl(kFirstAddress + i), htons(kPort), timeout, begins_anew ? timeout : 0);
    mnl_attr_nest_end(header, list);
  }
  transaction.used += header->nlmsg_len;
}

static void empty(void) {
  begin_transaction(&transaction);
  const size_t last = transaction.used;
  elements(NFT_MSG_DELSETELEM, 0, 0, 0);
  commit_transaction(&transaction, last);
}

int main(int argc, char** argv) {
  if (argc != 7) {
    fprintf(stderr, "usage: %s TABLE SET ELEMENTS BATCHES add|replace|packed fresh|known\n", argv[0]);
    return 2;
  }
  transaction.table = argv[1];
  set = argv[2];
  const uint32_t count = (uint32_t)strtoul(argv[3], NULL, 10);
  const size_t batches = strtoul(argv[4], NULL, 10);
  const int replace = strcmp(argv[5], "replace") == 0, packed = strcmp(argv[5], "packed") == 0;
  const int fresh = strcmp(argv[6], "fresh") == 0;
  begins_anew = !fresh && !replace;
  if (count == 0 || count > kMostElements) fail("ELEMENTS out of range");
  transaction.netlink = open_netfilter();
  set_option(mnl_socket_get_fd(transaction.netlink), SOL_SOCKET, SO_SNDBUFFORCE, 4 * 1024 * 1024);

  uint64_t* times = calloc(batches, sizeof *times);
  for (size_t i = 0; i < batches; ++i) {
    if (fresh) empty();
    timeout_ms = i % 2 == 0 ? kTimeoutMs : kLongerMs;
    const uint64_t start = now_ns();
    begin_transaction(&transaction);
    size_t last = transaction.used;
    for (uint32_t at = 0; at < count; at += packed ? count : 1) {
      last = transaction.used;
      elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE, at, packed ? count : 1);
      if (!replace) continue;
      elements(NFT_MSG_DELSETELEM, 0, at, 1);
      last = transaction.used;
      elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE, at, 1);
    }
    commit_transaction(&transaction, last);
    times[i] = now_ns() - start;
  }
  printf("{");
  print_times("times", times, batches);
  printf("}\n");
  return 0;
}
