// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/reason.hpp"

#include <array>

namespace icqgate::engine {
namespace {

struct Words {
  std::string_view name;
  std::string_view sentence;
};

constexpr std::array<Words, kReasonCount> kWords{{
    {"none", ""},
    {"not-icq", "the first bytes are no ICQ direct connection"},
    {"bad-version", "unknown version of the direct connection protocol"},
    {"bad-length", "the handshake's lengths contradict each other"},
    {"wrong-user", "the handshake is for another UIN than the one listening there"},
    {"port-mismatch", "the two ports in the handshake differ"},
    {"own-uin", "the peer claims the listener's own UIN"},
    {"no-source-uin", "the peer names no UIN of its own"},
    {"old-version", "handshakes without a destination UIN are not allowed here"},
    {"transfer", "a file or direct IM stream where only direct connections may come"},
    {"cookie", "the cookie is neither the one the server gave for this peer nor the client's own"},
    {"foreign-uin", "the client's handshake names a UIN that has no session on this client"},
    {"wrong-peer", "the connection back comes from another UIN than the one called"},
    {"no-session", "the client has no session"},
    {"no-pinhole", "nothing is open there"},
    {"deadline", "no complete handshake in time"},
    {"probation", "the server has not acknowledged the announcement yet"},
    {"overlap", "bytes of the handshake changed between two arrivals"},
    {"outside-range", "the announced port is outside port-range"},
    {"denied-port", "the announced port is on the list of ports never opened"},
    {"bad-port", "the announced port does not fit 16 bits"},
    {"other-host", "the announced address is not the client's own"},
    {"dc-type", "the client says it cannot be reached there (direct connection type)"},
    {"contradictory", "the announcement holds two differing ports"},
    {"port-taken", "that port is open for another session already"},
    {"too-many", "the client has as many ports open as ports-per-client allows"},
    {"too-often", "the client announced too many new ports in a minute"},
    {"not-online", "announced before the server accepted the login"},
    {"ipv6-session", "the session runs over IPv6, for which announcements have no field"},
    {"bad-target", "the server named a place that is neither an address nor a host name"},
    {"forbidden-target", "an address that no server outside can have"},
    {"server-port", "the server named a port that no server may be on"},
    {"unresolved", "the name did not resolve"},
    {"query-budget", "as many DNS queries as queries-per-minute allows were asked already"},
    {"mid-stream", "the flow was met in its middle"},
    {"not-oscar", "the stream is not OSCAR from its first byte on"},
    {"stream-conflict", "bytes came again with other content"},
    {"stream-over-cap", "more data out of order than is kept"},
    {"cut-packet", "a packet was not seen whole"},
    {"bad-state", "a message that has no place at this point"},
    {"foreign-cookie", "the login cookie was given to another client"},
    {"login-failed", "the server refused the login"},
    {"logout", "the client signed off"},
    {"kicked", "the server ended the session"},
    {"connection-closed", "the connection to the server ended"},
    {"idle", "nothing was heard of the session for too long"},
    {"replaced", "another port was announced"},
    {"port-withdrawn", "the client announced that it does not listen any more"},
    {"expired", "its time ended"},
    {"private-address", "a private address; where that is right, write login-host = NAME!private"},
    {"over-limit", "more addresses than addresses-per-name or addresses-total allows"},
    {"reconfigured", "the configuration does not allow it any more"},
}};

}  // namespace

std::string_view to_string(Reason reason) noexcept { return kWords[static_cast<std::size_t>(reason)].name; }
std::string_view explain(Reason reason) noexcept { return kWords[static_cast<std::size_t>(reason)].sentence; }

}  // namespace icqgate::engine
