// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/strong.hpp"
#include "engine/event.hpp"
#include "oscar/flap.hpp"
#include "oscar/session.hpp"
#include "tcp/stream.hpp"

namespace icqgate::engine {

// What the server told a client of somebody: the cookie that peer has to show (protocol.md 4.5, 4.7).
struct Buddy {
  Uin uin;
  std::uint32_t cookie;
};

// A control flow: one TCP connection from a LAN client to an OSCAR server, followed from its SYN on.
struct Flow {
  enum class Role : std::uint8_t {
    Unknown,  // the client has not said hello
    Login,    // asks to be let in: may teach a redirect
    Session,  // BOS: may teach announcements, service redirects, buddies
    Service,  // chat, icons, ...: teaches nothing
  };

  explicit Flow(std::uint32_t isn) : to_server{isn} {}

  tcp::Stream to_server;
  std::optional<tcp::Stream> to_client;  // from the SYN-ACK on
  oscar::FlapReader client_frames;
  oscar::FlapReader server_frames;
  Role role = Role::Unknown;
  std::optional<std::uint32_t> client_fin;  // sequence numbers behind a FIN that came before a gap was filled
  std::optional<std::uint32_t> server_fin;
  bool blind = false;  // teaches nothing any more, but its end still counts
  // Of an earlier run: until a direction was seen to continue exactly where it had been left (of a blind
  // flow: near there), a hole in it is what passed meanwhile, and will never be filled.
  bool resuming_client = false;
  bool resuming_server = false;
  bool same_in_conntrack = false;  // by its number there
  bool server_hello = false;
  bool credentials = false;  // a login was asked for: a reply may come
  bool server_spoke =
      false;  // the server went on after the client's hello: it accepted the cookie (security.md S5)
  bool online = false;   // counted as a session
  bool moving = false;   // a migration notice came (protocol.md 1.8)
  bool granted = false;  // counted with a server that only this client may reach
  std::optional<Uin> uin;
  std::optional<Ipv4> external;                // as the server sees the client
  std::optional<std::uint32_t> cookie;         // announced by the client itself
  std::uint64_t login_cookie = 0;              // hash of the one it began with; 0: none known
  std::optional<Port> port;                    // the pinhole that this flow owns
  std::optional<oscar::DirectInfo> announced;  // came before the UIN was known
  std::uint64_t announced_end = 0;
  std::vector<Buddy> buddies;                             // by UIN
  std::uint16_t told_peers = 0;                           // elements in `peers` by this flow
  std::shared_ptr<const std::vector<std::string>> hosts;  // the login hosts it is allowed for
  std::uint32_t conntrack = 0;                            // its id there; 0: not known
  std::uint32_t blind_to_server = 0;  // sequence numbers behind the last bytes, of a blind flow only
  std::uint32_t blind_to_client = 0;
  TimePoint since{};
  TimePoint heard{};
  TimePoint check{};  // when its one timer is due: others of the same key are stale
};

}  // namespace icqgate::engine
