# SPDX-License-Identifier: GPL-2.0-or-later
"""P16: printing a static ruleset, from before the fork to the end of the program, and whether it is always the same.

The reference is ufw, where it is installed: what it takes to make one like rule (`ufw --dry-run`, which prints the
ruleset it would load and changes nothing). Namespaces of its own keep it away from the machine's firewall anyway.
"""

import json
import os
import shutil
import subprocess

from figure import Side, figure

GOAL = "20 ms"
EMIT = ["emit", "--profile", "masquerade", "--client", "192.168.1.0/24", "--policy", "gateway", "--also-allow",
        "udp/53,tcp/53,tcp/80,tcp/443", "--map", "192.168.1.10=20000-20009,192.168.1.11=20010-20019"]
UFW = ["--dry-run", "route", "allow", "in", "on", "br-lan", "out", "on", "eth0", "proto", "tcp", "to", "any", "port",
       "5190"]


@figure("P16")
def emit(bench, _wanted):
    def timed(program, arguments):
        spawn = os.path.join(bench.tools, "spawn")
        done = subprocess.run(["unshare", "--net", "--mount", spawn, program, *arguments], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=True)
        return json.loads(done.stdout)["time"] / 1e6

    def printed():
        return subprocess.run([bench.binary, *EMIT], capture_output=True, check=True).stdout

    ufw = shutil.which("ufw")
    sides = [Side("icqgate", lambda: timed(bench.binary, EMIT))]
    if ufw:
        sides.append(Side("ufw", lambda: timed(ufw, UFW)))
    texts = {printed() for _ in range(bench.size(100))}
    samples = bench.sides("P16", *sides, rounds=5 * bench.rounds)
    what = "a static ruleset printed"
    bench.compare("P16", what, "ms", {"icqgate": samples["icqgate"], GOAL: [20.0]}, GOAL, ("at most", 1))
    bench.compare("P16", f"different texts of {bench.size(100)}", "", {"icqgate": [len(texts)], "one": [1]}, "one",
                  ("at most", 1))
    if ufw:
        bench.compare("P16", what, "ms", samples, "ufw")
