# SPDX-License-Identifier: GPL-2.0-or-later
"""icqgate killed, started twice, stopped, reloaded; the table taken away; DNS dead."""

import contextlib
import os
import signal
import socket

from case import case
from handles import Daemon, expect, expect_equal, wait_until
from lab import CLIENT, LOGIN, LOGIN2, ROGUE
from name_steps import log_lines
from steps import (PORT, UIN, UIN2, announce, go_online, peer_gets_in, peer_stays_out, reachable, start_icqgate,
                   wait_open)


def still_alive(lab, name="held"):
    result = lab.peer.call("echo", name=name, count=65536)
    expect_equal(result["outcome"], "alive", "the verified flow that was there before")


def session_alive(lab, uin=UIN):
    mark = lab.server.mark()
    lab.client.call("keep_alive")
    lab.server.wait("keep-alive", since=mark, uin=uin)


@case(config={"pinhole-timeout": 5})
def killed(lab):
    """MUST: after kill -9 the verified peer flow and the control flow go on, and the login servers stay reachable.
    NOT: no new peer gets a byte through, at once (nobody reads the queue: fail closed) nor after the kernel timeout,
    when the element itself is gone."""
    go_online(lab)
    peer_gets_in(lab, name="held")
    lab.daemon.end(signal.SIGKILL)
    still_alive(lab)
    session_alive(lab)
    peer_stays_out(lab, outcomes=["unreachable", "refused", "reset", "silent", "closed"], timeout=2.0)
    wait_until("the pinhole's element to time out", lambda: not lab.exactly(CLIENT, PORT), 10)
    peer_stays_out(lab, outcomes=["unreachable"], connect_timeout=1.5)
    still_alive(lab)
    session_alive(lab)
    reachable(lab.client, LOGIN, 5190, "a login server while its address has not timed out")


@case()
def killed_and_started_again(lab):
    """MUST: the next start adopts the table that a killed daemon left: flows go on, new logins open ports.
    NOT: no second table, no error, and no unverified peer."""
    go_online(lab)
    peer_gets_in(lab, name="held")
    lab.daemon.end(signal.SIGKILL)
    expect(lab.has_table(), "the table went with the daemon")
    start_icqgate(lab)
    still_alive(lab)
    session_alive(lab)
    go_online(lab, PORT + 1, uin=UIN2, session="b")
    peer_gets_in(lab, PORT + 1, uin=UIN2)
    peer_stays_out(lab, port=PORT + 1, uin=UIN, outcomes=["reset"])
    still_alive(lab)
    tables = [line for line in lab.run_in("gw", ["nft", "list", "tables"]).splitlines() if "icqgate" in line]
    expect_equal(len(tables), 1, "tables called icqgate")


@case()
def started_twice(lab):
    """NOT: a second `run` while one runs ends with exit 1 and says why. MUST: the first goes on unharmed."""
    go_online(lab)
    peer_gets_in(lab, name="held")
    second = Daemon(lab, [])
    wait_until("the second to end", lambda: not second.alive(), 10)
    expect_equal(second.popen.returncode, 1, "its exit status")
    words = second.log().lower()
    expect("another icqgate" in words or "already" in words, f"its words: {second.log()!r}")
    expect(lab.daemon.alive(), "the first daemon ended")
    still_alive(lab)
    peer_gets_in(lab)


@case()
def stopped(lab):
    """MUST: SIGTERM ends it with 0 within seconds; without flush-on-exit the table stays and live flows with it.
    NOT: no new peer gets in after the stop."""
    go_online(lab)
    peer_gets_in(lab, name="held")
    expect_equal(lab.daemon.end(), 0, "exit status on SIGTERM")
    expect(lab.has_table(), "the table is gone without flush-on-exit")
    still_alive(lab)
    peer_stays_out(lab, outcomes=["unreachable", "refused", "reset", "silent", "closed"], timeout=2.0)


@case(config={"flush-on-exit": "yes"})
def stopped_with_flush(lab):
    """MUST: with flush-on-exit the table is removed on SIGTERM. NOT: nobody gets in, the admin's table is untouched."""
    go_online(lab)
    before = lab.run_in("gw", ["nft", "list", "table", "inet", "admin"])
    expect(lab.has_table(), "there is no table to remove")
    expect_equal(lab.daemon.end(signal.SIGINT), 0, "exit status on SIGINT")
    expect(not lab.has_table(), "the table is still there")
    strip = [line for line in before.splitlines() if "counter" not in line]
    after = lab.run_in("gw", ["nft", "list", "table", "inet", "admin"])
    expect_equal([line for line in after.splitlines() if "counter" not in line], strip, "the admin's own table")
    peer_stays_out(lab, outcomes=["unreachable"], connect_timeout=1.0)


@case()
def ruleset_flushed_by_another(lab):
    """MUST: when somebody flushes the whole ruleset, table, addresses and live pinholes come back by themselves.
    NOT: what comes back still refuses a wrong user."""
    go_online(lab)
    lab.nft("flush table inet icqgate; delete table inet icqgate")
    wait_until("the pinhole back in the kernel", lambda: lab.exactly(CLIENT, PORT), 5)
    wait_until("the login addresses back in the kernel", lambda: lab.elements(LOGIN) and lab.elements(LOGIN2), 5)
    peer_gets_in(lab)
    peer_stays_out(lab, uin=UIN2, outcomes=["reset"])
    go_online(lab, PORT + 1, uin=UIN2, session="b")


@case(ttl=2, config={"ttl-min": 1, "ttl-max": 3, "keep": 600})
def dns_dies(lab):
    """MUST: when DNS falls silent after the start, the last good addresses stay, beyond their TTL and several attempts.
    NOT: nothing else becomes reachable."""
    lab.silence_dns()
    wait_until("four unanswered questions", lambda: lab.dns_unheard() >= 4, 60, pause=0.1)
    known = {entry["address"] for entry in lab.status()["addresses"]}
    expect({LOGIN, LOGIN2} <= known, f"addresses in status: {known}")
    expect(lab.elements(LOGIN) and lab.elements(LOGIN2), "addresses missing from the kernel")
    go_online(lab)
    peer_gets_in(lab)
    lab.nft("delete table inet silence", "dns")
    lab.set_name("login.icq.com", [ROGUE, LOGIN])
    lab.wait_status("DNS heard again", lambda status: ROGUE in {entry["address"] for entry in status["addresses"]}, 60)


@case(config={"login-host": ["login.icq.com", ROGUE]})
def dns_says_private(lab):
    """NOT: an answer with an inside, loopback or private address puts nothing into a set (S20).
    MUST: the good addresses of the same answer, and a literal login-host, are reachable."""
    lab.set_name("login.icq.com", [LOGIN, LOGIN2, CLIENT, "127.0.0.1", "10.1.2.3", "192.168.77.1"])
    asked = lab.dns.log().count("query[A] login.icq.com")
    wait_until("two more questions", lambda: lab.dns.log().count("query[A] login.icq.com") >= asked + 2, 30)
    for address in ("127.0.0.1", "10.1.2.3", "192.168.77.1", CLIENT):
        expect(not lab.elements(address), f"a set holds {address}")
    reachable(lab.client, LOGIN, 5190, "a good address")
    reachable(lab.client, ROGUE, 5190, "a literal address")


@case(start=False)
def started_without_dns(lab):
    """MUST: with DNS silent at the start it is ready all the same, and opens once DNS speaks.
    NOT: nothing is reachable until then."""
    lab.silence_dns()
    lab.start_daemon()
    expect_equal([one for one in lab.status()["addresses"] if one["address"] in (LOGIN, LOGIN2)], [], "addresses")
    lab.nft("delete table inet silence", "dns")
    lab.wait_status("addresses once DNS speaks",
                    lambda status: {LOGIN, LOGIN2} <= {entry["address"] for entry in status["addresses"]}, 60)
    go_online(lab)
    wait_open(lab)


@case(start=False)
def bad_configuration(lab):
    """NOT: an unknown key or an impossible value does not start; exit status and message say where.
    MUST: the corrected file starts."""
    lab.config["no-such-key"] = "1"
    lab.start_daemon(wait=False)
    wait_until("the daemon to end", lambda: not lab.daemon.alive(), 10)
    expect(lab.daemon.popen.returncode in (1, 2), f"exit status {lab.daemon.popen.returncode}")
    expect("no-such-key" in lab.daemon.log() and "icqgate.conf" in lab.daemon.log(), f"its words: {lab.daemon.log()!r}")
    expect(not lab.has_table(), "a table was made")
    del lab.config["no-such-key"]
    start_icqgate(lab)


@case(start=False)
def no_socket(lab):
    """NOT: with a control socket that can't be made it does not start; exit status and message say why. MUST: it starts
    once it can."""
    good = lab.config["socket"]
    lab.config["socket"] = os.path.join(lab.config_path, "icqgate.sock")  # a file is no folder
    lab.start_daemon(wait=False)
    wait_until("the daemon to end", lambda: not lab.daemon.alive(), 10)
    expect_equal(lab.daemon.popen.returncode, 1, "exit status")
    expect("icqgate.sock" in lab.daemon.log(), f"its words: {lab.daemon.log()!r}")
    lab.config["socket"] = good
    start_icqgate(lab)
    go_online(lab)


@case()
def out_of_descriptors(lab):
    """MUST: with all its file descriptors taken by whoever connects to its socket, sessions, pinholes and peers go on,
    it says so, and works as before once they are free. NOT: it does not end, nor say so all the time."""
    go_online(lab)
    peer_gets_in(lab, name="held")
    used = len(os.listdir(f"/proc/{lab.daemon.pid}/fd"))
    lab.run_in("gw", ["prlimit", f"--pid={lab.daemon.pid}", f"--nofile={used + 4}"])
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            one = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            one.settimeout(0.2)
            with contextlib.suppress(OSError):
                one.connect(lab.socket_path)
        wait_until("a word about it", lambda: log_lines(lab, "open files") or log_lines(lab, "descriptor"))
        lab.client.call("listen", port=PORT + 1, uin=UIN)
        announce(lab, PORT + 1)
        wait_until("the new port in the kernel", lambda: lab.exactly(CLIENT, PORT + 1))
        peer_gets_in(lab, PORT + 1)
        still_alive(lab)
        session_alive(lab)
        said = len(log_lines(lab, "open files")) + len(log_lines(lab, "descriptor"))
        expect(said <= 3, f"said {said} times")
    expect(lab.daemon.alive(), "the daemon has ended")
    wait_open(lab, PORT + 1)
    peer_gets_in(lab, PORT + 1)
