# SPDX-License-Identifier: GPL-2.0-or-later
"""Profile socks: Dante on the LAN, both it and the gateway as `emit` says, and clients that reach nothing else."""

from case import case
from handles import expect, expect_equal
from lab import BOS, CLIENT, CLIENT2, GATEWAY, LOGIN, OUTSIDE, PEER
from proxies import PORTS, PROXY, behind_proxy, denied, log_in_through, named, shut_out
from static_steps import host
from steps import PEER_UIN, UIN, UIN2, announce, peer_gets_in

BOTH = {"socks4": {"kind": "socks4"}, "socks5": {"kind": "socks5"}}
RANGE = (20000, 20099)
ELSEWHERE = 30000


def bound(lab, via, at=PROXY, **options):
    """A port bound on the SOCKS server, within the range. -> the number"""
    result = lab.client.call("bind", via=via, uin=UIN, **options)
    expect_equal((result["outcome"], result["address"]), ("connected", at), f"BIND {options}: {result}")
    expect(RANGE[0] <= result["port"] <= RANGE[1], f"BIND {options}: a port outside the range: {result}")
    return result["port"]


@case(each=BOTH, start=False, admin="deny-strict")
def socks_login(lab, kind):
    """MUST: a client that reaches nothing but the SOCKS server logs in through it, by address and (SOCKS5) by name,
    follows the redirect, stays online, and reaches a peer outside.
    NOT: round the SOCKS server it reaches neither login server nor BOS nor peer, whatever the port."""
    proxy = behind_proxy(lab, "socks", "dante")
    via = proxy.via(kind)
    lab.peer.call("listen", port=42000, uin=PEER_UIN)
    for address, port in ((LOGIN, 5190), (BOS, 5190), (PEER, 42000)):
        shut_out(lab.client, address, port, "before anything else")
    log_in_through(lab, via, LOGIN, UIN, f"{BOS}:5190", "a")
    if kind == "socks5":
        log_in_through(lab, via, "login.icq.com", UIN2, "bos.lab.test:5190", "b")
    peer_gets_in(lab, actor=lab.client, to=PEER, port=42000, uin=PEER_UIN, own=UIN, echo=65536, via=via)
    lab.peer.call("listen", port=20001, uin=PEER_UIN)
    for address, port in ((LOGIN, 5190), (BOS, 5190), (PEER, 42000), (PEER, 20001)):
        shut_out(lab.client, address, port, "round the SOCKS server, while logged in through it")


@case(each=BOTH, start=False, admin="deny-strict")
def socks_bind(lab, kind):
    """MUST: a port that a client binds on the SOCKS server is in port-range, the one it asked for or any, and a peer
    outside reaches the client by it, for as long as both talk.
    NOT: a port outside the range is not bound, nor one that nobody bound reached; nor a second peer by a port that was
    bound for one, nor a stranger by one that was bound for another, nor the client by its own address; nor from outside
    anything else on the SOCKS server's host."""
    proxy = behind_proxy(lab, "socks", "dante", ports=RANGE)
    via = proxy.via(kind)
    log_in_through(lab, via, LOGIN, UIN, f"{BOS}:5190", "a")
    host(lab, "proxy").call("listen", port=ELSEWHERE, uin=1)

    for number, wanted in enumerate((20010, 0, 0)):
        port = bound(lab, via, port=wanted)
        expect(wanted in (0, port), f"another port than {wanted}: {port}")
        announce(lab, port, dc_type=2)
        peer_gets_in(lab, to=PROXY, port=port, name=f"held{number}", echo=65536)
        shut_out(lab.stranger, PROXY, port, "a port bound for one peer, who has come")
    for number in range(3):
        expect_equal(lab.peer.call("echo", name=f"held{number}")["outcome"], "alive", "a peer that came in earlier")

    for wanted in (ELSEWHERE + 1, 5190, 42000):
        outcome = lab.client.call("bind", via=via, uin=UIN, port=wanted)["outcome"]
        expect_equal(outcome, "denied", f"BIND of port {wanted}")
    port = bound(lab, via, port=20050, host=PEER)
    mark = lab.client.mark()
    result = lab.stranger.call("connect", address=PROXY, port=port, to=UIN, own=PEER_UIN)
    expect(result["outcome"] in ("reset", "closed") and result["received"] == 0, f"a stranger: {result}")
    expect_equal(lab.client.seen("accepted", mark), [], "what of the stranger reached the client")
    lab.client.call("listen", port=20060, uin=UIN)
    for address, port, what in ((CLIENT, 20060, "the client itself"), (PROXY, ELSEWHERE, "outside the range"),
                                (PROXY, PORTS["dante"], "the SOCKS port from outside"), (PROXY, 20061, "nobody's port")):
        shut_out(lab.peer, address, port, what)


@case(start=False, admin="deny-strict")
def socks_not_allowed(lab):
    """NOT: through the SOCKS server nobody reaches a port below 1024 outside, the SOCKS server's own host, or loopback;
    nor does SOCKS4a (whose 0.0.0.1 Dante takes for an address) get anywhere; nor may one use it who is no client.
    MUST: the client logs in all the same, before and after."""
    proxy = behind_proxy(lab, "socks", "dante", clients=CLIENT)
    socks5, socks4 = proxy.via("socks5"), proxy.via("socks4")
    log_in_through(lab, socks5, LOGIN, UIN, f"{BOS}:5190", "a")
    lab.peer.call("listen", port=25, uin=PEER_UIN)
    for via in (socks5, socks4):
        for address, port, what in (
                (PEER, 25, "mail"), (LOGIN, 80, "a port below 1024"), (PROXY, 1080, "the SOCKS server"),
                (PROXY, 22, "its host"), ("127.0.0.1", 5190, "loopback")):
            denied(lab.client, via, address, port, what)
    denied(lab.client, socks4, "login.icq.com", 5190, "SOCKS4a")
    outcome = lab.client2.call("probe", address=LOGIN, port=5190, timeout=8.0, via=socks5)["outcome"]
    expect(outcome in ("hung up", "denied"), f"who is no client: {outcome}")
    log_in_through(lab, socks4, LOGIN, UIN2, f"{BOS}:5190", "b")


@case(start=False, admin="deny-strict")
def socks_inside(lab):
    """MUST: of two clients behind one SOCKS server the second reaches the first by the port that the first has bound.
    NOT: through it neither reaches the other's own address, nor by a name that stands for it."""
    named(lab, "inside.lab.test", [PEER, CLIENT2])
    proxy = behind_proxy(lab, "socks", "dante", ports=RANGE)
    via = proxy.via("socks5")
    lab.peer.call("listen", port=5190, uin=PEER_UIN)
    lab.client2.call("listen", port=5190, uin=UIN2)
    for address in (CLIENT2, "inside.lab.test"):
        denied(lab.client, via, address, 5190, "another client")
    port = bound(lab, via, port=0)
    peer_gets_in(lab, actor=lab.client2, to=PROXY, port=port, own=UIN2, via=via)


@case(start=False, admin="deny-strict")
def socks_on_gateway(lab):
    """MUST: the same with Dante on the gateway itself, by its two addresses: a login, a peer that the client reaches, a
    peer that reaches it at the outside address.
    NOT: round it the client reaches neither login server nor peer, and through it no other client."""
    proxy = behind_proxy(lab, "socks", "dante", addresses=(GATEWAY, OUTSIDE), ports=RANGE)
    via = proxy.via("socks5")
    lab.peer.call("listen", port=42000, uin=PEER_UIN)
    lab.client2.call("listen", port=5190, uin=UIN2)
    log_in_through(lab, via, "login.icq.com", UIN, "bos.lab.test:5190", "a", seen=OUTSIDE)
    peer_gets_in(lab, actor=lab.client, to=PEER, port=42000, uin=PEER_UIN, own=UIN, via=via)
    port = bound(lab, via, at=OUTSIDE, port=20010)
    peer_gets_in(lab, to=OUTSIDE, port=port, echo=65536)
    for address, port in ((LOGIN, 5190), (BOS, 5190), (PEER, 42000)):
        shut_out(lab.client, address, port, "round the SOCKS server")
    denied(lab.client, via, CLIENT2, 5190, "another client")
