# SPDX-License-Identifier: GPL-2.0-or-later
"""A proxy on the LAN or on the gateway: Dante or Squid, as Debian has them, with the configuration that `emit
--proxy-config` prints.

    lan    192.168.77.10 --+
                           +-- LAN -- gateway -- WAN -- server, peer, stranger, dns
    proxy  192.168.77.5  --+

What the daemons write goes to file systems of their own, which no one else sees.
"""

import os
import shutil

from addresses import DNS, GATEWAY, LOGIN, LOGIN2
from handles import Failure, Logged, expect, expect_equal, wait_until
from lab import run
from static_steps import load

PROXY = "192.168.77.5"
PORTS = {"dante": 1080, "squid": 3128}
COMMANDS = {
    "dante": ["danted", "-f", "{config}", "-p", "/run/danted.pid"],
    "squid": ["squid", "--foreground", "-YC", "-f", "{config}"],
}
# /dev/log and the like are the host's: nobody reads the daemons' logs but through these.
PLACES = {
    "dante": ["mount -t tmpfs none /run"],
    "squid": ["mount -t tmpfs none /run", "mount -t tmpfs none /dev/shm", "mount -t tmpfs none /var/log/squid",
              "mount -t tmpfs none /var/spool/squid", "chown proxy:proxy /var/log/squid /var/spool/squid /run"],
}


class ProxyHost:
    """One more host in the lab's LAN; with `addresses` of the gateway that one. With `ports` (FIRST, LAST) its kernel
    chooses its own ports from there."""

    def __init__(self, lab, addresses=(PROXY,), ports=None):
        self.lab, self.addresses, self.process, self.kind = lab, addresses, None, None
        self.role = "gw" if GATEWAY in addresses else "proxy"
        if self.role == "proxy":
            self.build()
        if ports:
            lab.shell(self.role, f"echo {ports[0]} {ports[1]} > /proc/sys/net/ipv4/ip_local_port_range")

    def build(self):
        run(["ip", "netns", "add", self.lab.namespace("proxy")])
        self.lab.ip_batch("wire", [f"link add proxy-lan type veth peer name eth0 netns {self.lab.namespace('proxy')}",
                                   "link set proxy-lan master lan", "link set proxy-lan up"])
        self.lab.ip_batch("proxy", ["link set lo up", "link set eth0 up", f"address add {PROXY}/24 dev eth0",
                                    f"route add default via {GATEWAY}"])

    def start(self, kind, config):
        """`kind`: dante or squid; `config`: the text of its configuration. Returns when it listens."""
        program = COMMANDS[kind][0]
        expect(shutil.which(program), f"this needs the program {program}")
        path = os.path.join(self.lab.directory, f"{kind}.conf")
        resolver = os.path.join(self.lab.directory, "resolv.conf")
        with open(path, "w") as file:
            file.write(config)
        with open(resolver, "w") as file:
            file.write(f"nameserver {DNS}\noptions timeout:2 attempts:2\n")
        before = [f"mount --bind {resolver} /etc/resolv.conf", *PLACES[kind]]
        command = [word.format(config=path) for word in COMMANDS[kind]]
        self.kind = kind
        self.process = Logged(self.lab, self.role, kind, [
            "unshare", "--mount", "sh", "-ec", "\n".join([*before, 'exec "$@"']), "sh", *command])
        wait_until(f"{program} listening", lambda: not self.process.alive() or self.listens(), 20.0)
        if not self.process.alive():
            raise Failure(f"{program} ended with {self.process.popen.returncode}:\n{self.process.log()[-2000:]}")

    def listens(self):
        return f"{self.addresses[0]}:{PORTS[self.kind]} " in self.lab.run_in(self.role, ["ss", "-Hltn"])

    def via(self, kind):
        """`via` of the actors: kind is socks4, socks5 or connect."""
        return {"kind": kind, "address": self.addresses[0], "port": PORTS[self.kind]}


def behind_proxy(lab, profile, program, clients="192.168.77.0/24", addresses=(PROXY,), ports=None):
    """The gateway gets the ruleset of the profile and the proxy its configuration, both as `emit` prints them."""
    place = ["--proxy", ",".join(addresses)]
    load(lab, profile, *place, client=clients)
    proxy = ProxyHost(lab, addresses, ports)
    proxy.start(program, lab.icqgate("emit", "--profile", profile, *place, "--client", clients, "--login-host",
                                     f"{LOGIN},{LOGIN2}", "--proxy-config", program)[1])
    return proxy


def named(lab, name, addresses):
    """The name is in the DNS, and has been read."""
    lab.set_name(name, addresses)

    def known():
        try:
            return lab.client.call("lookup", host=name, dns=DNS)["addresses"] == sorted(addresses)
        except Failure:
            return False
    wait_until(f"{name} in the DNS", known)


def shut_out(actor, address, port, what, **options):
    """That connection does not come about. Who is wanted has to listen there: "refused" is then the gateway's word."""
    outcome = actor.call("probe", address=address, port=port, timeout=0.8, **options)["outcome"]
    expect(outcome in ("refused", "unreachable"), f"{what}, {address}:{port}: {outcome}")


def denied(actor, via, address, port, what):
    """The proxy itself says no."""
    outcome = actor.call("probe", address=address, port=port, timeout=8.0, via=via)["outcome"]
    expect_equal(outcome, "denied", f"{what}, {address}:{port} through the proxy")


def log_in_through(lab, via, address, uin, redirect, session, seen=PROXY):
    """The whole login through the proxy, and a keep-alive afterwards; the server sees the proxy alone, as `seen`."""
    lab.server.call("set", redirect=redirect)
    mark = lab.server.mark()
    result = lab.client.call("login", address=address, uin=uin, session=session, via=via)
    expect_equal(result["redirect"], redirect, "where the login server sends the client")
    lab.server.wait("online", since=mark, uin=uin)
    for event in ("login", "bos"):
        expect_equal(lab.server.wait(event, since=mark, uin=uin)["remote"][0], seen, f"whom the server sees ({event})")
    lab.client.call("keep_alive", session=session)
    lab.server.wait("keep-alive", since=mark, uin=uin)
