# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients hidden behind the gateway's address: the listening port that the old page called impossible."""

from case import case
from handles import expect_equal
from lab import CLIENT, CLIENT2, OUTSIDE, PEER
from steps import (PEER_UIN, PORT, UIN, UIN2, announce, client_side_ended, flow_is_gone, go_online, log_in,
                   peer_gets_in, peer_stays_out, wait_refused, wait_shut)

# Without a pinhole the gateway's own kernel answers for its own address: nobody listens there.
SHUT = ("refused", "unreachable")


@case(masquerade=True)
def behind_masquerade(lab):
    """MUST: a peer that connects to the gateway's outside address at the announced port reaches the client, same port.
    NOT: a wrong user is refused, another port is shut, and after the logout so is this one."""
    go_online(lab)
    expect_equal(lab.server.wait("bos")["remote"][0], OUTSIDE, "whom the server sees")
    peer_gets_in(lab, to=OUTSIDE, echo=65536)
    mark = lab.client.mark()
    result = peer_stays_out(lab, to=OUTSIDE, uin=UIN2, outcomes=["reset"])
    client_side_ended(lab, result, mark)
    flow_is_gone(lab, PORT, result)
    wait_refused(lab, "wrong-user")
    peer_stays_out(lab, to=OUTSIDE, port=PORT + 1, connect_timeout=1.0, outcomes=SHUT)
    lab.client.call("logout")
    wait_shut(lab)
    peer_stays_out(lab, to=OUTSIDE, connect_timeout=1.0, outcomes=SHUT)


@case(masquerade=True)
def masquerade_port_taken(lab):
    """NOT: a port that one client has announced can't be had by another: there is only one outside address (S8).
    MUST: the first keeps it, and the second gets another port."""
    go_online(lab, PORT, CLIENT, UIN)
    log_in(lab, CLIENT2, UIN2)
    lab.client2.call("listen", port=PORT, uin=UIN2)
    lab.client2.call("listen", port=PORT + 1, uin=UIN2)
    announce(lab, PORT, CLIENT2, uin=UIN2)
    wait_refused(lab, "port-taken")
    peer_stays_out(lab, address=CLIENT2, to=OUTSIDE, uin=UIN2, outcomes=["reset"])
    peer_gets_in(lab, to=OUTSIDE, uin=UIN)
    announce(lab, PORT + 1, CLIENT2, uin=UIN2)
    lab.wait_status("the second client's port", lambda status: [one for one in status["pinholes"]
                    if (one["client"], one["port"], one["state"]) == (CLIENT2, PORT + 1, "open")])
    peer_gets_in(lab, port=PORT + 1, to=OUTSIDE, uin=UIN2)


@case(masquerade=True)
def masquerade_return(lab):
    """MUST: after a handshake outward the peer may come back to the outside address at the port named there.
    NOT: another host may not."""
    lab.peer.call("listen", port=42000, uin=PEER_UIN)
    lab.client.call("listen", port=20077, uin=UIN)
    log_in(lab)
    peer_gets_in(lab, actor=lab.client, to=PEER, port=42000, uin=PEER_UIN, own=UIN, own_port=20077)
    peer_gets_in(lab, port=20077, to=OUTSIDE)
    peer_stays_out(lab, actor=lab.stranger, port=20077, to=OUTSIDE, connect_timeout=1.0, outcomes=SHUT)
