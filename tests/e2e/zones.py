# SPDX-License-Identifier: GPL-2.0-or-later
"""DNS as the outside has it: authoritative servers and resolvers, and every way in which they let one down.

    in the namespace `dns`    198.51.100.53  knot     the zones, changed at any moment; what the gateway asks
                              198.51.100.54  unbound  a resolver that asks knot
                              198.51.100.55  nsd      the zones as they were at the start: for failover
                              198.51.100.56           an address where only actors/forger.py answers, if told to
    on the gateway            192.168.77.1   unbound  the LAN's own resolver, asks knot too

A lab with `zones=[...]` starts knot and those of "unbound", "nsd" and "gateway" that the list names; it has them as
`lab.zones`. Login servers answer at any address: far(n) leads to the OSCAR server, echoing(n) to actors/flows.py.
"""

import json
import os
import shutil
import signal

from addresses import BOS, DNS, GATEWAY, LOGIN, LOGIN2, OUTSIDE, SERVICE
from handles import Actor, Logged, expect, wait_until

KNOT, UNBOUND, NSD, FORGER = DNS, "198.51.100.54", "198.51.100.55", "198.51.100.56"
NAME = "login.icq.com"
ZONES = ("icq.com", "lab.test", "evil.test")
PRIVATE = "10.1.2.3"  # a login server that really is there, at a private address outside
ECHO_PORT = 5299

# Everything but 64.12.128.0/17 is the OSCAR server's. Conntrack there puts the addresses back into what it answers.
FAR_SERVERS = f"""
table ip far {{
  chain in {{
    type nat hook prerouting priority dstnat;
    ip daddr 64.12.128.0/17 tcp dport 5190 dnat to {LOGIN}:{ECHO_PORT}
    ip daddr {{ 64.12.0.0/17, {PRIVATE} }} tcp dport 5190 dnat to {LOGIN}:5190
  }}
}}
"""


def far(number):
    """The login server's address number 1 to 32,766."""
    return f"64.12.{number >> 8}.{number & 255}"


def echoing(number):
    return f"64.12.{128 + (number >> 8)}.{number & 255}"


def wire_name(name):
    return b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split(".")) + b"\0"


class Zones:
    def __init__(self, lab, servers):
        self.lab = lab
        self.servers = ["knot", *servers]
        # The lab's TTLs are seconds: what a day needs in the field, a minute needs here.
        self.config = {"resolver": KNOT, "queries-per-minute": 6000, "ttl-min": 1}
        self.records = {(NAME, "A"): (1, [LOGIN, LOGIN2]), ("bos.lab.test", "A"): (5, [BOS]),
                        ("service.lab.test", "A"): (5, [SERVICE])}
        self.serial = 1
        self.expired = set()
        self.folder = os.path.join(lab.directory, "zones")
        self.running = {}

    # -- building
    def build(self):
        """Addresses, routes and the login servers at any address; before anything is started."""
        os.mkdir(self.folder)
        self.lab.ip_batch("dns", [f"address add {address}/24 dev eth0" for address in (UNBOUND, NSD, FORGER)])
        self.lab.ip_batch("gw", [f"route add {net} via {LOGIN}" for net in ("64.12.0.0/16", PRIVATE)])
        self.lab.nft(FAR_SERVERS, "server")
        self.lab.nft("table ip watch { chain in { type filter hook prerouting priority mangle; }; }\n"
                     "table ip silence { chain in { type filter hook input priority 0; }; }", "dns")

    def start(self):
        for program in ("knotd", "knotc"):
            expect(shutil.which(program), f"the DNS laboratory needs the program {program}")
        for zone in ZONES:
            self.write_zone(zone)
        for server in self.servers:
            getattr(self, f"start_{server}")()
        for server, (_, ready) in self.running.items():
            wait_until(f"{server} to answer", ready, 20)

    def run_server(self, name, role, arguments, word):
        process = Logged(self.lab, role, name, arguments)
        self.running[name] = (process, lambda: word in process.log())
        return process

    def start_knot(self):
        zones = "".join(f"  - domain: {zone}\n" for zone in ZONES)
        self.write("knot.conf", f"""
server:
    listen: {KNOT}@53
    rundir: {self.folder}
    user: root:root
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: info
database:
    storage: {self.folder}/knot
template:
  - id: default
    storage: {self.folder}
    file: "%s.zone"
    journal-content: none
    zonefile-sync: -1
    zonefile-load: whole
    semantic-checks: off
zone:
{zones}""")
        self.run_server("knot", "dns", ["knotd", "-c", f"{self.folder}/knot.conf"], "server started")

    def unbound(self, name, role, address):
        expect(shutil.which("unbound"), "the DNS laboratory needs the program unbound")
        stubs = "".join(f'stub-zone:\n  name: "{zone}"\n  stub-addr: {KNOT}\n' for zone in ZONES)
        self.write(f"{name}.conf", f"""
server:
  directory: "{self.folder}"
  chroot: ""
  username: ""
  pidfile: ""
  do-daemonize: no
  use-syslog: no
  logfile: ""
  verbosity: 1
  num-threads: 1
  do-ip6: no
  interface: {address}
  access-control: 0.0.0.0/0 allow
  module-config: "iterator"
  local-zone: "test" nodefault
  infra-host-ttl: 1
{stubs}""")
        self.run_server(name, role, ["unbound", "-c", f"{self.folder}/{name}.conf"], "start of service")

    def start_unbound(self):
        self.unbound("unbound", "dns", UNBOUND)

    def start_gateway(self):
        self.unbound("gateway", "gw", GATEWAY)

    def start_nsd(self):
        expect(shutil.which("nsd"), "the DNS laboratory needs the program nsd")
        os.mkdir(f"{self.folder}/nsd")
        for zone in ZONES:
            shutil.copy(f"{self.folder}/{zone}.zone", f"{self.folder}/nsd/{zone}.zone")
        zones = "".join(f'zone:\n  name: "{zone}"\n  zonefile: "{zone}.zone"\n' for zone in ZONES)
        self.write("nsd.conf", f"""
server:
  ip-address: {NSD}
  server-count: 1
  username: ""
  zonesdir: "{self.folder}/nsd"
  database: ""
  pidfile: "{self.folder}/nsd.pid"
  xfrdfile: "{self.folder}/xfrd.state"
  zonelistfile: "{self.folder}/zone.list"
  xfrdir: "{self.folder}"
  verbosity: 1
remote-control:
  control-enable: no
{zones}""")
        self.run_server("nsd", "dns", ["nsd", "-d", "-c", f"{self.folder}/nsd.conf"], "nsd started")

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path + ".new", "w") as file:
            file.write(text)
        os.replace(path + ".new", path)

    # -- what knot says: every one of these is true when it returns
    def write_zone(self, zone):
        lines = [f"$ORIGIN {zone}.", f"@ 1 SOA ns.{zone}. admin.{zone}. {self.serial} 3600 600 864000 1",
                 f"@ 1 NS ns.{zone}.", f"ns 1 A {KNOT}"]
        for (name, kind), (ttl, values) in self.records.items():
            if name == zone or name.endswith("." + zone):
                lines += [f"{name}. {ttl} {kind} {value}" for value in values]
        self.write(f"{zone}.zone", "\n".join(lines) + "\n")

    def control(self, *words):
        return self.lab.run_in("dns", ["knotc", "-b", "-s", f"{self.folder}/knot.sock", *words])

    def publish(self, name):
        zone = next(zone for zone in ZONES if name == zone or name.endswith("." + zone))
        self.serial += 1
        self.write_zone(zone)
        if zone in self.expired:
            self.control("reload")  # a zone that has expired is not read again by zone-reload
            self.expired.discard(zone)
        else:
            self.control("zone-reload", zone)

    def drop(self, name, *kinds):
        for key in [key for key in self.records if key[0] == name and (not kinds or key[1] in kinds)]:
            del self.records[key]

    def set_records(self, name, kind, values, ttl=1):
        """These and no others of that type (A, AAAA); a CNAME that was there goes."""
        self.drop(name, kind, "CNAME", "TXT")
        if values:
            self.records[name, kind] = ttl, list(values)
        self.publish(name)

    def set_login(self, addresses, ttl=1):
        self.set_records(NAME, "A", addresses, ttl)

    def set_cname(self, name, target, ttl=1):
        self.drop(name)
        self.records[name, "CNAME"] = ttl, [target + "."]
        self.publish(name)

    def set_chain(self, names, addresses, ttls):
        """names[0] -> names[1] -> ... -> the addresses, each step with a TTL of its own."""
        for name, target, ttl in zip(names, names[1:], ttls):
            self.drop(name)
            self.records[name, "CNAME"] = ttl, [target + "."]
        self.drop(names[-1])
        self.records[names[-1], "A"] = ttls[-1], list(addresses)
        for name in reversed(names):
            self.publish(name)

    def nxdomain(self, name=NAME):
        self.drop(name)
        self.publish(name)

    def nodata(self, name=NAME):
        """The name is there, but has no address."""
        self.drop(name)
        self.records[name, "TXT"] = 1, ['"nothing here"']
        self.publish(name)

    def servfail(self, name=NAME):
        """The zone has expired, as when its master was dead for too long: SERVFAIL for all of it, until any change."""
        zone = next(zone for zone in ZONES if name.endswith("." + zone))
        self.control("-f", "zone-purge", "+expire", zone)
        self.expired.add(zone)

    def addresses(self, name=NAME, kind="A"):
        """The truth, CNAMEs followed."""
        for _ in range(20):
            if (name, "CNAME") not in self.records:
                return list(self.records.get((name, kind), (0, []))[1])
            name = self.records[name, "CNAME"][1][0].rstrip(".")
        return []

    # -- servers that don't answer
    def silence(self, server=KNOT):
        """It gets no question any more, by UDP or TCP, and says nothing."""
        self.lab.nft(f"add rule ip silence in ip daddr {server} meta l4proto {{ tcp, udp }} th dport 53 drop", "dns")

    def speak(self):
        """All of them again."""
        self.lab.nft("flush chain ip silence in", "dns")

    def stop(self, name):
        """The program ends: an ICMP error is the answer."""
        self.running[name][0].end()

    def restart(self, name):
        """knot, unbound or gateway, which come back with an empty cache."""
        process = self.running[name][0]
        if process.alive():
            process.end(signal.SIGTERM)
        getattr(self, f"start_{name}")()
        wait_until(f"{name} to answer again", self.running[name][1], 20)
        if name == "knot":
            self.expired.clear()

    def flush(self, name):
        """Empties a resolver's cache."""
        self.running[name][0].send_signal(signal.SIGHUP)

    # -- what icqgate asks
    def count(self, name=NAME, label="login", server=KNOT):
        """From now on asked() tells how often icqgate asked `server` for `name`, answered or not."""
        encoded = wire_name(name)
        expect(len(encoded) <= 16, f"{name}: too long for one match")
        self.lab.nft(f"add counter ip watch {label}\n"
                     f"add rule ip watch in ip saddr {OUTSIDE} ip daddr {server} udp dport 53"
                     f" @th,160,{8 * len(encoded)} 0x{encoded.hex()} counter name {label}", "dns")

    def asked(self, label="login"):
        listing = json.loads(self.lab.run_in("dns", ["nft", "-j", "list", "counter", "ip", "watch", label]))
        return listing["nftables"][-1]["counter"]["packets"]

    # -- answers that no server gives
    def forger(self):
        if "forger" not in self.running:
            actor = Actor(self.lab, "dns", "forger.py")
            actor.wait("ready", timeout=20)
            self.running["forger"] = (actor, lambda: True)
        return self.running["forger"][0]

    def forge(self, how, server=KNOT, addresses=()):
        """Questions to `server` by UDP go to the forger instead, who answers as `how` says (actors/forger.py)."""
        self.forger().call("serve", address=FORGER, how=how, addresses=list(addresses))
        self.lab.nft(f"table ip forge {{ chain in {{ type nat hook prerouting priority dstnat; ip daddr {server}"
                     f" udp dport 53 dnat to {FORGER}:53; }}; }}", "dns")
        self.forget_flows()

    def end_forging(self):
        self.lab.nft("delete table ip forge", "dns")
        self.forget_flows()

    def forget_flows(self):
        """NAT looks at the first packet of a flow only, and a resolver uses its port more than once."""
        self.lab.shell("dns", "conntrack -D -p udp >/dev/null 2>&1 || true")
