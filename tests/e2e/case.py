# SPDX-License-Identifier: GPL-2.0-or-later
"""What a case is. A module in cases/ marks its functions with @case; run.py finds them.

A case gets a laboratory of its own, built for it and taken down after it. Its docstring says what MUST pass and what
must NOT; the function checks both.
"""

import glob
import importlib
import os
import sys
from dataclasses import dataclass, field

HERE = os.path.dirname(os.path.abspath(__file__))


@dataclass
class Case:
    name: str
    function: object
    arguments: dict = field(default_factory=dict)
    lab: dict = field(default_factory=dict)  # options of Lab
    start: bool = True        # icqgate runs and knows the login addresses before the function is called
    self_test: bool = False   # proves the lab and its actors; no icqgate at all


cases = []


def case(each=None, start=True, self_test=False, **lab):
    """`each`: {label: arguments}: one case for every entry, called function[label]."""
    def keep(function):
        variants = each or {"": {}}
        for label, arguments in variants.items():
            name = f"{function.__name__}[{label}]" if label else function.__name__
            cases.append(Case(name, function, arguments, lab, start and not self_test, self_test))
        return function
    return keep


def load_all():
    sys.path[:0] = [HERE, os.path.join(HERE, "actors")]  # the encoder is tested too
    for path in sorted(glob.glob(os.path.join(HERE, "cases", "*.py"))):
        name = os.path.basename(path)[:-3]
        if name != "__init__":
            importlib.import_module(f"cases.{name}")
    return cases
