// SPDX-License-Identifier: GPL-2.0-or-later
// What the floor programs share: a netlink socket, messages of netfilter, and a transaction of nf_tables that
// waits for the kernel's word.
#pragma once

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "../load/bench.h"

enum { kTransactionRoom = 1 << 20 };

struct Transaction {
  struct mnl_socket* netlink;
  const char* table;
  size_t used;
  char buffer[kTransactionRoom];
};

static inline struct mnl_socket* open_netfilter(void) {
  struct mnl_socket* opened = mnl_socket_open(NETLINK_NETFILTER);
  if (opened == NULL || mnl_socket_bind(opened, 0, MNL_SOCKET_AUTOPID) < 0) fail("netlink socket");
  return opened;
}

static inline struct nlmsghdr* put_message(void* where, uint16_t type, uint16_t flags, uint8_t family,
                                           uint16_t resource) {
  struct nlmsghdr* header = mnl_nlmsg_put_header(where);
  header->nlmsg_type = type;
  header->nlmsg_flags = NLM_F_REQUEST | flags;
  struct nfgenmsg* extra = mnl_nlmsg_put_extra_header(header, sizeof *extra);
  extra->nfgen_family = family;
  extra->version = NFNETLINK_V0;
  extra->res_id = htons(resource);
  return header;
}

// Begins a message about elements of a set: all of them, unless put_element() follows between the two ends of
// a nested NFTA_SET_ELEM_LIST_ELEMENTS. It counts once it is added to `used`.
static inline struct nlmsghdr* begin_elements(struct Transaction* to, const char* set, int message,
                                              uint16_t flags) {
  struct nlmsghdr* header = put_message(
      to->buffer + to->used, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | message), flags, NFPROTO_INET, 0);
  mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_TABLE, to->table);
  mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_SET, set);
  return header;
}

// address . port, both in network order; timeouts in milliseconds, 0: none is said
static inline void put_element(struct nlmsghdr* header, uint32_t address, uint16_t port, uint32_t timeout_ms,
                               uint32_t expires_ms) {
  struct nlattr* entry = mnl_attr_nest_start(header, NFTA_LIST_ELEM);
  struct nlattr* key = mnl_attr_nest_start(header, NFTA_SET_ELEM_KEY);
  unsigned char value[8] = {0};
  memcpy(value, &address, 4);
  memcpy(value + 4, &port, 2);
  mnl_attr_put(header, NFTA_DATA_VALUE, sizeof value, value);
  mnl_attr_nest_end(header, key);
  const uint32_t timeout[2] = {0, htonl(timeout_ms)}, expires[2] = {0, htonl(expires_ms)};
  if (timeout_ms != 0) mnl_attr_put(header, NFTA_SET_ELEM_TIMEOUT, sizeof timeout, timeout);
  if (expires_ms != 0) mnl_attr_put(header, NFTA_SET_ELEM_EXPIRATION, sizeof expires, expires);
  mnl_attr_nest_end(header, entry);
}

static inline void begin_transaction(struct Transaction* of) {
  of->used = put_message(of->buffer, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES)->nlmsg_len;
}

// The message that begins at `last` is the one that the kernel acknowledges.
static inline void commit_transaction(struct Transaction* of, size_t last) {
  ((struct nlmsghdr*)(of->buffer + last))->nlmsg_flags |= NLM_F_ACK;
  of->used +=
      put_message(of->buffer + of->used, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES)->nlmsg_len;
  if (mnl_socket_sendto(of->netlink, of->buffer, of->used) < 0) fail("sending a transaction");
  char answer[4096];
  const ssize_t size = mnl_socket_recvfrom(of->netlink, answer, sizeof answer);
  if (size < 0 || mnl_cb_run(answer, (size_t)size, 0, 0, NULL, NULL) < 0) fail("transaction");
}

// One transaction with one message: `count` addresses, `stride` bytes apart, each with `port`.
static inline void add_addresses(struct Transaction* to, const char* set, const unsigned char* addresses,
                                 unsigned count, size_t stride, uint16_t port, uint32_t timeout_ms) {
  begin_transaction(to);
  const size_t last = to->used;
  struct nlmsghdr* header = begin_elements(to, set, NFT_MSG_NEWSETELEM, NLM_F_CREATE);
  struct nlattr* list = mnl_attr_nest_start(header, NFTA_SET_ELEM_LIST_ELEMENTS);
  for (unsigned i = 0; i < count; ++i) {
    uint32_t address;
    memcpy(&address, addresses + i * stride, sizeof address);
    put_element(header, address, port, timeout_ms, 0);
  }
  mnl_attr_nest_end(header, list);
  to->used += header->nlmsg_len;
  commit_transaction(to, last);
}

// The first of the 8 addresses of an answer of ../load/dns.h, 16 bytes apart; NULL: another message.
enum { kAnswerAddresses = 8, kRecordSize = 16 };
static inline const unsigned char* answer_addresses(const unsigned char* message, size_t size) {
  size_t at = 12;
  if (size < 12 || message[7] != kAnswerAddresses) return NULL;
  while (at < size && message[at] != 0) at += 1u + message[at];
  at += 5;  // the root label, type, class
  return at + kAnswerAddresses * kRecordSize <= size ? message + at + 12 : NULL;
}
