# SPDX-License-Identifier: GPL-2.0-or-later
"""P9: traffic that is not ICQ, with icqgate on the gateway and without."""

from figure import figure
from gateways import Bare, Icqgate
from lab import ROGUE


@figure("P9")
def bystanders(bench, _wanted):
    with bench.standing(Bare(bench.tools), Icqgate(bench.tools, bench.binary, admin="open")) as gateways:
        # The client has a session: its connections to high ports are looked at once, those to port 443 never.
        for port, direction, word in ((443, "up", "upload to port 443"), (443, "down", "download from port 443"),
                                      (8080, "up", "upload to port 8080")):
            samples = bench.interleaved(f"P9 {word}", gateways, lambda gateway, port=port, direction=direction:
                                        gateway.bulk("server", ROGUE, port, 0, "lan", bench.seconds(1), direction),
                                        rounds=3 * bench.rounds)
            bench.compare("P9", f"not ICQ: {word}", "Gbit/s", samples, "no table", ("at least", 0.97))
