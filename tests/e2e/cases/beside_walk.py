# SPDX-License-Identifier: GPL-2.0-or-later
"""The README's walks from a gateway with ufw, and with firewalld, to a client that works: every command in them is run,
as it stands there."""

import os
import re

from beside import DEAD, OPEN_OUT, icq_blocked, icq_works, listeners
from case import HERE, case
from cases.beside_firewalld import SYSTEMCTL, firewalld
from cases.beside_ufw import ufw
from handles import expect, expect_equal
from lab import CLIENT, DNS, LOGIN, LOGIN2, OUTSIDE, PEER
from steps import PORT

NAME = "login.example.org"  # of the walks
# What the unit of the package does: folders, the program, and an end of the start once it is ready.
SERVICE = r"""
case "$*" in
  "enable --now icqgate")
    mkdir -p /var/lib/icqgate
    ln -s "$(dirname "$ROOM")" /run/icqgate
    setsid icqgate run --config /etc/icqgate/icqgate.conf >"$ROOM/icqgate.log" 2>&1 </dev/null &
    for _ in $(seq 300); do
      ! grep -q ^ready "$ROOM/icqgate.log" || exit 0
      sleep 0.1
    done
    exit 1 ;;
esac
"""


def blocks(heading):
    """The commands of that part of the README, block by block."""
    with open(os.path.join(HERE, "..", "..", "README.md"), encoding="utf-8") as file:
        part = re.search(rf"^### {heading}.*?\n(.*?)^##", file.read(), re.MULTILINE | re.DOTALL)
    expect(part, f"no part of the README begins with '{heading}'")
    found = re.findall(r"(?:^    .*\n)+", part.group(1), re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in found]


def with_icqgate(lab):
    return {"places": ["/var/lib"],
            "stubs": {"systemctl": SYSTEMCTL + SERVICE, "icqgate": f'#!/bin/sh\nexec {lab.binary} "$@"\n'}}


def prepare(lab, room):
    lab.set_name(NAME, [LOGIN, LOGIN2])
    room.write("/etc/resolv.conf", f"nameserver {DNS}\n")
    room.sh("mkdir /etc/icqgate")  # the package's
    listeners(lab)


def walked(lab, told):
    """What the last command of a walk says, and that ICQ works; -> nothing"""
    expect("login.example.org" in told.split("Addresses")[-1], f"status names no address: {told}")
    lab.wait_status("the login servers",
                    lambda status: {LOGIN, LOGIN2} <= {one["address"] for one in status["addresses"]})
    icq_works(lab, masquerade=True)
    expect(lab.stranger.call("probe", address=OUTSIDE, port=PORT + 2, timeout=1.0)["outcome"] in DEAD, "a shut port")


@case(admin="open", start=False, masquerade=True)
def beside_walk_ufw(lab):
    """MUST: the README's walk on a gateway with ufw ends with a client that works, for login and peers both ways.
    NOT: before it nothing of ICQ passes; a port that ufw lets out, and one that it does not, are what they were."""
    room = ufw(lab, **with_icqgate(lab))
    prepare(lab, room)
    icq_blocked(lab)
    walk = blocks("From a gateway with ufw")
    expect_equal(len(walk), 1, "blocks of commands")
    walked(lab, room.sh("set -e\n" + walk[0]))
    for port, outcome in ((OPEN_OUT, "connected"), (99, "unreachable")):
        expect_equal(lab.client.call("probe", address=PEER, port=port, timeout=1.0)["outcome"], outcome, f"port {port}")


@case(admin="open", start=False, masquerade=True)
def beside_walk_firewalld(lab):
    """MUST: the README's walk on a gateway with firewalld ends with a client that works, for login and peers both ways;
    and its last commands put firewalld's line where they say.
    NOT: before it nothing of ICQ passes."""
    room, _ = firewalld(lab, **with_icqgate(lab))
    prepare(lab, room)
    icq_blocked(lab)
    walk = blocks("From a gateway with firewalld")
    expect_equal(len(walk), 2, "blocks of commands")
    walked(lab, room.sh("set -e\n" + walk[0]))
    add, look = walk[1].splitlines()
    room.sh(add)
    room.sh(f"for _ in $(seq 100); do {look.split('#')[0]} && exit 0; sleep 0.1; done; exit 1")
    room.sh("firewall-cmd --reload")
    room.sh(f"for _ in $(seq 100); do {look.split('#')[0]} && exit 0; sleep 0.1; done; exit 1")
    expect(CLIENT in lab.icqgate("status", "--socket", lab.socket_path)[1], "status does not show the client")
