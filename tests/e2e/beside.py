# SPDX-License-Identifier: GPL-2.0-or-later
"""Another firewall on the gateway, for real: in the gateway's network namespace, and in a mount namespace of its own,
so that nothing of the machine's /etc is touched. What is added to it is what `icqgate emit --integrate` prints."""

import difflib
import os
import re
import subprocess

from handles import SLOW, Failure, Logged, expect, expect_equal, wait_until
from lab import CLIENT, LOGIN, OUTSIDE, PEER
from steps import PEER_UIN, PORT, UIN, UIN2, go_online, peer_gets_in, peer_stays_out, start_icqgate, wait_shut

OPEN_OUT, SHUT_OUT = 80, 99   # ports that the other firewall lets out, and does not
OPEN_IN, SHUT_IN = 25, 22     # the same from outside to the client
PEER_PORT = 42000             # where the peer listens for ICQ
STUB = """#!/bin/sh
echo "$(basename "$0") $*" >>"$ROOM/calls"
"""
DEAD = ("unreachable", "refused")  # a firewall that rejects with a reset refuses


# What is taken over from the machine's /etc: what programs look names up in, and Debian's links to iptables-nft.
ETC = ("alternatives", "group", "ld.so.cache", "machine-id", "nsswitch.conf", "passwd", "protocols", "services")


class Room:
    """A mount namespace in the gateway's network namespace, with an /etc of its own. `places`: other folders of the
    machine that are empty there. `stubs`: programs that come before the machine's, {name: text}; without a text such a
    program only notes how it was called."""

    def __init__(self, lab, places=(), stubs=None):
        self.lab, self.folder = lab, os.path.join(lab.directory, "room")
        self.bin, self.ready = os.path.join(self.folder, "bin"), os.path.join(self.folder, "ready")
        os.makedirs(self.bin)
        lines = []
        for number, place in enumerate(["/etc", *places]):
            own = os.path.join(self.folder, str(number))
            os.mkdir(own)
            if place == "/etc":
                lines += [f"[ ! -e /etc/{name} ] || cp -a /etc/{name} {own}" for name in ETC]
            lines.append(f"mount --bind {own} {place}")
        for name, text in (stubs or {}).items():
            self.program(name, text or STUB)
        self.process = Logged(lab, "gw", "room", ["sh", "-ec", "\n".join(
            [*lines, "mount -t tmpfs run /run", f"touch {self.ready}", "exec sleep infinity"])], own_sys=True)
        wait_until("the mount namespace", lambda: os.path.exists(self.ready) or not self.process.alive())
        expect(self.process.alive(), f"no mount namespace: {self.process.log()}")

    def program(self, name, text):
        path = os.path.join(self.bin, name)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, 0o755)

    def enter(self):
        return ["nsenter", f"--mount=/proc/{self.process.pid}/ns/mnt",
                f"--net=/run/netns/{self.lab.namespace('gw')}", "env", f"ROOM={self.folder}",
                f"DBUS_SYSTEM_BUS_ADDRESS=unix:path={self.folder}/bus",
                f"PATH={self.bin}:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"]

    def write(self, path, text):
        self.sh(f"mkdir -p {os.path.dirname(path)}; cat >{path}", text)

    def try_sh(self, line, text=""):
        """-> (exit status, standard output, standard error)"""
        done = subprocess.run([*self.enter(), "sh", "-c", line], input=text, capture_output=True, text=True,
                              timeout=60 * SLOW)
        return done.returncode, done.stdout, done.stderr

    def sh(self, line, text=""):
        status, out, errors = self.try_sh(line, text)
        if status:
            raise Failure(f"{line}: exit {status}: {out}{errors}")
        return out

    def calls(self):
        path = os.path.join(self.folder, "calls")
        if not os.path.exists(path):
            return []
        with open(path) as file:
            return file.read().splitlines()

    def started(self, name, arguments):
        """A program that goes on running, in this room."""
        return Logged(self.lab, "gw", name, [*self.enter(), "setpriv", "--pdeathsig", "KILL", *arguments])


class Lines:
    """What `emit --integrate NAME` prints for the lab's configuration."""

    def __init__(self, lab, name):
        lab.write_config()
        self.text = lab.icqgate("emit", "--integrate", name, "--config", lab.config_path)[1]
        again = lab.icqgate("emit", "--integrate", name, "--config", lab.config_path)[1]
        expect_equal(again, self.text, "the same again")

    def under(self, heading):
        """The commands below "# heading"."""
        found = re.search(rf"^# {heading}\b.*\n((?:#   .*\n)+)", self.text, re.MULTILINE)
        expect(found, f"no commands below '# {heading}' in:\n{self.text}")
        return "".join(line[4:] + "\n" for line in found.group(1).splitlines())


def xt_rules(room):
    """Both families, without counters and what changes from call to call."""
    text = room.sh("iptables-save; ip6tables-save")
    return [re.sub(r" ?\[\d+:\d+\]", "", line) for line in text.splitlines() if not line.startswith("#")]


def nft_rules(room, table):
    return room.sh(f"nft -s list table {table}").splitlines()


def same_rules(seen, wanted, what):
    difference = list(difflib.unified_diff(wanted, seen, n=0, lineterm=""))
    changes = [line for line in difference[2:] if not line.startswith("@@")]  # the first two are names of files
    expect(not changes, f"{what}: {changes}")


# -- what everybody else may do
def listeners(lab):
    for port in (OPEN_OUT, SHUT_OUT, PEER_PORT):
        lab.peer.call("listen", port=port, uin=PEER_UIN)
    for port in (OPEN_IN, SHUT_IN):
        lab.client.call("listen", port=port, uin=UIN)


def traffic(lab, routed=True):
    """{what: outcome} of connections that are none of icqgate's business, or that it does not allow."""
    wanted = {"allowed out": (lab.client, PEER, OPEN_OUT),
              "shut out": (lab.client, PEER, SHUT_OUT),
              "peer of a client without a session": (lab.client2, PEER, PEER_PORT),
              "the gateway itself": (lab.stranger, OUTSIDE, SHUT_IN)}
    if routed:
        wanted |= {"allowed in": (lab.stranger, CLIENT, OPEN_IN),
                   "shut in": (lab.stranger, CLIENT, SHUT_IN),
                   "no pinhole": (lab.peer, CLIENT, PORT + 1)}
    started = {what: (actor, actor.start("probe", address=address, port=port, timeout=1.0))
               for what, (actor, address, port) in wanted.items()}
    return {what: actor.finish(number)["outcome"] for what, (actor, number) in started.items()}


def right_traffic(seen):
    for what, outcome in seen.items():
        if what.startswith("allowed"):
            expect_equal(outcome, "connected", f"what the other firewall allows: {what}")
        else:
            expect(outcome in DEAD, f"what the other firewall does not allow ({what}): {outcome}")


# -- ICQ
def icq_blocked(lab):
    """The login server can't be reached, not even by the SYNs that are sent again."""
    outcome = lab.client.call("probe", address=LOGIN, port=5190, timeout=2.5)["outcome"]
    expect(outcome in DEAD, f"the login server, without the lines: {outcome}")


def icq_works(lab, masquerade=False):
    """Login, a peer that comes in by the pinhole, one that the client goes out to; and what must not come in."""
    outside = OUTSIDE if masquerade else None
    go_online(lab)
    peer_gets_in(lab, to=outside)
    peer_gets_in(lab, name="out", actor=lab.client, to=PEER, port=PEER_PORT, uin=PEER_UIN, own=UIN, own_port=PORT,
                 echo=65536)
    peer_stays_out(lab, uin=UIN2, to=outside, outcomes=["reset"])
    peer_stays_out(lab, port=PORT + 1, to=outside, outcomes=DEAD, connect_timeout=1.0)


def go_offline(lab):
    lab.client.call("logout")
    wait_shut(lab)
    lab.client.call("unlisten", port=PORT)


def again_online(lab, masquerade=False):
    go_offline(lab)
    icq_works(lab, masquerade)


# -- the whole of it
def story(lab, room, name, rules, add=None, masquerade=False, blocked=icq_blocked):
    """Blocked; the lines are added, and found by their own check; ICQ works; everything else is as it was.
    -> what undone() takes"""
    listeners(lab)
    lines = Lines(lab, name)
    start_icqgate(lab)
    before, passed = rules(), traffic(lab, not masquerade)
    right_traffic(passed)
    blocked(lab)
    expect(room.try_sh(lines.under("check"))[0] != 0, "the check finds a line that nobody has added")

    add = add or (lambda: room.sh(lines.text))
    add()
    told = room.sh(lines.under("check"))
    expect("icqgate" in told, f"the check says nothing: {told!r}")
    icq_works(lab, masquerade)
    expect_equal(traffic(lab, not masquerade), passed, "other traffic, with the lines")
    after = rules()
    same_rules([line for line in after if "icqgate" not in line], before, "the other rules, with the lines")
    expect(len(after) > len(before), "no rule was added")
    add()
    same_rules(rules(), after, "the rules once the lines were added a second time")
    return lines, before, passed


def undone(lab, room, lines, before, passed, rules, undo=None, masquerade=False, blocked=icq_blocked):
    """As it was before."""
    go_offline(lab)
    (undo or (lambda: room.sh(lines.under("undo"))))()
    same_rules(rules(), before, "the rules after the undoing")
    expect(room.try_sh(lines.under("check"))[0] != 0, "the check finds a line that was undone")
    blocked(lab)
    expect_equal(traffic(lab, not masquerade), passed, "other traffic after the undoing")
