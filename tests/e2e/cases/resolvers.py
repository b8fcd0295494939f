# SPDX-License-Identifier: GPL-2.0-or-later
"""Who is asked: several servers, a dead one, /etc/resolv.conf that changes, nobody at all."""

import os
import time

from case import case
from handles import expect, expect_equal, wait_until
from lab import LOGIN, LOGIN2
from name_steps import allowed, known, login_addresses, name_of, never_allowed, wait_known, wait_log
from steps import go_online, log_in, peer_gets_in, unreachable
from zones import KNOT, NAME, NSD, far

# nsd keeps what the zones said at the start, LOGIN and LOGIN2; what else knot says tells the two apart.
FAILURES = {"silence": lambda zones: zones.silence(KNOT), "ended": lambda zones: zones.stop("knot"),
            "servfail": lambda zones: zones.servfail(NAME)}
HEALING = {"silence": lambda zones: zones.speak(), "ended": lambda zones: zones.restart("knot"),
           "servfail": lambda zones: None}


@case(zones=["nsd"], start=False, each={label: {"label": label} for label in FAILURES},
      config={"resolver": [KNOT, NSD], "keep": 600})
def first_resolver_dies(lab, label):
    """MUST: when the first server is silent, ended or fails, the second's answer is taken within seconds; once the
    first is back, so is its word. NOT: while the first answers, the second's is not taken; nothing else comes in."""
    lab.zones.set_login([LOGIN, far(1)])
    lab.zones.count()
    lab.start_daemon()
    wait_known(lab, LOGIN, far(1))
    before = lab.zones.asked()
    wait_until("more questions", lambda: lab.zones.asked() >= before + 4, 20)
    never_allowed(lab, LOGIN2)
    FAILURES[label](lab.zones)
    wait_known(lab, LOGIN2, timeout=20)
    wait_until("no failure in status", lambda: name_of(lab.status())["failing_for"] is None, 20)
    HEALING[label](lab.zones)
    lab.zones.set_login([LOGIN, far(2)])
    wait_known(lab, far(2), timeout=45)
    expect_equal(login_addresses(lab), {LOGIN, LOGIN2, far(1), far(2)}, "the login set")


@case(zones=[], start=False, config={"keep": 600})
def dead_dns_with_saved_addresses(lab):
    """MUST: with DNS dead at the start, what was saved makes it ready at once: a client logs in and its port opens.
    NOT: what was not saved is not reachable; a saved address is not told as answered."""
    lab.zones.set_login([LOGIN, LOGIN2, far(5)])
    lab.start_daemon()
    wait_known(lab, LOGIN, far(5))
    expect_equal(lab.daemon.end(), 0, "exit status")
    lab.nft("delete table inet icqgate")
    lab.zones.silence()
    start = time.monotonic()
    lab.start_daemon()
    seconds = time.monotonic() - start
    expect(seconds < 2.0, f"ready after {seconds:.1f} s")
    expect_equal(allowed(lab, LOGIN, LOGIN2, far(5)), [LOGIN, LOGIN2, far(5)], "allowed at once")
    sources = {one["source"] for one in known(lab.status()).values()}
    expect_equal(sources, {"saved"}, "their source")
    go_online(lab)
    peer_gets_in(lab)
    log_in(lab, uin=100500, session="far", login=far(5))
    unreachable(lab.client, far(6), 5190, "an address that was not saved", timeout=0.8)
    lab.zones.speak()
    lab.wait_status("answers again", lambda status: {one["source"] for one in known(status).values()} == {"answer"}, 45)


@case(zones=[], start=False)
def dead_dns_with_nothing_saved(lab):
    """MUST: with no DNS server at all at the start and nothing saved it is ready, says so, and opens once DNS speaks.
    NOT: nothing is reachable before."""
    lab.zones.stop("knot")
    lab.start_daemon()
    lab.wait_status("the failure", lambda status: name_of(status)["failing_for"] is not None, 20)
    expect_equal(login_addresses(lab), set(), "the login set")
    unreachable(lab.client, LOGIN, 5190, "a login server that nobody named", timeout=0.8)
    wait_log(lab, NAME)
    lab.zones.restart("knot")
    wait_known(lab, LOGIN, LOGIN2, timeout=45)
    log_in(lab)


@case(zones=["nsd"], start=False, config={"resolver": "system", "keep": 600})
def resolv_conf_changes(lab):
    """MUST: with `resolver = system` a resolv.conf that is replaced counts within seconds: the new server is asked, and
    its answers to clients are trusted; a second change too.
    NOT: the old server is not asked any more, nor trusted; search domains are never tried."""
    lab.zones.set_login([LOGIN, far(1)])
    lab.zones.set_records("login.icq.com.lab.test", "A", [far(66)])
    folder = os.path.join(lab.directory, "etc")
    os.mkdir(folder)

    def write(server):
        with open(os.path.join(folder, "resolv.conf.new"), "w") as file:
            file.write(f"search lab.test\noptions ndots:5\nnameserver {server}\n")
        os.rename(os.path.join(folder, "resolv.conf.new"), os.path.join(folder, "resolv.conf"))
    write(KNOT)
    lab.start_daemon(before=f"cp -a /etc/nsswitch.conf /etc/hosts /etc/passwd /etc/ld.so.cache {folder} 2>/dev/null ||"
                            f" true\nmount --bind {folder} /etc")
    wait_known(lab, LOGIN, far(1))
    wait_until("the server trusted", lambda: lab.exactly(KNOT), 5)
    never_allowed(lab, LOGIN2)
    for label, server, other, address in (("first", NSD, KNOT, LOGIN2), ("second", KNOT, NSD, far(2))):
        lab.zones.set_login([LOGIN, far(2)])
        lab.zones.count(label=f"not_{label}", server=other)
        write(server)
        wait_known(lab, address, timeout=10)
        wait_until("the new server trusted", lambda server=server: lab.exactly(server), 5)
        wait_until("the old one no more", lambda other=other: not lab.exactly(other), 5)
        before = lab.zones.asked(f"not_{label}")
        lab.zones.count(label=f"now_{label}", server=server)
        wait_until("the new server asked again", lambda label=label: lab.zones.asked(f"now_{label}") >= 4, 20)
        expect_equal(lab.zones.asked(f"not_{label}"), before, "questions to the old server")
    never_allowed(lab, far(66))
