#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""End-to-end tests of icqgate: a real kernel, namespaces of their own, actors that share no code with the program.

    run.py --binary build/dev/src/icqgate            all cases
    run.py --binary ... peer redirect                those whose name contains one of the words
    run.py --self-test                               the laboratory and its actors alone, without icqgate

Prints `ok NAME` or `FAIL NAME: reason` per case and `N passed, N failed` at the end. Exit status 1 if any failed.
"""

import argparse
import concurrent.futures
import os
import sys
import threading
import time
import traceback

sys.dont_write_bytecode = True

import case as case_module
from handles import Failure
from lab import Lab, guard, standing
from steps import start_icqgate

printing = threading.Lock()
# What a program built with sanitizers says before it dies; a test that did not look would miss it.
ALARMS = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:", "terminate called", "Assertion")


def say(text):
    with printing:
        print(text, flush=True)


def log_tail(lab):
    return "\n".join("    | " + line for line in lab.daemon.log().splitlines()[-40:]) if lab.daemon else ""


def run_case(one, options):
    """-> None, or why it failed."""
    start = time.monotonic()
    lab = Lab(binary=options.binary, **one.lab)
    reason, details = None, ""
    try:
        lab.__enter__()
        try:
            if one.start:
                start_icqgate(lab)
            one.function(lab, **one.arguments)
        except Exception as error:
            reason = str(error) if isinstance(error, Failure) else f"{type(error).__name__}: {error}"
            details = traceback.format_exc() + log_tail(lab)
        if lab.daemon and any(alarm in lab.daemon.log() for alarm in ALARMS):
            reason, details = reason or "the daemon raised an alarm", details or log_tail(lab)
        if reason and options.keep:
            standing.remove(lab)  # nobody takes it down any more
            say(f"kept: ip netns exec {lab.prefix}gw sh   (configuration and logs in {lab.directory})\n"
                "press Enter to take it down")
            sys.stdin.readline()
            standing.append(lab)
    except Exception as error:
        reason, details = f"the lab could not be built: {error}", traceback.format_exc()
    finally:
        lab.close()
    seconds = f" ({time.monotonic() - start:.1f} s)" if options.verbose else ""
    if reason:
        say(f"FAIL {one.name}: {reason}{seconds}" + (f"\n{details}" if options.verbose else ""))
    else:
        say(f"ok {one.name}{seconds}")
    return reason


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only cases whose name contains one of these")
    parser.add_argument("--without", action="append", default=[], metavar="WORD",
                        help="no case whose name begins with it")
    parser.add_argument("--binary", help="the icqgate program to test")
    parser.add_argument("--self-test", action="store_true", help="only the cases that need no icqgate")
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time (2)")
    parser.add_argument("--keep", action="store_true", help="leave the lab of a failed case standing (one job)")
    parser.add_argument("--list", action="store_true", help="print the names and what each case checks")
    parser.add_argument("-v", "--verbose", action="store_true", help="times; traces and the daemon's log of failures")
    options = parser.parse_args()
    chosen = [one for one in case_module.load_all()
              if one.self_test or not options.self_test
              if not options.words or any(word in one.name for word in options.words)
              if not one.name.startswith(tuple(options.without))]
    if options.list:
        for one in chosen:
            print(f"{one.name}\n    {' '.join((one.function.__doc__ or '').split())}")
        return 0
    if not options.binary and any(not one.self_test for one in chosen):
        parser.error("--binary is needed (or --self-test)")
    if options.binary:
        options.binary = os.path.abspath(options.binary)
        if not os.access(options.binary, os.X_OK):
            parser.error(f"{options.binary}: not a program")
    guard()
    with concurrent.futures.ThreadPoolExecutor(1 if options.keep else options.jobs) as pool:
        results = list(pool.map(lambda one: run_case(one, options), chosen))
    failed = sum(1 for reason in results if reason)
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main())
