# SPDX-License-Identifier: GPL-2.0-or-later
"""What is open ends with what opened it: names that move on, login hosts that are configured no more, connections on
the ports of others."""

import signal

from case import case
from cases.memory import live_flows, restart, wait_saved
from handles import expect, expect_equal, wait_until
from lab import BOS, CLIENT, CLIENT2, LOGIN, LOGIN2, OUTSIDE
from name_steps import (allowed, count_elements, flows, known, log_lines, login_addresses, never_allowed, no_gap,
                        sampler, session_alive, wait_known)
from steps import (PORT, UIN, UIN2, announce, go_online, log_in, online, peer_gets_in, peer_stays_out, pinholes,
                   wait_open, wait_shut)
from zones import NAME, echoing, far

SECOND = "service.lab.test"


@case(zones=[], config={"login-host": [NAME, f"{SECOND}:5191"], "keep": 2})
def name_leaves_an_address(lab):
    """NOT: the port of a name that has moved on does not stay open at an address that another name still holds.
    MUST: the other name's port is there all the time, and the one that moved is open where it went."""
    lab.zones.set_records(SECOND, "A", [LOGIN], ttl=1)
    wait_until("the second name's port", lambda: lab.exactly(LOGIN, 5191), 10)
    watcher = sampler(lab)
    watcher.call("watch", set="login4", wanted=[[LOGIN, 5190]])
    lab.zones.set_records(SECOND, "A", [far(1)], ttl=1)
    wait_until("its port where it went", lambda: lab.exactly(far(1), 5191), 10)
    wait_until("its port gone where it was", lambda: not lab.exactly(LOGIN, 5191), 30)
    no_gap(watcher.call("unwatch"), "the first name's port")
    expect_equal({one["port"] for one in lab.status()["addresses"] if one["address"] == LOGIN}, {5190}, "its ports")


def nothing_of_before(lab):
    wait_shut(lab)
    expect_equal(lab.elements(CLIENT, BOS), [], "the way to the old host's session server")
    expect_equal(count_elements(lab, "sessions"), 0, "clients with a session")
    expect_equal([one for one in lab.status()["sessions"] if one["state"] == "online"], [], "sessions")
    never_allowed(lab, LOGIN, LOGIN2)
    peer_stays_out(lab, connect_timeout=0.8)


@case(zones=[], each={"killed": {"number": signal.SIGKILL}, "stopped": {"number": signal.SIGTERM}})
def another_login_host_after_a_restart(lab, number):
    """NOT: started again with another login host, icqgate takes up nothing that the old one allowed: addresses,
    session, pinhole, the way to its session server; what the kernel still has of it goes.
    MUST: the connection itself, being established, goes on; the new host is allowed."""
    lab.zones.set_records(SECOND, "A", [far(1)])
    go_online(lab)
    wait_saved(lab)
    lab.daemon.end(number)
    lab.config["login-host"] = SECOND
    lab.start_daemon()
    wait_known(lab, far(1), host=SECOND)
    nothing_of_before(lab)
    expect_equal(login_addresses(lab), {far(1)}, "the login set")
    session_alive(lab, UIN)
    announce(lab, PORT + 1)
    expect(not pinholes(lab.status()), "a session of another host opened a port")


@case(zones=[])
def another_login_host_after_a_reload(lab):
    """NOT: a login host that the file no longer names leaves no session, no pinhole and no way to its session server.
    MUST: the connection itself goes on; named again, the host's next login is followed."""
    lab.zones.set_records(SECOND, "A", [far(1)])
    go_online(lab)
    for host in (SECOND, NAME):
        lab.config["login-host"] = host
        lab.write_config()
        lab.daemon.send_signal(signal.SIGHUP)
        wait_known(lab, far(1) if host == SECOND else LOGIN, host=host)
        if host == SECOND:
            nothing_of_before(lab)
            session_alive(lab, UIN)
    go_online(lab, PORT + 1, uin=UIN2, session="b")
    peer_gets_in(lab, PORT + 1, uin=UIN2)


@case(zones=[])
def ports_reused_meanwhile(lab):
    """NOT: a new connection on the very ports of a session that ended while icqgate was down does not bring its pinhole
    back, nor does it open one. MUST: the client's next login is followed."""
    local = go_online(lab)["local"]
    wait_saved(lab)
    lab.daemon.end()
    lab.client.call("logout", how="reset")
    again = lab.client.call("connect_from", address=BOS, port=5190, source_port=local[1])
    expect_equal(again["outcome"], "connected", "the same ports again, past the table that was left")
    wait_until("the new connection in conntrack", lambda: live_flows(lab, local))
    restart(lab)
    wait_shut(lab)
    peer_stays_out(lab, connect_timeout=0.8)
    expect_equal(online(lab.status()), [], "sessions")
    lab.zones.speak()
    go_online(lab, PORT + 1, uin=UIN2, session="b")
    peer_gets_in(lab, PORT + 1, uin=UIN2)


@case()
def ports_reused_at_once(lab):
    """MUST: a client that ends its session and is back at once, from the same port of its own, is online and gets its
    port, twenty times in a row: the late end of the old flow is not the new one's.
    NOT: nothing of the session before stays open."""
    local = go_online(lab)["local"]
    for number in range(1, 21):
        port = PORT + number
        lab.client.call("logout", how="reset")
        log_in(lab, bos_from=local[1])
        lab.client.call("listen", port=port, uin=UIN)
        announce(lab, port)
        wait_open(lab, port)
        session_alive(lab, UIN)
        expect_equal([hole["port"] for hole in pinholes(lab.status())], [port], "open ports")
    peer_gets_in(lab, PORT + 20)


@case()
def bytes_passed_unseen(lab):
    """NOT: once bytes of a session have passed icqgate by (here by a rule of somebody else's in its table), what it
    announces opens nothing. MUST: what was open stays open while it lives; the client's next session is followed."""
    go_online(lab)
    lab.nft("insert rule inet icqgate control_queue accept")
    session_alive(lab, UIN)
    lab.nft("flush chain inet icqgate control_queue")  # is put back as it was
    wait_until("the chain", lambda: "queue" in lab.run_in("gw", ["nft", "list", "chain", "inet", "icqgate",
                                                                 "control_queue"]).lower())
    lab.client.call("listen", port=PORT + 1, uin=UIN)
    announce(lab, PORT + 1)
    session_alive(lab, UIN)
    lab.wait_status("the session blind", lambda status: [one for one in status["sessions"] if one["state"] == "blind"])
    peer_stays_out(lab, port=PORT + 1, connect_timeout=0.8)
    expect_equal([hole["port"] for hole in pinholes(lab.status())], [PORT], "open ports")
    peer_gets_in(lab)
    go_online(lab, PORT + 2, uin=UIN2, session="b")
    lab.client.call("logout")
    wait_shut(lab)
    wait_open(lab, PORT + 2)


@case(masquerade=True)
def outside_port_free_again(lab):
    """MUST: the outside port of a client whose session ended while icqgate was down can be had by another one.
    NOT: nothing leads to the first client any more."""
    go_online(lab)
    wait_saved(lab)
    lab.daemon.end(signal.SIGKILL)
    lab.client.call("logout")
    lab.start_daemon()
    wait_shut(lab)
    wait_until("no outside port", lambda: not count_elements(lab, "forwards"))
    go_online(lab, PORT, CLIENT2, UIN2)
    peer_gets_in(lab, address=CLIENT2, to=OUTSIDE, uin=UIN2)


@case(zones=[], config={"ttl-max": 5, "keep": 2})
def server_behind_a_translation(lab):
    """MUST: a connection that the gateway itself leads to a login server, under another address (DNAT), counts as one
    to that server, and holds its address."""
    lab.nft("table ip lead { chain in { type nat hook prerouting priority dstnat; "
            f"ip daddr 203.0.113.99 tcp dport 5190 dnat to {echoing(1)}:5190; }}; }}")
    lab.zones.set_login([LOGIN, LOGIN2, echoing(1)])
    wait_known(lab, echoing(1))
    flows(lab).call("open", address="203.0.113.99", name="led", keep=True, pause=0.5)
    lab.wait_status("the connection counted", lambda status: known(status)[echoing(1)]["flows"] == 1)
    lab.zones.set_login([LOGIN, LOGIN2])
    lab.wait_status("DNS names it no more", lambda status: known(status)[echoing(1)]["ttl_left"] == 0, 20)
    # An address that comes in has the flows listed: by then this one is old enough to be missed in the list.
    for number in range(2, 12):
        lab.zones.set_login([LOGIN, LOGIN2, far(number)])
        wait_known(lab, far(number))
        expect_equal(known(lab.status())[echoing(1)]["flows"], 1, "its connections")
    expect(allowed(lab, echoing(1)), "its address went under a live connection")
    expect_equal(log_lines(lab, "error"), [], "errors in the log")
