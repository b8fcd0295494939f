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
#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "../load/bench.h"

static const uint32_t kFirstAddress = 0xc6120000;  // 198.18.0.0
enum { kPort = 5190, kTimeoutMs = 600000, kLongerMs = 660000, kMostElements = 1024 };

static const char *table, *set;
static struct mnl_socket* netlink;
static char buffer[1 << 20];
static size_t used;
static uint32_t timeout_ms;  // longer and shorter by turns: it can be seen afterwards that the last one took
static int begins_anew;

static struct nlmsghdr* put(uint16_t type, uint16_t flags, uint8_t family, uint16_t resource) {
  struct nlmsghdr* header = mnl_nlmsg_put_header(buffer + used);
  header->nlmsg_type = type;
  header->nlmsg_flags = NLM_F_REQUEST | flags;
  struct nfgenmsg* extra = mnl_nlmsg_put_extra_header(header, sizeof *extra);
  extra->nfgen_family = family;
  extra->version = NFNETLINK_V0;
  extra->res_id = htons(resource);
  return header;
}

static struct nlmsghdr* put_elements(int message, uint16_t flags, uint32_t first, uint32_t count) {
  struct nlmsghdr* header = put((uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | message), flags, NFPROTO_INET, 0);
  mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_TABLE, table);
  mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_SET, set);
  if (count == 0) return header;  // a deletion of all
  struct nlattr* list = mnl_attr_nest_start(header, NFTA_SET_ELEM_LIST_ELEMENTS);
  for (uint32_t i = first; i < first + count; ++i) {
    struct nlattr* entry = mnl_attr_nest_start(header, NFTA_LIST_ELEM);
    struct nlattr* key = mnl_attr_nest_start(header, NFTA_SET_ELEM_KEY);
    const uint32_t value[2] = {htonl(kFirstAddress + i), htonl((uint32_t)kPort << 16)};
    mnl_attr_put(header, NFTA_DATA_VALUE, sizeof value, value);
    mnl_attr_nest_end(header, key);
    const uint32_t timeout[2] = {0, htonl(timeout_ms)};
    if (message == NFT_MSG_NEWSETELEM) {
      mnl_attr_put(header, NFTA_SET_ELEM_TIMEOUT, sizeof timeout, timeout);
      // Without this the kernel leaves an element alone whose timeout is the same already.
      if (begins_anew) mnl_attr_put(header, NFTA_SET_ELEM_EXPIRATION, sizeof timeout, timeout);
    }
    mnl_attr_nest_end(header, entry);
  }
  mnl_attr_nest_end(header, list);
  return header;
}

static void elements(int message, uint16_t flags, uint32_t first, uint32_t count) {
  used += put_elements(message, flags, first, count)->nlmsg_len;
}

static void begin(void) {
  used = 0;
  used += put(NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES)->nlmsg_len;
}

// The message that begins at `last` is the one that the kernel acknowledges.
static void commit(size_t last) {
  ((struct nlmsghdr*)(buffer + last))->nlmsg_flags |= NLM_F_ACK;
  used += put(NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES)->nlmsg_len;
  if (mnl_socket_sendto(netlink, buffer, used) < 0) fail("sending a transaction");
  char answer[4096];
  const ssize_t size = mnl_socket_recvfrom(netlink, answer, sizeof answer);
  if (size < 0 || mnl_cb_run(answer, (size_t)size, 0, 0, NULL, NULL) < 0) fail("transaction");
}

static void empty(void) {
  begin();
  const size_t last = used;
  elements(NFT_MSG_DELSETELEM, 0, 0, 0);
  commit(last);
}

int main(int argc, char** argv) {
  if (argc != 7) {
    fprintf(stderr, "usage: %s TABLE SET ELEMENTS BATCHES add|replace|packed fresh|known\n", argv[0]);
    return 2;
  }
  table = argv[1];
  set = argv[2];
  const uint32_t count = (uint32_t)strtoul(argv[3], NULL, 10);
  const size_t batches = strtoul(argv[4], NULL, 10);
  const int replace = strcmp(argv[5], "replace") == 0, packed = strcmp(argv[5], "packed") == 0;
  const int fresh = strcmp(argv[6], "fresh") == 0;
  begins_anew = !fresh && !replace;
  if (count == 0 || count > kMostElements) fail("ELEMENTS out of range");
  netlink = mnl_socket_open(NETLINK_NETFILTER);
  if (netlink == NULL || mnl_socket_bind(netlink, 0, MNL_SOCKET_AUTOPID) < 0) fail("netlink socket");
  set_option(mnl_socket_get_fd(netlink), SOL_SOCKET, SO_SNDBUFFORCE, 4 * 1024 * 1024);

  uint64_t* times = calloc(batches, sizeof *times);
  for (size_t i = 0; i < batches; ++i) {
    if (fresh) empty();
    timeout_ms = i % 2 == 0 ? kTimeoutMs : kLongerMs;
    const uint64_t start = now_ns();
    begin();
    size_t last = used;
    for (uint32_t at = 0; at < count; at += packed ? count : 1) {
      last = used;
      elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE, at, packed ? count : 1);
      if (!replace) continue;
      elements(NFT_MSG_DELSETELEM, 0, at, 1);
      last = used;
      elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE, at, 1);
    }
    commit(last);
    times[i] = now_ns() - start;
  }
  printf("{");
  print_times("times", times, batches);
  printf("}\n");
  return 0;
}
