# SPDX-License-Identifier: GPL-2.0-or-later
"""P15: start to ready with 1,000 remembered addresses, while no DNS server says a word.

The state file is the program's own: a first run learns 1,000 addresses of one name (an answer that takes TCP) and ends.
Then the DNS server is cut off, and every start is timed from before the fork to the line `ready`; all addresses have to
be in the kernel then. With the table as the last run has left it, and with the table gone.
"""

from figure import figure
from gateways import Saved

GOAL = "50 ms"


@figure("P15")
def start(bench, _wanted):
    with bench.standing(Saved(bench.tools, bench.binary)) as (icqgate,):
        icqgate.start("gone")  # what a first start alone does, as reading the program from the disk
        samples = {"left": [], "gone": []}
        for number in range(3 * bench.rounds):
            bench.say(f"P15: start {number + 1} of {3 * bench.rounds}")
            for table, times in samples.items():
                times.append(icqgate.start(table))
        for table, word in (("left", "its table is there"), ("gone", "its table is gone")):
            bench.compare("P15", f"start to ready, 1000 addresses saved, {word}", "ms",
                          {"icqgate": samples[table], GOAL: [50.0]}, GOAL, ("at most", 1))
