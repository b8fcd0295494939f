# SPDX-License-Identifier: GPL-2.0-or-later
"""The laboratory: a LAN, a gateway and an outside world in network namespaces of their own.

    lan   192.168.77.10 --+                                   +-- server    198.51.100.5 .6 (login) .7 (BOS)
                          |         lan0 +----+ wan0          |             .8 (service) .9 (a server nobody named)
                          +-- LAN -------| gw |------- WAN ---+-- dns       198.51.100.53 (dnsmasq; see zones.py)
                          | 192.168.77.1 +----+ 198.51.100.1  |
    lan2  192.168.77.11 --+                                   +-- peer      198.51.100.20
                                                              +-- stranger  198.51.100.66

The LAN and the WAN are two bridges in one more namespace (`wire`), which has no address at all. Namespaces are called
icq<pid>-<run>-<role>; nothing here touches the machine's own namespace. Options of a lab: see Lab.__init__.

Run as a program, `lab.py --sweep` removes what a killed run has left behind.
"""

import atexit
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

from addresses import (BOS, CLIENT, CLIENT2, DNS, GATEWAY, LOGIN, LOGIN2, OUTSIDE, PEER, ROGUE, SERVICE,
                       STRANGER)
from gateway import firewall
from handles import Actor, Daemon, Failure, Logged, expect, wait_until
from zones import Zones

HOSTS = {  # role: (side, addresses); gw is made by hand
    "lan": ("lan", [CLIENT]),
    "lan2": ("lan", [CLIENT2]),
    "server": ("wan", [LOGIN, LOGIN2, BOS, SERVICE, ROGUE]),
    "dns": ("wan", [DNS]),
    "peer": ("wan", [PEER]),
    "stranger": ("wan", [STRANGER]),
}
NAMES = {"login.icq.com": [LOGIN, LOGIN2], "bos.lab.test": [BOS], "service.lab.test": [SERVICE]}

standing = []  # labs to be taken down whatever happens
runs = itertools.count(1)


def run(arguments, **options):
    done = subprocess.run(arguments, capture_output=True, text=True, **options)
    if done.returncode:
        raise Failure(f"{' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


class Lab:
    """`with Lab(binary=...) as lab:` builds it, starts the actors and takes everything down again.

    admin       the gateway's own firewall: "deny" (default-deny forward with the README's one line), "deny-strict" (the
                same without `ct state established`), "open" (none)
    masquerade  the LAN is hidden behind 198.51.100.1, and the outside has no route to it
    offloads    leave the interfaces' TCP offloads as they are
    ttl         of the DNS server's answers, seconds
    zones       None: dnsmasq answers. A list: the servers of zones.py do, as `lab.zones` tells them; knot always, and
                those of "unbound", "gateway" and "nsd" that are named
    ipv6        every host has an address of 2001:db8:77::/64 (inside) or 2001:db8:98::/64 (outside) too: see six()
    config      keys of icqgate's configuration: {"port-range": "20000-20049", "client": [..]}; None leaves one out
    """

    def __init__(self, binary=None, admin="deny", masquerade=False, offloads=False, ttl=5, zones=None, config=None,
                 ipv6=False):
        self.binary, self.admin, self.masquerade, self.offloads, self.ttl = binary, admin, masquerade, offloads, ttl
        self.ipv6 = ipv6
        self.prefix = f"icq{os.getpid()}-{next(runs)}-"
        self.directory = tempfile.mkdtemp(prefix=self.prefix)
        self.config_path = os.path.join(self.directory, "icqgate.conf")
        self.socket_path = os.path.join(self.directory, "icqgate.sock")
        self.state_path = os.path.join(self.directory, "state", "state.json")
        os.mkdir(os.path.dirname(self.state_path), 0o700)
        self.zones = Zones(self, zones) if zones is not None else None
        self.config = {
            "login-host": "login.icq.com", "lan": "lan0", "wan": "wan0", "client": "192.168.77.0/24",
            "port-range": "20000-20099", "masquerade": "yes" if masquerade else "no", "resolver": DNS,
            "ttl-min": 2, "pinhole-timeout": 20, "socket": self.socket_path, "state": self.state_path,
            **(self.zones.config if self.zones else {}), **(config or {})}
        self.processes = []
        self.daemon = None
        self.names = {name: list(addresses) for name, addresses in NAMES.items()}

    # -- building
    def namespace(self, role):
        return self.prefix + role

    def __enter__(self):
        standing.append(self)
        try:
            self.build()
            self.start_actors()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def build(self):
        roles = [*HOSTS, "gw", "wire"]
        for role in roles:
            run(["ip", "netns", "add", self.namespace(role)])
        links = [(role, "eth0", side) for role, (side, _) in HOSTS.items()]
        links += [("gw", "lan0", "lan"), ("gw", "wan0", "wan")]
        batch = ["link add lan type bridge", "link add wan type bridge", "link set lan up", "link set wan up"]
        for role, device, side in links:
            port = f"{role}-{side}"
            batch += [f"link add {port} type veth peer name {device} netns {self.namespace(role)}",
                      f"link set {port} master {side}", f"link set {port} up"]
        self.ip_batch("wire", batch)
        for role, (side, addresses) in HOSTS.items():
            lines = ["link set lo up", "link set eth0 up"] + [f"address add {a}/24 dev eth0" for a in addresses]
            if side == "lan":
                lines.append(f"route add default via {GATEWAY}")
            elif not self.masquerade:
                lines.append(f"route add 192.168.77.0/24 via {OUTSIDE}")
            if self.ipv6:
                lines += [f"address add {six(a)}/64 dev eth0 nodad" for a in addresses]
                lines.append(f"route add default via {six(GATEWAY if side == 'lan' else OUTSIDE)}")
            self.ip_batch(role, lines)
        self.ip_batch("gw", ["link set lo up", "link set lan0 up", "link set wan0 up",
                             f"address add {GATEWAY}/24 dev lan0", f"address add {OUTSIDE}/24 dev wan0"])
        if self.ipv6:
            self.ip_batch("gw", [f"address add {six(a)}/64 dev {device} nodad"
                                 for a, device in ((GATEWAY, "lan0"), (OUTSIDE, "wan0"))])
        # One shell for each: on a machine made by software (tests/vm) starting programs is what takes the time.
        without = [] if self.ipv6 else ["echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"]
        lines = {role: ["set -e", *without] for role in roles}
        lines["gw"].append("echo 1 > /proc/sys/net/ipv4/ip_forward")
        if self.ipv6:
            lines["gw"].append("echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
        if not self.offloads:
            for role, device, side in links:
                for place, name in ((role, device), ("wire", f"{role}-{side}")):
                    lines[place].append(f"ethtool -K {name} tso off gso off gro off tx off rx off >/dev/null")
        for role in roles:
            self.shell(role, "\n".join(lines[role]))
        rules = firewall(self.admin, self.masquerade)
        if rules:
            self.nft(rules)
        if self.zones:
            self.zones.build()

    def ip_batch(self, role, lines):
        run(["ip", "-n", self.namespace(role), "-batch", "-"], input="\n".join(lines) + "\n")

    def run_in(self, role, arguments, **options):
        """A short command in a namespace; -> its standard output."""
        return run(["nsenter", f"--net=/run/netns/{self.namespace(role)}", *arguments], **options)

    def shell(self, role, line):
        return self.run_in(role, ["sh", "-c", line])

    def nft(self, text, role="gw"):
        return self.run_in(role, ["nft", "-f", "-"], input=text)

    # -- actors and servers
    def start_actors(self):
        self.client = Actor(self, "lan", "client.py")
        self.client2 = Actor(self, "lan2", "client.py")
        self.peer = Actor(self, "peer", "peer.py")
        self.stranger = Actor(self, "stranger", "peer.py")
        self.server = Actor(self, "server", "server.py", "--login", f"{LOGIN}:5190", "--login", f"{LOGIN2}:5190",
                            "--bos", f"{BOS}:5190", "--service", f"{SERVICE}:5190", "--login", f"{ROGUE}:5190")
        self.start_dns()
        for actor in (self.client, self.client2, self.peer, self.stranger, self.server):
            actor.wait("ready", timeout=20)

    def write_names(self):
        with open(os.path.join(self.directory, "hosts"), "w") as hosts:
            for name, addresses in self.names.items():
                hosts.writelines(f"{address} {name}\n" for address in addresses)

    def start_dns(self):
        if self.zones:
            self.zones.start()
            return
        self.write_names()
        self.dns = Logged(self, "dns", "dns", [
            "dnsmasq", "--conf-file=/dev/null", "--no-daemon", "--no-resolv", "--no-hosts", "--user=root", "--pid-file",
            "--addn-hosts=" + os.path.join(self.directory, "hosts"), f"--local-ttl={self.ttl}", "--local=/#/",
            f"--listen-address={DNS}", "--bind-interfaces", "--log-queries", "--log-facility=-"])
        wait_until("dnsmasq", lambda: "started" in self.dns.log())

    def set_name(self, name, addresses):
        """What the DNS server says from now on."""
        self.names[name] = addresses
        self.write_names()
        self.dns.send_signal(signal.SIGHUP)

    def silence_dns(self):
        """The DNS server gets no question any more, and says nothing; dns_unheard() counts them."""
        self.nft("table inet silence { counter unheard {}; chain in { type filter hook input priority 0;"
                 " udp dport 53 counter name unheard drop; tcp dport 53 drop; }; }", "dns")

    def dns_unheard(self):
        listing = json.loads(self.run_in("dns", ["nft", "-j", "list", "counter", "inet", "silence", "unheard"]))
        return listing["nftables"][-1]["counter"]["packets"]

    # -- icqgate
    def write_config(self):
        with open(self.config_path, "w") as file:
            for key, value in self.config.items():
                if value is not None:
                    values = value if isinstance(value, list) else [value]
                    file.writelines(f"{key} = {one}\n" for one in values)

    def start_daemon(self, *arguments, wait=True, before=None):
        """`before`: shell lines run first, in a mount namespace that only the daemon sees."""
        self.write_config()
        self.daemon = Daemon(self, list(arguments), before)
        if wait:
            self.daemon.wait_ready()
        return self.daemon

    def icqgate(self, *arguments, check=True):
        """A subcommand in the gateway's namespace; -> (exit status, standard output, standard error)."""
        done = subprocess.run(["nsenter", f"--net=/run/netns/{self.namespace('gw')}", self.binary, *arguments],
                              capture_output=True, text=True, timeout=30)
        if check and done.returncode:
            raise Failure(f"icqgate {' '.join(arguments)}: exit {done.returncode}: {done.stderr.strip()}")
        return done.returncode, done.stdout, done.stderr

    def status(self):
        return json.loads(self.icqgate("status", "--json", "--socket", self.socket_path)[1])

    def wait_status(self, what, condition, timeout=8.0):
        """The first status for which condition(status) is true; the last one is told when it never is."""
        last = {}

        def probe():
            last.update(self.status())
            return last if condition(last) else None
        try:
            return wait_until(what, probe, timeout, pause=0.05)
        except Failure:
            raise Failure(f"{what}: not within {timeout:g} s; status: {json.dumps(last)[:1500]}") from None

    # -- what the kernel says
    def elements(self, *must):
        """[(set, values)] of every element of icqgate's sets and maps that contains all of `must`."""
        for _ in range(10):
            listing = subprocess.run(["nsenter", f"--net=/run/netns/{self.namespace('gw')}", "nft", "-j", "list",
                                      "table", "inet", "icqgate"], capture_output=True, text=True)
            if listing.returncode:
                return []
            try:
                items = json.loads(listing.stdout)["nftables"]
                break
            except json.JSONDecodeError:
                continue  # the table went, or came, while nft (1.0.6) was listing it: the text stops half-way
        else:
            raise Failure(f"nft's listing is no JSON: {listing.stdout[:300]!r}")
        found = []
        for item in items:
            for kind in ("set", "map"):
                for element in item.get(kind, {}).get("elem", []):
                    values = flatten(element)
                    if all(one in values for one in must):
                        found.append((item[kind]["name"], values))
        return found

    def exactly(self, *values):
        """Elements made of these values and no others: a connection's own entry has more, and is no opening."""
        return [one for one in self.elements(*values) if set(one[1]) == set(values)]

    def has_table(self):
        return "table inet icqgate" in self.run_in("gw", ["nft", "list", "tables"])

    def flows(self, port, address=None):
        """conntrack's entries with that original destination port (and any mention of the address)."""
        done = subprocess.run(["nsenter", f"--net=/run/netns/{self.namespace('gw')}", "conntrack", "-L", "-p", "tcp",
                               "--orig-port-dst", str(port)], capture_output=True, text=True)
        return [line for line in done.stdout.splitlines()
                if address is None or re.search(rf"={re.escape(address)}\b", line)]

    # -- the end
    def close(self):
        if self not in standing:
            return
        standing.remove(self)
        for process in reversed(self.processes):
            if process.alive():
                process.popen.kill()
        for process in self.processes:
            process.popen.wait()
            process.close()
        remove_namespaces(self.prefix)
        shutil.rmtree(self.directory, ignore_errors=True)


def six(address):
    """The IPv6 address that a host of the lab has beside this IPv4 one."""
    inside, last = address.startswith("192.168."), address.rsplit(".", 1)[1]
    return f"2001:db8:{77 if inside else 98}::{last}"


def flatten(element):
    """All plain values within an element of nft's JSON: concatenations, maps and timeouts included."""
    if isinstance(element, dict):
        if "elem" in element:
            return flatten(element["elem"]["val"])
        return [value for one in element.values() for value in flatten(one)]
    if isinstance(element, list):
        return [value for one in element for value in flatten(one)]
    return [element]


def remove_namespaces(prefix):
    for name in sorted(os.listdir("/run/netns") if os.path.isdir("/run/netns") else []):
        if name.startswith(prefix):
            for pid in subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split():
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def close_all():
    for lab in list(standing):
        lab.close()


def sweep():
    """Removes what runs have left whose process is gone: namespaces and directories."""
    for place in ("/run/netns", tempfile.gettempdir()):
        for name in os.listdir(place) if os.path.isdir(place) else []:
            owner = re.match(r"icq(\d+)-\d+-", name)
            if not owner or os.path.exists(f"/proc/{owner.group(1)}"):
                continue
            if place == "/run/netns":
                remove_namespaces(name)
            else:
                shutil.rmtree(os.path.join(place, name), ignore_errors=True)


def on_signal(number, _frame):
    close_all()
    sys.exit(128 + number)


def guard():
    """To be called once by a program that builds labs: whatever ends it, its labs are taken down."""
    expect(os.geteuid() == 0, "the lab needs root: it makes network namespaces")
    for tool in ("ip", "nft", "nsenter", "setpriv", "ethtool", "conntrack", "dnsmasq"):
        expect(shutil.which(tool), f"the lab needs the program {tool}")
    atexit.register(close_all)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    sweep()


if __name__ == "__main__":
    if sys.argv[1:] != ["--sweep"]:
        sys.exit("usage: lab.py --sweep")
    guard()
