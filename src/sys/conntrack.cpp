// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/conntrack.hpp"

#include <arpa/inet.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <optional>

#include "sys/nfnetlink_socket.hpp"

namespace icqgate::sys {

namespace {

using ConntrackObject = std::unique_ptr<nf_conntrack, CloseWith<&nfct_destroy>>;

constexpr std::chrono::milliseconds kWait{100};
constexpr int kEventBuffer = 4 * 1024 * 1024;
constexpr std::size_t kEventsPerCall = 256;

// The attribute names of one tuple, for both address families.
struct TupleAttributes {
  nf_conntrack_attr l3, v4_source, v4_destination, v6_source, v6_destination, port_source, port_destination;
};
constexpr TupleAttributes kOriginal{ATTR_ORIG_L3PROTO,  ATTR_ORIG_IPV4_SRC, ATTR_ORIG_IPV4_DST,
                                    ATTR_ORIG_IPV6_SRC, ATTR_ORIG_IPV6_DST, ATTR_ORIG_PORT_SRC,
                                    ATTR_ORIG_PORT_DST};
constexpr TupleAttributes kReply{ATTR_REPL_L3PROTO,  ATTR_REPL_IPV4_SRC, ATTR_REPL_IPV4_DST,
                                 ATTR_REPL_IPV6_SRC, ATTR_REPL_IPV6_DST, ATTR_REPL_PORT_SRC,
                                 ATTR_REPL_PORT_DST};

// nfct_nlmsg_build() refuses an object that has a reply tuple only, so the tuple is written here.
void put_tuple(nlmsghdr* message, const FlowKey& key, Tuple tuple) {
  const bool v4 = key.source.address.is_v4();
  const std::size_t size = v4 ? 4 : 16;
  nlattr* const whole =
      mnl_attr_nest_start(message, tuple == Tuple::Original ? CTA_TUPLE_ORIG : CTA_TUPLE_REPLY);
  nlattr* const addresses = mnl_attr_nest_start(message, CTA_TUPLE_IP);
  mnl_attr_put(message, v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, size, key.source.address.wire().data());
  mnl_attr_put(message, v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, size, key.destination.address.wire().data());
  mnl_attr_nest_end(message, addresses);
  nlattr* const protocol = mnl_attr_nest_start(message, CTA_TUPLE_PROTO);
  mnl_attr_put_u8(message, CTA_PROTO_NUM, IPPROTO_TCP);
  mnl_attr_put_u16(message, CTA_PROTO_SRC_PORT, htons(key.source.port.get()));
  mnl_attr_put_u16(message, CTA_PROTO_DST_PORT, htons(key.destination.port.get()));
  mnl_attr_nest_end(message, protocol);
  mnl_attr_nest_end(message, whole);
}

IpAddress take_address(const nf_conntrack* object, bool v4, nf_conntrack_attr name_v4,
                       nf_conntrack_attr name_v6) {
  if (v4) return Ipv4{ntohl(nfct_get_attr_u32(object, name_v4))};
  std::array<std::uint8_t, 16> bytes{};
  if (const void* wire = nfct_get_attr(object, name_v6)) {
    std::copy_n(static_cast<const std::uint8_t*>(wire), bytes.size(), bytes.begin());
  }
  return Ipv6{bytes};
}

FlowKey take_key(const nf_conntrack* object, const TupleAttributes& names) {
  const bool v4 = nfct_get_attr_u8(object, names.l3) == AF_INET;
  return {{take_address(object, v4, names.v4_source, names.v6_source),
           Port{ntohs(nfct_get_attr_u16(object, names.port_source))}},
          {take_address(object, v4, names.v4_destination, names.v6_destination),
           Port{ntohs(nfct_get_attr_u16(object, names.port_destination))}}};
}

std::optional<Flow> parse_flow(const nlmsghdr* message) {
  const ConntrackObject object{nfct_new()};
  if (!object || nfct_nlmsg_parse(message, object.get()) < 0) return std::nullopt;
  const nf_conntrack* const ct = object.get();
  if (nfct_get_attr_u8(ct, ATTR_ORIG_L4PROTO) != IPPROTO_TCP) return std::nullopt;
  const std::uint8_t state = nfct_get_attr_u8(ct, ATTR_TCP_STATE);
  return Flow{
      .original = take_key(ct, kOriginal),
      .reply = take_key(ct, kReply),
      .mark = nfct_get_attr_u32(ct, ATTR_MARK),
      .status = nfct_get_attr_u32(ct, ATTR_STATUS),
      .state = state <= static_cast<std::uint8_t>(TcpState::SynSent2) ? TcpState{state} : TcpState::None,
      .timeout = std::chrono::seconds{nfct_get_attr_u32(ct, ATTR_TIMEOUT)}};
}

nlmsghdr* start_message(void* buffer, std::uint16_t type, std::uint16_t flags, std::uint32_t sequence,
                        std::uint8_t family) {
  nlmsghdr* const message = mnl_nlmsg_put_header(buffer);
  message->nlmsg_type = static_cast<std::uint16_t>(NFNL_SUBSYS_CTNETLINK << 8 | type);
  message->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
  message->nlmsg_seq = sequence;
  auto* const header = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(nfgenmsg)));
  header->nfgen_family = family;
  header->version = NFNETLINK_V0;
  header->res_id = 0;
  return message;
}

}  // namespace

Conntrack::Conntrack(MnlSocket socket) : socket_{std::move(socket)}, buffer_(kDatagramSize) {}

Result<Conntrack, SysError> Conntrack::open() {
  auto socket = open_nfnetlink();
  if (!socket) return tl::make_unexpected(socket.error());
  return Conntrack{std::move(*socket)};
}

Result<bool, SysError> Conntrack::change(std::uint16_t type, const FlowKey& key, Tuple tuple,
                                         const std::uint32_t* value, std::uint32_t mask) {
  // A delete without a tuple deletes every flow of the machine; nothing but a whole tuple may leave here.
  if (key.source.address.is_v4() != key.destination.address.is_v4()) {
    return tl::make_unexpected(SysError{"conntrack tuple", EAFNOSUPPORT});
  }
  std::vector<std::byte> bytes(512);
  const std::uint8_t family = key.source.address.is_v4() ? AF_INET : AF_INET6;
  nlmsghdr* const message = start_message(bytes.data(), type, NLM_F_ACK, ++sequence_, family);
  put_tuple(message, key, tuple);
  if (value != nullptr) {
    mnl_attr_put_u32(message, CTA_MARK, htonl(*value & mask));
    mnl_attr_put_u32(message, CTA_MARK_MASK, htonl(mask));
  }
  const auto done = request(*socket_, Bytes{bytes}.first(message->nlmsg_len), buffer_, kWait);
  if (done) return true;
  if (done.error().code == ENOENT) return false;
  return tl::make_unexpected(SysError{value ? "set ct mark" : "delete ct", done.error().code});
}

Result<bool, SysError> Conntrack::destroy(const FlowKey& key, Tuple tuple) {
  return change(IPCTNL_MSG_CT_DELETE, key, tuple, nullptr, 0);
}

Result<bool, SysError> Conntrack::destroy_forwarded(const FlowKey& seen) {
  // Between the NAT hooks a source-NATed flow still has its original tuple, and a destination-NATed one the
  // reverse of its reply tuple; the kernel's look-up tries both directions of each.
  const auto found = destroy(seen, Tuple::Original);
  if (!found || *found) return found;
  return destroy(seen.reversed(), Tuple::Reply);
}

Result<bool, SysError> Conntrack::set_mark(const FlowKey& key, std::uint32_t value, std::uint32_t mask,
                                           Tuple tuple) {
  return change(IPCTNL_MSG_CT_NEW, key, tuple, &value, mask);
}

Result<std::vector<Flow>, SysError> Conntrack::dump(std::uint32_t value, std::uint32_t mask) {
  std::vector<std::byte> bytes(256);
  nlmsghdr* const message =
      start_message(bytes.data(), IPCTNL_MSG_CT_GET, NLM_F_DUMP, ++sequence_, AF_UNSPEC);
  if (mask != 0) {
    mnl_attr_put_u32(message, CTA_MARK, htonl(value));
    mnl_attr_put_u32(message, CTA_MARK_MASK, htonl(mask));
  }
  std::vector<Flow> flows;
  const auto done =
      request(*socket_, Bytes{bytes}.first(message->nlmsg_len), buffer_, kWait, [&](const nlmsghdr* answer) {
        // The mark is compared again: a kernel may leave out the filter, never the attribute.
        if (auto flow = parse_flow(answer); flow && (flow->mark & mask) == value) flows.push_back(*flow);
      });
  if (!done) return tl::make_unexpected(SysError{"dump ct", done.error().code});
  return flows;
}

ConntrackEvents::ConntrackEvents(MnlSocket socket) : socket_{std::move(socket)}, buffer_(kDatagramSize) {}

Result<ConntrackEvents, SysError> ConntrackEvents::open() {
  auto socket = open_nfnetlink();
  if (!socket) return tl::make_unexpected(socket.error());
  raise_receive_buffer(**socket, kEventBuffer);
  if (const auto joined = join_group(**socket, NFNLGRP_CONNTRACK_DESTROY); !joined) {
    return tl::make_unexpected(joined.error());
  }
  return ConntrackEvents{std::move(*socket)};
}

int ConntrackEvents::fd() const noexcept { return mnl_socket_get_fd(socket_.get()); }

Result<std::size_t, SysError> ConntrackEvents::receive(const std::function<void(const Flow&)>& ended) {
  std::size_t flows = 0;
  const auto drained = drain_events(*socket_, buffer_, kEventsPerCall, lost_, [&](const nlmsghdr* message) {
    if (const auto flow = parse_flow(message)) {
      ++flows;
      ended(*flow);
    }
  });
  if (!drained) return drained;
  return flows;
}

}  // namespace icqgate::sys
