# SPDX-License-Identifier: GPL-2.0-or-later
"""Other programs on the host: they flush, delete, and change what is ours; interfaces come and go under other names."""

import os
import re
import signal
import subprocess
import time

from case import case
from gateway import firewall
from handles import Failure, Process, expect, expect_equal, wait_until
from lab import BOS, CLIENT, DNS, LOGIN, LOGIN2, SERVICE
from name_steps import alive, flows, log_lines, no_gap, sampler, session_alive, wait_known, wait_log
from steps import (PORT, UIN, UIN2, expect_failure, go_online, peer_gets_in, peer_stays_out, start_icqgate, wait_open,
                   wait_shut)
from zones import echoing, far


def everything_back(lab):
    """All that was live is in the kernel again."""
    return lab.exactly(CLIENT, PORT) and lab.elements(LOGIN) and lab.elements(LOGIN2) and lab.elements(CLIENT, BOS)


def skeleton(lab):
    """Our table without what comes and goes in it: sets, chains, rules."""
    try:
        text = lab.run_in("gw", ["nft", "-s", "list", "table", "inet", "icqgate"])
    except Failure:
        return None  # it is away
    return re.sub(r"\s+elements = \{[^}]*\}", "", text)


def unharmed(lab):
    """Old flows go on, new ones come, and what must be refused is."""
    alive(lab)
    session_alive(lab, UIN)
    peer_gets_in(lab)
    peer_stays_out(lab, uin=UIN2, outcomes=["reset"])
    peer_stays_out(lab, port=PORT + 1, connect_timeout=0.8)


def admin_rules(lab):
    text = lab.run_in("gw", ["nft", "-a", "list", "table", "inet", "admin"])
    return [line for line in text.splitlines() if "counter" not in line]


DEEDS = {
    "flush-ruleset": f"flush ruleset\n{firewall('deny', False)}",
    "delete-table": "delete table inet icqgate",
    "flush-table": "flush table inet icqgate",
    "delete-base-chain": "delete chain inet icqgate forward",
    "flush-chain": "flush chain inet icqgate from_lan",
    "delete-set": "flush chain inet icqgate to_peer\ndelete set inet icqgate peers",
    "flush-login-set": "flush set inet icqgate login4",
    "flush-pinholes": "flush set inet icqgate pinholes",
    "delete-element": f"delete element inet icqgate pinholes {{ {CLIENT} . {PORT} }}",
    "delete-address": f"delete element inet icqgate login4 {{ {LOGIN} . 5190 }}",
    "strange-table": "delete table inet icqgate\ntable inet icqgate { set login4 { type ipv6_addr; };"
                     " chain forward { type filter hook forward priority 7; }; }",
}


@case(zones=[], each={label: {"label": label} for label in DEEDS})
def others_change_our_table(lab, label):
    """MUST: whatever another program does to our table, within a second all of it is back: addresses, redirects,
    sessions, pinholes; flows go on and peers get in.
    NOT: the admin's own table is not touched for it; what comes back refuses a wrong user and a shut port; the program
    does not go round in circles."""
    go_online(lab)
    peer_gets_in(lab, name="held")
    before, whole = admin_rules(lab), skeleton(lab)
    expect("chain to_peer" in whole and "set peers" in whole, f"no whole table:\n{whole}")
    lab.nft(DEEDS[label])
    wait_until("everything back", lambda: everything_back(lab) and skeleton(lab) == whole, 1.0, pause=0.01)
    unharmed(lab)
    if label != "flush-ruleset":
        expect_equal(admin_rules(lab), before, "the admin's own table")
    go_online(lab, PORT + 2, uin=UIN2, session="b")
    handle = [line for line in lab.run_in("gw", ["nft", "-a", "list", "tables"]).splitlines() if "icqgate" in line]
    lab.zones.set_login([LOGIN, LOGIN2, far(1)])
    wait_known(lab, far(1))
    expect_equal([line for line in lab.run_in("gw", ["nft", "-a", "list", "tables"]).splitlines() if "icqgate" in line],
                 handle, "our table, made anew although nobody touched it")


@case(zones=[])
def twenty_flushes(lab):
    """MUST: after twenty flushes of the ruleset in a row everything is back, each time, and nothing that was live is
    lost.
    NOT: no flow ends; what is refused stays refused."""
    go_online(lab)
    peer_gets_in(lab, name="held")
    client = flows(lab)
    lab.zones.set_login([LOGIN, LOGIN2, echoing(1)])
    wait_known(lab, echoing(1))
    client.call("open", address=echoing(1), name="login", keep=True, pause=0.05)
    for number in range(20):
        lab.nft(DEEDS["flush-ruleset"])
        if number % 2:
            wait_until(f"everything back, time {number + 1}", lambda: everything_back(lab), 1.0, pause=0.01)
    wait_until("everything back", lambda: everything_back(lab), 1.0, pause=0.01)
    unharmed(lab)
    expect_equal(client.seen("flow-ended"), [], "flows that ended")


@case(zones=[])
def flushed_by_hand_while_stopped(lab):
    """MUST: what others took away while icqgate did not run is there after its start.
    NOT: the pinhole does not come back for a session that has ended meanwhile."""
    go_online(lab)
    peer_gets_in(lab, name="held")
    lab.daemon.end()
    lab.nft(DEEDS["flush-ruleset"])
    lab.start_daemon()
    wait_until("everything back", lambda: everything_back(lab), 5)
    unharmed(lab)
    lab.daemon.end()
    lab.nft(DEEDS["flush-ruleset"])
    lab.client.call("logout")
    wait_until("the end of the flow", lambda: not [line for line in lab.flows(5190, BOS) if "ESTABLISHED" in line])
    lab.start_daemon()
    wait_shut(lab)
    peer_stays_out(lab, connect_timeout=0.8)


def keeps_owned_tables():
    """From Linux 6.9 on an owned table can outlive its owner (NFT_TABLE_F_PERSIST)."""
    return tuple(int(number) for number in os.uname().release.split("-")[0].split(".")[:2]) >= (6, 9)


@case(zones=[], start=False, config={"owner": "yes"})
def table_with_an_owner(lab):
    """MUST: with owner = yes all works; after kill -9 the next start adopts the table (or, on older kernels, makes it
    anew), and flows go on.
    NOT: another program can't change, flush or delete it, `flush ruleset` included."""
    start_icqgate(lab)
    expect_equal(lab.status()["owner"], True, "owner in status")
    go_online(lab)
    peer_gets_in(lab, name="held")
    watcher = sampler(lab)
    watcher.call("watch", set="pinholes", wanted=[[CLIENT, PORT]])
    for label in ("delete-table", "flush-table", "delete-base-chain", "flush-pinholes", "delete-element"):
        expect_failure(label, lab.nft, DEEDS[label])
    expect_failure("an element from outside", lab.nft, f"add element inet icqgate pinholes {{ {CLIENT} . 20099 }}")
    lab.nft(DEEDS["flush-ruleset"])
    time.sleep(0.2)  # whatever came of it would be in the sampler's report
    no_gap(watcher.call("unwatch"), "the pinhole, while others tried")
    unharmed(lab)
    lab.daemon.end(signal.SIGKILL)
    expect_equal(lab.has_table(), keeps_owned_tables(), "the table of a killed owner is still there")
    alive(lab)
    lab.start_daemon()
    wait_open(lab)
    expect_failure("a change after the restart", lab.nft, DEEDS["delete-table"])
    unharmed(lab)
    lab.config["owner"] = "no"
    lab.daemon.end()
    lab.start_daemon()
    wait_open(lab)
    unharmed(lab)
    lab.nft(DEEDS["flush-pinholes"])
    wait_until("everything back", lambda: everything_back(lab), 1.0, pause=0.01)


@case(zones=[])
def table_taken_away(lab):
    """MUST: while another program holds a table of our name that is its alone, flows go on, and icqgate says once that
    it can't put its own back; when that program ends, all of it is back, a DNS server that was named meanwhile included.
    NOT: it does not say so every second, nor at every look at the table, nor end."""
    go_online(lab)
    peer_gets_in(lab, name="held")
    thief = Process(lab, "gw", ["nft", "-i"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    thief.popen.stdin.write("delete table inet icqgate; add table inet icqgate { flags owner; }\n")
    thief.popen.stdin.flush()
    wait_until("the table of another", lambda: "owner" in lab.run_in("gw", ["nft", "list", "table", "inet", "icqgate"]))
    wait_log(lab, "can't be put back")
    lab.config["dns-server"] = [DNS, SERVICE]
    lab.write_config()
    lab.daemon.send_signal(signal.SIGHUP)
    wait_log(lab, "reloaded")
    time.sleep(12)  # the looks at the table come every 10 s
    alive(lab)
    thief.popen.kill()
    wait_until("everything back", lambda: everything_back(lab), 15)
    unharmed(lab)
    wait_until("the new DNS server", lambda: lab.exactly(SERVICE), 15)
    for words in ("can't be", "not taken"):
        told = log_lines(lab, words)
        expect_equal(len(told), 1, f"lines about it: {told}")


@case(zones=[], each={"lan": {"device": "lan0"}, "wan": {"device": "wan0"}})
def interface_renamed(lab, device):
    """MUST: an interface that is renamed away and back, as udev or a reconnect does, costs no session, flow or pinhole.
    NOT: while it has another name no new peer gets in; the daemon does not end."""
    go_online(lab)
    peer_gets_in(lab, name="held")
    routes = lab.run_in("gw", ["ip", "route", "show", "dev", device])

    def rename(old, new):
        lab.ip_batch("gw", [f"link set {old} down", f"link set {old} name {new}", f"link set {new} up"]
                     + [f"route replace {line} dev {new}" for line in routes.splitlines() if " via " in line])
    rename(device, "away0")
    peer_stays_out(lab, connect_timeout=1.0)
    rename("away0", device)
    alive(lab)
    session_alive(lab, UIN)
    peer_gets_in(lab)
    expect(lab.daemon.alive(), "the daemon has ended")
    go_online(lab, PORT + 1, uin=UIN2, session="b")
