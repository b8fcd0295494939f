// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/nfqueue.hpp"

#include <arpa/inet.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <iterator>
#include <string>

#include "sys/nfnetlink_socket.hpp"

namespace icqgate::sys {

namespace {

constexpr std::size_t kBatch = 32;  // datagrams of one recvmmsg(): verdicts go out at least this often
// The kernel copies at most 65531 bytes of a packet; the rest of the message is small attributes.
constexpr std::size_t kPacketRoom = 0x10000 + 0x1000;
// Holds some 100 GSO packets of full size or 10,000 small ones: goes with the raised queue length, since
// whichever of the two is smaller decides what is dropped.
constexpr int kReceiveBuffer = 16 * 1024 * 1024;
constexpr int kSendBuffer = 1024 * 1024;
constexpr std::size_t kSendChunk = 64 * 1024;  // verdict messages in one datagram, well below the send buffer
constexpr std::size_t kVerdictRoom = 128;      // headers, verdict and mark of one verdict message

std::uint32_t to_kernel(Verdict verdict) noexcept {
  switch (verdict) {
    case Verdict::Accept:
      return NF_ACCEPT;
    case Verdict::Repeat:
      return NF_REPEAT;
    case Verdict::Drop:
      break;
  }
  return NF_DROP;
}

// Binding, copy mode, length and flags in one message: no packet ever meets a half-configured queue, and a
// second flags attribute would override the first one.
std::vector<std::byte> config_message(std::uint16_t queue, Failure mode, std::uint32_t length) {
  std::vector<std::byte> buffer(256);
  nlmsghdr* const message = nfq_nlmsg_put(reinterpret_cast<char*>(buffer.data()), NFQNL_MSG_CONFIG, queue);
  nfq_nlmsg_cfg_put_cmd(message, AF_UNSPEC, NFQNL_CFG_CMD_BIND);
  nfq_nlmsg_cfg_put_params(message, NFQNL_COPY_PACKET, 0xffff);
  nfq_nlmsg_cfg_put_qmaxlen(message, length);
  const std::uint32_t mask = NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN;
  const std::uint32_t flags = NFQA_CFG_F_GSO | (mode == Failure::Open ? NFQA_CFG_F_FAIL_OPEN : 0U);
  mnl_attr_put_u32(message, NFQA_CFG_FLAGS, htonl(flags));
  mnl_attr_put_u32(message, NFQA_CFG_MASK, htonl(mask));
  buffer.resize(message->nlmsg_len);
  return buffer;
}

}  // namespace

struct NfQueue::Buffers {
  Buffers() : bytes(kBatch * kPacketRoom) {
    for (std::size_t i = 0; i < kBatch; ++i) {
      parts[i] = {bytes.data() + i * kPacketRoom, kPacketRoom};
      headers[i].msg_hdr.msg_iov = &parts[i];
      headers[i].msg_hdr.msg_iovlen = 1;
    }
  }
  std::vector<std::byte> bytes;
  std::array<iovec, kBatch> parts{};
  std::array<mmsghdr, kBatch> headers{};
};

NfQueue::NfQueue(MnlSocket socket, std::uint16_t queue)
    : socket_{std::move(socket)}, queue_{queue}, buffers_{std::make_unique<Buffers>()} {}
NfQueue::NfQueue(NfQueue&&) noexcept = default;
NfQueue& NfQueue::operator=(NfQueue&&) noexcept = default;

NfQueue::~NfQueue() {
  // Closing the socket unbinds the queue. Verdicts already given still count.
  if (socket_ && !pending_.empty()) (void)flush();
}

int NfQueue::fd() const noexcept { return mnl_socket_get_fd(socket_.get()); }

Result<NfQueue, SysError> NfQueue::open(std::uint16_t queue, Failure mode, std::uint32_t length) {
  auto socket = open_nfnetlink();
  if (!socket) return tl::make_unexpected(socket.error());
  raise_receive_buffer(**socket, kReceiveBuffer);
  raise_send_buffer(**socket, kSendBuffer);

  const auto config = config_message(queue, mode, length);
  if (const auto sent = send_datagram(**socket, config); !sent) return tl::make_unexpected(sent.error());

  // No acknowledgment was asked for: the first packets may already be there, before it or behind it. A
  // refusal comes unasked, before sendto() returns, and without packets; so a look at the first message is
  // enough.
  alignas(nlmsghdr) std::array<std::byte, sizeof(nlmsghdr) + sizeof(nlmsgerr)> first;
  const ssize_t size =
      recv(mnl_socket_get_fd(socket->get()), first.data(), first.size(), MSG_PEEK | MSG_DONTWAIT);
  if (size == static_cast<ssize_t>(first.size())) {
    const auto* answer = reinterpret_cast<const nlmsghdr*>(first.data());
    if (answer->nlmsg_type == NLMSG_ERROR) {
      int code = error_code(answer);
      // The kernel says EPERM both for a foreign queue and for a missing capability.
      if (code == EPERM && queue_state(queue)) code = EBUSY;
      return tl::make_unexpected(
          SysError{code == EBUSY ? "bind queue (another reader holds it)" : "bind queue", code});
    }
  }
  return NfQueue{std::move(*socket), queue};
}

Result<std::size_t, SysError> NfQueue::receive(const Handler& handler) {
  const auto before = counters_.received;
  for (std::size_t datagrams = 0; datagrams < kPerCall;) {
    const int count = recvmmsg(fd(), buffers_->headers.data(), kBatch, MSG_DONTWAIT, nullptr);
    if (count < 0) {
      if (errno == EAGAIN) break;
      ++datagrams;  // keeps the loop bounded
      if (errno == EINTR) continue;
      if (errno == ENOBUFS) {
        ++counters_.lost;
        continue;
      }
      return tl::make_unexpected(SysError{"recvmmsg", errno});
    }
    const auto batch = static_cast<std::size_t>(count);
    for (std::size_t i = 0; i < batch; ++i) {
      const mmsghdr& datagram = buffers_->headers[i];
      if (datagram.msg_hdr.msg_flags & MSG_TRUNC) ++counters_.malformed;
      take_datagram({static_cast<const std::byte*>(buffers_->parts[i].iov_base), datagram.msg_len}, handler);
    }
    datagrams += batch;
    if (const auto sent = flush(); !sent) return tl::make_unexpected(sent.error());
    if (batch < kBatch) break;
  }
  return static_cast<std::size_t>(counters_.received - before);
}

void NfQueue::take_datagram(Bytes datagram, const Handler& handler) {
  for_each_message(datagram, [&](const nlmsghdr* message) {
    if (message->nlmsg_type == NLMSG_ERROR) {
      if (error_code(message) != 0) ++counters_.refused_verdicts;
    } else if (message->nlmsg_type == (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET)) {
      take_packet(message, handler);
    }
  });
}

void NfQueue::take_packet(const nlmsghdr* message, const Handler& handler) {
  std::array<nlattr*, 64> attributes{};  // more than any NFQA_MAX: the library has its own idea of it
  if (nfq_nlmsg_parse(message, attributes.data()) < 0 || attributes[NFQA_PACKET_HDR] == nullptr ||
      mnl_attr_get_payload_len(attributes[NFQA_PACKET_HDR]) < sizeof(nfqnl_msg_packet_hdr)) {
    ++counters_.malformed;
    return;
  }
  const auto number = [&](int attribute) {
    return attributes[static_cast<std::size_t>(attribute)]
               ? ntohl(mnl_attr_get_u32(attributes[static_cast<std::size_t>(attribute)]))
               : 0U;
  };
  const auto* header =
      static_cast<const nfqnl_msg_packet_hdr*>(mnl_attr_get_payload(attributes[NFQA_PACKET_HDR]));
  Bytes packet;
  if (const nlattr* payload = attributes[NFQA_PAYLOAD]) {
    packet = {static_cast<const std::byte*>(mnl_attr_get_payload(payload)),
              mnl_attr_get_payload_len(payload)};
  }
  ++counters_.received;
  handler(QueuedPacket{.id = ntohl(header->packet_id),
                       .queue = queue_,
                       .packet = packet,
                       .mark = number(NFQA_MARK),
                       .truncated = number(NFQA_CAP_LEN) > packet.size(),
                       .gso = (number(NFQA_SKB_INFO) & NFQA_SKB_GSO) != 0,
                       .in_ifindex = number(NFQA_IFINDEX_INDEV),
                       .out_ifindex = number(NFQA_IFINDEX_OUTDEV)});
}

void NfQueue::verdict(std::uint32_t id, Verdict verdict, std::optional<std::uint32_t> mark,
                      Bytes replacement) {
  if (replacement.size() > kMaxReplacement) verdict = Verdict::Drop;
  if (verdict == Verdict::Drop) replacement = {};
  const std::size_t start = pending_.size();
  pending_.resize(start + kVerdictRoom + replacement.size());
  nlmsghdr* const message =
      nfq_nlmsg_put(reinterpret_cast<char*>(pending_.data() + start), NFQNL_MSG_VERDICT, queue_);
  nfq_nlmsg_verdict_put(message, static_cast<int>(id), static_cast<int>(to_kernel(verdict)));
  if (mark) nfq_nlmsg_verdict_put_mark(message, *mark);
  if (!replacement.empty()) {
    nfq_nlmsg_verdict_put_pkt(message, replacement.data(), static_cast<std::uint32_t>(replacement.size()));
  }
  pending_.resize(start + MNL_ALIGN(message->nlmsg_len));
}

Result<Done, SysError> NfQueue::flush() {
  // nfnetlink takes any number of messages in a datagram; each gets its own error, and one error stops no
  // other.
  std::size_t sent = 0;
  Result<Done, SysError> result = Done{};
  while (sent < pending_.size()) {
    std::size_t end = sent;
    while (end < pending_.size()) {
      const auto* message = reinterpret_cast<const nlmsghdr*>(pending_.data() + end);
      const std::size_t size = MNL_ALIGN(message->nlmsg_len);
      if (end > sent && end - sent + size > kSendChunk) break;
      end += size;
    }
    result = send_datagram(*socket_, Bytes{pending_}.subspan(sent, end - sent));
    if (!result) break;
    sent = end;
  }
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(sent));
  return result;
}

std::optional<QueueState> parse_queue_state(std::string_view text, std::uint16_t queue) {
  // queue number | port id | waiting | copy mode | copy range | dropped | user dropped | id sequence | 1
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    std::array<std::uint32_t, 7> fields{};
    bool whole = true;
    for (auto& field : fields) {
      line.remove_prefix(std::min(line.size(), line.find_first_not_of(' ')));
      const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), field);
      whole = whole && error == std::errc{};
      line.remove_prefix(static_cast<std::size_t>(end - line.data()));
    }
    if (whole && fields[0] == queue) {
      return QueueState{
          .port_id = fields[1], .waiting = fields[2], .dropped = fields[5], .user_dropped = fields[6]};
    }
  }
  return std::nullopt;
}

std::optional<QueueState> queue_state(std::uint16_t queue) {
  std::ifstream file{"/proc/self/net/netfilter/nfnetlink_queue"};
  const std::string text{std::istreambuf_iterator<char>{file}, {}};
  return parse_queue_state(text, queue);
}

}  // namespace icqgate::sys
