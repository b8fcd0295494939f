# SPDX-License-Identifier: GPL-2.0-or-later
"""Steps of the cases about names: which addresses are allowed, since when, and how long none was."""

from handles import Actor, expect, expect_equal, wait_until
from zones import ECHO_PORT, NAME

SERVER_AT = {"login4": 0, "login6": 0, "servers4": 1, "servers6": 1}  # where an element names the server


def helper(lab, role, script):
    """An actor that only some cases need; started when it is asked for."""
    key = (role, script)
    if not hasattr(lab, "helpers"):
        lab.helpers = {}
    if key not in lab.helpers:
        lab.helpers[key] = Actor(lab, role, script)
        lab.helpers[key].wait("ready", timeout=20)
    return lab.helpers[key]


def sampler(lab):
    return helper(lab, "gw", "sampler.py")


def flows(lab):
    """The client of actors/flows.py; its server answers at echoing(n)."""
    if not hasattr(lab, "helpers") or ("server", "flows.py") not in lab.helpers:
        helper(lab, "server", "flows.py").call("serve", port=ECHO_PORT)
    return helper(lab, "lan", "flows.py")


# -- addresses
def known(status, host=NAME):
    """{address: entry} of status."""
    return {entry["address"]: entry for entry in status["addresses"] if entry["host"] == host}


def allowed(lab, *addresses):
    """Which of them are in a set of servers."""
    found = {values[SERVER_AT[name]] for name, values in lab.elements() if name in SERVER_AT}
    return [address for address in addresses if address in found]


def login_addresses(lab):
    """Every address in the kernel's set of login servers."""
    return {values[0] for name, values in lab.elements() if name in ("login4", "login6")}


def wait_known(lab, *addresses, timeout=8.0, host=NAME):
    """In status and in the kernel. -> that status"""
    status = lab.wait_status(f"{', '.join(addresses)} known",
                             lambda status: set(addresses) <= set(known(status, host)), timeout)
    expect_equal(allowed(lab, *addresses), list(addresses), "known addresses that are in a kernel set")
    return status


def wait_forgotten(lab, *addresses, timeout=15.0, host=NAME):
    lab.wait_status(f"{', '.join(addresses)} forgotten",
                    lambda status: not set(addresses) & set(known(status, host)), timeout)
    wait_until("those addresses out of the kernel", lambda: not allowed(lab, *addresses), 3)


def never_allowed(lab, *addresses):
    expect_equal(allowed(lab, *addresses), [], "addresses that must not be in a set of servers")


def name_of(status, kind="A", name=NAME):
    return next(one for one in status["names"] if (one["name"], one["type"]) == (name, kind))


def more_questions(lab, count=2, timeout=30.0):
    """So many more of icqgate's questions for the login name (lab.zones.count() came before)."""
    before = lab.zones.asked()
    wait_until(f"{count} more questions", lambda: lab.zones.asked() >= before + count, timeout, pause=0.05)


def no_gap(report, what):
    expect(report["samples"] > 20, f"{what}: looked at only {report['samples']} times")
    expect(not report["gaps"], f"{what}: missing for {[round(end - start, 3) for start, end in report['gaps']]} s")


# -- what the log says
def log_lines(lab, *words):
    return [line for line in lab.daemon.log().splitlines() if all(word in line for word in words)]


def wait_log(lab, *words, timeout=8.0):
    return wait_until(f"a log line with {' and '.join(words)}", lambda: log_lines(lab, *words), timeout)


# -- the queue of names
def lane(lab, name="names"):
    return next(queue for queue in lab.status()["queues"] if queue["lane"] == name)


# -- flows
def alive(lab, name="held"):
    """A peer's verified flow."""
    expect_equal(lab.peer.call("echo", name=name, count=16384)["outcome"], "alive", f"the peer's flow {name}")


def session_alive(lab, uin, session="a"):
    mark = lab.server.mark()
    lab.client.call("keep_alive", session=session)
    lab.server.wait("keep-alive", since=mark, uin=uin)


def count_elements(lab, one):
    return len([name for name, _ in lab.elements() if name == one])
