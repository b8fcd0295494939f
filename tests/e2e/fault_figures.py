#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of faults, in figures: one table of what was measured and what the goal is.

    fault_figures.py --binary build/release/icqgate              all
    fault_figures.py --binary ... R2 R4                           these alone
    fault_figures.py --binary ... --minutes 60 --seed 7 R9        an hour of hostile_zone.py instead of two minutes

    R2   others flush the ruleset: how long anything was missing
    R3   every failure of DNS: the cases about it, and the zone of R9
    R4   reloads with 1,000 pinholes and 100 flows
    R9   all addresses change again and again, beside fifty flows
    R10  disk full, state files cut or hostile, interfaces renamed: the cases about it

Exit status 1 if a goal was not met.
"""

import argparse
import os
import signal
import statistics
import sys
import types

sys.dont_write_bytecode = True

import case as case_module
import hostile_zone
from gateway import firewall
from handles import Failure, wait_until
from lab import CLIENT, LOGIN, LOGIN2, NAMES, Lab, guard
from name_steps import sampler
from run import run_case
from steps import PORT, announce, go_online, peer_gets_in, start_icqgate

FLUSHES = 100
CLIENTS, PORTS = 100, 10  # 1,000 pinholes; a client may open no more in a minute
FLOWS = 100


def flushed(binary):
    """R2: the sampler says for how long the pinholes, or the login addresses, were not all there."""
    with Lab(binary=binary, zones=[], config={"ports-per-client": 20}) as lab:
        start_icqgate(lab)
        for number in range(PORTS):
            go_online(lab, PORT + number, uin=100001 + number, session=f"s{number}")
        peer_gets_in(lab, name="held")
        watcher = sampler(lab)
        watcher.call("watch", set="pinholes", name="p", wanted=[[CLIENT, PORT + n] for n in range(PORTS)], pause=0.001)
        watcher.call("watch", set="login4", name="l", wanted=[[LOGIN, 5190], [LOGIN2, 5190]], pause=0.001)
        text = f"flush ruleset\n{firewall('deny', False)}"
        for _ in range(FLUSHES):
            before = {name: watcher.call("report", name=name) for name in "pl"}
            lab.nft(text)
            wait_until("everything back", lambda before=before: all(
                now["good"] and now["samples"] > before[name]["samples"] + 50
                for name, now in ((name, watcher.call("report", name=name)) for name in "pl")), 10)
        peers = lab.peer.call("echo", name="held")["outcome"]
        reports = {name: watcher.call("unwatch", name=name) for name in "pl"}
    gaps = sorted(1000 * (end - begin) for report in reports.values() for begin, end in report["gaps"])
    if not gaps:
        raise Failure("the sampler saw no gap at all: nothing was measured")
    p99 = gaps[min(len(gaps) - 1, int(0.99 * len(gaps)))]
    middle = round(statistics.median(gaps), 1)
    return [("R2", f"{FLUSHES} flushes: missing, median of {len(gaps)} gaps seen, ms", middle, "-", True),
            ("R2", "the same, p99, ms", round(p99, 1), "at most 50", p99 <= 50),
            ("R2", "verified flow afterwards", peers, "alive", peers == "alive")]


def reloaded(binary):
    """R4. A thousand sessions are a thousand threads of one actor: they are quiet once they are there."""
    with Lab(binary=binary, config={"ports-per-client": 64}) as lab:
        lab.ip_batch("lan", [f"address add 192.168.77.{100 + n}/24 dev eth0" for n in range(CLIENTS)])
        start_icqgate(lab)
        for number in range(PORTS):
            lab.client.call("listen", port=PORT + number, uin=100000 + number)
        for client in range(CLIENTS):
            started = [lab.client.start("login", address=LOGIN, uin=100000 + client * 100 + number,
                                        session=f"{client}-{number}", source=f"192.168.77.{100 + client}")
                       for number in range(PORTS)]
            for one in started:
                lab.client.finish(one)
            for number in range(PORTS):
                announce(lab, PORT + number, session=f"{client}-{number}", uin=100000 + client * 100 + number)
        status = lab.wait_status("all pinholes open", lambda status: sum(
            hole["state"] == "open" for hole in status["pinholes"]) == CLIENTS * PORTS, 60)
        for number in range(FLOWS):
            # A listener is for all of the host's addresses: it answers as the first one's user.
            peer_gets_in(lab, PORT + number % PORTS, "192.168.77.100", 100000 + number % PORTS, name=f"n{number}",
                         echo=64)
        beats = [lab.peer.start("beat", name=f"n{number}", seconds=20, pause=0.05) for number in range(FLOWS)]
        least = len(status["pinholes"])
        for number in range(10):
            lab.config["login-host"] = ["login.icq.com"] + ["service.lab.test"] * (number % 2)
            lab.config["port-range"] = f"20000-20{90 + number:03}"
            lab.write_config()
            lab.daemon.send_signal(signal.SIGHUP)
            wait_until("the reload", lambda number=number: any(
                one["address"] in NAMES["service.lab.test"]
                for one in lab.status()["addresses"]) == bool(number % 2), 10)
            least = min(least, sum(hole["state"] == "open" for hole in lab.status()["pinholes"]))
        results = [lab.peer.finish(one) for one in beats]
    lost = sum(result["retransmits"] or 0 for result in results)
    cut = sum(result["outcome"] != "alive" for result in results)
    return [("R4", f"10 reloads, {FLOWS} flows: packets sent again", lost, 0, lost == 0),
            ("R4", "flows cut", cut, 0, cut == 0),
            ("R4", f"pinholes lost of {CLIENTS * PORTS}", CLIENTS * PORTS - least, 0, least == CLIENTS * PORTS)]


def cases(binary, identity, what, modules):
    options = types.SimpleNamespace(binary=binary, keep=False, verbose=False)
    chosen = [one for one in case_module.load_all()
              if one.function.__module__.split(".")[1] + "." + one.function.__name__ in modules]
    failed = [one.name for one in chosen if run_case(one, options)]
    return [(identity, what, f"{len(chosen) - len(failed)} of {len(chosen)}", "all", not failed)]


R3_CASES = {"names.dns_fails", "names.forged_answers", "names.truncated_answer", "names.a_thousand_answers",
            "names.forbidden_answers", "names.private_where_listed", "resolvers.first_resolver_dies"}
R10_CASES = {"memory.disk_full", "memory.hostile_file", "memory.hostile_addresses", "memory.the_file_itself",
             "others.interface_renamed", "faults.out_of_descriptors"}
hour = {}  # hostile_zone's result, which R3 and R9 share


def hostile(options, identity):
    if not hour:
        with Lab(binary=options.binary, zones=["unbound"], config=hostile_zone.CONFIG) as lab:
            start_icqgate(lab)
            hour.update(hostile_zone.drive(lab, options.minutes, options.seed))
    return [row for row in hour["rows"] if row[0] == identity]


FIGURES = {
    "R2": lambda options: flushed(options.binary),
    "R3": lambda options: [*cases(options.binary, "R3", "failures of DNS stood, cases", R3_CASES),
                           *hostile(options, "R3")],
    "R4": lambda options: reloaded(options.binary),
    "R9": lambda options: hostile(options, "R9"),
    "R10": lambda options: cases(options.binary, "R10", "bad disks, files and interfaces stood, cases", R10_CASES),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", help="which figures (all)")
    parser.add_argument("--binary", required=True, help="the icqgate program to test")
    parser.add_argument("--minutes", type=float, default=2, help="of the hostile zone (2)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if set(options.ids) - set(FIGURES):
        parser.error(f"there are {', '.join(FIGURES)}")
    options.binary = os.path.abspath(options.binary)
    guard()
    rows = []
    for identity, measure in FIGURES.items():
        if options.ids and identity not in options.ids:
            continue
        try:
            rows += measure(options)
        except Failure as failure:
            rows.append((identity, f"not measured: {failure}"[:90], "-", "-", False))
    print(f"\n{'id':<5}{'what':<62}{'measured':>12}  {'goal':<12}")
    for identity, what, measured, goal, met in rows:
        print(f"{identity:<5}{what:<62}{measured!s:>12}  {goal!s:<12}{'met' if met else 'NOT MET'}")
    if hour:
        print("\n" + hostile_zone.table(hour))
    return 0 if rows and all(row[4] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
