// SPDX-License-Identifier: GPL-2.0-or-later
// One TCP connection through the gateway, and the acts that every test begins with: a login, a session, an
// announcement.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway.hpp"
#include "wire.hpp"

namespace icqgate::test {

class Connection {
 public:
  Connection(Gateway& gateway, Endpoint lan, Endpoint wan, Side opener = Side::Lan)
      : gateway_{&gateway}, lan_{lan}, wan_{wan}, opener_{opener} {}

  // SYN, SYN-ACK, ACK. False as soon as one does not arrive.
  bool open() { return syn() && syn_ack() && send(other(responder()), {}).arrives(); }
  bool syn() { return raw(opener_, TcpSegment::kSyn, isn(opener_), 0, {}).arrives(); }
  bool syn_ack() {
    return raw(responder(), TcpSegment::kSyn | TcpSegment::kAck, isn(responder()), isn(opener_) + 1, {})
        .arrives();
  }

  // The next bytes of one side; with its acknowledgement of all that the other side has sent.
  Outcome send(Side from, const wire::Data& payload, std::uint8_t flags = 0) {
    const Outcome outcome = at(from, next(from), payload, flags);
    next(from) += static_cast<std::uint32_t>(payload.size());
    if ((flags & TcpSegment::kFin) != 0) ++next(from);
    return outcome;
  }
  Outcome lan(const wire::Data& payload) { return send(Side::Lan, payload); }
  Outcome wan(const wire::Data& payload) { return send(Side::Wan, payload); }
  // A whole message in pieces of a size; the outcome of the last.
  Outcome pieces(Side from, const wire::Data& payload, std::size_t size) {
    Outcome outcome;
    for (std::size_t start = 0; start < payload.size(); start += size)
      outcome = send(from, wire::part(payload, start, std::min(size, payload.size() - start)));
    return outcome;
  }
  // Bytes at an offset from those that are next; nothing is counted.
  Outcome at_offset(Side from, std::int32_t offset, const wire::Data& payload, std::uint8_t flags = 0) {
    return at(from, next(from) + static_cast<std::uint32_t>(offset), payload, flags);
  }
  void skip(Side from, std::size_t count) { next(from) += static_cast<std::uint32_t>(count); }
  Outcome ack(Side from) { return send(from, {}); }
  Outcome ack(Side from, std::uint32_t acknowledgment) {
    return raw(from, TcpSegment::kAck, next(from), acknowledgment, {});
  }
  Outcome fin(Side from) { return send(from, {}, TcpSegment::kFin); }
  Outcome rst(Side from, std::int32_t offset = 0) {
    return raw(from, TcpSegment::kRst, next(from) + static_cast<std::uint32_t>(offset), 0, {});
  }
  Outcome raw(Side from, std::uint8_t flags, std::uint32_t sequence, std::uint32_t acknowledgment,
              const wire::Data& payload) {
    const Endpoint& source = from == Side::Lan ? lan_ : wan_;
    const Endpoint& destination = from == Side::Lan ? wan_ : lan_;
    return gateway_->packet(from, tcp(to_string(source.address), source.port.get(),
                                      to_string(destination.address), destination.port.get())
                                      .seq(sequence)
                                      .ack(acknowledgment)
                                      .flags(flags)
                                      .payload(payload));
  }

  [[nodiscard]] std::uint32_t& next(Side side) { return side == Side::Lan ? lan_next_ : wan_next_; }
  [[nodiscard]] FlowKey key() const { return {lan_, wan_}; }
  // The same connection, through the gateway's next run.
  [[nodiscard]] Connection through(Gateway& gateway) const {
    Connection same = *this;
    same.gateway_ = &gateway;
    return same;
  }
  [[nodiscard]] static Side other(Side side) { return side == Side::Lan ? Side::Wan : Side::Lan; }

 private:
  [[nodiscard]] Side responder() const { return other(opener_); }
  [[nodiscard]] std::uint32_t isn(Side side) { return next(side) - 1; }
  Outcome at(Side from, std::uint32_t sequence, const wire::Data& payload, std::uint8_t flags) {
    return raw(from, static_cast<std::uint8_t>(TcpSegment::kAck | flags), sequence, next(other(from)),
               payload);
  }

  Gateway* gateway_;
  Endpoint lan_, wan_;
  Side opener_;
  std::uint32_t lan_next_ = 0xffffff00;  // so that every longer stream wraps
  std::uint32_t wan_next_ = 0x7fffffe0;
};

// Who logs on, from where, to where.
struct Person {
  Ipv4 address = kClient;
  Uin uin = kUser;
  std::uint16_t local = 4000;  // first of its own TCP ports
  std::string cookie = "cookie-of-100001";
  std::string target = "198.51.100.25:5190";
};

// Login A as far as the server's answer.
inline Outcome login(Gateway& gateway, const Person& who = {}) {
  Connection flow{gateway, {who.address, Port{who.local}}, {kLogin, kOscar}};
  flow.open();
  flow.wan(wire::server_hello());
  flow.lan(wire::login_a(who.uin));
  const Outcome outcome = flow.wan(wire::reply_a(who.uin, who.target, who.cookie));
  flow.fin(Side::Wan);
  flow.fin(Side::Lan);
  return outcome;
}

// A session with the BOS server, up to the server's first SNACs.
inline Connection session(Gateway& gateway, const Person& who = {}, Endpoint server = {kBos, kOscar}) {
  Connection flow{gateway, {who.address, Port{static_cast<std::uint16_t>(who.local + 1)}}, server};
  flow.open();
  flow.wan(wire::server_hello());
  flow.lan(wire::cookie_hello(who.cookie));
  flow.wan(wire::families());
  flow.wan(wire::self_info(who.uin, kOutside));
  return flow;
}

inline Connection online(Gateway& gateway, const Person& who = {}) {
  login(gateway, who);
  return session(gateway, who);
}

// The announcement, and the server's acknowledgement of it.
inline Outcome announce(Connection& flow, Port port = kPort, Ipv4 address = kClient,
                        std::uint32_t cookie = 0x11223344) {
  const Outcome outcome = flow.lan(wire::status({address, port.get(), 4, 8, cookie}));
  flow.ack(Side::Wan);
  return outcome;
}

// A gateway that knows its login servers.
struct Ready : Gateway {
  explicit Ready(config::Config c = test_config(), engine::Surroundings around = test_surroundings())
      : Gateway{std::move(c), std::move(around)} {
    answer_login();
  }
};

// A peer's connection to a pinhole of a client.
inline Connection call(Gateway& gateway, Port port = kPort, Ipv4 client = kClient, std::uint16_t from = 31000,
                       Ipv4 peer = kPeer) {
  return {gateway, {client, port}, {peer, Port{from}}, Side::Wan};
}

}  // namespace icqgate::test
