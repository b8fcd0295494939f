// SPDX-License-Identifier: GPL-2.0-or-later
// Who picks the flows out of a large conntrack table: the kernel, for dumps and for events.
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack_tcp.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <vector>

#include "base/close_with.hpp"
#include "sys/conntrack.hpp"
#include "sys_smoke.hpp"

namespace icqgate::smoke {

namespace {

using Handle = std::unique_ptr<nfct_handle, CloseWith<&nfct_close>>;
using Object = std::unique_ptr<nf_conntrack, CloseWith<&nfct_destroy>>;
constexpr Port kIcq{5190};

// Flows of conntrack without a packet: entered by hand, as many as wanted.
class Flows {
 public:
  Flows() : handle_{nfct_open(NFNL_SUBSYS_CTNETLINK, 0)} {
    if (!handle_) give_up("nfct_open");
  }

  // `translated`: the port of the host that answers. The reply's addresses are the original's, turned round.
  void add(const sys::FlowKey& key, std::uint8_t protocol, std::uint8_t state, Port translated) {
    query(NFCT_Q_CREATE, key, protocol, state, translated);
  }
  void add(const sys::FlowKey& key, std::uint8_t state = TCP_CONNTRACK_ESTABLISHED) {
    add(key, IPPROTO_TCP, state, key.destination.port);
  }
  void remove_datagrams(const sys::FlowKey& key) {
    query(NFCT_Q_DESTROY, key, IPPROTO_UDP, 0, key.destination.port);
  }

 private:
  void query(nf_conntrack_query what, const sys::FlowKey& key, std::uint8_t protocol, std::uint8_t state,
             Port translated) {
    const Object object{nfct_new()};
    nf_conntrack* const ct = object.get();
    const bool v4 = key.source.address.is_v4();
    const auto source = key.source.address.wire(), destination = key.destination.address.wire();
    const auto tuple = [&](nf_conntrack_attr l3, nf_conntrack_attr l4, nf_conntrack_attr from,
                           nf_conntrack_attr to, nf_conntrack_attr from_port, nf_conntrack_attr to_port,
                           bool turned) {
      nfct_set_attr_u8(ct, l3, v4 ? AF_INET : AF_INET6);
      nfct_set_attr_u8(ct, l4, protocol);
      nfct_set_attr(ct, from, (turned ? destination : source).data());
      nfct_set_attr(ct, to, (turned ? source : destination).data());
      const Port answering = turned ? translated : key.destination.port;
      nfct_set_attr_u16(ct, from_port, htons((turned ? answering : key.source.port).get()));
      nfct_set_attr_u16(ct, to_port, htons((turned ? key.source.port : answering).get()));
    };
    tuple(ATTR_ORIG_L3PROTO, ATTR_ORIG_L4PROTO, v4 ? ATTR_ORIG_IPV4_SRC : ATTR_ORIG_IPV6_SRC,
          v4 ? ATTR_ORIG_IPV4_DST : ATTR_ORIG_IPV6_DST, ATTR_ORIG_PORT_SRC, ATTR_ORIG_PORT_DST, false);
    tuple(ATTR_REPL_L3PROTO, ATTR_REPL_L4PROTO, v4 ? ATTR_REPL_IPV4_SRC : ATTR_REPL_IPV6_SRC,
          v4 ? ATTR_REPL_IPV4_DST : ATTR_REPL_IPV6_DST, ATTR_REPL_PORT_SRC, ATTR_REPL_PORT_DST, true);
    if (protocol == IPPROTO_TCP) nfct_set_attr_u8(ct, ATTR_TCP_STATE, state);
    nfct_set_attr_u32(ct, ATTR_TIMEOUT, 600);
    if (nfct_query(handle_.get(), what, ct) != 0) give_up("a flow by hand");
  }

  Handle handle_;
};

// The flow number `i` of 64,000 and more to `port`.
sys::FlowKey numbered(std::uint32_t i, Port port) {
  return {
      {Ipv4{make_ipv4(10, 0, 0, 0).get() + i / 50'000}, Port{static_cast<std::uint16_t>(1024 + i % 50'000)}},
      {make_ipv4(192, 0, 2, 1), port}};
}

std::vector<sys::FlowKey> originals(const std::vector<sys::Flow>& flows) {
  std::vector<sys::FlowKey> keys;
  for (const auto& flow : flows) keys.push_back(flow.original);
  std::sort(keys.begin(), keys.end());
  return keys;
}

template <class Work>
double milliseconds(Work&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

void test_flows() {
  auto conntrack = must(sys::Conntrack::open(), "Conntrack::open");
  auto events = must(sys::ConntrackEvents::open({Port{4000}, kIcq}), "events of two ports");
  Flows flows;

  const IpAddress inside{make_ipv4(192, 168, 1, 20)}, outside{make_ipv4(192, 0, 2, 5)};
  const auto inside6 = *parse_address("2001:db8::20"), outside6 = *parse_address("2001:db8:1::5");
  const sys::FlowKey plain{{inside, Port{40001}}, {outside, kIcq}};
  const sys::FlowKey sixth{{inside6, Port{40001}}, {outside6, kIcq}};
  const sys::FlowKey translated{{inside, Port{40002}}, {outside, kIcq}};
  const sys::FlowKey over{{inside, Port{40003}}, {outside, kIcq}};
  const sys::FlowKey datagrams{{inside, Port{40004}}, {outside, kIcq}};
  const sys::FlowKey other{{inside, kIcq}, {outside, Port{80}}};
  const sys::FlowKey only_reply{{inside, Port{40005}}, {outside, Port{443}}};
  flows.add(plain);
  flows.add(sixth);
  flows.add(translated, IPPROTO_TCP, TCP_CONNTRACK_ESTABLISHED, Port{9999});
  flows.add(over, TCP_CONNTRACK_TIME_WAIT);
  flows.add(datagrams, IPPROTO_UDP, 0, kIcq);
  flows.add(other);
  flows.add(only_reply, IPPROTO_TCP, TCP_CONNTRACK_ESTABLISHED, kIcq);

  std::vector<sys::FlowKey> expected{plain, sixth, translated, over};
  std::sort(expected.begin(), expected.end());
  const auto found = must(conntrack.dump_to_port(kIcq), "dump_to_port");
  expect(originals(found) == expected, "the flows to a port: both families, translated ones; no UDP");
  expect(originals(must(conntrack.dump_to_port(kIcq, {}, sys::PickedBy::Here), "dump_to_port")) == expected,
         "the same, picked here");
  expect(must(conntrack.dump_to_port(Port{4000}), "dump_to_port").empty(), "a port nobody asked for");
  expect(std::all_of(found.begin(), found.end(),
                     [&](const sys::Flow& flow) { return flow.ended() == (flow.original == over); }),
         "which is over");
  const auto find = [&conntrack](const sys::FlowKey& key, sys::Tuple tuple = sys::Tuple::Original) {
    return must(conntrack.find(key, tuple), "find");
  };
  expect(std::all_of(found.begin(), found.end(),
                     [&](const sys::Flow& flow) {
                       const auto one = find(flow.original);
                       const auto back = find(flow.reply, sys::Tuple::Reply);
                       return one && back && flow.id != 0 && one->id == flow.id && back->id == flow.id &&
                              one->original == flow.original && one->state == flow.state;
                     }),
         "each flow found by either of its tuples, with the number that the list says");
  expect(!find({{inside, Port{49999}}, {outside, kIcq}}), "a flow that is not there is not found");
  expect(must(conntrack.find_forwarded(plain), "find")->original == plain &&
             must(conntrack.find_forwarded(plain.reversed()), "find")->original == plain,
         "found as the forward hook sees it, in either direction");
  expect(must(conntrack.set_mark(plain, 0x02000000, 0x06000000), "set_mark"), "a mark");
  for (const auto picked : {sys::PickedBy::Kernel, sys::PickedBy::Here})
    expect(originals(must(conntrack.dump_to_port(kIcq, {0x02000000, 0x06000000}, picked), "dump_to_port")) ==
               std::vector{plain},
           "only those with the mark");

  constexpr std::uint32_t kMany = 1000;
  for (std::uint32_t i = 0; i < kMany; ++i) flows.add(numbered(i, Port{80}));
  std::uint32_t gone = 0;
  for (std::uint32_t i = 0; i < kMany; ++i) gone += conntrack.destroy(numbered(i, Port{80})) == true;
  (void)conntrack.destroy(other);
  (void)conntrack.destroy(only_reply);
  flows.remove_datagrams(datagrams);
  expect(gone == kMany && !readable(events.fd(), 50),
         "the ends of 1,003 other flows do not wake the subscriber");
  std::vector<std::uint32_t> ids;
  for (const auto& key : expected) ids.push_back(find(key)->id);
  for (const auto& key : expected) (void)conntrack.destroy(key);
  std::vector<sys::Flow> ended;
  expect(readable(events.fd(), 1000), "those of our ports do");
  (void)must(events.receive([&](const sys::Flow& flow) { ended.push_back(flow); }), "events");
  expect(originals(ended) == expected && events.lost() == 0, "all four, both families, translated ones");
  expect(std::all_of(ended.begin(), ended.end(),
                     [&ids](const sys::Flow& flow) {
                       return std::find(ids.begin(), ids.end(), flow.id) != ids.end();
                     }),
         "by their numbers");

  std::vector<Port> ports;
  for (std::uint16_t port = 1; port <= 500; ++port) ports.emplace_back(port);
  expect(sys::ConntrackEvents::open(ports).has_value(), "500 ports");
}

void bench_flows(std::uint32_t count) {
  Flows flows;
  for (std::uint32_t i = 0; i < count; ++i) flows.add(numbered(i, Port{443}));
  constexpr std::uint32_t kOurs = 1000;
  for (std::uint32_t i = 0; i < kOurs; ++i) flows.add(numbered(i, kIcq));
  auto conntrack = must(sys::Conntrack::open(), "Conntrack::open");
  constexpr int kRounds = 9;
  std::array<std::vector<double>, 2> took;
  for (int round = 0; round < kRounds; ++round) {
    for (const auto picked : {sys::PickedBy::Kernel, sys::PickedBy::Here}) {
      std::size_t found = 0;
      took[static_cast<std::size_t>(picked)].push_back(milliseconds(
          [&] { found = must(conntrack.dump_to_port(kIcq, {}, picked), "dump_to_port").size(); }));
      if (found != kOurs) expect(false, fmt::format("{} flows of {}", found, kOurs));
    }
  }
  for (auto& times : took) std::sort(times.begin(), times.end());
  const double kernel = took[0][kRounds / 2], here = took[1][kRounds / 2];
  fmt::print(
      "  {} flows, {} of them to the port: picked by the kernel {:.2f} ms, here {:.2f} ms "
      "(medians of {}): {:.1f} times\n",
      count + kOurs, kOurs, kernel, here, kRounds, here / kernel);
  expect(kernel < here, "the kernel picks quicker");
}

}  // namespace icqgate::smoke
