#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""An hour of DNS at its worst, and icqgate in the middle of it.

    hostile_zone.py --binary build/release/icqgate --minutes 60 --seed 1

A zone rotates, swaps all its addresses, fails, lies, grows to a thousand answers and loops, its server dies and comes
back, others flush the ruleset, icqgate is killed and started again: at random, but the same for the same seed. Beside
it fifty flows to login servers and two sessions with pinholes live on. At every moment it is checked that

    no flow is cut                              they beat twice a second, and say when they end
    some login address is allowed               the kernel's set is read a hundred times a second
    what DNS names now is usable                new flows, at addresses DNS has named for longer than icqgate may take
    nothing else is allowed                     every element ever seen was in an answer, and is no forbidden address
    memory stays                                the daemon's, last third against first third

What is fair: while DNS fails, the last good answer is the truth. While somebody else's flush is not a second old, or
icqgate has been killed and is not ready yet, the set may be empty; these moments are counted, and told, by themselves.
Prints one table; exit status 1 if anything was violated.
"""

import argparse
import collections
import json
import os
import random
import signal
import statistics
import sys
import time

sys.dont_write_bytecode = True

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "actors")]

from gateway import firewall
from handles import Failure, wait_until
from lab import CLIENT, LOGIN, LOGIN2, OUTSIDE, Lab, guard
from name_steps import flows, name_of, sampler
from steps import PORT, UIN, go_online, peer_gets_in, start_icqgate, wait_open
from zones import KNOT, NAME, UNBOUND, echoing

CONFIG = {"keep": 3, "ttl-min": 1, "ttl-max": 5, "resolver": [KNOT, UNBOUND], "queries-per-minute": 600,
          "addresses-per-name": 256}
FLOWS = 50
FORBIDDEN = ["127.0.0.1", "10.1.2.3", "172.16.5.5", "192.168.1.1", "169.254.1.1", "224.0.0.5", "0.0.0.0",
             "192.168.77.1", CLIENT, OUTSIDE, "240.0.0.1"]
SETTLED = 3.0         # seconds after which a change must be usable; until then a client may be first to know of it
LONGEST_BLIND = 30.0  # seconds after the end of a failure by which it asks again: back-off is part of good manners
FLUSH_GRACE = 1.0     # seconds in which everything has to be back after somebody else's flush


class Truth:
    """Which addresses DNS has named, since when; and what it names now."""

    def __init__(self):
        self.ever = {LOGIN, LOGIN2}
        self.now = []
        self.since = time.monotonic()
        self.failing = False

    def says(self, addresses):
        self.ever.update(addresses)
        self.now = list(addresses)
        self.since = time.monotonic()
        self.failing = False

    def fails(self):
        """The last good answer stays the truth."""
        self.failing = True


class Hostile:
    def __init__(self, lab, seed):
        self.lab, self.zones = lab, lab.zones
        self.chance = random.Random(seed)
        self.truth = Truth()
        self.next_address = 1
        self.deeds = collections.Counter()
        self.violations = []
        self.excused = []          # [from, until] in which an empty set is nobody's fault
        self.memory = []           # (time, KiB, which daemon)
        self.connects = []         # seconds of each new flow to a true address
        self.lost_first = 0
        self.generation = 0
        self.flow_number = 0
        self.living = {}           # name -> address
        self.undo = None           # ends the failure that is on
        self.healed = None         # when a failure ended, until icqgate has heard of it

    def violated(self, what):
        self.violations.append(f"{time.monotonic() - self.start:7.1f} s: {what}")

    # -- addresses
    def fresh(self, count):
        first = self.next_address
        self.next_address += count
        return [echoing(1 + number % 32000) for number in range(first, first + count)]

    def publish(self, addresses, ttl=1):
        self.zones.set_login(addresses, ttl)
        self.truth.says(addresses)

    # -- what happens to the zone
    def rotate(self):
        old = self.truth.now or self.fresh(1)  # LOGIN has no echo
        self.publish([*self.chance.sample(old, min(len(old), 2)), *self.fresh(2)], self.chance.choice((0, 1, 2, 5)))

    def swap_all(self):
        self.publish(self.fresh(self.chance.randint(1, 8)), 1)

    def thousand(self):
        """More than the caps: which of them are kept is icqgate's choice."""
        self.zones.set_login(self.fresh(1000))
        self.truth.says(self.zones.addresses())
        self.truth.now = []

    def truncated(self):
        self.publish(self.fresh(60), 1)

    def private(self):
        good = self.fresh(2)
        self.zones.set_login([*good, *self.chance.sample(FORBIDDEN, 5)])
        self.truth.says(good)

    def only_private(self):
        """An answer without one good address: the last good ones stay."""
        self.zones.set_login(self.chance.sample(FORBIDDEN, 4))
        self.truth.fails()

    def chain(self):
        addresses = self.fresh(3)
        self.zones.set_chain([NAME, "edge.icq.com", "pool.icq.com"], addresses, [300, 1, 300])
        self.truth.says(addresses)

    def loop(self):
        self.zones.set_cname(NAME, "edge.icq.com")
        self.zones.set_cname("edge.icq.com", NAME)
        self.truth.fails()

    def servfail(self):
        self.zones.servfail()
        self.truth.fails()

    def nxdomain(self):
        self.zones.nxdomain()
        self.truth.fails()

    def nodata(self):
        self.zones.nodata()
        self.truth.fails()

    def silence(self):
        self.zones.silence(KNOT)
        self.truth.fails()
        self.undo = self.zones.speak

    def garbage(self):
        how = self.chance.choice(("garbage", "garbage-behind-the-head", "wrong-id", "wrong-question", "wrong-owner",
                                  "cut", "pointer-loop", "counts-lie", "empty"))
        self.zones.forge(how, addresses=["64.12.7.7"])
        self.truth.fails()
        self.undo = self.zones.end_forging

    def restart_server(self):
        self.zones.restart("knot")

    def restart_resolver(self):
        self.zones.restart("unbound")

    # -- what happens to the gateway
    def flush(self):
        start = time.monotonic()
        self.lab.nft(f"flush ruleset\n{firewall('deny', False)}")
        self.excused.append([start, time.monotonic() + FLUSH_GRACE])

    def delete_table(self):
        start = time.monotonic()
        self.lab.nft("delete table inet icqgate")
        self.excused.append([start, time.monotonic() + FLUSH_GRACE])

    def flush_set(self):
        start = time.monotonic()
        self.lab.nft("flush set inet icqgate login4")
        self.excused.append([start, time.monotonic() + FLUSH_GRACE])

    def restart_icqgate(self):
        """The table stays in the kernel meanwhile; only a flush while it is down would leave nothing."""
        self.lab.daemon.end(self.chance.choice((signal.SIGTERM, signal.SIGKILL)))
        self.lab.start_daemon()
        self.generation += 1
        for number in (0, 1):
            wait_open(self.lab, PORT + number)

    def reload(self):
        self.lab.config["port-range"] = f"20000-20{self.chance.randint(20, 99):03}"
        self.lab.write_config()
        self.lab.daemon.send_signal(signal.SIGHUP)

    # name: how often beside the others
    DEEDS = {"rotate": 12, "swap_all": 8, "thousand": 1, "truncated": 2, "private": 3, "only_private": 2, "chain": 3,
             "loop": 2, "servfail": 3, "nxdomain": 2, "nodata": 2, "silence": 2, "garbage": 3, "restart_server": 1,
             "restart_resolver": 1, "flush": 2, "delete_table": 1, "flush_set": 1, "restart_icqgate": 1, "reload": 2}

    # -- what is looked at
    def begin(self):
        lab = self.lab
        self.publish(self.fresh(4))
        for number in (0, 1):
            go_online(lab, PORT + number, uin=UIN + number, session=f"s{number}")
            peer_gets_in(lab, PORT + number, uin=UIN + number, name=f"held{number}")
        self.client = flows(lab)
        self.sampler = sampler(lab)
        wait_until("DNS's first addresses", lambda: set(self.truth.now) <= self.allowed(), 20)
        for _ in range(FLOWS):
            self.open_flow(self.chance.choice(self.truth.now), keep=True)
        self.sampler.call("watch", set="login4", pause=0.008)
        self.start = self.kept_alive = time.monotonic()

    def allowed(self):
        return {one["address"] for one in self.lab.status()["addresses"]}

    def open_flow(self, address, keep=False):
        name = None
        if keep:
            self.flow_number += 1
            name = f"f{self.flow_number}"
            self.living[name] = address
        result = self.client.call("open", address=address, name=name, keep=keep, pause=0.5, timeout=5.0)
        if result["outcome"] != "connected":
            self.living.pop(name, None)
            return result["outcome"]
        self.connects.append(result["seconds"])
        self.lost_first += result["retransmits"] > 0
        return None

    def settled(self):
        """DNS has named what it names now for longer than icqgate may need."""
        if not self.truth.now or self.truth.failing:
            return False
        if self.healed is not None:
            if name_of(self.lab.status())["failing_for"] is None:
                self.truth.since, self.healed = time.monotonic(), None
            elif time.monotonic() - self.healed > LONGEST_BLIND:
                self.violated(f"DNS is back since {LONGEST_BLIND:g} s, and icqgate has not heard of it")
                self.healed = time.monotonic()
            return False
        return time.monotonic() - self.truth.since > SETTLED

    def new_flow(self, keep=False):
        address = self.chance.choice(self.truth.now)
        age = time.monotonic() - self.truth.since
        # A SYN is sent again after one second and after three: an outage that long is a violation.
        failed = self.open_flow(address, keep)
        if failed:
            self.violated(f"a new flow to {address}, which DNS has named for {age:.1f} s: {failed}")

    def change_flows(self):
        """Some old flows end, new ones begin: fifty live all the time, many at addresses that DNS has forgotten."""
        for name in self.chance.sample(sorted(self.living), min(2, len(self.living))):
            del self.living[name]
            self.client.call("end", name=name, how=self.chance.choice(("fin", "reset")))
        while len(self.living) < FLOWS:
            before = len(self.living)
            self.new_flow(keep=True)
            if len(self.living) == before:
                return

    def look(self):
        if not self.lab.daemon.alive():
            raise Failure(f"icqgate has ended by itself, exit status {self.lab.daemon.popen.returncode}:\n"
                          + self.lab.daemon.log()[-3000:])
        self.memory.append((time.monotonic(), self.lab.daemon.memory(), self.generation))
        if time.monotonic() - self.kept_alive > 60:  # as clients do: a session that is silent for `session-idle` is over
            self.kept_alive = time.monotonic()
            for number in (0, 1):
                self.lab.client.call("keep_alive", session=f"s{number}")
        for event in self.client.seen("flow-ended"):
            if self.living.pop(event["flow"], None):
                self.violated(f"the flow {event['flow']} to {event['address']} was cut: {event['how']}")

    def end_failure(self):
        if self.undo:
            self.undo()
            self.undo = None
        if self.truth.failing:
            self.publish([*self.truth.now[:2], *self.fresh(2)] if self.truth.now else self.fresh(4))
            self.healed = time.monotonic()

    def run(self, minutes):
        end = self.start + 60 * minutes
        names, weights = zip(*self.DEEDS.items())
        while time.monotonic() < end:
            deed = self.chance.choices(names, weights)[0]
            self.deeds[deed] += 1
            getattr(self, deed)()
            pause = time.monotonic() + self.chance.uniform(0.5, 6.0)
            changed = False
            while time.monotonic() < min(pause, end):
                self.look()
                if self.settled():
                    self.new_flow()
                    if not changed:
                        self.change_flows()
                    changed = True
                time.sleep(0.2)
            self.end_failure()
        self.look()

    # -- the end
    def empty_moments(self, gaps):
        """Seconds without an allowed address: excused ones, and those that are not."""
        excused = guilty = 0.0
        for begin, end in gaps:
            inside = sum(max(0.0, min(end, until) - max(begin, since)) for since, until in self.excused)
            inside = min(inside, end - begin)
            excused += inside
            guilty += end - begin - inside
        return excused, guilty

    def strangers(self, seen):
        """Elements that no good answer ever had."""
        return sorted({element[0] for element, _, _ in seen} - self.truth.ever | (
            {element[0] for element, _, _ in seen} & set(FORBIDDEN)))

    def growth(self):
        """Median of the last third against the first, of the daemon that ran longest; after a minute or a fifth."""
        longest = collections.Counter(one[2] for one in self.memory).most_common(1)[0][0]
        values = [one[1] for one in self.memory if one[2] == longest]
        values = values[len(values) // 5:]
        third = max(1, len(values) // 3)
        return statistics.median(values[:third]), statistics.median(values[-third:])

    def result(self):
        report = self.sampler.call("unwatch")
        excused, guilty = self.empty_moments(report["gaps"])
        first, last = self.growth()
        for number in (0, 1):
            outcome = self.lab.peer.call("echo", name=f"held{number}", count=4096)["outcome"]
            if outcome != "alive":
                self.violated(f"the verified peer flow {number}: {outcome}")
        strangers = self.strangers(report["seen"])
        echoes = sum(one[2] for one in self.client.call("all")["flows"].values())
        cut = [one for one in self.violations if "was cut" in one or "verified peer" in one]
        rows = [
            ("R9", "flows cut", len(cut), 0, not cut),
            ("R9", "seconds without an allowed address", round(guilty, 3), 0, guilty <= 0),
            ("R9", "new flows to what DNS names that failed", len(self.violations) - len(cut), 0,
             len(self.violations) == len(cut)),
            ("R3", "addresses allowed that no good answer had", len(strangers), 0, not strangers),
            ("R3", "memory, last third against first (KiB)", round(last - first), "at most 512", last - first <= 512),
        ]
        told = {"seconds": round(time.monotonic() - self.start), "deeds": sum(self.deeds.values()), "echoes": echoes,
                "new flows": len(self.connects), "SYNs sent again": self.lost_first,
                "samples of the set": report["samples"],
                "different addresses seen": len(report["seen"]), "addresses told by DNS": len(self.truth.ever),
                "seconds excused (flush, table deleted)": round(excused, 3), "memory, KiB": round(last)}
        return {"rows": rows, "told": told, "deeds": dict(self.deeds), "violations": self.violations,
                "strangers": strangers}


def drive(lab, minutes, seed):
    """The lab has to have `zones` and CONFIG, and icqgate running. -> Hostile.result()"""
    hostile = Hostile(lab, seed)
    hostile.begin()
    hostile.run(minutes)
    return hostile.result()


def table(result):
    lines = [f"{'id':<4}{'what':<58}{'measured':>10}  {'goal':<14}"]
    for one, what, measured, goal, met in result["rows"]:
        lines.append(f"{one:<4}{what:<58}{measured:>10}  {goal!s:<14}{'met' if met else 'NOT MET'}")
    lines += ["", *(f"    {what:<58}{value:>10}" for what, value in result["told"].items())]
    lines += ["", "    deeds: " + ", ".join(f"{name} {count}" for name, count in sorted(result["deeds"].items()))]
    lines += ["", *result["violations"][:40]] if result["violations"] else []
    lines += [f"never told by DNS, or forbidden, and in the set: {', '.join(result['strangers'][:20])}"
              ] if result["strangers"] else []
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, help="the icqgate program to test")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", help="file for the result")
    parser.add_argument("--log", help="file for the daemon's log")
    options = parser.parse_args()
    guard()
    with Lab(binary=os.path.abspath(options.binary), zones=["unbound"], config=CONFIG) as lab:
        try:
            start_icqgate(lab)
            result = drive(lab, options.minutes, options.seed)
        finally:
            if options.log and lab.daemon:
                with open(lab.daemon.log_path, errors="replace") as log, open(options.log, "w") as copy:
                    copy.write(log.read())
        print(table(result))
        if options.json:
            with open(options.json, "w") as file:
                json.dump(result, file, indent=1)
    return 0 if all(row[4] for row in result["rows"]) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(f"hostile_zone.py: {failure}")
