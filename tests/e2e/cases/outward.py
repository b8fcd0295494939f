# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients that connect out to peers, and the way back that their handshake names."""

from case import case
from handles import expect, expect_equal
from lab import CLIENT, CLIENT2, PEER
from steps import (PEER_UIN, PORT, UIN, UIN2, client_of, go_online, listener_saw, log_in, peer_gets_in,
                   peer_stays_out, unreachable, wait_refused)

THERE = 42000   # where the outside peer listens
BACK = 20077    # the client's listening port, named in its handshake only


def goes_out(lab, address=CLIENT, **options):
    options = {"own": UIN, "own_port": BACK, "echo": 65536, **options}
    return peer_gets_in(lab, actor=client_of(lab, address), to=PEER, port=THERE, uin=PEER_UIN, **options)


def refused_outward(lab, address=CLIENT, outcomes=("reset",), **options):
    """The client's attempt fails, and the peer's listener gets no byte."""
    mark = lab.peer.mark()
    options = {"own": UIN, "own_port": BACK, "to": PEER_UIN, "name": "bad", **options}
    result = client_of(lab, address).call("connect", address=PEER, port=THERE, **options)
    expect(result["outcome"] in outcomes, f"an outward attempt that must fail with {outcomes}: {result}")
    expect_equal(listener_saw(lab.peer, result, mark), [], "bytes at the peer's listener")
    return result


@case(each={"v8": {"shape": "v8"}, "v6": {"shape": "v6"}, "v3": {"shape": "old"},
            "2-44": {"shape": "v7-in-v6", "cut": [2]}, "bytewise": {"shape": "v8", "cut": "bytes"}})
def peer_outward(lab, **form):
    """MUST: a client with a session connects out with its own UIN, and 64 KiB pass both ways.
    NOT: the other client, which has no session, may not connect out."""
    lab.peer.call("listen", port=THERE, uin=PEER_UIN)
    log_in(lab)
    goes_out(lab, **form)
    unreachable(lab.client2, PEER, THERE, "outward without a session", timeout=1.0)


@case()
def outward_without_session(lab):
    """NOT: before the login and after the logout a client may not connect out. MUST: in between it may."""
    lab.peer.call("listen", port=THERE, uin=PEER_UIN)
    unreachable(lab.client, PEER, THERE, "outward before the login", timeout=1.0)
    log_in(lab)
    goes_out(lab)
    lab.client.call("logout")
    lab.wait_status("no session", lambda status: not [one for one in status["sessions"] if one["state"] == "online"])
    refused_outward(lab, outcomes=["unreachable", "reset"], connect_timeout=1.0)


@case()
def outward_with_another_uin(lab):
    """NOT: outward with a UIN that is not the session's is refused, both ways, and counted.
    MUST: the own UIN passes."""
    lab.peer.call("listen", port=THERE, uin=PEER_UIN)
    log_in(lab)
    refused_outward(lab, own=UIN2)
    refused_outward(lab, raw=b"GET / HTTP/1.1\r\n\r\n".hex())
    lab.wait_status("both refusals", lambda status: status["counters"]["outbound_refused"] >= 2)
    wait_refused(lab, "foreign-uin")
    wait_refused(lab, "not-icq")
    goes_out(lab)


@case()
def return_of_the_peer(lab):
    """MUST: a peer our client has shaken hands with may connect back to the listening port named there, though it
    was never announced. NOT: not before, not another host, not to another port, and not for another user."""
    lab.peer.call("listen", port=THERE, uin=PEER_UIN)
    lab.client.call("listen", port=BACK, uin=UIN)
    lab.client.call("listen", port=BACK + 1, uin=UIN)
    log_in(lab)
    peer_stays_out(lab, port=BACK, connect_timeout=1.0)
    goes_out(lab)
    lab.wait_status("the return in status", lambda status: [one for one in status["returns"]
                    if (one["peer"], one["client"], one["port"]) == (PEER, CLIENT, BACK)])
    expect(lab.exactly(PEER, CLIENT, BACK), "no kernel element for the return")
    peer_gets_in(lab, BACK)
    peer_stays_out(lab, actor=lab.stranger, port=BACK, connect_timeout=1.0, outcomes=["unreachable"])
    peer_stays_out(lab, port=BACK + 1, connect_timeout=1.0, outcomes=["unreachable"])
    peer_stays_out(lab, port=BACK, uin=UIN2, outcomes=["reset"])
    peer_stays_out(lab, port=BACK, address=CLIENT2, connect_timeout=1.0, outcomes=["unreachable"])


@case()
def no_return_after_a_refused_handshake(lab):
    """NOT: an outward handshake with another's UIN opens no way back. MUST: a good one to the same peer does."""
    lab.peer.call("listen", port=THERE, uin=PEER_UIN)
    lab.client.call("listen", port=BACK, uin=UIN)
    log_in(lab)
    refused_outward(lab, own=UIN2)
    expect_equal(lab.status()["returns"], [], "returns after a refused handshake")
    peer_stays_out(lab, port=BACK, connect_timeout=1.0, outcomes=["unreachable"])
    goes_out(lab)
    peer_gets_in(lab, BACK)


@case()
def return_port_outside_the_range(lab):
    """NOT: a handshake that names a port outside the range opens no way back. MUST: the outward flow itself passes."""
    lab.peer.call("listen", port=THERE, uin=PEER_UIN)
    for port in (30000, 445):
        lab.client.call("listen", port=port, uin=UIN)
    log_in(lab)
    for port in (30000, 445):
        goes_out(lab, own_port=port)
        peer_stays_out(lab, port=port, connect_timeout=1.0, outcomes=["unreachable"])
    expect_equal(lab.status()["returns"], [], "returns")


@case()
def pinhole_and_way_out_together(lab):
    """MUST: a client with an announced port still reaches out, and strangers reach the announced port as true peers.
    NOT: the announced port takes no wrong user from the peer either."""
    lab.peer.call("listen", port=THERE, uin=PEER_UIN)
    go_online(lab)
    goes_out(lab, own_port=PORT)
    peer_gets_in(lab)
    peer_gets_in(lab, actor=lab.stranger)
    peer_stays_out(lab, uin=UIN2, outcomes=["reset"])
