# SPDX-License-Identifier: GPL-2.0-or-later
"""P1, P2: a DNS answer has come; its 8 addresses are in the kernel.

icqgate asks by itself, as it does for every address that it keeps: 20 names whose answers live for a second, so that
about 20 answers a second can be measured, and one at a time (load/answered.c). Timed from outside: from the answer's
arrival at the gateway's interface to the nftables event of the eighth element. So its wake-up, its reading of the
answer and its decision count too.

The floor (floor/asker.c) asks for the same names and puts what comes into the same set by one bare transaction: what
this kernel's way costs whoever goes it, waking up included.

dnsmasq has no such moment of its own. Its added time is how much later a client has its answer through a forwarder with
nftset= than through one without: wake-ups and forwarding are in both and cancel, which favours dnsmasq. The second row
shows the interval of icqgate's row for dnsmasq as well. Its set is empty before every answer, nearly: best for it. All
answers come after a pause, so that none finds warmer caches than another.
"""

import statistics

from figure import Side, figure, percentile
from gateways import Asking, AskingFloor, Dnsmasq
from handles import expect

US = 1000  # nanoseconds
ADDED, INTERVAL = "dnsmasq nftset, added time", "dnsmasq nftset, same interval"


def p50(result, what):
    return percentile(result[what], 0.5) / US


def added_times(runs):
    added = [with_set - without for with_set, without in zip(runs["nftset"], runs["plain"])]
    expect(statistics.median(added) > 0, f"dnsmasq's nftset has cost nothing: {added}")
    return added


def measure(bench, id, icqgate, floor, dnsmasq, count, few, goal, what):
    runs = bench.sides(
        id,
        Side("icqgate", lambda: percentile(icqgate.answered(count), 0.5) / US),
        Side("floor", lambda: percentile(floor.answered(count), 0.5) / US),
        Side("nftset", lambda: p50(dnsmasq.forwarded("nftset", few), "times")),
        Side("plain", lambda: p50(dnsmasq.forwarded("plain", count), "times")),
        Side("watched", lambda: p50(dnsmasq.forwarded("nftset", few, watch="addresses"), "inserted")))
    samples = {"icqgate": runs["icqgate"], "floor": runs["floor"], ADDED: added_times(runs), INTERVAL: runs["watched"],
               "dnsmasq nftset, client": runs["nftset"], "dnsmasq, client": runs["plain"]}
    bench.compare(id, what, "us", samples, ADDED, ("at most", goal))
    bench.compare(id, what, "us", samples, INTERVAL)
    bench.compare(id, what, "us", samples, "floor")
    bench.compare(id, f"{what}: the floor itself", "us", samples, ADDED, ours="floor")


@figure("P1", "P2")
def answers(bench, wanted):
    with bench.standing(Dnsmasq(bench.tools), Asking(bench.tools, bench.binary),
                        AskingFloor(bench.tools, bench.binary)) as (dnsmasq, icqgate, floor):
        count = bench.size(100)
        for asking in (icqgate, floor):
            asking.answered(50)  # warm: and the questions for AAAA are over
        dnsmasq.forwarded("nftset", 50)
        if "P1" in wanted:
            measure(bench, "P1", icqgate, floor, dnsmasq, count, count, 0.1, "DNS answer, 8 addresses in the kernel, p50")
        if "P2" in wanted:
            bench.say("P2: 50000 prefixes")
            for asking in (icqgate, floor):
                asking.add_prefixes("icqgate")
            dnsmasq.add_prefixes("dnsmasq")
            for asking in (icqgate, floor):
                asking.answered(50)
            measure(bench, "P2", icqgate, floor, dnsmasq, count, 1, 0.001, "the same beside 50000 prefixes, p50")
            icqgate.expect_prefixes("icqgate")
            dnsmasq.expect_prefixes("dnsmasq")
