# SPDX-License-Identifier: GPL-2.0-or-later
"""What icqgate makes of the kernel it finds."""

import os

from case import case
from handles import Failure, expect, expect_equal, wait_until
from lab import BOS, CLIENT
from name_steps import no_gap, sampler
from steps import PORT, UIN2, go_online, peer_gets_in, peer_stays_out, pinholes, start_icqgate


def has_queue_statement(lab):
    try:
        lab.nft("table inet probe { chain c { queue num 1; }; }", role="lan2")
    except Failure:
        return False
    lab.nft("delete table inet probe", role="lan2")
    return True


@case()
def queue_form(lab):
    """MUST: with the kernel's own queue statement where it has one, by the xt target else; status tells which, all
    three chains have it, and a peer gets through it. ICQGATE_TEST_QUEUE_FORM says which one this kernel has to be good for.
    NOT: the other form in the table; a wrong user."""
    form = "queue" if has_queue_statement(lab) else "xt NFQUEUE"
    expect_equal(form, os.environ.get("ICQGATE_TEST_QUEUE_FORM", form), "what this kernel has")
    expect_equal(lab.status()["queue_form"], form, "queue_form in status")
    # nft's listing calls both forms `queue`; what it got from the kernel tells them apart.
    listing = lab.run_in("gw", ["nft", "--debug=netlink", "list", "table", "inet", "icqgate"])
    native, target = listing.count("[ queue num "), listing.count("[ target name NFQUEUE ")
    expect_equal((native, target), (3, 0) if form == "queue" else (0, 3), f"queue statements and targets in\n{listing}")
    expect("bypass" in listing, "the control queue's rule has no bypass")
    go_online(lab)
    peer_gets_in(lab)
    peer_stays_out(lab, uin=UIN2, outcomes=["reset"])


@case(start=False, config={"pinhole-timeout": 6},
      each={"in-place": {"form": "probe"}, "replaced": {"form": "replace"}})
def timeouts_renewed(lab, form):
    """MUST: pinholes, sessions and redirects are renewed again and again without a moment in which they are missing, in
    place where the kernel can, and by replacing the element; status tells which.
    NOT: once the session is over, pinhole and session are not renewed any more."""
    lab.config["timeout-update"] = form
    start_icqgate(lab)
    way = lab.status()["timeout_update"]
    expect(way == "replace" if form == "replace" else way in ("in place", "replace"), f"timeout_update: {way}")
    go_online(lab)
    watcher = sampler(lab)
    for name, one, element in (("p", "pinholes", [CLIENT, PORT]), ("s", "sessions", [CLIENT]),
                               ("r", "servers4", [CLIENT, BOS, 5190])):
        watcher.call("watch", name=name, set=one, wanted=[element], pause=0.005)
    seen = []

    def renewed():
        seen.append(pinholes(lab.status(), PORT)[0]["expires_in"])
        return sum(later > earlier for earlier, later in zip(seen, seen[1:])) >= 3
    wait_until("three renewals", renewed, 30, pause=0.2)
    for name in "psr":
        no_gap(watcher.call("unwatch", name=name), f"the element of watch {name}")
    peer_gets_in(lab)
    lab.client.call("logout")
    wait_until("both gone", lambda: not lab.exactly(CLIENT, PORT) and not lab.exactly(CLIENT), 15)
