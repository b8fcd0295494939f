// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/conntrack.hpp"

#include <arpa/inet.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <linux/filter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <sys/socket.h>

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

// Which parts of the tuple in a dump's request count: the kernel's CTA_FILTER_F_CTA_PROTO_NUM and
// CTA_FILTER_F_CTA_PROTO_DST_PORT (net/netfilter/nf_internals.h; no public header names them). A port counts
// only together with the protocol.
constexpr std::uint32_t kFilterProtocol = 1 << 3, kFilterDestinationPort = 1 << 5;

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
      .timeout = std::chrono::seconds{nfct_get_attr_u32(ct, ATTR_TIMEOUT)},
      .id = nfct_get_attr_u32(ct, ATTR_ID)};
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

// A dump's request for one family, with the filter for it.
void put_port_filter(nlmsghdr* message, Port port) {
  nlattr* const tuple = mnl_attr_nest_start(message, CTA_TUPLE_ORIG);
  nlattr* const protocol = mnl_attr_nest_start(message, CTA_TUPLE_PROTO);
  mnl_attr_put_u8(message, CTA_PROTO_NUM, IPPROTO_TCP);
  mnl_attr_put_u16(message, CTA_PROTO_DST_PORT, htons(port.get()));
  mnl_attr_nest_end(message, protocol);
  mnl_attr_nest_end(message, tuple);
  nlattr* const filter = mnl_attr_nest_start(message, CTA_FILTER);
  mnl_attr_put_u32(message, CTA_FILTER_ORIG_FLAGS, kFilterProtocol | kFilterDestinationPort);
  mnl_attr_nest_end(message, filter);
}

// A socket filter over an event's message: passes those of TCP flows with one of the ports as the original
// destination, or with any if there are none. nfct_filter_attach() knows no ports.
std::vector<sock_filter> event_filter(const std::vector<Port>& ports) {
  constexpr std::uint32_t kAttributes = NLMSG_HDRLEN + sizeof(nfgenmsg), kDrop = 0, kPass = 0xffffffff;
  std::vector<sock_filter> program;
  // A conditional jump skips one instruction if its condition holds, or if it does not.
  enum class Skip : std::uint8_t { Never, IfSo, IfNot };
  const auto add = [&program](int code, std::uint32_t value, Skip skip = Skip::Never) {
    program.push_back({static_cast<std::uint16_t>(code), skip == Skip::IfSo, skip == Skip::IfNot, value});
  };
  // A becomes the place of the attribute X below A; a message without it (A = 0) is dropped.
  const auto find = [&add](std::uint32_t attribute, int lookup) {
    add(BPF_LDX | BPF_IMM, attribute);
    add(BPF_LD | BPF_B | BPF_ABS, static_cast<std::uint32_t>(SKF_AD_OFF + lookup));
    add(BPF_JMP | BPF_JEQ | BPF_K, 0, Skip::IfNot);
    add(BPF_RET | BPF_K, kDrop);
    add(BPF_MISC | BPF_TAX, 0);
  };
  add(BPF_LD | BPF_IMM, kAttributes);
  find(CTA_TUPLE_ORIG, SKF_AD_NLATTR);
  find(CTA_TUPLE_PROTO, SKF_AD_NLATTR_NEST);
  add(BPF_ST, 0);
  find(CTA_PROTO_NUM, SKF_AD_NLATTR_NEST);
  add(BPF_LD | BPF_B | BPF_IND, NLA_HDRLEN);
  add(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_TCP, Skip::IfSo);
  add(BPF_RET | BPF_K, kDrop);
  add(BPF_LD | BPF_MEM, 0);
  find(CTA_PROTO_DST_PORT, SKF_AD_NLATTR_NEST);
  add(BPF_LD | BPF_H | BPF_IND, NLA_HDRLEN);  // comes in host order
  // A return behind each comparison: jumps reach no further than 255 instructions.
  for (const Port port : ports) {
    add(BPF_JMP | BPF_JEQ | BPF_K, port.get(), Skip::IfNot);
    add(BPF_RET | BPF_K, kPass);
  }
  add(BPF_RET | BPF_K, ports.empty() ? kPass : kDrop);
  return program;
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

Result<std::optional<Flow>, SysError> Conntrack::find(const FlowKey& key, Tuple tuple) {
  std::vector<std::byte> bytes(512);
  const std::uint8_t family = key.source.address.is_v4() ? AF_INET : AF_INET6;
  nlmsghdr* const message = start_message(bytes.data(), IPCTNL_MSG_CT_GET, 0, ++sequence_, family);
  put_tuple(message, key, tuple);
  std::optional<Flow> flow;
  const auto done = request(*socket_, Bytes{bytes}.first(message->nlmsg_len), buffer_, kWait,
                            [&flow](const nlmsghdr* answer) { flow = parse_flow(answer); });
  if (!done && done.error().code != ENOENT) return tl::make_unexpected(SysError{"get ct", done.error().code});
  return flow;
}

Result<std::optional<Flow>, SysError> Conntrack::find_forwarded(const FlowKey& seen) {
  const auto found = find(seen, Tuple::Original);
  if (!found || *found) return found;
  return find(seen.reversed(), Tuple::Reply);
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
  // The mark is compared again: a kernel may leave out the filter, never the attribute.
  return dump_message(Bytes{bytes}.first(message->nlmsg_len),
                      [value, mask](const Flow& flow) { return (flow.mark & mask) == value; });
}

Result<std::vector<Flow>, SysError> Conntrack::dump_message(Bytes message, const Filter& wanted) {
  std::vector<Flow> flows;
  const auto done = request(*socket_, message, buffer_, kWait, [&](const nlmsghdr* answer) {
    if (auto flow = parse_flow(answer); flow && wanted(*flow)) flows.push_back(*flow);
  });
  if (!done) return tl::make_unexpected(SysError{"dump ct", done.error().code});
  return flows;
}

Result<std::vector<Flow>, SysError> Conntrack::dump_to_port(Port port, MarkFilter marked, PickedBy picked) {
  // Compared in any case: kernels before 5.8 do not know the filter and leave it out without a word.
  const auto wanted = [port, marked](const Flow& flow) {
    return flow.original.destination.port == port && (flow.mark & marked.mask) == marked.value;
  };
  std::vector<Flow> flows;
  // The filter's tuple is of one family or the other.
  for (const std::uint8_t family : {std::uint8_t{AF_INET}, std::uint8_t{AF_INET6}}) {
    if (picked == PickedBy::Here || !kernel_picks_) break;
    std::vector<std::byte> bytes(256);
    nlmsghdr* const message = start_message(bytes.data(), IPCTNL_MSG_CT_GET, NLM_F_DUMP, ++sequence_, family);
    put_port_filter(message, port);
    if (marked.mask != 0) {
      mnl_attr_put_u32(message, CTA_MARK, htonl(marked.value));
      mnl_attr_put_u32(message, CTA_MARK_MASK, htonl(marked.mask));
    }
    const auto part = dump_message(Bytes{bytes}.first(message->nlmsg_len), wanted);
    if (part) {
      flows.insert(flows.end(), part->begin(), part->end());
    } else if (part.error().code == EOPNOTSUPP || part.error().code == EINVAL) {
      kernel_picks_ = false;
    } else {
      return part;
    }
  }
  if (picked == PickedBy::Kernel && kernel_picks_) return flows;
  auto all = dump(marked.value, marked.mask);
  if (all) std::erase_if(*all, [&wanted](const Flow& flow) { return !wanted(flow); });
  return all;
}

ConntrackEvents::ConntrackEvents(MnlSocket socket) : socket_{std::move(socket)}, buffer_(kDatagramSize) {}

Result<ConntrackEvents, SysError> ConntrackEvents::open(const std::vector<Port>& original_destination_ports) {
  auto socket = open_nfnetlink();
  if (!socket) return tl::make_unexpected(socket.error());
  raise_receive_buffer(**socket, kEventBuffer);
  // Before the first event may come.
  auto filter = event_filter(original_destination_ports);
  const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  if (setsockopt(mnl_socket_get_fd(socket->get()), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) !=
      0) {
    return tl::make_unexpected(SysError{"SO_ATTACH_FILTER", errno});
  }
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
