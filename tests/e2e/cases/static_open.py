# SPDX-License-Identifier: GPL-2.0-or-later
"""Static rulesets without a proxy, with real connections: a login is TCP to 5190, and no service of icqgate runs."""

import subprocess

from case import case
from handles import Logged, Process, expect, expect_equal, wait_until
from lab import BOS, CLIENT, CLIENT2, GATEWAY, LOGIN, LOGIN2, OUTSIDE, PEER, ROGUE, six
from static_steps import arrivals, load, ping, send_syn, spoofed, trust_addresses, watch
from steps import reachable, unreachable

NEIGHBOUR = "198.51.100.77"  # nobody, but one outside could be it
MAPS = ["--map", f"{CLIENT}=20000-20009,{CLIENT2}=20010-20019"]


def listeners(lab):
    for port in (80, 20000, 20100, 60000):
        lab.client.call("listen", port=port, uin=1)
    for port in (80, 20050, 42000):
        lab.peer.call("listen", port=port, uin=2)


def logins(lab):
    """Before the ruleset nobody gets out; with it, to the login servers."""
    reachable(lab.client, LOGIN, 5190, "a login server")
    reachable(lab.client2, LOGIN2, 5190, "the other login server")


@case(start=False)
def static_direct(lab):
    """MUST: login; peers out and in on any port from 1024 on.
    NOT: ports below, in or out; before the ruleset is loaded, anything."""
    listeners(lab)
    unreachable(lab.client, LOGIN, 5190, "a login server before the ruleset is loaded")
    load(lab, "direct")
    logins(lab)
    reachable(lab.client, PEER, 42000, "a listening peer")
    reachable(lab.client, ROGUE, 5190, "a server that a login server may send clients to")
    for port in (20000, 60000):
        reachable(lab.peer, CLIENT, port, "a listening client")
    unreachable(lab.client, PEER, 80, "not ICQ, outward", timeout=1.0)
    unreachable(lab.peer, CLIENT, 80, "not ICQ, inward", timeout=1.0)


@case(start=False)
def static_range(lab):
    """MUST: login; peers out and in on port-range.
    NOT: the port behind it, in or out; another server; a host that is no client."""
    listeners(lab)
    load(lab, "range", client=CLIENT)
    reachable(lab.client, LOGIN, 5190, "a login server")
    reachable(lab.client, PEER, 20050, "a peer who listens in the range")
    reachable(lab.peer, CLIENT, 20000, "a client who listens in the range")
    unreachable(lab.client, PEER, 42000, "a peer who listens elsewhere", timeout=1.0)
    unreachable(lab.client, BOS, 5190, "a server that is no login host", timeout=1.0)
    unreachable(lab.client, LOGIN, 5191, "a login server's other port", timeout=1.0)
    unreachable(lab.peer, CLIENT, 20100, "the port behind the range", timeout=1.0)
    lab.client2.call("listen", port=20000, uin=1)
    unreachable(lab.client2, LOGIN, 5190, "a login server, for one who is no client", timeout=1.0)
    unreachable(lab.peer, CLIENT2, 20000, "one who is no client", timeout=1.0)


@case(start=False)
def static_outbound(lab):
    """MUST: login; peers out. NOT: peers in, on any port."""
    listeners(lab)
    load(lab, "outbound")
    logins(lab)
    reachable(lab.client, PEER, 42000, "a listening peer")
    unreachable(lab.client, PEER, 80, "not ICQ, outward", timeout=1.0)
    for port in (80, 20000, 60000):
        unreachable(lab.peer, CLIENT, port, "a client, from outside", timeout=1.0)


# A helper of conntrack's, as an administrator has it who needs one for something else.
HELPER = """
table ip helpers {
  ct helper irc { type "irc" protocol tcp; }
  chain prerouting {
    type filter hook prerouting priority filter;
    tcp dport 6667 ct helper set "irc"
  }
}
"""
DCC = """
import socket, struct, sys
connector = socket.create_connection((sys.argv[1], 6667), timeout=5)
number = struct.unpack("!I", socket.inet_aton(sys.argv[2]))[0]
connector.sendall(f"PRIVMSG x :\\x01DCC SEND f {number} 3000\\x01\\r\\n".encode())
print("sent", flush=True)
sys.stdin.read()
"""


@case(start=False, admin="deny-strict")
def static_helper_opens_nothing(lab):
    """NOT: a connection that a helper of conntrack's expects, because a client said so on one that is allowed (a web
    page can make it say that). It inherits the mark."""
    lab.client.call("listen", port=3000, uin=1)
    lab.peer.call("listen", port=6667, uin=2)
    lab.nft(HELPER)
    load(lab, "outbound")
    talker = Process(lab, "lan", ["python3", "-c", DCC, PEER, CLIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                     text=True)
    expect_equal(talker.popen.stdout.readline(), "sent\n", "what the client says on a connection of its own")
    wait_until("the helper to expect a connection", lambda: "dport=3000" in lab.shell("gw", "conntrack -L expect 2>&1"))
    unreachable(lab.peer, CLIENT, 3000, "the port that the helper has been told of")
    talker.popen.stdin.close()
    talker.popen.stdout.close()


@case(start=False, masquerade=True)
def static_masquerade(lab):
    """MUST: login and peers out, from the outside address; each client's own ports there, and only those, lead to it.
    NOT: a port that no map names; a client's inside address from outside, even with a route to it."""
    lab.nft("delete table ip admin_nat")
    listeners(lab)
    lab.client2.call("listen", port=20010, uin=1)
    lab.client2.call("listen", port=20000, uin=1)
    load(lab, "masquerade", *MAPS)
    mark = lab.peer.mark()
    reachable(lab.client, PEER, 42000, "a listening peer")
    expect_equal(lab.peer.wait("accepted", since=mark)["remote"][0], OUTSIDE, "whom the peer sees")
    logins(lab)
    for port, client in ((20000, lab.client), (20010, lab.client2)):
        mark = client.mark()
        reachable(lab.peer, OUTSIDE, port, "a client's own port")
        expect_equal(client.wait("accepted", since=mark)["port"], port, "the port inside")
    for port in (20001, 20020, 20100, 60000):
        expect(lab.peer.call("probe", address=OUTSIDE, port=port, timeout=1.0)["outcome"] in ("refused", "unreachable"),
               f"the outside address is open at {port}")
    lab.ip_batch("peer", [f"route add 192.168.77.0/24 via {OUTSIDE}"])
    unreachable(lab.peer, CLIENT, 20000, "a client's port, not by the outside address", timeout=1.0)
    unreachable(lab.peer, CLIENT2, 20000, "another's port, not by the outside address", timeout=1.0)


@case(start=False, masquerade=True, admin="open")
def static_masquerade_gateway(lab):
    """Policy gateway, no other filter, no other NAT. MUST: login, peers out, peers in by the mapped ports, and what
    --also-allow names, masqueraded. NOT: anything else out or in."""
    lab.nft("delete table ip admin_nat")
    listeners(lab)
    load(lab, "masquerade", *MAPS, "--policy", "gateway", "--also-allow", "tcp/80")
    logins(lab)
    mark = lab.peer.mark()
    reachable(lab.client, PEER, 80, "what --also-allow names")
    expect_equal(lab.peer.wait("accepted", since=mark)["remote"][0], OUTSIDE, "whom the peer sees")
    reachable(lab.client, PEER, 42000, "a listening peer")
    reachable(lab.peer, OUTSIDE, 20000, "a client's own port")
    lab.peer.call("listen", port=81, uin=2)
    unreachable(lab.client, PEER, 81, "what nothing allows", timeout=1.0)
    lab.ip_batch("peer", [f"route add 192.168.77.0/24 via {OUTSIDE}"])
    for port in (80, 20000):
        unreachable(lab.peer, CLIENT, port, "a client, not by the outside address", timeout=1.0)


@case(each={"direct": {"profile": "direct"}, "range": {"profile": "range"}, "any-client": {"profile": "range", "client": None},
            "gateway": {"profile": "range", "policy": ["--policy", "gateway"]}}, start=False)
def static_spoofed(lab, profile, client="192.168.77.0/24", policy=()):
    """MUST: a SYN from outside reaches a listening port. NOT: one that says it comes from inside."""
    load(lab, profile, *policy, client=client)
    spoofed(lab, NEIGHBOUR, CLIENT2, CLIENT, 20000)


@case(start=False, masquerade=True)
def static_spoofed_masquerade(lab):
    """The same, to the outside address."""
    load(lab, "masquerade", *MAPS)
    spoofed(lab, NEIGHBOUR, CLIENT2, OUTSIDE, 20000)


@case(start=False, admin="open")
def static_spoofed_from_inside(lab):
    """Policy gateway. MUST: an inside host's SYN with its own address goes out. NOT: one with another network's."""
    trust_addresses(lab)
    load(lab, "outbound", "--policy", "gateway", client=None)
    watch(lab, "peer")
    send_syn(lab, "lan", "203.0.113.9", PEER, 42000)
    send_syn(lab, "lan", CLIENT, PEER, 42001)
    reachable(lab.client, LOGIN, 5190, "a login server")
    expect_equal(arrivals(lab, "peer"), 1, "SYNs that got out")


PROFILES = {"direct": [], "range": [], "outbound": [], "masquerade": MAPS, "socks": ["--proxy", CLIENT2],
            "https": ["--proxy", CLIENT2]}


@case(each={profile: {"profile": profile} for profile in PROFILES}, start=False, admin="open")
def static_guard_leaves_others(lab, profile):
    """Policy guard, no other filter. MUST: what is not ICQ passes as if nothing was there, in and out."""
    listeners(lab)
    load(lab, profile, *PROFILES[profile])
    reachable(lab.client, PEER, 80, "not ICQ, outward")
    reachable(lab.peer, CLIENT, 80, "not ICQ, inward")
    reachable(lab.client, PEER, 42000, "a high port, outward")


@case(start=False, admin="open")
def static_gateway(lab):
    """Policy gateway, no other filter. MUST: ICQ, ping outward, what --also-allow names.
    NOT: other ports, anything new from outside but the range, ping from outside."""
    listeners(lab)
    lab.peer.call("listen", port=81, uin=2)
    load(lab, "range", "--policy", "gateway", "--also-allow", "tcp/80")
    logins(lab)
    reachable(lab.client, PEER, 20050, "a peer who listens in the range")
    reachable(lab.peer, CLIENT, 20000, "a client who listens in the range")
    reachable(lab.client, PEER, 80, "what --also-allow names")
    expect_equal(ping(lab, "lan", PEER), "answered", "ping, outward")
    unreachable(lab.client, PEER, 81, "what nothing allows", timeout=1.0)
    unreachable(lab.client, PEER, 42000, "a high port out of the range", timeout=1.0)
    unreachable(lab.peer, CLIENT, 80, "what --also-allow names, the other way", timeout=1.0)
    expect_equal(ping(lab, "peer", CLIENT), "silent", "ping from outside")


@case(each={profile: {"profile": profile} for profile in PROFILES if profile not in ("socks", "https")}, start=False,
      ipv6=True)
def static_login_ipv6(lab, profile):
    """MUST: a login server's IPv6 address at its port. NOT: another port, another server, a peer in (IPv4 only)."""
    load(lab, profile, *PROFILES[profile], client=f"192.168.77.0/24,{six(CLIENT)}/128", login=f"{six(LOGIN)},{LOGIN}")
    for role, gateway in (("lan", GATEWAY), ("lan2", GATEWAY), ("peer", OUTSIDE), ("server", OUTSIDE)):
        wait_until(f"IPv6 between {role} and the gateway", lambda: connect6(lab, role, six(gateway), 9) == "refused")
    for actor, port in ((lab.server, 5190), (lab.server, 5191), (lab.client, 20000)):
        listen6(lab, actor.role, port)
    wait_until("a login server's IPv6 address", lambda: connect6(lab, "lan", six(LOGIN), 5190) == "connected")
    expect_equal(connect6(lab, "lan", six(LOGIN), 5191), "unreachable", "its other port")
    expect_equal(connect6(lab, "lan", six(ROGUE), 5190), "unreachable", "another server")
    expect_equal(connect6(lab, "lan2", six(LOGIN), 5190), "unreachable", "a login server, for one who is no client")
    expect_equal(connect6(lab, "peer", six(CLIENT), 20000), "unreachable", "a client's port")


LISTEN6 = """
import socket, sys
listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
listener.bind(("::", int(sys.argv[1])))
listener.listen(50)
print("listening", flush=True)
while True:
    listener.accept()
"""
CONNECT6 = """
import socket, sys
connector = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
connector.settimeout(1.5)
try:
    connector.connect((sys.argv[1], int(sys.argv[2])))
    print("connected")
except ConnectionRefusedError:
    print("refused")
except OSError:
    print("unreachable")
"""


def listen6(lab, role, port):
    process = Logged(lab, role, f"listen6-{port}", ["python3", "-c", LISTEN6, str(port)])
    wait_until(f"a listener at {port}", lambda: "listening" in process.log())


def connect6(lab, role, address, port):
    return lab.run_in(role, ["python3", "-c", CONNECT6, address, str(port)]).strip()
