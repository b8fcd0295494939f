# SPDX-License-Identifier: GPL-2.0-or-later
"""P3: element updates, 1,000 in a transaction: new elements, and new timeouts for those that are there.

All sides write the same elements into the set of icqgate's own table, from values to the kernel's acknowledgement:
icqgate's code (load/updates.cpp); the floor (floor/transactions.c) with the same messages, so that only the making of
them can differ; and `nft -f` with a file that is there already, a process each time, as a script would have it. Where
icqgate replaces an element to renew its timeout, the other two do as well. The last row tells what a message for each
element would make of it, with timeouts renewed in place.
"""

import itertools
import json
import os

from figure import Side, figure
from gateways import Idle
from handles import expect

COUNT = 1000
SET = "inet icqgate login4"


def elements(options=""):
    return ", ".join(f"198.18.{i >> 8}.{i & 255} . 5190{options}" for i in range(COUNT))


def text(form, minutes):
    """One transaction for `nft -f`."""
    put = f"add element {SET} {{ {elements(f' timeout {minutes}m')} }}\n"
    if form == "replace":
        return f"{put}delete element {SET} {{ {elements()} }}\n{put}"
    # Without `expires` the kernel leaves an element alone whose timeout is the same already.
    return put.replace(f"{minutes}m", f"{minutes}m expires {minutes}m") if form == "renew" else put


def rate(times):
    """Median of the run, so that a single interruption is not the result."""
    return COUNT / (sorted(times)[len(times) // 2] / 1e9)


@figure("P3")
def updates(bench, _wanted):
    with bench.standing(Idle(bench.tools, bench.binary)) as (gateway,):
        for which, word in (("known", "timeouts renewed"), ("fresh", "new elements")):
            gateway.run_in("gw", ["nft", "flush", "set", *SET.split()])
            measure(bench, gateway, which, word)


def measure(bench, gateway, which, word):
    batches = bench.size(100)
    messages = gateway.tool_in_gateway("updates", "icqgate", COUNT, 1, which)["messages"]
    expect(0 < messages < 0.1 or messages in (1, 3),
           f"a way of updating that the floor does not know: {messages} messages for an element")
    form = "packed" if messages < 1 else "add" if messages == 1 else "replace"
    paths = [os.path.join(gateway.directory, f"{which}{minutes}.nft") for minutes in (10, 11)]
    for path, minutes in zip(paths, (10, 11)):
        with open(path, "w") as file:
            file.write(text("renew" if form != "replace" and which == "known" else form, minutes))

    def tool(*arguments):
        return lambda: checked(gateway.tool_in_gateway(*arguments)["times"])

    def nft():
        times = []
        for path in itertools.islice(itertools.cycle(paths), max(5, batches // 10)):
            if which == "fresh":
                gateway.run_in("gw", ["nft", "flush", "set", *SET.split()])
            times.append(gateway.tool_in_gateway("spawn", "nft", "-f", path)["time"])
        return checked(times)

    def checked(times):
        """All elements have the timeout of the last transaction: they take turns."""
        listing = json.loads(gateway.run_in("gw", ["nft", "-j", "list", "set", *SET.split()]))
        seen = [one["elem"]["timeout"] for one in listing["nftables"][-1]["set"].get("elem", [])]
        wanted = 600 if len(times) % 2 else 660
        expect(seen == [wanted] * COUNT,
               f"{word}: expected {COUNT} elements of {wanted} s, got {len(seen)} of {sorted(set(seen))}")
        return rate(times)

    # Each side finds what the one before it has left: the elements.
    samples = bench.sides(
        f"P3 {word}", Side("icqgate", tool("updates", "icqgate", COUNT, batches, which)), Side("nft -f", nft),
        Side("floor", tool("transactions", "icqgate", "login4", COUNT, batches, form, which)),
        Side("floor, a message each", tool("transactions", "icqgate", "login4", COUNT, batches, "add", which)))
    what = f"element updates by the {COUNT}: {word}"
    bench.compare("P3", what, "/s", samples, "nft -f", ("at least", 20))
    bench.compare("P3", what, "/s", samples, "floor", ("at least", 0.8))
    bench.compare("P3", what, "/s", samples, "floor, a message each")
