# SPDX-License-Identifier: GPL-2.0-or-later
"""P6 to P8: connections between peers, from the connector's SYN to the first answer, and what goes through after it."""

from figure import figure, percentile
from gateways import PORT, UIN, Floor, Icqgate, Static
from lab import CLIENT

US = 1000  # nanoseconds


@figure("P6", "P7", "P8")
def peers(bench, wanted):
    with bench.standing(Static(bench.tools), Floor(bench.tools, bench.binary),
                        Icqgate(bench.tools, bench.binary)) as gateways:
        for gateway in gateways:
            gateway.peers(200, 1)  # warm
        if "P6" in wanted:
            latency(bench, gateways)
        if "P7" in wanted:
            rate(bench, gateways)
        if "P8" in wanted:
            through(bench, gateways)


def latency(bench, gateways):
    count = bench.size(3000)
    runs = bench.interleaved("P6", gateways, lambda gateway: gateway.peers(count, 1)["times"])
    for part, word, goal in ((0.5, "p50", 1.15), (0.99, "p99", 1.3)):
        samples = {name: [percentile(run, part) / US for run in times] for name, times in runs.items()}
        bench.compare("P6", f"peer: connect + first answer, {word}", "us", samples, "floor", ("at most", goal))
        bench.compare("P6", f"peer: connect + first answer, {word}", "us", samples, "static rules")


def rate(bench, gateways):
    count = bench.size(10000)  # short rounds and many: this one feels every other program on the machine

    def measure(gateway):
        result = gateway.peers(count, 64)
        return result["connections"] / result["seconds"]

    samples = bench.interleaved("P7", gateways, measure, rounds=4 * bench.rounds)
    bench.compare("P7", "peer connections, 64 at a time", "/s", samples, "static rules", ("at least", 0.9))
    bench.compare("P7", "peer connections, 64 at a time", "/s", samples, "floor")


def through(bench, gateways):
    static, _, icqgate = gateways
    samples = bench.interleaved("P8", (static, icqgate), lambda gateway: gateway.bulk(
        "lan", CLIENT, PORT, UIN, "peer", bench.seconds(1), "up"), rounds=3 * bench.rounds)
    bench.compare("P8", "bulk over a verified peer flow", "Gbit/s", samples, "static rules", ("at least", 0.97))
