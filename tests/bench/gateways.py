# SPDX-License-Identifier: GPL-2.0-or-later
"""The gateways that are measured side by side: each a laboratory of its own (tests/e2e/lab.py), so that a round goes
from one to the next without anything being set up or taken down in between.

    Bare      no ruleset at all
    Static    the administrator's rules, with the port range open for good; nothing is queued
    Floor     icqgate's own table as icqgate left it, and the floor program on its queues
    Icqgate   the program itself
"""

import json
import os
import subprocess

from handles import Failure, Logged, Process, expect, expect_equal, wait_until
from lab import CLIENT, LOGIN, OUTSIDE, Lab
from steps import wait_open

PORT, UIN = 20000, 100001
MANY, FIRST_OF_MANY = "10.77.0.0/16", "10.77.0.1"  # addresses of the many clients; all are the host `lan`'s own
PROVED = 0x06000000  # packet mark of a verdict: allowed, and nothing of the flow is queued again


def expect_about(seen, wanted, what):
    """A segment sent again is queued again: on a busy machine a few are."""
    expect(abs(seen - wanted) <= wanted / 100, f"{what}: expected {wanted}, got {seen}")


class Gateway(Lab):
    name = ""

    def __init__(self, tools, binary=None, admin="deny"):
        super().__init__(binary=binary, admin=admin, offloads=True, config={
            "login-host": LOGIN, "client": ["192.168.77.0/24", MANY], "port-range": "20000-20099",
            "ports-per-client": 64, "pinhole-timeout": 300})
        self.tools = tools

    def start_actors(self):
        """None: the load programs are both ends of every connection."""

    def build(self):
        super().build()
        self.ip_batch("lan", [f"route add local {MANY} dev lo"])
        self.ip_batch("gw", [f"route add {MANY} via {CLIENT}"])
        for role in ("server", "peer"):
            self.ip_batch(role, [f"route add {MANY} via {OUTSIDE}"])
            self.shell(role, "echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range")

    def path(self, role):
        return f"/run/netns/{self.namespace(role)}"

    def load(self, program, *arguments):
        """Runs a load program to its end. -> what it measured"""
        done = subprocess.run([os.path.join(self.tools, program), *map(str, arguments)], capture_output=True,
                              text=True, timeout=60, check=False)
        if done.returncode:
            raise Failure(f"{self.name}: {program}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def peers(self, count, at_a_time):
        """New connections from the peer to the LAN client's listening port."""
        self.before_peers()
        result = self.load("peers", self.path("lan"), CLIENT, PORT, UIN, self.path("peer"), count, at_a_time)
        if result["failed"]:
            raise Failure(f"{self.name}: {result['failed']} of {count} peer connections failed")
        return result

    def before_peers(self):
        pass

    def sessions(self, count):
        """That many clients come online and announce a port each."""
        return self.load("sessions", self.path("server"), LOGIN, 5190, self.path("lan"), FIRST_OF_MANY, count, 300001,
                         PORT)

    def bulk(self, listener, address, port, uin, connector, seconds, direction):
        """-> Gbit/s"""
        result = self.load("bulk", self.path(listener), address, port, uin, self.path(connector), seconds, direction)
        return result["bytes"] * 8 / result["seconds"] / 1e9

    def elements_of(self, name):
        listing = json.loads(self.run_in("gw", ["nft", "-j", "list", "set", "inet", "icqgate", name]))
        return len(listing["nftables"][-1]["set"].get("elem", []))


class Bare(Gateway):
    name = "no table"

    def __init__(self, tools):
        super().__init__(tools, admin="open")


class Static(Gateway):
    name = "static rules"

    def build(self):
        super().build()
        self.run_in("gw", ["nft", "insert", "rule", "inet", "admin", "forward", "iifname", "wan0", "oifname", "lan0",
                           "tcp", "dport", "20000-20099", "accept"])


class WithTable(Gateway):
    def before_peers(self):
        # A connection's entry stays for 30 s; the runs of a bench would fill the set, which no real load does.
        self.run_in("gw", ["nft", "flush", "set", "inet", "icqgate", "admitted"])


class Floor(WithTable):
    name = "floor"

    def __init__(self, tools, binary, transactions=False):
        super().__init__(tools, binary)
        self.transactions = transactions

    def __enter__(self):
        super().__enter__()
        self.start_daemon().end()  # the table stays
        self.nft(f"""
            delete element inet icqgate login4 {{ {LOGIN} . 5190 }}
            add element inet icqgate login4 {{ {LOGIN} . 5190 timeout 1d }}
            add element inet icqgate pinholes {{ {CLIENT} . {PORT} timeout 1d }}""")
        reader = [os.path.join(self.tools, "reader"), "5190", f"5191={PROVED:#x}"]
        if self.transactions:
            reader += ["--open-pinholes", "icqgate"]
        self.reader = Logged(self, "gw", "reader", reader)
        wait_until("the floor program", lambda: "ready" in self.reader.log())
        return self

    def peers(self, count, at_a_time):
        before = self.queued()
        result = super().peers(count, at_a_time)
        expect_about(self.queued() - before, count, "connections that met the floor program")
        return result

    def queued(self):
        """Packets that the peer queue has had so far: the id of its last one."""
        for line in self.shell("gw", "cat /proc/net/netfilter/nfnetlink_queue").splitlines():
            if line.split()[0] == "5191":
                return int(line.split()[7])
        raise Failure("nobody reads the peer queue")

    def before_sessions(self):
        self.run_in("gw", ["nft", "flush", "set", "inet", "icqgate", "pinholes"])

    def sessions(self, count):
        result = super().sessions(count)
        expect_equal(self.elements_of("pinholes"), count, "pinholes that the floor program has opened")
        return result


class Icqgate(WithTable):
    name = "icqgate"

    def __init__(self, tools, binary, admin="deny", session=True):
        super().__init__(tools, binary, admin)
        self.with_session = session

    def __enter__(self):
        super().__enter__()
        self.start_daemon()
        if self.with_session:
            self.session = Process(self, "gw", [
                os.path.join(self.tools, "sessions"), self.path("server"), LOGIN, "5190", self.path("lan"), CLIENT,
                "1", str(UIN), str(PORT), "hold"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            wait_open(self, PORT, CLIENT)
        return self

    def peers(self, count, at_a_time):
        before = self.counter("peers_verified")
        result = super().peers(count, at_a_time)
        expect_about(self.counter("peers_verified") - before, count, "peers that icqgate has checked")
        return result

    def sessions(self, count):
        before = self.counter("pinholes_opened")
        result = super().sessions(count)
        expect_equal(self.counter("pinholes_opened") - before, count, "pinholes that icqgate has opened")
        return result

    def counter(self, name):
        return self.status()["counters"][name]

    def before_sessions(self):
        wait_until("the pinholes of the run before to close", lambda: self.elements_of("pinholes") == 0, 60)

    def close(self):
        if self.with_session and hasattr(self, "session"):
            self.session.popen.stdin.close()
        super().close()
