// SPDX-License-Identifier: GPL-2.0-or-later
// Bytes that pass without being seen while icqgate runs: the queue was full (it fails open), or the table was
// away for a moment. Nothing behind them may be taken for what it is not (security.md S1, S2).
#include <catch2/catch.hpp>

#include "connection.hpp"

using namespace icqgate;
using namespace icqgate::test;

TEST_CASE("an acknowledgement of unseen bytes makes a flow blind", "[engine][attack]") {
  Ready gateway;
  Connection flow = online(gateway);
  announce(flow);
  REQUIRE(gateway.state(kClient, kPort) == "open");
  const Side side = GENERATE(Side::Lan, Side::Wan);
  flow.skip(side, 40);
  flow.ack(Connection::other(side));
  CHECK(gateway.count(What::FlowBlind, Reason::MidStream) == 1);
  CHECK(gateway.state(kClient, kPort) == "open");  // what is open stays while the session lives
  announce(flow, Port{24570});
  CHECK(gateway.live(nft::SetId::Pinholes) == 1);
  flow.fin(Side::Lan);
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
}

TEST_CASE("what was announced is not open by the acknowledgement of something else", "[engine][attack]") {
  Ready gateway;
  Connection flow = online(gateway);
  const auto announcement = wire::status({kClient, kPort.get(), 4, 8, 0x11223344});
  SECTION("more was sent in its place, unseen") {
    flow.at_offset(Side::Lan, 0, announcement);
    REQUIRE(gateway.state(kClient, kPort) == "probation");
    flow.skip(Side::Lan, announcement.size() + 10);
  }
  SECTION("other bytes were sent in its place") {
    flow.at_offset(Side::Lan, 0, announcement);
    REQUIRE(gateway.state(kClient, kPort) == "probation");
    flow.lan(wire::Data(announcement.size()));
  }
  flow.ack(Side::Wan);
  flow.ack(Side::Wan);
  CHECK(gateway.state(kClient, kPort) == "");
  CHECK(gateway.live(nft::SetId::Pinholes) == 0);
}

TEST_CASE("another connection that conntrack tells of ends the session", "[engine][attack]") {
  Ready gateway;
  Connection flow = online(gateway);
  announce(flow);
  gateway.step(engine::FlowsListed{{}, {{flow.key(), 7}}});
  gateway.pass(seconds{60});
  gateway.step(engine::FlowsListed{{kOscar}, {{flow.key(), 7}}});
  CHECK(gateway.state(kClient, kPort) == "open");
  const bool watched = GENERATE(true, false);  // a place in memory may be taken again, and so may its number
  gateway.step(engine::FlowsListed{{kOscar}, {{flow.key(), watched ? 8u : 7u, watched}}});
  CHECK(gateway.state(kClient, kPort) == "");
  CHECK(gateway.live(nft::SetId::Sessions) == 0);
}

TEST_CASE("a list that began before a connection says nothing of it", "[engine]") {
  Ready gateway;
  const TimePoint begun = gateway.now - milliseconds{500};
  Connection flow = online(gateway);
  announce(flow);
  gateway.step(engine::FlowsListed{{}, {{flow.key(), 7}}});
  // What had its ports before: another number, and perhaps the mark of one that only passed.
  const bool watched = GENERATE(true, false);
  gateway.step(engine::FlowsListed{{kOscar}, {{flow.key(), 6, watched}}, begun});
  CHECK(gateway.state(kClient, kPort) == "open");
  CHECK(gateway.live(nft::SetId::Sessions) == 1);
}

TEST_CASE("what TCP does in good faith makes no flow blind", "[engine]") {
  Ready gateway;
  Connection flow = online(gateway);
  announce(flow);
  const auto message = wire::keep_alive();
  for (const Side side : {Side::Lan, Side::Wan}) {  // keep-alive probes, of both kinds
    flow.at_offset(side, -1, {});
    flow.at_offset(side, -1, wire::Data{std::byte{7}});
    flow.ack(Connection::other(side));
  }
  flow.at_offset(Side::Lan, 0, wire::part(message, 0, 1));  // into a window of 0: refused, then sent whole
  flow.ack(Side::Wan);
  flow.lan(message);
  flow.ack(Side::Wan);
  flow.at_offset(Side::Wan, 3, wire::part(message, 3, message.size() - 3));  // out of order
  flow.ack(Side::Lan);
  flow.wan(message);
  flow.ack(Side::Lan);
  for (int i = 0; i < 3000; ++i) {  // over the end of the sequence numbers, acknowledged late
    flow.wan(wire::flap(5, wire::Data(1400)));
    if (i % 20 == 19) flow.ack(Side::Lan);
  }
  flow.ack(Side::Lan);
  CHECK(gateway.count(What::FlowBlind) == 0);
  CHECK(gateway.state(kClient, kPort) == "open");
  flow.at_offset(Side::Wan, static_cast<std::int32_t>(message.size()), message, TcpSegment::kFin);
  flow.ack(Side::Lan);
  CHECK(gateway.state(kClient, kPort) == "open");  // what is before the FIN is missing
  flow.wan(message);
  CHECK(gateway.count(What::FlowBlind) == 0);
  CHECK(gateway.state(kClient, kPort) == "");
}

TEST_CASE("the acknowledgement of a FIN is none of unseen bytes", "[engine]") {
  Ready gateway;
  Connection flow = online(gateway);
  announce(flow);
  const Side side = GENERATE(Side::Lan, Side::Wan);
  // The FIN waits for a piece that is missing: the flow is not over yet.
  flow.at_offset(side, 5, {}, TcpSegment::kFin);
  flow.send(side, wire::Data{});
  CHECK(gateway.count(What::FlowBlind) == 0);
}
