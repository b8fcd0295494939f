#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""icqgate's main job, told step by step in a small network made for it, and taken down again afterwards.

    story.py --binary build/release/src/icqgate

Every line that begins with "seen:" was measured in this run. Exit status 1 if any step did not go as told.
"""

import argparse
import os
import subprocess
import sys
import textwrap

sys.dont_write_bytecode = True

from handles import Failure
from lab import BOS, CLIENT, DNS, LOGIN, LOGIN2, OUTSIDE, PEER, STRANGER, Lab, guard
from steps import PEER_UIN, PORT, UIN, announce, flow_is_gone, log_in, start_icqgate, wait_open, wait_shut

PICTURE = f"""
    {"inside (LAN)":<18}{"the gateway":^38}outside (WAN)

    {"ICQ client":<18}{"----   firewall: nothing   ----":^38}DNS server   {DNS}
    {CLIENT:<18}{"passes unless it":^38}ICQ servers  {LOGIN}, {LOGIN2} (login), {BOS}
    {f"user {UIN}":<18}{"is allowed":^38}ICQ peer     {PEER} (user {PEER_UIN})
    {"":<18}{"icqgate runs here":^38}stranger     {STRANGER}
"""


class Teller:
    def __init__(self, lab):
        self.lab = lab
        self.number = 0
        self.wrong = 0

    def step(self, title, text):
        self.number += 1
        print(f"\n{'-' * 100}\nStep {self.number}: {title}\n")
        print(textwrap.fill(text, 100))
        print(flush=True)

    def seen(self, good, text):
        """`good`: whether what was seen is what the story says."""
        if not good:
            self.wrong += 1
        print(f"  seen: {text}" + ("" if good else "   <-- NOT AS TOLD"), flush=True)

    def status(self):
        print("\n  $ icqgate status")
        print(textwrap.indent(self.lab.icqgate("status", "--socket", self.lab.socket_path)[1].rstrip(), "    "))

    def kernel(self):
        print("\n  in the kernel (nft list table inet icqgate, elements only):")
        # Left out: what does not change (the inside network, sizes of TCP headers), and single connections.
        found = [(name, values) for name, values in self.lab.elements()
                 if name not in ("clients4", "bare4", "admitted", "first_syn")]
        lines = [f"    set {name}: " + " . ".join(str(value) for value in values) for name, values in found]
        print("\n".join(sorted(lines)) or "    (no address in any set)", flush=True)

    def attempt(self, actor, **options):
        return actor.call("connect", address=CLIENT, port=PORT, connect_timeout=1.5, **options)


WORDS = {
    "verified": "the ICQ client itself answered, and {echoed} bytes went there and back",
    "unreachable": "no answer at all: the gateway dropped it",
    "refused": "the connection was refused",
    "reset": "connected, but ended by a TCP reset after its first bytes; it got {received} bytes",
    "closed": "connected, then closed; it got {received} bytes",
    "silent": "connected, but nobody answered",
}


def in_words(result):
    return WORDS[result["outcome"]].format(echoed=result.get("echoed", 0), received=result.get("received", 0))


def try_step(tell, title, action):
    """Runs what a step does; whatever goes wrong is said, and counts."""
    try:
        return action()
    except Failure as failure:
        tell.seen(False, f"{title}: {failure}")
        return None


def before(tell, lab):
    tell.step("a closed gateway", "The gateway's firewall lets DNS out and drops everything else. icqgate does "
              "not run yet. The ICQ client asks DNS for login.icq.com and tries to connect to port 5190 there.")
    found = lab.client.call("lookup", host="login.icq.com", dns=DNS)["addresses"]
    tell.seen(found == [LOGIN, LOGIN2], f"login.icq.com stands for {' and '.join(found)}")
    for address in found:
        outcome = lab.client.call("probe", address=address, port=5190, timeout=1.0)["outcome"]
        tell.seen(outcome == "unreachable", f"connection to {address} port 5190: {outcome}")


def start(tell, lab):
    tell.step("icqgate starts", "icqgate asks DNS for the same name and puts every address it gets into a "
              "kernel set, each with a timeout. Only its own table is touched; the firewall has one line more, which "
              "accepts what that table marks.")
    start_icqgate(lab)
    for address in (LOGIN, LOGIN2):
        tell.seen(bool(lab.elements(address)), f"{address} is {'' if lab.elements(address) else 'not '}in a kernel set")
    tell.status()
    tell.kernel()


def login(tell, lab):
    tell.step("the client logs in", f"User {UIN} logs in at {LOGIN}. The server's reply sends the client on to {BOS}: "
              "icqgate reads that reply as it passes and lets this one client go there.")
    result = log_in(lab)
    tell.seen(result["bos"] == [BOS, 5190], f"the client is online at {result['bos'][0]} port {result['bos'][1]}")
    outcome = lab.client2.call("probe", address=BOS, port=5190, timeout=1.0)["outcome"]
    tell.seen(outcome == "unreachable", f"another inside host, which was not sent there: {outcome}")
    lab.client.call("listen", port=PORT, uin=UIN)
    result = tell.attempt(lab.peer, to=UIN, own=PEER_UIN)
    tell.seen(result["outcome"] == "unreachable",
              f"an outside ICQ user tries the client's port {PORT}: {in_words(result)}")
    tell.status()


def opening(tell, lab):
    tell.step("the port opens", f"ICQ users talk to each other directly: the client listens on port {PORT} and tells "
              "its server so. icqgate sees the announcement, waits until the server has acknowledged it, and opens "
              "exactly that port.")
    announce(lab, PORT)
    wait_open(lab)
    tell.seen(bool(lab.exactly(CLIENT, PORT)), f"{CLIENT} port {PORT} is in a kernel set, with a timeout")
    tell.status()
    tell.kernel()


def stranger(tell, lab):
    tell.step("a stranger knocks", f"{STRANGER} scans the network and finds the open port. First it sends what a web "
              "browser sends; then it speaks ICQ, but asks for a user who does not live there.")
    mark = lab.client.mark()
    for words, options in (("an HTTP request", {"raw": b"GET / HTTP/1.1\r\n\r\n".hex()}),
                           (f"an ICQ handshake for user {UIN + 77}", {"to": UIN + 77, "own": 666666})):
        result = tell.attempt(lab.stranger, **options)
        tell.seen(result["outcome"] == "reset" and not result["received"], f"{words}: {in_words(result)}")
        if "local" in result:
            flow_is_gone(lab, PORT, result)
    arrived = [event for event in lab.client.seen("bytes", mark)]
    tell.seen(not arrived, f"bytes of it that reached the client: {sum(len(event['first']) // 2 for event in arrived)}")
    tell.status()


def friend(tell, lab):
    tell.step("a true peer comes", f"User {PEER_UIN} at {PEER} got the client's address from the ICQ server. Its "
              f"handshake names user {UIN}: icqgate marks the connection, and from then on the kernel alone carries "
              "it.")
    result = tell.attempt(lab.peer, to=UIN, own=PEER_UIN, echo=1 << 20)
    tell.seen(result["outcome"] == "verified", in_words(result))
    tell.status()


def logout(tell, lab):
    tell.step("the client logs out", "The session ends, and with it the open port.")
    lab.client.call("logout")
    wait_shut(lab)
    tell.seen(not lab.exactly(CLIENT, PORT), f"{CLIENT} port {PORT} is in no kernel set any more")
    result = tell.attempt(lab.peer, to=UIN, own=PEER_UIN)
    tell.seen(result["outcome"] == "unreachable", f"the same peer tries again: {in_words(result)}")
    tell.status()
    tell.kernel()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, help="the icqgate program")
    options = parser.parse_args()
    guard()
    print("This runs icqgate between made-up hosts in network namespaces: real kernel, real packets, nothing of\n"
          "this machine's own network is touched, and all of it is gone afterwards. The gateway's outside address\n"
          f"is {OUTSIDE}.")
    print(PICTURE)
    with Lab(binary=os.path.abspath(options.binary)) as lab:
        tell = Teller(lab)
        for part in (before, start, login, opening, stranger, friend, logout):
            try_step(tell, part.__name__, lambda part=part: part(tell, lab))
            if lab.daemon and not lab.daemon.alive():
                tell.seen(False, f"icqgate has ended:\n{lab.daemon.log()[-2000:]}")
                break
        if lab.daemon and lab.daemon.alive():
            lab.daemon.end()
    print("\n" + "-" * 100)
    print("Everything went as told." if not tell.wrong else f"{tell.wrong} thing(s) did NOT go as told, see above.")
    return 1 if tell.wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failure, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"story.py: {error}")
