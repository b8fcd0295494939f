# SPDX-License-Identifier: GPL-2.0-or-later
"""A minute of hostile_zone.py; the hour is run by hand."""

import hostile_zone
from case import case
from handles import expect


@case(zones=["unbound"], config=hostile_zone.CONFIG)
def hostile_minute(lab):
    """MUST: through a minute of DNS at its worst, flushes and restarts, what DNS names is usable, and memory stays.
    NOT: no flow is cut, at no moment is the set empty, and nothing is allowed that no good answer had."""
    result = hostile_zone.drive(lab, minutes=1, seed=20261124)
    expect(all(row[4] for row in result["rows"]), "\n" + hostile_zone.table(result))
