// needs: engine
// SPDX-License-Identifier: GPL-2.0-or-later
// The whole engine behind the kernel's model: the input is a script of segments, DNS answers and time. The
// rules that tests/unit/engine/gateway.hpp holds against every step must hold (a Violation ends the run), and
// no pinhole may appear that no session announced.
//
// Script: records of one opcode byte and what it needs. Low five bits: what; high three: which flow.
//   0 length u16, bytes   data from the LAN      1 the same from the WAN
//   2 SYN  3 SYN-ACK  4 bare ACK from the LAN  5 bare ACK from the WAN
//   6 FIN  7 RST (next byte: whose)            8 jump of the next sequence number: who u8, by i16
//   9 seconds u16 pass                        10 milliseconds u8 pass
//  11 DNS answer: name u8, address u8         12 DNS failure: name u8
//  13 conntrack forgets the flow              14 again: the last data of that side, changed by xor u8
//  15 next handshake of the flow: all of 2, 3, 4
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <span>

#include "../unit/engine/gateway.hpp"

namespace {

using namespace icqgate;
using namespace icqgate::test;

struct Ends {
  Endpoint lan, wan;
  Side opener;
};
const std::array<Ends, 8> kFlows{{
    {{kClient, Port{4000}}, {kLogin, kOscar}, Side::Lan},
    {{kClient, Port{4001}}, {kBos, kOscar}, Side::Lan},
    {{kClient, kPort}, {kPeer, Port{31000}}, Side::Wan},
    {{kClient, Port{40000}}, {kPeer, Port{30001}}, Side::Lan},
    {{kOther, Port{4000}}, {kLogin, kOscar}, Side::Lan},
    {{kOther, Port{4001}}, {kBos, kOscar}, Side::Lan},
    {{kOther, kPort}, {kPeer, Port{31001}}, Side::Wan},
    {{kClient, Port{40001}}, {make_ipv4(198, 51, 100, 66), kOscar}, Side::Lan},
}};
constexpr std::array kNames{"login.icq.com", "bos.icq.example"};

// Whether a run of bytes holds what an announcement or an acceptance cannot do without, however it was cut.
bool holds(const std::vector<std::byte>& seen, std::array<std::uint8_t, 4> wanted) {
  return std::search(seen.begin(), seen.end(), wanted.begin(), wanted.end(), [](std::byte a, std::uint8_t b) {
           return std::to_integer<std::uint8_t>(a) == b;
         }) != seen.end();
}

class Player {
 public:
  explicit Player(Bytes script) : script_{script} {
    auto config = test_config();
    const auto flags = script_.u8().value_or(0);
    config.masquerade = (flags & 1) != 0;
    config.ports_per_client = 1 + (flags >> 1 & 3);
    gateway_.emplace(config);
  }

  void play() {
    for (int count = 0; count < 400; ++count) {
      const auto op = script_.u8();
      if (!op || !act(static_cast<std::uint8_t>(*op & 31), *op >> 5)) return;
      watch();
    }
  }

 private:
  struct State {
    std::uint32_t next[2]{0xffffff00, 0x7fffffe0};
    std::vector<std::byte> last[2];
    std::vector<std::byte> said[2];  // all data, in the order of arrival
  };

  bool act(std::uint8_t what, std::size_t which) {
    State& state = states_[which];
    const Side opener = kFlows[which].opener;
    const Side responder = opener == Side::Lan ? Side::Wan : Side::Lan;
    switch (what) {
      case 0:
      case 1: {
        const auto length = script_.u16be();
        if (!length) return false;
        const auto bytes = script_.take(std::min<std::size_t>(*length, script_.rest().size()));
        data(which, what == 0 ? Side::Lan : Side::Wan, *bytes);
        return true;
      }
      case 2:
        send(which, opener, TcpSegment::kSyn, state.next[index(opener)] - 1, {});
        return true;
      case 3:
        send(which, responder, TcpSegment::kSyn | TcpSegment::kAck, state.next[index(responder)] - 1, {});
        return true;
      case 4:
      case 5: {
        const Side side = what == 4 ? Side::Lan : Side::Wan;
        send(which, side, TcpSegment::kAck, state.next[index(side)], {});
        return true;
      }
      case 6:
      case 7: {
        const Side side = (script_.u8().value_or(0) & 1) != 0 ? Side::Wan : Side::Lan;
        send(which, side, what == 6 ? TcpSegment::kFin | TcpSegment::kAck : TcpSegment::kRst,
             state.next[index(side)], {});
        return true;
      }
      case 8: {
        const auto side = script_.u8().value_or(0) & 1;
        state.next[side] +=
            static_cast<std::uint32_t>(static_cast<std::int16_t>(script_.u16be().value_or(0)));
        return true;
      }
      case 9:
        gateway_->pass(seconds{script_.u16be().value_or(0) % 2000});
        return true;
      case 10:
        gateway_->pass(milliseconds{script_.u8().value_or(0)});
        return true;
      case 11: {
        const auto* name = kNames[script_.u8().value_or(0) % kNames.size()];
        gateway_->answer(name, {address(script_.u8().value_or(0))});
        return true;
      }
      case 12:
        gateway_->fail(kNames[script_.u8().value_or(0) % kNames.size()]);
        return true;
      case 13:
        gateway_->model.end({kFlows[which].lan, kFlows[which].wan});
        gateway_->step(engine::FlowEnded{{kFlows[which].lan, kFlows[which].wan}});
        return true;
      case 14: {
        const Side side = (script_.u8().value_or(0) & 1) != 0 ? Side::Wan : Side::Lan;
        auto again = state.last[index(side)];
        const auto change = static_cast<std::byte>(script_.u8().value_or(0));
        if (!again.empty()) again.back() ^= change;
        auto& said = state.said[index(side)];
        said.insert(said.end(), again.begin(), again.end());
        send(which, side, TcpSegment::kAck,
             state.next[index(side)] - static_cast<std::uint32_t>(again.size()), again);
        return true;
      }
      case 15:
        act(2, which);
        act(3, which);
        return act(opener == Side::Lan ? 4 : 5, which);
      case 16: {
        const auto* name = kNames[script_.u8().value_or(0) % kNames.size()];
        gateway_->held_answer(name, {address(script_.u8().value_or(0)), address(script_.u8().value_or(0))});
        return true;
      }
      case 17:
        gateway_->step(engine::ServerMissed{{address(script_.u8().value_or(0)), kOscar}});
        return true;
      case 18: {
        engine::FlowsListed listed{{kOscar}, {}};
        const auto alive = script_.u8().value_or(0);
        for (std::size_t i = 0; i < kFlows.size(); ++i)
          if ((alive >> i & 1) != 0) listed.flows.push_back({{kFlows[i].lan, kFlows[i].wan}, 0});
        gateway_->step(listed);
        return true;
      }
      case 19:
        restart(script_.u8().value_or(0));
        return true;
      default:
        return false;
    }
  }

  // Another run over the same kernel; `alive`: the flows that conntrack still has, a bit each.
  void restart(std::uint8_t alive) {
    engine::Restored restored{gateway_->engine.saved(gateway_->now), {}};
    for (std::size_t i = 0; i < kFlows.size(); ++i)
      if ((alive >> i & 1) != 0) restored.alive.push_back({{kFlows[i].lan, kFlows[i].wan}, 0});
    const auto now = gateway_->now + seconds{1};
    auto model = gateway_->model;
    // What was in probation, and returns, are not taken up: they end by their timeouts.
    for (const auto set : {nft::SetId::Pinholes, nft::SetId::Returns, nft::SetId::Forwards})
      for (const auto& element : model.elements(set, now))
        model.apply({nft::Change::Kind::Remove, element}, now);
    const auto config = gateway_->config;
    gateway_.emplace(Gateway::Idle{}, config);
    gateway_->now = now;
    gateway_->model = model;
    gateway_->step(restored);
  }

  static std::size_t index(Side side) { return side == Side::Lan ? 0 : 1; }
  static IpAddress address(std::uint8_t choice) {
    switch (choice % 6) {
      case 0:
        return kLogin;
      case 1:
        return kBos;
      case 2:
        return kClient;  // a poisoned answer
      case 3:
        return make_ipv4(127, 0, 0, 1);
      case 4:
        return make_ipv4(10, 0, 0, choice);
      default:
        return make_ipv4(198, 51, 100, choice);
    }
  }

  void data(std::size_t which, Side side, Bytes bytes) {
    State& state = states_[which];
    auto& said = state.said[index(side)];
    said.insert(said.end(), bytes.begin(), bytes.end());
    state.last[index(side)].assign(bytes.begin(), bytes.end());
    send(which, side, TcpSegment::kAck, state.next[index(side)], bytes);
    state.next[index(side)] += static_cast<std::uint32_t>(bytes.size());
  }

  void send(std::size_t which, Side side, std::uint8_t flags, std::uint32_t sequence, Bytes payload) {
    const Ends& ends = kFlows[which];
    TcpSegment segment;
    segment.source = side == Side::Lan ? ends.lan : ends.wan;
    segment.destination = side == Side::Lan ? ends.wan : ends.lan;
    segment.flags = flags;
    segment.sequence = sequence;
    segment.acknowledgment = states_[which].next[1 - index(side)];
    segment.payload = payload;
    gateway_->segment(side, segment);
  }

  // A pinhole is open only if some flow of that client to a server carried an announcement from the client
  // (SNAC 01,1E) and a SNAC from the server; a server is granted only if one was named.
  void watch() {
    for (const auto& change : gateway_->changes) {
      if (change.kind == nft::Change::Kind::Remove || change.element.set() != nft::SetId::Pinholes) continue;
      const Ipv4 client{ByteReader{change.element.key()}.u32be().value_or(0)};
      bool announced = false;
      for (std::size_t i = 0; i < kFlows.size(); ++i) {
        if (kFlows[i].opener != Side::Lan || !(kFlows[i].lan.address == IpAddress{client})) continue;
        const auto& server = states_[i].said[1];
        const bool spoke = std::find(server.begin(), server.end(), std::byte{2}) != server.end();
        announced = announced || (spoke && holds(states_[i].said[0], {0, 1, 0, 0x1e}));
      }
      if (!announced) std::abort();
    }
    gateway_->forget();
  }

  ByteReader script_;
  std::optional<Gateway> gateway_;
  std::array<State, 8> states_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Player{std::as_bytes(std::span{data, size})}.play();
  return 0;
}
