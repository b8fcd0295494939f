# SPDX-License-Identifier: GPL-2.0-or-later
"""Static rulesets for a proxy, with plain connections through the gateway: to it, from it, and round it."""

import subprocess

from case import case
from handles import Process, expect_equal
from lab import BOS, CLIENT, CLIENT2, GATEWAY, LOGIN, OUTSIDE, PEER, ROGUE
from static_steps import DMZ_HOST, arrivals, dmz, host, load, send_syn, trust_addresses, watch
from steps import reachable, unreachable

# The gateway's own traffic: dropped but for what has the mark, so that input and output are seen to give it.
OWN_FILTER = """
table inet admin_own {
  chain input {
    type filter hook input priority filter; policy drop;
    iifname "lo" accept
    ct state established,related accept
    meta mark & 0x06000000 != 0 accept
  }
  chain output {
    type filter hook output priority filter; policy drop;
    oifname "lo" accept
    ct state established,related accept
    meta mark & 0x06000000 != 0 accept
  }
}
"""
PLACES = {"lan": {"place": "lan"}, "dmz": {"place": "dmz"}, "gateway": {"place": "gateway"},
          "own-address": {"place": "own-address"}}


def proxy_at(lab, place):
    """-> (its actor, its address for clients, its address for peers, --proxy)"""
    if place == "lan":
        return lab.client2, CLIENT2, CLIENT2, CLIENT2
    if place == "dmz":
        return dmz(lab), DMZ_HOST, DMZ_HOST, DMZ_HOST
    lab.nft(OWN_FILTER)
    actor = host(lab, "gw")
    if place == "gateway":
        return actor, GATEWAY, OUTSIDE, "gateway"
    return actor, GATEWAY, OUTSIDE, f"{GATEWAY},{OUTSIDE}"


def listeners(lab, proxy, port):
    for one in (port, 20000, 20100):
        proxy.call("listen", port=one, uin=3)
    lab.client.call("listen", port=20000, uin=1)
    for one in (80, 42000):
        lab.peer.call("listen", port=one, uin=2)


def round_is_stopped(lab):
    """Clients: at once to where ICQ servers are, and not at all to peers."""
    for address in (LOGIN, ROGUE, BOS):
        expect_equal(lab.client.call("probe", address=address, port=5190)["outcome"], "refused",
                     f"a client round the proxy to {address}:5190")
    unreachable(lab.client, PEER, 42000, "a client round the proxy to a peer", timeout=1.0)
    unreachable(lab.peer, CLIENT, 20000, "a peer round the proxy to a client", timeout=1.0)


@case(each=PLACES, start=False)
def static_socks(lab, place):
    """MUST: clients reach the SOCKS server; it reaches login servers, others at 5190, and peers; peers reach it in
    port-range. NOT: clients round it, peers at its own port or out of the range, the server to ports that are no ICQ."""
    proxy, inside, outside, option = proxy_at(lab, place)
    listeners(lab, proxy, 1080)
    if place != "lan":
        unreachable(lab.client, inside, 1080, "the proxy before the ruleset is loaded", timeout=1.0)
    load(lab, "socks", "--proxy", option)
    reachable(lab.client, inside, 1080, "the proxy")
    reachable(proxy, LOGIN, 5190, "a login server, from the proxy")
    reachable(proxy, BOS, 5190, "another server, from the proxy")
    reachable(proxy, PEER, 42000, "a peer, from the proxy")
    reachable(lab.peer, outside, 20000, "the proxy, which listens for a client")
    unreachable(lab.peer, outside, 20100, "the proxy out of the range", timeout=1.0)
    unreachable(lab.peer, outside, 1080, "the proxy's own port from outside", timeout=1.0)
    unreachable(proxy, PEER, 80, "what is no ICQ, from the proxy", timeout=1.0)
    round_is_stopped(lab)


@case(each=PLACES, start=False)
def static_https(lab, place):
    """MUST: clients reach the HTTPS proxy; it reaches login servers and others at 5190.
    NOT: clients round it; the proxy to peers; peers to the proxy."""
    proxy, inside, outside, option = proxy_at(lab, place)
    listeners(lab, proxy, 3128)
    load(lab, "https", "--proxy", option)
    reachable(lab.client, inside, 3128, "the proxy")
    reachable(proxy, LOGIN, 5190, "a login server, from the proxy")
    reachable(proxy, BOS, 5190, "another server, from the proxy")
    unreachable(proxy, PEER, 42000, "a peer, from the proxy", timeout=1.0)
    for port in (3128, 20000):
        unreachable(lab.peer, outside, port, "the proxy, from outside", timeout=1.0)
    round_is_stopped(lab)


# A connection that is held: says "connected", and after each line on its input whether it is alive.
HELD = """
import socket, sys
held = socket.create_connection((sys.argv[1], 5190), timeout=5)
held.settimeout(1.0)
print("connected", flush=True)
for line in sys.stdin:
    try:
        held.send(b"*")
        while held.recv(1000):
            pass
        print("closed", flush=True)
    except TimeoutError:
        print("alive", flush=True)
    except OSError:
        print("reset", flush=True)
"""


@case(each={"guard": {"policy": "guard"}, "gateway": {"policy": "gateway"}}, start=False)
def static_proxy_after_another(lab, policy):
    """NOT: a client's own connection to a login server that another profile has let out goes on round the proxy."""
    load(lab, "outbound")
    held = Process(lab, "lan", ["python3", "-c", HELD, LOGIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                   bufsize=1)
    expect_equal(held.popen.stdout.readline(), "connected\n", "a login server, in profile outbound")
    held.popen.stdin.write("?\n")
    expect_equal(held.popen.stdout.readline(), "alive\n", "the connection, in profile outbound")
    load(lab, "https", "--proxy", CLIENT2, "--policy", policy)
    held.popen.stdin.write("?\n")
    expect_equal(held.popen.stdout.readline(), "reset\n", "the connection, in profile https")
    held.popen.stdin.close()
    held.popen.stdout.close()


@case(start=False, admin="open")
def static_proxy_elsewhere(lab):
    """Policy gateway, the proxy behind a third interface. MUST: what is also allowed is so for the proxy: it asks DNS.
    NOT: for others there."""
    proxy = dmz(lab)
    lab.ip_batch("dmz", ["address add 10.88.0.3/24 dev eth0"])
    lab.peer.call("listen", port=3000, uin=2)
    load(lab, "https", "--proxy", DMZ_HOST, "--policy", "gateway", "--also-allow", "tcp/3000")
    reachable(proxy, PEER, 3000, "what is also allowed, from the proxy")
    load(lab, "https", "--proxy", "10.88.0.3", "--policy", "gateway", "--also-allow", "tcp/3000")
    unreachable(proxy, PEER, 3000, "the same, from a host beside the proxy", timeout=1.0)


@case(start=False, admin="open")
def static_proxy_gateway(lab):
    """Policy gateway, no other filter, --also-allow tcp/5190. MUST: the proxy works. NOT: that line does not let clients
    round it; a client with the proxy's address, from where the proxy is not."""
    proxy = dmz(lab)
    listeners(lab, proxy, 1080)
    load(lab, "socks", "--proxy", DMZ_HOST, "--policy", "gateway", "--also-allow", "tcp/5190")
    reachable(lab.client, DMZ_HOST, 1080, "the proxy")
    reachable(proxy, LOGIN, 5190, "a login server, from the proxy")
    reachable(lab.peer, DMZ_HOST, 20000, "the proxy, which listens for a client")
    unreachable(proxy, PEER, 80, "what is no ICQ, from the proxy", timeout=1.0)
    round_is_stopped(lab)
    trust_addresses(lab)
    watch(lab, "peer")
    send_syn(lab, "dmz", DMZ_HOST, PEER, 42000)
    send_syn(lab, "lan", DMZ_HOST, PEER, 42001)
    reachable(proxy, LOGIN, 5190, "a login server, again")
    expect_equal(arrivals(lab, "peer"), 1, "SYNs with the proxy's address that got out")
