# SPDX-License-Identifier: GPL-2.0-or-later
"""P17: a LAN client asks a DNS server outside; icqgate holds the answer until its addresses are in the kernel.

From the client's question to its answer, p50, through icqgate's gateway: for the held name with 8 new addresses in
every answer (each then changes the set, and the oldest ones leave it), for the held name with addresses that are in it,
and for another name. Against the same gateway with `hold-answers = no`: its rules and its conntrack are in both. The
floor (floor/reader.c) is the least that could read the queue of that very table: it accepts all, or first puts the 8
addresses into the set by one bare transaction. dnsmasq's added time as in P1. That answers were held is seen by the
queue's packet count, and once per run of the bench, with events, that each had its addresses in the kernel before the
client had it. A gateway with no table at all, and no conntrack, is told beside it.
"""

from figure import Side, figure, percentile
from figures.answers import US, added_times
from gateways import HELD, NOT_HELD, Bare, Dnsmasq, Holding, HoldingFloor
from handles import expect_equal

GOAL = "100 us"
DNSMASQ = "dnsmasq nftset, added time"


@figure("P17")
def held(bench, _wanted):
    with bench.standing(Bare(bench.tools), Dnsmasq(bench.tools), Holding(bench.tools, bench.binary),
                        Holding(bench.tools, bench.binary, hold=False),
                        Holding(bench.tools, bench.binary, hold=False),
                        HoldingFloor(bench.tools, bench.binary, transactions=False),
                        HoldingFloor(bench.tools, bench.binary, transactions=True)
                        ) as (bare, dnsmasq, icqgate, without, again, reader, writer):
        for one in (icqgate, writer):
            proof = one.ask(HELD, 50, "fresh", watch="login4")
            expect_equal(proof["before"], 50, f"{one.name}: held answers that came after their addresses")
        count = bench.size(100)

        def client(gateway, name, addresses):
            return lambda: percentile(gateway.ask(name, count, addresses)["times"], 0.5) / US

        runs = bench.sides(
            "P17",
            Side("no table", client(bare, HELD, "fresh")),
            Side("not held", client(without, HELD, "fresh")), Side("not held, again", client(again, HELD, "fresh")),
            Side("new", client(icqgate, HELD, "fresh")), Side("known", client(icqgate, HELD, "known")),
            Side("other", client(icqgate, NOT_HELD, "fresh")),
            Side("floor new", client(writer, HELD, "fresh")), Side("floor known", client(reader, HELD, "known")),
            *(Side(kind, lambda kind=kind: percentile(dnsmasq.forwarded(kind, count)["times"], 0.5) / US)
              for kind in ("nftset", "plain")),
            rounds=3 * bench.rounds)  # short ones and many: small differences count here
        compare_held(bench, runs)


def compare_held(bench, runs):
    without = runs["not held"]
    reference = {DNSMASQ: added_times(runs), GOAL: [100.0]}
    for kind, word in (("new", "8 new addresses"), ("known", "known addresses")):
        bench.compare("P17", f"DNS answer, held, {word}, p50", "us", {"icqgate": runs[kind], "not held": without},
                      "not held")
        samples = {"icqgate": added(runs[kind], without), "floor": added(runs[f"floor {kind}"], without), **reference}
        what = f"added by the hold, {word}"
        bench.compare("P17", what, "us", samples, GOAL, ("at most", 1))
        bench.compare("P17", what, "us", samples, DNSMASQ, ("at most", 1 / 3))
        bench.compare("P17", what, "us", samples, "floor")
        bench.compare("P17", f"{what}: the floor itself", "us", samples, GOAL, ours="floor")
    # The row after it is the measure of what can be told apart at all: another gateway that is the same.
    bench.compare("P17", "DNS answer for another name, p50", "us", {"icqgate": runs["other"], "not held": without},
                  "not held", ("at most", 1.05))
    bench.compare("P17", "a second gateway that holds none", "us",
                  {"icqgate": runs["not held, again"], "not held": without}, "not held")
    bench.compare("P17", "the gateway that holds none", "us", {"icqgate": without, "no table": runs["no table"]},
                  "no table")


def added(times, without):
    return [mine - plain for mine, plain in zip(times, without)]
