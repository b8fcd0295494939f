# SPDX-License-Identifier: GPL-2.0-or-later
"""The gateways that are measured side by side: each a laboratory of its own (tests/e2e/lab.py), so that a round goes
from one to the next without anything being set up or taken down in between.

    Bare      no ruleset at all
    Static    the administrator's rules, with the port range open for good; nothing is queued
    Floor     icqgate's own table as icqgate left it, and the floor program on its queues
    Icqgate   the program itself
    Asking    the program, asking a DNS server of the bench for 20 names as often as it can
    AskingFloor    icqgate's own table, and the floor program that asks for the same names
    Holding   the program, holding DNS answers for a LAN client, or the same without the hold
    HoldingFloor   icqgate's own table, and the floor program on the queue of DNS answers
    Dnsmasq   two of dnsmasq as forwarders, one puts what it answers into a set
    Saved     the program, started over and over with 1,000 addresses in its state file and no DNS
    Idle      the program's table as it left it
"""

import itertools
import json
import os
import select
import subprocess

from handles import Failure, Logged, Process, expect, expect_equal, wait_until
from lab import CLIENT, DNS, GATEWAY, LOGIN, OUTSIDE, Lab
from steps import wait_open

PORT, UIN = 20000, 100001
MANY, FIRST_OF_MANY = "10.77.0.0/16", "10.77.0.1"  # addresses of the many clients; all are the host `lan`'s own
HELD, NOT_HELD = "login.icq.com", "logim.icq.com"  # of one length
NAMES_QUEUE = 5192
ANSWER_TTL, PAUSE = 1, 10000  # of an answer, in seconds; between two questions, in microseconds
PREFIXES = 50000
PROVED = 0x06000000  # packet mark of a verdict: allowed, and nothing of the flow is queued again


def expect_about(seen, wanted, what):
    """A segment sent again is queued again: on a busy machine a few are."""
    expect(abs(seen - wanted) <= wanted / 100, f"{what}: expected {wanted}, got {seen}")


class Gateway(Lab):
    name = ""

    def __init__(self, tools, binary=None, admin="deny", ttl=5, **config):
        super().__init__(binary=binary, admin=admin, offloads=True, ttl=ttl, config={
            "login-host": LOGIN, "client": ["192.168.77.0/24", MANY], "port-range": "20000-20099",
            "ports-per-client": 64, "pinhole-timeout": 300, "state": "none", **config})
        self.tools = tools
        self.answers = 1  # the number of the next DNS answer: it decides on the addresses (load/dns.h)

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

    def tool_in_gateway(self, program, *arguments):
        """The same for a program that has to run in the gateway's namespace."""
        return json.loads(self.run_in("gw", [os.path.join(self.tools, program), *map(str, arguments)], timeout=60))

    def start_floor(self, program, *arguments):
        """A floor program in the gateway, until the end of it."""
        floor = Logged(self, "gw", program, [os.path.join(self.tools, program), *map(str, arguments)])
        wait_until("the floor program", lambda: "ready" in floor.log() or not floor.alive())
        expect(floor.alive(), f"{program}: {floor.log()}")

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

    def elements_of(self, name, table="icqgate"):
        listing = json.loads(self.run_in("gw", ["nft", "-j", "list", "set", "inet", table, name]))
        return len(listing["nftables"][-1]["set"].get("elem", []))

    def queued_in(self, queue):
        """Packets that a queue has had so far: the id of its last one."""
        for line in self.shell("gw", "cat /proc/net/netfilter/nfnetlink_queue").splitlines():
            if line.split()[0] == str(queue):
                return int(line.split()[7])
        raise Failure(f"{self.name}: nobody reads queue {queue}")

    # -- DNS
    def ask(self, name, count, addresses, server=DNS, port=53, watch=None):
        """A LAN client's questions, one after the other. -> what load/asking.c measured"""
        first, self.answers = self.answers, self.answers + count
        watched = (self.path("gw"), watch) if watch else ()
        return self.load("asking", self.path("dns"), DNS, self.path("lan"), server, port, name, count,
                         first if addresses == "fresh" else 0, addresses, ANSWER_TTL, PAUSE, *watched)

    def add_prefixes(self, table):
        """50,000 networks that lie apart, in a set of their own."""
        networks = itertools.islice((f"11.{a}.{b}.0/25" for a in range(256) for b in range(256)), PREFIXES)
        self.nft(f"add set inet {table} prefixes {{ type ipv4_addr; flags interval; }}\n"
                 f"add element inet {table} prefixes {{ {', '.join(networks)} }}\n")

    def expect_prefixes(self, table):
        expect_equal(self.elements_of("prefixes", table), PREFIXES, f"{self.name}: prefixes in its table")


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
        self.start_floor("reader", *(("--open-pinholes", "icqgate") if self.transactions else ()), 5190,
                         f"5191={PROVED:#x}")
        return self

    def peers(self, count, at_a_time):
        before = self.queued()
        result = super().peers(count, at_a_time)
        expect_about(self.queued() - before, count, "connections that met the floor program")
        return result

    def queued(self):
        return self.queued_in(5191)

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


class Answered(Gateway):
    """Asks a DNS server of the bench by itself, for NAMES names whose answers live for a second."""
    NAMES = 20

    def __init__(self, tools, binary):
        super().__init__(tools, binary, **{
            "login-host": [f"login{i}.icq.test" for i in range(self.NAMES)], "ttl-min": 1, "keep": 0,
            "queries-per-minute": 6000})

    def __enter__(self):
        super().__enter__()
        self.server = Process(self, "gw", [
            os.path.join(self.tools, "answered"), self.path("dns"), DNS, self.path("gw"), "login4",
            str(ANSWER_TTL)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        expect_equal(self.said(), "ready\n", "the DNS server of the bench")
        self.start_asking()
        return self

    def start_asking(self):
        raise NotImplementedError

    def said(self):
        if not select.select([self.server.popen.stdout], [], [], 60)[0]:
            raise Failure(f"{self.name}: the DNS server of the bench is silent")
        return self.server.popen.stdout.readline()

    def answered(self, count):
        """-> nanoseconds from an answer's arrival to its addresses in the kernel, for the next `count` answers"""
        self.server.popen.stdin.write(f"{count}\n")
        line = self.said()
        expect(line.strip(), f"{self.name}: the DNS server of the bench has failed; what it said is above")
        return json.loads(line)["times"]

    def close(self):
        super().close()
        if hasattr(self, "server"):
            self.server.popen.stdin.close()
            self.server.popen.stdout.close()


class Asking(Answered):
    name = "icqgate"

    def start_asking(self):
        self.start_daemon()


class AskingFloor(Answered):
    name = "floor"

    def start_asking(self):
        self.start_daemon().end()  # the table stays
        self.start_floor("asker", DNS, "icqgate", "login4", self.NAMES, 1_000_000 // self.NAMES)


class Holding(Gateway):
    """Its own questions go to a host that has no DNS server: all that it learns it learns from held answers."""
    name = "icqgate"

    def __init__(self, tools, binary, hold=True):
        super().__init__(tools, binary, admin="open", **{
            "login-host": HELD, "hold-answers": "yes" if hold else "no", "dns-server": DNS, "resolver": LOGIN})
        self.hold = hold

    def __enter__(self):
        super().__enter__()
        self.start_reader()
        return self

    def start_reader(self):
        self.start_daemon()

    def ask(self, name, count, addresses, **options):
        before = self.queued_in(NAMES_QUEUE)
        result = super().ask(name, count, addresses, **options)
        expect_equal(self.queued_in(NAMES_QUEUE) - before, count if name == HELD and self.hold else 0,
                     f"{self.name}: answers for {name} that were held")
        return result


class HoldingFloor(Holding):
    name = "floor"

    def __init__(self, tools, binary, transactions):
        super().__init__(tools, binary)
        self.transactions = transactions

    def start_reader(self):
        self.start_daemon().end()  # the table stays
        self.start_floor("reader", *(("--add-answers", "icqgate") if self.transactions else ()), NAMES_QUEUE)


class Dnsmasq(Gateway):
    """Its set is kept as small as can be (a timeout): libnftables reads it for every address."""
    name = "dnsmasq"
    PORTS = {"nftset": 53, "plain": 54}

    def __init__(self, tools):
        super().__init__(tools, admin="open")

    def __enter__(self):
        super().__enter__()
        self.nft("add table inet dnsmasq; add set inet dnsmasq addresses"
                 " { type ipv4_addr; flags timeout; timeout 50ms; gc-interval 50ms; }")
        for kind, port in self.PORTS.items():
            arguments = ["dnsmasq", "--conf-file=/dev/null", "--no-daemon", "--no-resolv", "--no-hosts", "--user=root",
                         "--pid-file", "--cache-size=0", f"--server={DNS}", f"--listen-address={GATEWAY}",
                         "--bind-interfaces", f"--port={port}", "--log-facility=-"]
            if kind == "nftset":
                arguments.append(f"--nftset=/{HELD}/4#inet#dnsmasq#addresses")
            server = Logged(self, "gw", kind, arguments)
            wait_until("dnsmasq", lambda server=server: "started" in server.log() or not server.alive())
            expect(server.alive(), f"dnsmasq: {server.log()}")
        return self

    def forwarded(self, kind, count, watch=None):
        result = self.ask(HELD, count, "fresh", server=GATEWAY, port=self.PORTS[kind], watch=watch)
        if watch:
            expect_equal(result["before"], count, "answers of dnsmasq that came after their addresses")
        return result


class Idle(Gateway):
    name = "a table of icqgate's"

    def __enter__(self):
        super().__enter__()
        self.start_daemon().end()
        return self


class Saved(Gateway):
    name = "icqgate"
    COUNT = 1000

    def __init__(self, tools, binary):
        super().__init__(tools, binary, ttl=3600, **{
            "login-host": HELD, "addresses-per-name": 1024, "addresses-total": 1024})
        self.config["state"] = os.path.join(self.directory, "state.json")
        self.names = {HELD: [f"198.18.{i // 250}.{i % 250 + 1}" for i in range(self.COUNT)]}

    def __enter__(self):
        super().__enter__()
        self.start_dns()
        daemon = self.start_daemon()
        wait_until("the addresses of the first run", lambda: self.elements_of("login4") == self.COUNT)
        expect_equal(daemon.end(), 0, "exit status of the first run")
        self.silence_dns()
        return self

    def start(self, table):
        """-> milliseconds from exec to `ready`; `table`: "left", or "gone" before the start"""
        if table == "gone":
            self.run_in("gw", ["nft", "delete", "table", "inet", "icqgate"])
        expect_equal(self.has_table(), table == "left", "there is a table before the start")
        process = Process(self, "gw", [os.path.join(self.tools, "spawn"), "--until", "ready", self.binary, "run",
                                       "--config", self.config_path], own_sys=True, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            line = process.popen.stdout.readline()
            if not line:
                raise Failure(f"{self.name}: {process.popen.stderr.read().strip()}")
            expect_equal(self.elements_of("login4"), self.COUNT, "addresses in the kernel once it is ready")
        finally:
            process.popen.stdin.close()
            status = process.popen.wait(10)
            process.popen.stdout.close()
            process.popen.stderr.close()
            self.processes.remove(process)
        expect_equal(status, 0, "exit status of icqgate")
        return json.loads(line)["time"] / 1e6
