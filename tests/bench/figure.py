# SPDX-License-Identifier: GPL-2.0-or-later
"""What a figure is: its rows, their goals, and the list of all of them."""

import contextlib
import dataclasses
import importlib
import pathlib
import statistics
import sys

registered = []  # (ids, function)


def figure(*ids):
    """Registers function(bench, wanted): measures those of its ids that are in `wanted`, and adds rows to the bench."""
    def register(function):
        registered.append((ids, function))
        return function
    return register


def load_all():
    folder = pathlib.Path(__file__).with_name("figures")
    for path in sorted(folder.glob("*.py")):
        importlib.import_module(f"figures.{path.stem}")
    return registered


@dataclasses.dataclass
class Row:
    id: str
    what: str
    unit: str
    ours: float        # the medians
    reference: float
    against: str       # what the reference is
    goal: tuple        # ("at most" | "at least", ratio), or None: told only
    ratio: float
    samples: dict      # of each side, a value per round

    @property
    def met(self):
        if self.goal is None:
            return None
        return self.ratio <= self.goal[1] if self.goal[0] == "at most" else self.ratio >= self.goal[1]

    def as_json(self):
        return {**dataclasses.asdict(self), "met": self.met}


@dataclasses.dataclass
class Side:
    """One of several ways to do a thing, where they are not gateways of their own: for Bench.interleaved()."""
    name: str
    measure: object  # function() -> a round's result


class Bench:
    def __init__(self, tools, binary, rounds, scale):
        self.tools, self.binary, self.rounds, self.scale = tools, binary, rounds, scale
        self.rows = []

    def size(self, full):
        return max(50, int(full * self.scale))

    def seconds(self, full):
        return max(0.5, full * self.scale)

    @contextlib.contextmanager
    def standing(self, *gateways):
        """All of them, set up; taken down at the end."""
        with contextlib.ExitStack() as stack:
            for gateway in gateways:
                self.say(f"setting up: {gateway.name}")
                stack.enter_context(gateway)
            yield gateways

    def interleaved(self, what, gateways, measure, rounds=None):
        """measure(gateway) for each, round by round, each round beginning with another one: what drifts on the machine
        meets all alike. -> {gateway name: [result per round]}"""
        results = {gateway.name: [] for gateway in gateways}
        for number in range(rounds or self.rounds):
            turn = number % len(gateways)
            self.say(f"{what}: round {number + 1} of {rounds or self.rounds}")
            for gateway in gateways[turn:] + gateways[:turn]:
                results[gateway.name].append(measure(gateway))
        return results

    def sides(self, what, *sides, rounds=None):
        """The same for Side objects."""
        return self.interleaved(what, sides, lambda side: side.measure(), rounds)

    def compare(self, id, what, unit, samples, against, goal=None, ours="icqgate"):
        """A row: medians of the two sides' samples, and the ratio of those."""
        mine, reference = statistics.median(samples[ours]), statistics.median(samples[against])
        self.rows.append(Row(id, what, unit, mine, reference, against, goal, mine / reference, samples))

    @staticmethod
    def say(text):
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)


def percentile(times, part):
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]
