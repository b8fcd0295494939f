// SPDX-License-Identifier: GPL-2.0-or-later
// A DNS server whose every answer can be told from the others, and a watch on what becomes of its addresses:
// the same clock for the answer's arrival at the gateway and for the kernel's word that they are in a set.
#pragma once

#include <libmnl/libmnl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <poll.h>

#include "bench.h"

enum { kPerAnswer = 8, kAllOfThem = (1 << kPerAnswer) - 1, kMessageRoom = 512, kTypeA = 1 };

static const uint32_t kFirstAddress = 0xc6120000;  // 198.18.0.0/15, for benchmarks (RFC 2544)
static const uint32_t kAddresses = 1 << 17;

// The first address of the answer with that number.
static inline uint32_t addresses_of(size_t number) {
  return kFirstAddress + (uint32_t)(number * kPerAnswer % kAddresses);
}

static inline unsigned u16be(const unsigned char* at) { return (unsigned)at[0] << 8 | at[1]; }

static inline int bound_udp(struct sockaddr_in to) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  if (bind(fd, (const struct sockaddr*)&to, sizeof to) < 0) fail("bind to UDP port %u", ntohs(to.sin_port));
  return fd;
}

struct Question {
  struct sockaddr_in from;
  unsigned char message[kMessageRoom];
  size_t end;  // of the question section: all that an answer repeats
  unsigned type;
};

static inline void receive_question(int fd, struct Question* out) {
  socklen_t length = sizeof out->from;
  const ssize_t size =
      recvfrom(fd, out->message, sizeof out->message, 0, (struct sockaddr*)&out->from, &length);
  if (size < 0) fail("no DNS question came");
  size_t at = 12;
  while (at < (size_t)size && out->message[at] != 0) at += 1u + out->message[at];
  if (at + 5 > (size_t)size) fail("a DNS question that ends early");
  out->type = u16be(out->message + at + 1);
  out->end = at + 5;
}

// kPerAnswer addresses from `first` on; none for another type than A, and that for an hour (RFC 2308), so
// that nobody asks again.
static inline void send_answer(int fd, const struct Question* question, uint32_t first, unsigned ttl) {
  unsigned char message[kMessageRoom];
  memcpy(message, question->message, question->end);
  memset(message + 4, 0, 8);
  put_u16be(message + 2, 0x8580);  // response, authoritative, recursion asked for and available
  put_u16be(message + 4, 1);
  size_t at = question->end;
  const int found = question->type == kTypeA;
  put_u16be(message + (found ? 6 : 8), found ? kPerAnswer : 1);
  for (unsigned i = 0; found && i < kPerAnswer; ++i, at += 16) {
    const uint32_t fields[2] = {htonl(ttl), htonl(first + i)};
    memcpy(message + at, "\xc0\x0c\0\1\0\1", 6);
    memcpy(message + at + 6, fields, 4);
    put_u16be(message + at + 10, 4);
    memcpy(message + at + 12, fields + 1, 4);
  }
  if (!found) {  // SOA: root names, and five numbers of which the last is the minimum
    memcpy(message + at, "\xc0\x0c\0\6\0\1\0\0\x0e\x10\0\x16\0\0", 14);
    memset(message + at + 14, 0, 20);
    put_u16be(message + at + 32, 3600);
    at += 34;
  }
  if (sendto(fd, message, at, 0, (const struct sockaddr*)&question->from, sizeof question->from) !=
      (ssize_t)at)
    fail("an answer could not be sent");
}

// What a gateway's kernel says: DNS answers that arrive, and elements that come into one set.
struct Watch {
  int packets;
  struct mnl_socket* events;
  const char* set;
  uint32_t first;     // of the kPerAnswer addresses that are waited for
  unsigned seen;      // a bit for each of them
  uint64_t complete;  // when the last one of them was seen; 0: not yet
};

static inline void open_watch(struct Watch* watch, const char* namespace_path, const char* set) {
  enter(namespace_path);
  *watch = (struct Watch){.set = set};
  watch->packets = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_IP));
  if (watch->packets < 0) fail("packet socket");
  set_option(watch->packets, SOL_SOCKET, SO_TIMESTAMPNS, 1);
  watch->events = mnl_socket_open2(NETLINK_NETFILTER, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (watch->events == NULL || mnl_socket_bind(watch->events, 0, MNL_SOCKET_AUTOPID) < 0) fail("netlink");
  int group = NFNLGRP_NFTABLES;
  if (mnl_socket_setsockopt(watch->events, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) < 0)
    fail("subscription to nftables events");
  set_option(mnl_socket_get_fd(watch->events), SOL_SOCKET, SO_RCVBUFFORCE, 16 * 1024 * 1024);
}

static inline void note_element(struct Watch* watch, const struct nlattr* element) {
  const struct nlattr *field, *value;
  mnl_attr_for_each_nested(field, element) {
    if (mnl_attr_get_type(field) != NFTA_SET_ELEM_KEY) continue;
    mnl_attr_for_each_nested(value, field) {
      if (mnl_attr_get_type(value) != NFTA_DATA_VALUE || mnl_attr_get_payload_len(value) < 4) continue;
      uint32_t address;  // also of a concatenation: its first field
      memcpy(&address, mnl_attr_get_payload(value), sizeof address);
      const uint32_t place = ntohl(address) - watch->first;
      if (place < kPerAnswer) watch->seen |= 1u << place;
    }
  }
}

static inline void note_message(struct Watch* watch, const struct nlmsghdr* message) {
  if (message->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM)) return;
  const struct nlattr *field, *list = NULL;
  int ours = 0;
  mnl_attr_for_each(field, message, sizeof(struct nfgenmsg)) {
    if (mnl_attr_get_type(field) == NFTA_SET_ELEM_LIST_SET)
      ours = strcmp(mnl_attr_get_str(field), watch->set) == 0;
    if (mnl_attr_get_type(field) == NFTA_SET_ELEM_LIST_ELEMENTS) list = field;
  }
  if (!ours || list == NULL) return;
  mnl_attr_for_each_nested(field, list) note_element(watch, field);
}

// Reads all events that are there, without waiting.
static inline void read_events(struct Watch* watch) {
  static char buffer[0x10000];
  for (;;) {
    const ssize_t size = mnl_socket_recvfrom(watch->events, buffer, sizeof buffer);
    if (size < 0 && errno == EAGAIN) return;
    if (size < 0) fail("nftables events were lost");
    int left = (int)size;
    for (const struct nlmsghdr* message = (const struct nlmsghdr*)buffer; mnl_nlmsg_ok(message, left);
         message = mnl_nlmsg_next(message, &left))
      note_message(watch, message);
    if (watch->seen == kAllOfThem && watch->complete == 0) watch->complete = now_ns();
  }
}

// When the newest DNS answer came in at an interface of the gateway, by the clock of now_ns(); 0: none came.
static inline uint64_t last_arrival(const struct Watch* watch) {
  uint64_t last = 0;
  for (;;) {
    unsigned char packet[64];
    char control[128];
    struct sockaddr_ll from;
    struct iovec part = {packet, sizeof packet};
    struct msghdr header = {.msg_name = &from,
                            .msg_namelen = sizeof from,
                            .msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control,
                            .msg_controllen = sizeof control};
    if (recvmsg(watch->packets, &header, 0) < 28) return last;
    const unsigned char* udp = packet + (packet[0] & 15) * 4;
    if (from.sll_pkttype == PACKET_OUTGOING || packet[9] != IPPROTO_UDP || udp + 2 > packet + sizeof packet ||
        u16be(udp) != 53)
      continue;
    const struct cmsghdr* stamp = CMSG_FIRSTHDR(&header);
    if (stamp == NULL || stamp->cmsg_type != SCM_TIMESTAMPNS) fail("a packet without a timestamp");
    struct timespec at, wall;
    memcpy(&at, CMSG_DATA(stamp), sizeof at);
    clock_gettime(CLOCK_REALTIME, &wall);  // the stamp's clock
    const uint64_t age = (uint64_t)((wall.tv_sec - at.tv_sec) * 1000000000 + wall.tv_nsec - at.tv_nsec);
    last = now_ns() - age;
  }
}

// From now on the addresses from `first` on are waited for; what came before is forgotten.
static inline void expect_elements(struct Watch* watch, uint32_t first) {
  read_events(watch);
  last_arrival(watch);
  watch->first = first;
  watch->seen = 0;
  watch->complete = 0;
}

// Waits for any of the descriptors. On two processors a program that spins here would take one away from what
// it measures.
static inline void wait_for(int first, int second, const char* what) {
  enum { kPatienceMs = 20000 };
  struct pollfd readable[2] = {{.fd = first, .events = POLLIN}, {.fd = second, .events = POLLIN}};
  if (poll(readable, 2, kPatienceMs) <= 0) fail("%s: not within %d s", what, kPatienceMs / 1000);
}
