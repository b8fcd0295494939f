# SPDX-License-Identifier: GPL-2.0-or-later
"""The gateways that are measured side by side: each a laboratory of its own (tests/e2e/lab.py), so that a round goes
from one to the next without anything being set up or taken down in between.

    bare     no ruleset at all
    static   the administrator's rules, with the port range and the server open for good; nothing is queued
    floor    icqgate's own table as it left it, and the floor program on its queues
    icqgate  the program itself
"""

import json
import os
import subprocess

from handles import Failure, Logged, Process, wait_until
from lab import CLIENT, LOGIN, OUTSIDE, Lab

PORT, UIN = 20000, 100001
MANY, FIRST_OF_MANY = "10.77.0.0/16", "10.77.0.1"  # addresses of the many clients; all are the host `lan`'s own
VERIFIED = 0x06000000  # the packet mark of a verdict that says: proved, queue nothing more of it


class Gateway(Lab):
    kind = "bare"
    admin_rules = "open"

    def __init__(self, tools, binary=None):
        super().__init__(binary=binary, admin=self.admin_rules, offloads=True, config={
            "login-host": LOGIN, "client": ["192.168.77.0/24", MANY], "port-range": "20000-20099",
            "ports-per-client": 64, "pinhole-timeout": 300, "resolver": "127.0.0.1"})
        self.tools = tools

    def start_actors(self):
        """None: the load programs are both ends."""

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
        done = subprocess.run([os.path.join(self.tools, program), *map(str, arguments)], capture_output=True, text=True,
                              timeout=180)
        if done.returncode:
            raise Failure(f"{self.kind}: {program}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def elements_of(self, name):
        listing = json.loads(self.run_in("gw", ["nft", "-j", "list", "set", "inet", "icqgate", name]))
        return len(listing["nftables"][-1]["set"].get("elem", []))

    def forget_connections(self):
        """Between two runs: nothing of the one may weigh on the next."""
        self.run_in("gw", ["conntrack", "-F"], stderr=subprocess.DEVNULL) if False else None


class Bare(Gateway):
    pass
