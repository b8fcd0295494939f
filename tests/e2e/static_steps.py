# SPDX-License-Identifier: GPL-2.0-or-later
"""Steps of the cases about static rulesets: loading what `emit` prints, hosts of one's own, packets with a false source."""

import re

from handles import Actor, expect, wait_until
from lab import LOGIN, LOGIN2

DMZ_GATEWAY, DMZ_HOST = "10.88.0.1", "10.88.0.2"

# A SYN with any source: argv is source, destination, port. The kernel fills in the IP checksum.
SYN = """
import socket, struct, sys
source, target, port = socket.inet_aton(sys.argv[1]), socket.inet_aton(sys.argv[2]), int(sys.argv[3])
tcp = struct.pack("!HHIIBBHHH", 40000, port, 7, 0, 5 << 4, 2, 8192, 0, 0)
pseudo = source + target + struct.pack("!BBH", 0, 6, len(tcp)) + tcp
total = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
total = (total & 0xffff) + (total >> 16)
check = ~(total + (total >> 16)) & 0xffff
tcp = tcp[:16] + struct.pack("!H", check) + tcp[18:]
header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 1, 0, 64, 6, 0, source, target)
socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW).sendto(header + tcp, (sys.argv[2], 0))
"""

# One ICMP echo request; says whether the answer came within a second and a half.
PING = """
import socket, sys
pinger = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
pinger.settimeout(1.5)
pinger.sendto(bytes.fromhex("0800f7fb00040000"), (sys.argv[1], 0))
try:
    while pinger.recv(200)[20:21] != b"\\0":
        pass
    print("answered")
except TimeoutError:
    print("silent")
"""


def ping(lab, role, address):
    return lab.run_in(role, ["python3", "-c", PING, address]).strip()


def load(lab, profile, *options, client="192.168.77.0/24", login=f"{LOGIN},{LOGIN2}"):
    """The gateway gets what `emit` prints."""
    text = lab.icqgate("emit", "--profile", profile, "--lan", "lan0", "--wan", "wan0", "--login-host", login,
                       *(["--client", client] if client else []), *options)[1]
    lab.nft(text)
    return text


def host(lab, role):
    """An actor in one more of the lab's namespaces, which can listen and connect."""
    actor = Actor(lab, role, "peer.py")
    actor.wait("ready", timeout=20)
    return actor


def dmz(lab):
    """A third network behind the gateway, with one host, which the outside has a route to."""
    lab.run_in("gw", ["ip", "netns", "add", lab.namespace("dmz")])
    lab.ip_batch("gw", [f"link add dmz0 type veth peer name eth0 netns {lab.namespace('dmz')}", "link set dmz0 up",
                        f"address add {DMZ_GATEWAY}/24 dev dmz0"])
    lab.ip_batch("dmz", ["link set lo up", "link set eth0 up", f"address add {DMZ_HOST}/24 dev eth0",
                         f"route add default via {DMZ_GATEWAY}"])
    for role in ("peer", "stranger", "server"):
        lab.ip_batch(role, ["route add 10.88.0.0/24 via 198.51.100.1"])
    return host(lab, "dmz")


def send_syn(lab, role, source, target, port):
    lab.run_in(role, ["python3", "-c", SYN, source, target, str(port)])


def watch(lab, role):
    """From now on SYNs that come in there are counted; arrivals() tells how many."""
    lab.nft("table inet seen { chain in { type filter hook prerouting priority -400; tcp flags syn counter; }; }", role)


def arrivals(lab, role):
    text = lab.run_in(role, ["nft", "list", "table", "inet", "seen"])
    return int(re.search(r"counter packets (\d+)", text).group(1))


def trust_addresses(lab):
    """The gateway's kernel itself looks at no source address: what is refused, the ruleset has refused."""
    lab.shell("gw", "for all in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $all; done")


def spoofed(lab, true, false, target, port, role="lan", sender="stranger"):
    """A SYN from outside with the source `true` reaches the host `role`, one with the source `false` does not. Without
    the chain that looks at sources both would."""
    trust_addresses(lab)
    watch(lab, role)
    send_syn(lab, sender, true, target, port)
    wait_until(f"a SYN from {true}", lambda: arrivals(lab, role) == 1)
    send_syn(lab, sender, false, target, port)
    send_syn(lab, sender, true, target, port + 1)
    wait_until(f"another SYN from {true}", lambda: arrivals(lab, role) >= 2)
    expect(arrivals(lab, role) == 2, f"a SYN came in from outside with the source {false}")
    lab.nft("flush chain inet icqgate inside_only")
    send_syn(lab, sender, false, target, port)
    wait_until(f"a SYN from {false}, with the chain inside_only empty", lambda: arrivals(lab, role) == 3)
