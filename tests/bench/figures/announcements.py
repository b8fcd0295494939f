# SPDX-License-Identifier: GPL-2.0-or-later
"""P4: a client announces its port; the pinhole is in the kernel before the segment goes on."""

import math
import statistics

from figure import figure, percentile
from gateways import Floor, Icqgate


def announce(gateway, count):
    """-> microseconds per announcement, in their order"""
    gateway.before_sessions()
    times = gateway.sessions(count)["times"]
    return [time / 1000 for time in times]


def slope(times):
    """Of the log-log fit of the cost of the N-th announcement over N: 0 is flat, 1 doubles with every doubling. Medians
    of 20 neighbours, at places that lie evenly on the logarithmic scale."""
    half = 10
    places = sorted({int(round(half * (len(times) / half - 1) ** (i / 40))) for i in range(41)})
    points = [(math.log(place), math.log(statistics.median(times[max(0, place - half):place + half])))
              for place in places]
    mean_x = statistics.fmean(x for x, _ in points)
    mean_y = statistics.fmean(y for _, y in points)
    return (sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points))


@figure("P4")
def announcements(bench, _wanted):
    with bench.standing(Floor(bench.tools, bench.binary, transactions=True),
                        Icqgate(bench.tools, bench.binary, session=False)) as gateways:
        count = bench.size(1000)
        times = bench.interleaved("P4", gateways, lambda gateway: announce(gateway, count))
        bench.compare("P4", "announcement, p50", "us",
                      {name: [percentile(run, 0.5) for run in runs] for name, runs in times.items()},
                      "floor", ("at most", 1.3))
        bench.compare("P4", "announcement, p99", "us",
                      {name: [percentile(run, 0.99) for run in runs] for name, runs in times.items()}, "floor")

        many = bench.size(10000)
        icqgate = gateways[1]
        runs = []
        for _ in range(min(3, bench.rounds)):
            icqgate.before_sessions()
            bench.say(f"P4: {many} pinholes")
            runs.append(announce(icqgate, many))
        part = many // 20
        bench.compare("P4", f"announcement, p50: the last of {many} pinholes", "us",
                      {"icqgate": [statistics.median(run[-part:]) for run in runs],
                       "the first": [statistics.median(run[:part]) for run in runs]}, "the first")
        # As a ratio of 10^slope to 1: what ten times the pinholes cost.
        bench.compare("P4", "the same, cost of ten times as many (log-log fit)", "",
                      {"icqgate": [10 ** slope(run) for run in runs], "flat": [1.0]}, "flat",
                      ("at most", 10 ** 0.1))
