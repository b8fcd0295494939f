// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/strong.hpp"
#include "engine/flow_key.hpp"
#include "net/address.hpp"

namespace icqgate::engine {

// What outlives a restart: addresses, sessions and pinholes, as values without clocks. Times are spans before
// (`age`, `silent`) or after (`ttl_left`) the moment it was made. No cookie, password or text of anybody.
struct Saved {
  struct Address {
    std::string name;  // owner name it was resolved from
    IpAddress address;
    std::chrono::seconds ttl_left{0};  // negative: it was kept beyond its TTL
    std::chrono::seconds age{0};       // since it came in
    friend bool operator==(const Address&, const Address&) = default;
  };
  // A control flow.
  struct Session {
    FlowKey flow;
    std::uint32_t conntrack = 0;     // the flow's id there; 0: was not known
    std::vector<std::string> hosts;  // the login hosts whose server it is, or that led there
    std::optional<Uin> uin;
    bool online = false;           // the server had accepted it
    bool moving = false;           // a migration notice had come
    std::optional<Ipv4> external;  // as the server sees the client
    // Where each direction had arrived: the sequence number of the client's next byte, and of the server's.
    // Not exact: about there (inside a frame, or nothing is learned from it any more).
    bool exact = false;
    std::uint32_t to_server = 0;
    std::uint32_t to_client = 0;
    std::chrono::seconds age{0};
    std::chrono::seconds silent{0};  // since its last segment
    friend bool operator==(const Session&, const Session&) = default;
  };
  // Open ones only: what is in probation is announced again, or not.
  struct Pinhole {
    Ipv4 client;
    Port port;
    Uin uin;
    FlowKey owner;       // of `sessions`
    std::string reason;  // what opened it: "direct"
    std::uint32_t peers = 0;
    std::chrono::seconds age{0};
    friend bool operator==(const Pinhole&, const Pinhole&) = default;
  };
  std::vector<Address> addresses;
  std::vector<Session> sessions;
  std::vector<Pinhole> pinholes;
  friend bool operator==(const Saved&, const Saved&) = default;
};

}  // namespace icqgate::engine
