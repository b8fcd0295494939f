# SPDX-License-Identifier: GPL-2.0-or-later
"""The DNS laboratory proves itself, without icqgate: every server, every way to let one down, and who watches."""

import time

from case import case
from forger import HOW
from handles import expect, expect_equal, wait_until
from lab import BOS, CLIENT, DNS, LOGIN, LOGIN2
from name_steps import flows, helper, sampler
from steps import expect_failure, log_in
from zones import GATEWAY, KNOT, NAME, NSD, UNBOUND, echoing, far


def says(lab, server=KNOT, name=NAME, timeout=2.0):
    return lab.client.call("lookup", host=name, dns=server, timeout=timeout)["addresses"]


def says_nothing(lab, what, server=KNOT, name=NAME, timeout=2.0):
    expect_failure(what, says, lab, server, name, timeout)


@case(self_test=True, admin="open", zones=["unbound", "nsd", "gateway"])
def lab_zones(lab):
    """MUST: knot, nsd, a resolver outside and one on the gateway tell the same; changes are true at once at knot and
    after the TTL at the resolvers; chains are followed.
    NOT: after SERVFAIL, NXDOMAIN, NODATA, a loop, a silent or an ended server, no address; nsd stays as it was."""
    zones = lab.zones
    for server in (KNOT, UNBOUND, NSD, GATEWAY):
        expect_equal(says(lab, server), [LOGIN, LOGIN2], f"what {server} says")
    zones.set_login([far(1), far(2)])
    expect_equal(says(lab), [far(1), far(2)], "knot after the change")
    expect_equal(zones.addresses(), [far(1), far(2)], "the truth")
    for server in (UNBOUND, GATEWAY):
        wait_until(f"{server} to follow", lambda server=server: says(lab, server) == [far(1), far(2)], 5)
    expect_equal(says(lab, NSD), [LOGIN, LOGIN2], "nsd")
    for end in ("servfail", "nxdomain", "nodata"):
        getattr(zones, end)()
        says_nothing(lab, end)
        zones.set_login([far(3)])
        expect_equal(says(lab), [far(3)], f"after {end}")
    zones.set_chain([NAME, "a.icq.com", "b.icq.com"], [far(4)], [300, 2, 300])
    expect_equal((says(lab), zones.addresses()), ([far(4)], [far(4)]), "at the end of a chain")
    zones.set_cname("b.icq.com", NAME)
    says_nothing(lab, "a loop")
    expect_equal(zones.addresses(), [], "the truth of a loop")
    zones.set_login([far(5)])
    zones.silence()
    says_nothing(lab, "silence", timeout=0.5)
    expect_equal(says(lab, NSD), [LOGIN, LOGIN2], "nsd, while knot is silent")
    zones.speak()
    zones.stop("knot")
    says_nothing(lab, "a server that ended")
    zones.restart("knot")
    expect_equal(says(lab), [far(5)], "knot after a restart")


@case(self_test=True, admin="open", zones=["gateway"])
def lab_zones_fresh(lab):
    """MUST: with TTL 0 the gateway's own resolver tells each of 20 changes at once; a thousand addresses and more than
    fits a datagram are told; questions are counted, also unanswered ones.
    NOT: questions of others, or for other names, are not counted."""
    for number in range(1, 21):
        lab.zones.set_login([far(number)], ttl=0)
        expect_equal(says(lab, GATEWAY), [far(number)], "the gateway's resolver")
    lab.zones.set_login([far(number) for number in range(1, 1001)])
    cut = lab.client.call("ask_raw", host=NAME, dns=KNOT)
    expect(cut["truncated"] and cut["answers"] < 100, f"a thousand addresses by UDP: {cut}")
    expect_equal(lab.client.call("ask_raw", host=NAME, dns=KNOT, tcp=True)["answers"], 1000, "answers by TCP")
    gateway = helper(lab, "gw", "client.py")
    lab.zones.count()
    asked = [lab.zones.asked()]
    for actor, name in ((gateway, NAME), (gateway, "bos.lab.test"), (lab.client, NAME)):
        actor.call("ask_raw", host=name, dns=KNOT)
        asked.append(lab.zones.asked())
    lab.zones.silence()
    expect_equal(gateway.call("ask_raw", host=NAME, dns=KNOT, timeout=0.3)["bytes"], 0, "what a silent server says")
    asked.append(lab.zones.asked())
    expect_equal(asked, [0, 1, 1, 1, 2], "questions counted")


@case(self_test=True, admin="open", zones=[])
def lab_forger(lab):
    """MUST: the forger answers in the place of knot and with its address; an answer out of nowhere arrives.
    NOT: of its false answers a careful client takes none; when it ends, knot answers."""
    lab.zones.forge("honest", addresses=[far(9)])
    expect_equal(says(lab), [far(9)], "the forger, honest")
    for how in HOW:
        lab.zones.forge(how, addresses=[far(9)])
        reply = lab.client.call("ask_raw", host=NAME, dns=KNOT, timeout=0.3)
        expect_equal(reply["bytes"] > 0, how not in ("silence", "empty"), f"{how}: {reply}")
    lab.zones.end_forging()
    expect_equal(says(lab), [LOGIN, LOGIN2], "knot again")
    lab.zones.silence()
    asked = lab.client.call("ask_only", host=NAME, dns=KNOT)
    lab.zones.forger().call("send", source=KNOT, to=CLIENT, to_port=asked["port"], name=NAME, addresses=[far(8)],
                            identity=asked["identity"])
    reply = wait_until("the answer out of nowhere", lambda: lab.client.call("arrived", port=asked["port"])["bytes"])
    expect(reply > 40, f"{reply} bytes")


@case(self_test=True, admin="open", zones=[])
def lab_far_servers(lab):
    """MUST: logins and flows at any far address; beats are counted; the kernel's loss is seen as a retransmission.
    NOT: a flow that somebody resets is told as ended."""
    result = log_in(lab, login=far(77))
    expect_equal(result["bos"], [BOS, 5190], "where a login at a far address leads")
    found = lab.client.call("meet", host=NAME, dns=DNS)
    expect_equal((found["outcome"], found["retransmits"]), ("connected", 0), f"a client that resolves first: {found}")
    client = flows(lab)
    for number in range(1, 6):
        expect_equal(client.call("open", address=echoing(number), name=f"f{number}", keep=True,
                                 pause=0.05)["outcome"], "connected", "a long flow")
    wait_until("beats", lambda: all(one[2] > 5 for one in client.call("all")["flows"].values()))
    lab.nft("table ip lossy { chain f { type filter hook forward priority 0;"
            " tcp dport 5190 tcp flags syn limit rate 1/hour burst 1 packets drop; }; }")
    lost = lab.client.call("meet", host=NAME, dns=DNS)
    expect_equal((lost["outcome"], lost["retransmits"]), ("connected", 1), f"a client whose SYN is lost: {lost}")
    lab.nft("table ip cut { chain f { type filter hook forward priority 0; meta l4proto tcp"
            f" ip daddr {echoing(3)} reject with tcp reset; }}; }}")
    wait_until("one of them to end", lambda: client.seen("flow-ended"))
    expect_equal([event["flow"] for event in client.seen("flow-ended")], ["f3"], "flows that ended")


@case(self_test=True, admin="open", zones=[])
def lab_sampler(lab):
    """MUST: the sampler sees what is in a set and for how long, a hundred times a second at least.
    NOT: a gap of 50 ms does not escape it, nor the loss of the whole table; without one it reports none."""
    lab.nft("table inet t { set s { type ipv4_addr . inet_service; flags timeout; }; }\n"
            f"add element inet t s {{ {LOGIN} . 5190 timeout 1h }}")
    watcher = sampler(lab)
    watcher.call("watch", set="s", table="t", wanted=[[LOGIN, 5190]])
    start = time.monotonic()
    wait_until("samples", lambda: watcher.call("report")["samples"] > 100, 20)
    expect(time.monotonic() - start < 5, "a hundred samples took too long")
    lab.nft(f"add element inet t s {{ {LOGIN2} . 5190 timeout 1h }}\ndelete element inet t s {{ {LOGIN2} . 5190 }}")
    expect_equal(watcher.call("report")["gaps"], [], "gaps before there is one")
    for gone, back in ((f"delete element inet t s {{ {LOGIN} . 5190 }}",
                        f"add element inet t s {{ {LOGIN} . 5190 }}"),
                       ("delete table inet t", "table inet t { set s { type ipv4_addr . inet_service;"
                                               f" flags timeout; elements = {{ {LOGIN} . 5190 }}; }}; }}")):
        lab.nft(gone)
        time.sleep(0.05)  # the length of the gap is what is measured
        lab.nft(back)
    report = wait_until("two gaps", lambda: len(watcher.call("report")["gaps"]) == 2 and watcher.call("unwatch"))
    expect(all(0.03 < end - begin < 2 for begin, end in report["gaps"]), f"gaps: {report['gaps']}")
    expect_equal([element for element, _, _ in report["seen"]], [[LOGIN, 5190]], "what it saw")

