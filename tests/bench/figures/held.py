# SPDX-License-Identifier: GPL-2.0-or-later
"""P17: a LAN client asks a DNS server outside; icqgate holds the answer until its addresses are in the kernel.

From the client's question to its answer, p50, through a gateway with no table at all, and through icqgate's: for the
held name with 8 new addresses in every answer (each then changes the set, and the oldest ones leave it), for the held
name with addresses that are in it, and for another name. What is added is meant over the gateway with no table, so the
table's own rules count in. dnsmasq's added time as in P1. That answers were held is seen by the queue's packet count,
and once per run of the bench, with events, that each had its addresses in the kernel before the client had it.
"""

from figure import Side, figure, percentile
from figures.answers import US, added_times
from gateways import HELD, NOT_HELD, Bare, Dnsmasq, Holding
from handles import expect_equal

GOAL = "100 us"
DNSMASQ = "dnsmasq nftset, added time"


@figure("P17")
def held(bench, _wanted):
    with bench.standing(Bare(bench.tools), Dnsmasq(bench.tools),
                        Holding(bench.tools, bench.binary)) as (bare, dnsmasq, icqgate):
        proof = icqgate.ask(HELD, 50, "fresh", watch="login4")
        expect_equal(proof["before"], 50, "held answers that came after their addresses")
        count = bench.size(100)

        def client(gateway, name, addresses):
            return lambda: percentile(gateway.ask(name, count, addresses)["times"], 0.5) / US

        runs = bench.sides(
            "P17",
            Side("no table", client(bare, HELD, "fresh")), Side("no table, again", client(bare, HELD, "fresh")),
            Side("new", client(icqgate, HELD, "fresh")), Side("known", client(icqgate, HELD, "known")),
            Side("other", client(icqgate, NOT_HELD, "fresh")),
            *(Side(kind, lambda kind=kind: percentile(dnsmasq.forwarded(kind, count)["times"], 0.5) / US)
              for kind in ("nftset", "plain")),
            rounds=3 * bench.rounds)  # short ones and many: small differences count here
        compare_held(bench, runs)


def compare_held(bench, runs):
    bare = runs["no table"]
    added = {DNSMASQ: added_times(runs), GOAL: [100.0]}
    for kind, word in (("new", "8 new addresses"), ("known", "known addresses")):
        bench.compare("P17", f"DNS answer, held, {word}, p50", "us", {"icqgate": runs[kind], "no table": bare},
                      "no table")
        samples = {"icqgate": [mine - without for mine, without in zip(runs[kind], bare)], **added}
        bench.compare("P17", f"added by the hold, {word}", "us", samples, GOAL, ("at most", 1))
        bench.compare("P17", f"added by the hold, {word}", "us", samples, DNSMASQ, ("at most", 1 / 3))
    # The row after it is the measure of what can be told apart at all.
    bench.compare("P17", "DNS answer for another name, p50", "us", {"icqgate": runs["other"], "no table": bare},
                  "no table", ("at most", 1.05))
    bench.compare("P17", "the gateway with no table, a second time", "us",
                  {"icqgate": runs["no table, again"], "no table": bare}, "no table")
