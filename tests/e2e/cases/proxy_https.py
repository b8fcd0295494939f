# SPDX-License-Identifier: GPL-2.0-or-later
"""Profile https: Squid on the LAN, both it and the gateway as `emit` says, and clients that reach nothing else."""

from case import case
from handles import expect, expect_equal
from lab import BOS, CLIENT, CLIENT2, LOGIN, PEER
from proxies import PROXY, behind_proxy, denied, log_in_through, named, shut_out
from static_steps import host
from steps import PEER_UIN, UIN, UIN2


@case(start=False, admin="deny-strict")
def https_login(lab):
    """MUST: a client that reaches nothing but the HTTPS proxy logs in through it (CONNECT), by address and by name,
    follows the redirect and stays online.
    NOT: round the proxy it reaches neither login server nor BOS nor peer; nor does a peer reach it; nor is anything but
    a login port reached from the proxy's own host."""
    proxy = behind_proxy(lab, "https", "squid")
    via = proxy.via("connect")
    lab.peer.call("listen", port=42000, uin=PEER_UIN)
    lab.client.call("listen", port=20000, uin=UIN)
    log_in_through(lab, via, LOGIN, UIN, f"{BOS}:5190", "a")
    log_in_through(lab, via, "login.icq.com", UIN2, "bos.lab.test:5190", "b")
    for address, port in ((LOGIN, 5190), (BOS, 5190), (PEER, 42000)):
        shut_out(lab.client, address, port, "round the proxy, while logged in through it")
    shut_out(lab.peer, CLIENT, 20000, "a peer to the client")
    shut_out(lab.peer, PROXY, 3128, "the proxy from outside")
    actor = host(lab, "proxy")
    shut_out(actor, PEER, 42000, "what is no login port, from the proxy's host")
    expect_equal(actor.call("probe", address=LOGIN, port=5190)["outcome"], "connected", "a login port from there")


@case(start=False, admin="deny-strict")
def https_not_allowed(lab):
    """NOT: through the proxy nobody reaches a port that is no login port, or the proxy's own host; nor is an ordinary
    HTTP request forwarded, to whatever port; nor may one use it who is no client.
    MUST: the client logs in all the same, before and after."""
    proxy = behind_proxy(lab, "https", "squid", clients=f"{CLIENT},192.168.77.128/25")
    via = proxy.via("connect")
    log_in_through(lab, via, LOGIN, UIN, f"{BOS}:5190", "a")
    lab.peer.call("listen", port=42000, uin=PEER_UIN)
    for address, port, what in ((LOGIN, 25, "mail"), (LOGIN, 443, "another service"), (PEER, 42000, "a peer"),
                                (PROXY, 5190, "its own host"), ("127.0.0.1", 5190, "loopback")):
        denied(lab.client, via, address, port, what)
    mark = lab.server.mark()
    request = f"GET http://{LOGIN}:5190/ HTTP/1.0\r\n\r\n".encode().hex()
    result = lab.client.call("raw_connection", address=PROXY, port=3128, data=request)
    expect(result["outcome"] == "closed" and result["received"] > 0, f"an ordinary request: {result}")
    denied(lab.client2, via, LOGIN, 5190, "who is no client")
    expect_equal(lab.server.seen("connection", mark), [], "connections that reached the server all the same")
    log_in_through(lab, via, LOGIN, UIN2, f"{BOS}:5190", "b")


@case(start=False, admin="deny-strict")
def https_inside(lab):
    """NOT: through the proxy no client reaches another on a login port, by its address or by a name that stands for it
    too."""
    named(lab, "inside.lab.test", [LOGIN, CLIENT2])
    proxy = behind_proxy(lab, "https", "squid")
    lab.client2.call("listen", port=5190, uin=UIN2)
    mark = lab.client2.mark()
    for address in (CLIENT2, "inside.lab.test"):
        denied(lab.client, proxy.via("connect"), address, 5190, "another client")
    expect_equal(lab.client2.seen("accepted", mark), [], "what reached the other client")
