# SPDX-License-Identifier: GPL-2.0-or-later
"""Which announcements open a port, and what closes it again."""

from case import case
from handles import expect, expect_equal, wait_until
from lab import BOS, CLIENT, CLIENT2, LOGIN
from steps import (PEER_UIN, PORT, UIN, UIN2, announce, go_online, log_in, peer_gets_in, peer_stays_out, pinholes,
                   refused, wait_open, wait_refused, wait_shut)


@case()
def before_and_after_the_session(lab):
    """MUST: from announcement to logout a true peer gets in.
    NOT: not before the announcement, and not after the logout, though the client listens all the time."""
    lab.client.call("listen", port=PORT, uin=UIN)
    log_in(lab)
    peer_stays_out(lab, connect_timeout=1.0, outcomes=["unreachable"])
    announce(lab, PORT)
    wait_open(lab)
    peer_gets_in(lab)
    lab.client.call("logout")
    wait_shut(lab)
    peer_stays_out(lab, connect_timeout=1.0, outcomes=["unreachable"])


@case(each={"whole": {}, "bytewise": {"cut": "bytes"}, "in-the-port-field": {"cut": [6, 34, 1]},
            "0x8000-block": {"block": True}, "version-10": {"version": 10}, "type-3": {"dc_type": 3},
            "own-address": {"address_field": CLIENT}})
def announcement_forms(lab, address_field="0.0.0.0", **fields):
    """MUST: an announcement in any cut and form opens its port. NOT: the neighbouring port stays shut."""
    lab.client.call("listen", port=PORT, uin=UIN)
    lab.client.call("listen", port=PORT + 1, uin=UIN)
    log_in(lab)
    mark = lab.server.mark()
    lab.client.call("announce", port=PORT, address=address_field, **fields)
    lab.server.wait("status", since=mark)
    wait_open(lab)
    peer_gets_in(lab)
    peer_stays_out(lab, port=PORT + 1, connect_timeout=0.8)


@case(each={"outside-range": {"port": 30000, "reason": "outside-range"},
            "below-1024": {"port": 445, "reason": "outside-range"},
            "denied": {"port": 20050, "reason": "denied-port"},
            "built-in-deny": {"port": 3306, "reason": "denied-port"}}, config={"port-deny": 20050})
def port_not_allowed(lab, port, reason):
    """NOT: a port outside the range or on a deny list opens nothing, and the reason is counted.
    MUST: an allowed port in the next announcement opens."""
    lab.client.call("listen", port=port, uin=UIN)
    log_in(lab)
    announce(lab, port)
    # 3306 lies outside the range as well: either reason is true.
    lab.wait_status(f"a refusal of port {port}", lambda status: refused(status, reason) or (
        port == 3306 and refused(status, "outside-range")))
    expect(not lab.exactly(CLIENT, port), f"port {port} is in a kernel set")
    peer_stays_out(lab, port=port, connect_timeout=0.8)
    lab.client.call("listen", port=PORT, uin=UIN)
    announce(lab, PORT)
    wait_open(lab)


@case()
def address_of_another_inside_host(lab):
    """NOT: an announcement that names another inside host opens neither that host's port nor any other (S7).
    MUST: with its own address the same client gets its pinhole."""
    lab.client2.call("listen", port=PORT, uin=UIN)
    lab.client.call("listen", port=PORT, uin=UIN)
    log_in(lab)
    announce(lab, PORT, session="a")
    wait_open(lab)
    mark = lab.server.mark()
    lab.client.call("announce", port=PORT + 1, address=CLIENT2)
    lab.server.wait("status", since=mark)
    wait_refused(lab, "other-host")
    expect(not lab.elements(CLIENT2), f"a set holds the other host: {lab.elements(CLIENT2)}")
    expect(not lab.exactly(CLIENT, PORT + 1), "the announced port was opened on the announcer")
    peer_stays_out(lab, address=CLIENT2, connect_timeout=0.8)


@case()
def two_announcements_in_one(lab):
    """NOT: TLV 0x0C twice with different ports opens neither (S7). MUST: the next, plain announcement opens."""
    log_in(lab)
    mark = lab.server.mark()
    lab.client.call("announce", port=PORT, twice=PORT + 1)
    lab.server.wait("status", since=mark)
    lab.client.call("keep_alive")
    lab.server.wait("keep-alive")
    wait_refused(lab, "contradictory")
    expect(not lab.exactly(CLIENT, PORT) and not lab.exactly(CLIENT, PORT + 1), "a contradictory announcement opened")
    go_online(lab, PORT + 2, uin=UIN2, session="b")


@case()
def port_changes(lab):
    """MUST: another port replaces the first; a status without TLV 0x0C keeps it.
    NOT: the replaced port lets nobody in; port 0 closes the last."""
    go_online(lab, PORT)
    mark = lab.server.mark()
    lab.client.call("status", status=1)
    lab.server.wait("status", since=mark, announced=None)
    peer_gets_in(lab)
    wait_open(lab, PORT)
    lab.client.call("listen", port=PORT + 1, uin=UIN)
    announce(lab, PORT + 1)
    wait_open(lab, PORT + 1)
    wait_shut(lab, PORT)
    peer_gets_in(lab, PORT + 1)
    peer_stays_out(lab, port=PORT, connect_timeout=0.8)
    announce(lab, 0, dc_type=0)
    wait_shut(lab, PORT + 1)
    peer_stays_out(lab, port=PORT + 1, connect_timeout=0.8)


@case()
def two_clients_same_port(lab):
    """MUST: two clients that announce the same number each get it on their own address; the end of one leaves the
    other. NOT: a peer that names the one user at the other's address is refused."""
    go_online(lab, PORT, CLIENT, UIN)
    go_online(lab, PORT, CLIENT2, UIN2)
    peer_gets_in(lab, address=CLIENT, uin=UIN)
    peer_gets_in(lab, address=CLIENT2, uin=UIN2)
    peer_stays_out(lab, address=CLIENT, uin=UIN2, outcomes=["reset"])
    peer_stays_out(lab, address=CLIENT2, uin=UIN, outcomes=["reset"])
    lab.client.call("logout")
    wait_shut(lab, PORT, CLIENT)
    wait_open(lab, PORT, CLIENT2)
    peer_gets_in(lab, address=CLIENT2, uin=UIN2)
    peer_stays_out(lab, address=CLIENT, connect_timeout=0.8)


@case()
def two_sessions_on_one_host(lab):
    """MUST: one host with two UINs has two pinholes with an owner each. NOT: their UINs don't fit each other's port."""
    go_online(lab, PORT, uin=UIN, session="a")
    go_online(lab, PORT + 1, uin=UIN2, session="b")
    peer_gets_in(lab, PORT, uin=UIN)
    peer_gets_in(lab, PORT + 1, uin=UIN2)
    peer_stays_out(lab, port=PORT, uin=UIN2, outcomes=["reset"])
    lab.client.call("logout", session="a")
    wait_shut(lab, PORT)
    peer_gets_in(lab, PORT + 1, uin=UIN2)


ENDINGS = {
    "channel4": lambda lab: lab.client.call("logout", how="channel4"),
    "channel4-frame-alone": lambda lab: lab.client.call("logout", how="frame"),
    "client-fin": lambda lab: lab.client.call("logout", how="fin"),
    "client-rst": lambda lab: lab.client.call("logout", how="reset"),
    "server-kick": lambda lab: lab.server.call("kick", uin=UIN),
    "server-fin": lambda lab: lab.server.call("drop", uin=UIN, how="fin"),
    "server-rst": lambda lab: lab.server.call("drop", uin=UIN, how="reset"),
}


@case(each={name: {"end": end} for name, end in ENDINGS.items()})
def session_end_closes(lab, end):
    """MUST: before the end a true peer gets in. NOT: within seconds of the end of the session, however it ends, the
    pinhole is gone from status and kernel, and nobody gets in."""
    go_online(lab)
    peer_gets_in(lab)
    end(lab)
    wait_shut(lab, timeout=5.0)
    lab.wait_status("no session left", lambda status: not [one for one in status["sessions"] if one["uin"] == UIN
                                                          and one["state"] == "online"])
    peer_stays_out(lab, connect_timeout=1.0, outcomes=["unreachable"])


@case()
def probation_until_acknowledged(lab):
    """NOT: as long as the server has not acknowledged the announcement's bytes, the pinhole is in probation and no
    peer's bytes reach the client (S2). MUST: once it has, the pinhole opens."""
    log_in(lab)
    lab.client.call("listen", port=PORT, uin=UIN)
    lab.nft("table ip deaf { chain in { type filter hook input priority 0;"
            f" ip saddr {CLIENT} ip daddr {BOS} drop; }}; }}", "server")
    lab.client.call("announce", port=PORT)
    lab.wait_status("the pinhole in probation",
                    lambda status: [hole["state"] for hole in pinholes(status, PORT)] == ["probation"])
    peer_stays_out(lab, outcomes=["unreachable", "refused", "reset", "silent", "closed"], timeout=3.0)
    expect_equal([hole["state"] for hole in pinholes(lab.status(), PORT)], ["probation"], "state while unacknowledged")
    lab.nft("delete table ip deaf", "server")
    lab.server.wait("status", uin=UIN, timeout=20)  # the client's kernel sends it again
    wait_open(lab)
    peer_gets_in(lab)


@case(config={"ports-per-client": 3})
def ports_per_client(lab):
    """MUST: three sessions of one host have three ports. NOT: the fourth gets none."""
    for number in range(3):
        go_online(lab, PORT + number, uin=UIN + number, session=f"s{number}")
    log_in(lab, uin=UIN + 3, session="s3")
    announce(lab, PORT + 3, session="s3", uin=UIN + 3)
    lab.client.call("keep_alive", session="s3")
    lab.server.wait("keep-alive", uin=UIN + 3)
    wait_refused(lab, "too-many")
    expect(not lab.exactly(CLIENT, PORT + 3), "a fourth port of one client is open")
    expect_equal(len(pinholes(lab.status(), address=CLIENT)), 3, "pinholes of the client")


@case(config={"pinhole-timeout": 6})
def pinhole_outlives_its_kernel_timeout(lab):
    """MUST: while the session lives, the pinhole is refreshed: open long after its first kernel timeout has passed."""
    go_online(lab)
    status = lab.status()
    seen = []

    def refreshed():
        seen.append(pinholes(lab.status(), PORT)[0]["expires_in"])
        return len(seen) > 1 and sum(later > earlier for earlier, later in zip(seen, seen[1:])) >= 3
    expect(pinholes(status, PORT), "the pinhole")
    wait_until("three refreshes of the timeout", refreshed, 30, pause=0.2)
    expect(lab.exactly(CLIENT, PORT), "the kernel element after three refreshes")
    peer_gets_in(lab)


@case()
def unused_login_server_is_no_bos(lab):
    """NOT: a second connection to the login server with a made-up cookie is no session: its announcement opens nothing.
    MUST: a real session afterwards opens."""
    import oscar
    import struct
    frames = (oscar.flap(1, 1, struct.pack(">I", 1) + oscar.tlv(6, bytes(256)))
              + oscar.flap(2, 2, oscar.snac(1, 0x1E, oscar.set_status(0, oscar.direct_info(CLIENT, PORT)), 1)))
    lab.client.call("raw_connection", address=LOGIN, port=5190, data=frames.hex(), timeout=0.5)
    expect(not lab.exactly(CLIENT, PORT), "an announcement nobody logged in for is in a set")
    go_online(lab, PORT)
    peer_gets_in(lab, own=PEER_UIN)
