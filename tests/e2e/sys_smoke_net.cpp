// SPDX-License-Identifier: GPL-2.0-or-later
#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "sys/conntrack.hpp"
#include "sys/interfaces.hpp"
#include "sys/nfnetlink.hpp"
#include "sys/ruleset_loader.hpp"
#include "sys_smoke.hpp"

namespace icqgate::smoke {

namespace {

constexpr const char* kTrackingRules =
    "table ip smoke_ct {\n"
    "  chain out { type nat hook output priority -100; tcp dport 5000 dnat to 127.0.0.1:5001; }\n"
    "  chain in { type filter hook input priority 0; ct state new counter; }\n"
    "}\n"
    "table ip6 smoke_ct { chain in { type filter hook input priority 0; ct state new counter; }; }\n";

constexpr std::array<std::uint8_t, 16> kLoopback6{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

struct Connection {
  sys::UniqueFd listener, client;
  sys::FlowKey flow;  // as the client sees it
};

// Listens at `port`, connects to `through`, both on the loopback address of the family.
Connection connect_tcp(int family, std::uint16_t port, std::uint16_t through) {
  const int one = 1;
  Connection made{sys::UniqueFd{socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)},
                  sys::UniqueFd{socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)},
                  {}};
  (void)setsockopt(made.listener.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_storage storage{};
  socklen_t size = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  const auto fill = [&](std::uint16_t number) {
    storage = {};
    if (family == AF_INET) {
      const auto address = socket_address(number);
      std::memcpy(&storage, &address, sizeof address);
    } else {
      sockaddr_in6 address{};
      address.sin6_family = AF_INET6;
      address.sin6_port = htons(number);
      address.sin6_addr = in6addr_loopback;
      std::memcpy(&storage, &address, sizeof address);
    }
    return reinterpret_cast<sockaddr*>(&storage);
  };
  if (bind(made.listener.get(), fill(port), size) != 0 || listen(made.listener.get(), 1) != 0 ||
      connect(made.client.get(), fill(through), size) != 0 ||
      getsockname(made.client.get(), reinterpret_cast<sockaddr*>(&storage), &size) != 0) {
    give_up("TCP connection on lo");
  }
  const std::uint16_t own = family == AF_INET ? reinterpret_cast<const sockaddr_in*>(&storage)->sin_port
                                              : reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port;
  const IpAddress address = family == AF_INET ? IpAddress{kLoopback} : IpAddress{Ipv6{kLoopback6}};
  made.flow = {{address, Port{ntohs(own)}}, {address, Port{through}}};
  return made;
}

const sys::Flow* find(const std::vector<sys::Flow>& flows, const sys::FlowKey& key) {
  const auto found =
      std::find_if(flows.begin(), flows.end(), [&](const sys::Flow& flow) { return flow.original == key; });
  return found != flows.end() ? &*found : nullptr;
}

// A batch of nftables messages about tables, as src/nft would build it with libnftnl.
class Batch {
 public:
  Batch() { marker(NFNL_MSG_BATCH_BEGIN); }
  std::uint32_t table(std::uint16_t type, const char* name, std::uint16_t flags = 0) {
    nlmsghdr* const message =
        start(static_cast<std::uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | type), flags, NFPROTO_INET, 0);
    if (name != nullptr) mnl_attr_put_strz(message, NFTA_TABLE_NAME, name);
    finish(message);
    return sequence_;
  }
  Bytes end() {
    marker(NFNL_MSG_BATCH_END);
    return bytes_;
  }
  // The one message of `type`, outside a batch.
  Bytes alone(std::uint16_t type, std::uint16_t flags) {
    bytes_.clear();
    table(type, nullptr, flags);
    return bytes_;
  }

 private:
  void marker(std::uint16_t type) { finish(start(type, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES)); }
  nlmsghdr* start(std::uint16_t type, std::uint16_t flags, std::uint8_t family, std::uint16_t resource) {
    start_ = bytes_.size();
    bytes_.resize(start_ + 128);
    nlmsghdr* const message = mnl_nlmsg_put_header(bytes_.data() + start_);
    message->nlmsg_type = type;
    message->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
    message->nlmsg_seq = ++sequence_;
    auto* const header = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(nfgenmsg)));
    *header = {family, NFNETLINK_V0, htons(resource)};
    return message;
  }
  void finish(const nlmsghdr* message) { bytes_.resize(start_ + MNL_ALIGN(message->nlmsg_len)); }

  std::vector<std::byte> bytes_;
  std::size_t start_ = 0;
  std::uint32_t sequence_ = 100;
};

std::size_t count_tables(sys::NftSocket& socket) {
  Batch request;
  std::size_t tables = 0;
  const auto done =
      socket.dump(request.alone(NFT_MSG_GETTABLE, NLM_F_DUMP), [&](const nlmsghdr*) { ++tables; });
  if (!done) expect(false, to_string(done.error()));
  return tables;
}

}  // namespace

void test_conntrack() {
  (void)must(sys::load_ruleset(kTrackingRules, sys::DryRun::No), "rules that need conntrack");
  auto conntrack = must(sys::Conntrack::open(), "Conntrack::open");
  auto events = must(sys::ConntrackEvents::open({}), "ConntrackEvents::open");

  for (const int family : {AF_INET, AF_INET6}) {
    const char* const name = family == AF_INET ? "IPv4" : "IPv6";
    const auto connection = connect_tcp(family, 5100, 5100);
    const auto flows = must(conntrack.dump(0, 0), "dump");
    const auto* flow = find(flows, connection.flow);
    expect(flow && flow->reply == connection.flow.reversed() && flow->state == sys::TcpState::Established &&
               flow->timeout.count() > 0 && flow->mark == 0,
           fmt::format("{}: the dump holds the flow with both tuples, state, timeout", name));

    expect(conntrack.set_mark(connection.flow, 0xffffffff, 0x6000000) == true, "set_mark finds it");
    expect(conntrack.set_mark(connection.flow, 0x1, 0x1) == true &&
               conntrack.set_mark(connection.flow, 0, 0x2000000) == true,
           "and again");
    const auto marked = must(conntrack.dump(0x4000000, 0x6000000), "dump");
    const auto* one = find(marked, connection.flow);
    expect(marked.size() == 1 && one && one->mark == 0x4000001,
           "only bits of the mask changed; dump by mark");
    expect(must(conntrack.dump(0x2000000, 0x6000000), "dump").empty(), "a mark nobody has");
    expect(conntrack.set_mark(connection.flow.reversed(), 0, 0x1, sys::Tuple::Reply) == true,
           "set_mark by reply tuple");

    expect(conntrack.destroy(connection.flow) == true, "destroy");
    expect(conntrack.destroy(connection.flow) == false, "destroy again: there is none");
    expect(conntrack.set_mark(connection.flow, 1, 1) == false, "set_mark: there is none");
    std::vector<sys::Flow> ended;
    (void)must(events.receive([&](const sys::Flow& gone) { ended.push_back(gone); }), "events");
    const auto* gone = find(ended, connection.flow);
    expect(gone && gone->mark == 0x4000000 && events.lost() == 0, "the end is told, with its mark");
  }

  {
    const auto connection = connect_tcp(AF_INET, 5001, 5000);
    const auto flows = must(conntrack.dump(0, 0), "dump");
    const auto* flow = find(flows, connection.flow);
    expect(flow && flow->reply.source.port == Port{5001}, "a destination-NATed flow: reply tuple from 5001");
    sys::FlowKey forwarded = connection.flow;
    forwarded.destination.port = Port{5001};
    expect(conntrack.destroy(forwarded) == false, "its original tuple is another");
    expect(conntrack.destroy_forwarded(forwarded) == true, "found as the forward hook sees it");
    expect(!find(must(conntrack.dump(0, 0), "dump"), connection.flow), "and gone");
  }
  {
    const auto connection = connect_tcp(AF_INET, 5001, 5000);
    sys::FlowKey answer = connection.flow.reversed();
    answer.source.port = Port{5001};
    expect(conntrack.destroy(answer, sys::Tuple::Reply) == true, "destroy by reply tuple");
  }
  const auto other = connect_tcp(AF_INET, 5200, 5200);
  const sys::FlowKey mixed{{kLoopback, Port{1}}, {Ipv6{kLoopback6}, Port{2}}};
  const auto refused = conntrack.destroy(mixed);
  expect(!refused && refused.error().code == EAFNOSUPPORT, "mixed families are refused");
  expect(find(must(conntrack.dump(0, 0), "dump"), other.flow) != nullptr, "nobody else's flow was touched");
}

void test_nftables() {
  auto socket = must(sys::NftSocket::open(), "NftSocket::open");
  auto events = must(sys::NftEvents::open(), "NftEvents::open");
  const std::size_t before = count_tables(socket);

  Batch good;
  good.table(NFT_MSG_NEWTABLE, "smoke_a", NLM_F_CREATE);
  good.table(NFT_MSG_NEWTABLE, "smoke_b", NLM_F_CREATE | NLM_F_ACK);
  expect(socket.send_batch(good.end()).has_value(), "a transaction lands");
  expect(count_tables(socket) == before + 2, "the dump shows it");

  std::size_t told = 0;
  bool ours = true;
  (void)must(events.receive([&](const nlmsghdr* message) {
    if ((message->nlmsg_type & 0xff) == NFT_MSG_NEWTABLE) ++told;
    ours = ours && message->nlmsg_pid == socket.port_id();
  }),
             "events");
  expect(told == 2 && ours, "events tell it, with our port id");

  Batch bad;
  bad.table(NFT_MSG_NEWTABLE, "smoke_c", NLM_F_CREATE);
  const std::uint32_t guilty = bad.table(NFT_MSG_DELTABLE, "smoke_nowhere");
  bad.table(NFT_MSG_NEWTABLE, "smoke_d", NLM_F_CREATE | NLM_F_ACK);
  const auto refused = socket.send_batch(bad.end());
  expect(!refused && refused.error().code == ENOENT && refused.error().sequence == guilty,
         "a refused one names the message: " + (refused ? "" : to_string(refused.error())));
  expect(count_tables(socket) == before + 2, "and changes nothing");

  Batch large;
  for (int i = 0; i < 20'000; ++i) large.table(NFT_MSG_NEWTABLE, "smoke_a", NLM_F_CREATE | NLM_F_ACK);
  const Bytes bytes = large.end();
  const auto landed = socket.send_batch(bytes);
  expect(landed.has_value(), fmt::format("{} bytes, 20,000 acknowledged messages in one transaction{}",
                                         bytes.size(), landed ? "" : ": " + to_string(landed.error())));
  Batch after;
  after.table(NFT_MSG_DELTABLE, "smoke_b");
  expect(socket.send_batch(after.end()).has_value() && count_tables(socket) == before + 1,
         "the next one is not confused by it");
  Batch generation;
  std::size_t answers = 0;
  expect(socket.dump(generation.alone(NFT_MSG_GETGEN, 0), [&](const nlmsghdr*) { ++answers; }).has_value() &&
             answers == 1,
         "a request with a single answer");

  constexpr const char* kText = "table inet smoke_text { set s { type ipv4_addr; flags timeout; }; }\n";
  expect(sys::load_ruleset(kText, sys::DryRun::Yes).has_value() && count_tables(socket) == before + 1,
         "a dry run passes and installs nothing");
  expect(sys::load_ruleset(kText, sys::DryRun::No).has_value() && count_tables(socket) == before + 2,
         "load_ruleset");
  const auto syntax = sys::load_ruleset("table inet x { chain }\n", sys::DryRun::Yes);
  expect(!syntax && syntax.error().find("rror") != std::string::npos &&
             syntax.error().find('^') != std::string::npos,
         "a syntax error comes back with its place");
  const auto kernel = sys::load_ruleset("delete table inet smoke_nowhere\n", sys::DryRun::No);
  expect(!kernel && kernel.error().find("No such file") != std::string::npos,
         "the kernel's refusal comes back");
}

void test_interfaces() {
  expect(shell("ip link add smoke0 type veth peer name smoke1 && ip addr add 192.0.2.65/26 dev smoke0 && "
               "ip addr add 198.51.100.1/32 dev smoke0 label smoke0:1 && "
               "ip -6 addr add 2001:db8:1:2::3/60 dev smoke0 nodad && ip link set smoke0 up"),
         "an interface");
  const auto found = must(sys::interface_addresses({"smoke*", "nothere"}), "interface_addresses");
  const auto has = [&](const char* address, const char* subnet) {
    return std::any_of(found.begin(), found.end(), [&](const sys::InterfaceAddress& entry) {
      return entry.name == "smoke0" && entry.index > 1 && entry.address == *parse_address(address) &&
             entry.subnet == *parse_subnet(subnet);
    });
  };
  expect(has("192.0.2.65", "192.0.2.64/26"), "an IPv4 address with its network");
  expect(has("198.51.100.1", "198.51.100.1/32"), "a labelled host address, under the interface's name");
  expect(has("2001:db8:1:2::3", "2001:db8:1::/60"), "an IPv6 address");
  expect(must(sys::interface_addresses({"lo"}), "lo").size() == 2, "lo has two, by exact name");
  expect(must(sys::interface_addresses({"l"}), "l").empty() &&
             must(sys::interface_addresses({}), "none").empty(),
         "no pattern, no half names");
  using Names = std::vector<std::string>;
  expect(must(sys::missing_interfaces({"eth9", "lo", "smoke1", "smo*", "wg*"}), "missing") ==
             Names{"eth9", "wg*"},
         "which patterns no interface has; one without an address is there");
  expect(shell("ip link set smoke1 name eth9") &&
             must(sys::missing_interfaces({"eth9", "smoke1"}), "missing") == Names{"smoke1"} &&
             must(sys::missing_interfaces({}), "missing").empty(),
         "after one was renamed");
  expect(sys::matches_interface("*", "eth0") && sys::matches_interface("br-*", "br-") &&
             !sys::matches_interface("br-*", "br") && !sys::matches_interface("", "lo"),
         "patterns");
}

}  // namespace icqgate::smoke
