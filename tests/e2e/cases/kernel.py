# SPDX-License-Identifier: GPL-2.0-or-later
"""What icqgate makes of the kernel it finds."""

import os

from case import case
from handles import Failure, expect, expect_equal
from steps import UIN2, go_online, peer_gets_in, peer_stays_out


def has_queue_statement(lab):
    try:
        lab.nft("table inet probe { chain c { queue num 1; }; }", role="lan2")
    except Failure:
        return False
    lab.nft("delete table inet probe", role="lan2")
    return True


@case()
def queue_form(lab):
    """MUST: with the kernel's own queue statement where it has one, by the xt target else; status tells which, both
    chains have it, and a peer gets through it. ICQGATE_TEST_QUEUE_FORM says which one this kernel has to be good for.
    NOT: the other form in the table; a wrong user."""
    form = "queue" if has_queue_statement(lab) else "xt NFQUEUE"
    expect_equal(form, os.environ.get("ICQGATE_TEST_QUEUE_FORM", form), "what this kernel has")
    expect_equal(lab.status()["queue_form"], form, "queue_form in status")
    # nft's listing calls both forms `queue`; what it got from the kernel tells them apart.
    listing = lab.run_in("gw", ["nft", "--debug=netlink", "list", "table", "inet", "icqgate"])
    native, target = listing.count("[ queue num "), listing.count("[ target name NFQUEUE ")
    expect_equal((native, target), (2, 0) if form == "queue" else (0, 2), f"queue statements and targets in\n{listing}")
    expect("bypass" in listing, "the control queue's rule has no bypass")
    go_online(lab)
    peer_gets_in(lab)
    peer_stays_out(lab, uin=UIN2, outcomes=["reset"])
