// SPDX-License-Identifier: GPL-2.0-or-later
// The floor: the smallest program that could read icqgate's queues. Every packet gets ACCEPT at once, nothing
// is looked at, nothing remembered, nothing can go wrong gracefully.
//
// usage: reader [--open-pinholes TABLE | --add-answers TABLE] QUEUE[=MARK]...
//   =MARK           the verdict sets this packet mark (icqgate's for a peer who has proved himself, so that
//                   nothing of his flow is queued again)
//   --open-pinholes one bare nf_tables transaction before the verdict of a packet that announces a port: adds
//                   source address . port to the set `pinholes`, and waits for the kernel's answer
//   --add-answers   the same before the verdict of a DNS answer with 8 addresses: adds them to the set
//   `login4`
// Prints "ready" and ends with a signal.
#define _GNU_SOURCE
#include <linux/netfilter/nfnetlink_queue.h>

#include "netfilter.h"

enum { kMostQueues = 8, kRoom = 0x11000, kTimeoutMs = 600000, kLoginPort = 5190 };

struct Queue {
  uint16_t number;
  int marks;
  uint32_t mark;
};

static struct Queue queues[kMostQueues];
static size_t queue_count;
static int opens_pinholes, adds_answers;
static struct Transaction transaction;

static void bind_queue(struct mnl_socket* to, uint16_t number) {
  char buffer[1024] = {0};
  struct nlmsghdr* header =
      put_message(buffer, NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_CONFIG, NLM_F_ACK, AF_UNSPEC, number);
  const struct nfqnl_msg_config_cmd command = {.command = NFQNL_CFG_CMD_BIND, .pf = htons(AF_UNSPEC)};
  mnl_attr_put(header, NFQA_CFG_CMD, sizeof command, &command);
  const struct nfqnl_msg_config_params params = {.copy_range = htonl(0xffff), .copy_mode = NFQNL_COPY_PACKET};
  mnl_attr_put(header, NFQA_CFG_PARAMS, sizeof params, &params);
  mnl_attr_put_u32(header, NFQA_CFG_QUEUE_MAXLEN, htonl(8192));
  mnl_attr_put_u32(header, NFQA_CFG_FLAGS, htonl(NFQA_CFG_F_GSO));
  mnl_attr_put_u32(header, NFQA_CFG_MASK, htonl(NFQA_CFG_F_GSO));
  if (mnl_socket_sendto(to, header, header->nlmsg_len) < 0) fail("bind queue");
  const ssize_t size = mnl_socket_recvfrom(to, buffer, sizeof buffer);
  if (size < 0 || mnl_cb_run(buffer, (size_t)size, 0, 0, NULL, NULL) < 0) fail("bind queue");
}

static uint32_t number_at(const unsigned char* at, int bytes) {
  uint32_t value = 0;
  for (int i = 0; i < bytes; ++i) value = value << 8 | at[i];
  return value;
}

// The announcement of tests/bench/load/sessions.c: FLAP, SNAC (01,1E), TLV 0x06, TLV 0x0C with the port at
// its 6th byte.
static const unsigned char* announced_port(const unsigned char* packet, size_t size) {
  const size_t ip = (packet[0] & 15u) * 4u;
  if (size < ip + 20) return NULL;
  const size_t start = ip + (packet[ip + 12] >> 4) * 4u;
  if (size < start + 65) return NULL;
  const unsigned char* flap = packet + start;
  if (flap[0] != 0x2a || flap[1] != 2 || number_at(flap + 6, 4) != 0x0001001e) return NULL;
  return flap + 16 + 12 + 6;
}

static void before_verdict(const unsigned char* packet, size_t size) {
  if (opens_pinholes) {
    const unsigned char* port = announced_port(packet, size);
    uint16_t value;
    if (port == NULL) return;
    memcpy(&value, port, sizeof value);
    add_addresses(&transaction, "pinholes", packet + 12, 1, 0, value, kTimeoutMs);
  }
  const size_t start = (packet[0] & 15u) * 4u + 8;
  if (adds_answers && size > start) {
    const unsigned char* addresses = answer_addresses(packet + start, size - start);
    if (addresses == NULL) return;
    add_addresses(&transaction, "login4", addresses, kAnswerAddresses, kRecordSize, htons(kLoginPort),
                  kTimeoutMs);
  }
}

// A verdict message for the packet message `got`; -> its size, 0 if that is none.
static size_t answer(const struct nlmsghdr* got, char* out) {
  if (got->nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET)) return 0;
  const uint16_t number = ntohs(((const struct nfgenmsg*)mnl_nlmsg_get_payload(got))->res_id);
  const struct nfqnl_msg_packet_hdr* packet = NULL;
  const struct nlattr* payload = NULL;
  const struct nlattr* attribute;
  mnl_attr_for_each(attribute, got, sizeof(struct nfgenmsg)) {
    if (mnl_attr_get_type(attribute) == NFQA_PACKET_HDR) packet = mnl_attr_get_payload(attribute);
    if (mnl_attr_get_type(attribute) == NFQA_PAYLOAD) payload = attribute;
  }
  if (packet == NULL) return 0;
  if (payload != NULL) before_verdict(mnl_attr_get_payload(payload), mnl_attr_get_payload_len(payload));
  struct nlmsghdr* header =
      put_message(out, NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_VERDICT, 0, AF_UNSPEC, number);
  const struct nfqnl_msg_verdict_hdr verdict = {.verdict = htonl(NF_ACCEPT), .id = packet->packet_id};
  mnl_attr_put(header, NFQA_VERDICT_HDR, sizeof verdict, &verdict);
  for (size_t i = 0; i < queue_count; ++i)
    if (queues[i].number == number && queues[i].marks)
      mnl_attr_put_u32(header, NFQA_MARK, htonl(queues[i].mark));
  return header->nlmsg_len;
}

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    opens_pinholes |= strcmp(argv[i], "--open-pinholes") == 0;
    adds_answers |= strcmp(argv[i], "--add-answers") == 0;
    if (argv[i][0] == '-' && i + 1 < argc) {
      transaction.table = argv[++i];
      continue;
    }
    char* end;
    const unsigned long number = strtoul(argv[i], &end, 10);
    if (queue_count == kMostQueues || number > 65535 || (*end != '\0' && *end != '='))
      queue_count = kMostQueues + 1;
    if (queue_count > kMostQueues) break;
    queues[queue_count++] = (struct Queue){.number = (uint16_t)number,
                                           .marks = *end == '=',
                                           .mark = *end == '=' ? (uint32_t)strtoul(end + 1, NULL, 0) : 0};
  }
  if (queue_count == 0 || queue_count > kMostQueues) {
    fprintf(stderr, "usage: %s [--open-pinholes TABLE | --add-answers TABLE] QUEUE[=MARK]...\n", argv[0]);
    return 2;
  }
  struct mnl_socket* packets = open_netfilter();
  transaction.netlink = open_netfilter();
  const int fd = mnl_socket_get_fd(packets);
  const int room = 16 * 1024 * 1024;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
  const int on = 1;
  setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof on);
  for (size_t i = 0; i < queue_count; ++i) bind_queue(packets, queues[i].number);
  puts("ready");
  fflush(stdout);

  static char buffer[kRoom];
  for (;;) {
    const ssize_t size = recv(fd, buffer, sizeof buffer, 0);
    if (size < 0) {
      if (errno == EINTR || errno == ENOBUFS) continue;
      fail("receive");
    }
    char verdicts[8192];
    size_t used = 0;
    int left = (int)size;
    for (const struct nlmsghdr* got = (const struct nlmsghdr*)buffer;
         mnl_nlmsg_ok(got, left) && used + 64 < sizeof verdicts; got = mnl_nlmsg_next(got, &left))
      used += answer(got, verdicts + used);
    if (used != 0 && send(fd, verdicts, used, 0) < 0) fail("verdict");
  }
}
