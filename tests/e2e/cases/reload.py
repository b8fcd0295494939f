# SPDX-License-Identifier: GPL-2.0-or-later
"""SIGHUP: the file is read again, only the difference is applied, and a bad file changes nothing."""

import contextlib
import os
import re
import signal

from case import case
from handles import Daemon, expect, expect_equal, wait_until
from lab import BOS, CLIENT, CLIENT2, LOGIN, LOGIN2, PEER, ROGUE
from name_steps import (alive, allowed, known, log_lines, login_addresses, session_alive, wait_forgotten, wait_known,
                        wait_log)
from steps import (PORT, UIN, UIN2, announce, expect_failure, go_online, peer_gets_in, peer_stays_out, unreachable,
                   wait_open, wait_shut)
from zones import NAME, far

BASE_CHAIN = re.compile(r"chain (\S+) \{ # handle (\d+)\n\s+type ")


def reload(lab, **changes):
    """The file with these keys changed (None: left out), and a SIGHUP."""
    lab.config.update({key.replace("_", "-"): value for key, value in changes.items()})
    lab.write_config()
    lab.daemon.send_signal(signal.SIGHUP)


def base_chains(lab):
    found = BASE_CHAIN.findall(lab.run_in("gw", ["nft", "-a", "list", "table", "inet", "icqgate"]))
    expect(len(found) >= 3, f"base chains: {found}")
    return found


@case(zones=[])
def port_range_moves(lab):
    """MUST: after a reload ports of the new range open, and what lies in both ranges stays open; flows go on.
    NOT: what is outside the new range closes, and can't be announced again; no base chain is made anew."""
    go_online(lab)
    go_online(lab, 20050, uin=UIN2, session="b")
    peer_gets_in(lab, name="held")
    chains = base_chains(lab)
    reload(lab, port_range="20050-20149")
    wait_shut(lab, PORT)
    wait_open(lab, 20050)
    peer_stays_out(lab, connect_timeout=0.8)
    peer_gets_in(lab, 20050, uin=UIN2)
    lab.client.call("listen", port=20149, uin=UIN)
    announce(lab, 20149)
    wait_open(lab, 20149)
    peer_gets_in(lab, 20149)
    mark = lab.server.mark()
    lab.client.call("announce", port=PORT + 1)
    lab.server.wait("status", since=mark)
    session_alive(lab, UIN)
    expect(not lab.exactly(CLIENT, PORT + 1), "a port outside the new range")
    expect_equal(base_chains(lab), chains, "base chains")
    session_alive(lab, UIN2, "b")


@case(zones=[], config={"keep": 600})
def login_hosts_change(lab):
    """MUST: a login host that the file names anew is asked and allowed at once, a literal one too; one that it no
    longer names goes. NOT: what stays in the file is without a gap; a removed host's address is not reachable any
    more."""
    lab.zones.set_records("service.lab.test", "A", [far(1)])
    chains = base_chains(lab)
    reload(lab, login_host=[NAME, "service.lab.test", ROGUE])
    wait_known(lab, far(1), host="service.lab.test")
    wait_until("the literal one", lambda: allowed(lab, ROGUE))
    expect_equal(lab.client.call("probe", address=far(1), port=5190)["outcome"], "connected", "the new host")
    reload(lab, login_host=NAME)
    wait_forgotten(lab, far(1), host="service.lab.test")
    wait_until("the removed ones out of the kernel", lambda: not allowed(lab, far(1), ROGUE), 5)
    expect_equal(login_addresses(lab), {LOGIN, LOGIN2}, "the login set")
    expect_equal(lab.client.call("probe", address=far(1), port=5190, timeout=0.8)["outcome"], "unreachable", "removed")
    expect_equal(base_chains(lab), chains, "base chains")
    lab.zones.set_login([LOGIN, far(2)])
    wait_known(lab, far(2))
    expect({LOGIN, LOGIN2, far(2)} <= set(known(lab.status())), "the host that stayed")


@case(zones=[])
def client_removed(lab):
    """NOT: a client that the file no longer names loses its pinholes and can't log in any more, even where elements
    that name it are left.
    MUST: the other client's session, flow and pinhole stay; named again, the first can log in again."""
    go_online(lab)
    go_online(lab, PORT, CLIENT2, UIN2)
    peer_gets_in(lab, name="held", address=CLIENT2, uin=UIN2)
    reload(lab, client=CLIENT2)
    wait_shut(lab)
    wait_open(lab, PORT, CLIENT2)
    alive(lab)
    peer_gets_in(lab, address=CLIENT2, uin=UIN2)
    peer_stays_out(lab, connect_timeout=0.8)
    expect_failure("a login of a client that is none", lab.client.call, "login", address=LOGIN, uin=UIN + 5,
                   session="x")
    lab.nft(f"add element inet icqgate servers4 {{ {CLIENT} . {BOS} . 5190 timeout 1m }}\n"
            f"add element inet icqgate sessions {{ {CLIENT} timeout 1m }}\n"
            f"add element inet icqgate peers {{ {CLIENT} . {PEER} . 5190 timeout 1m }}")
    for address in (BOS, PEER):
        unreachable(lab.client, address, 5190, "what an element left over names", timeout=2.5)  # two SYNs
    reload(lab, client="192.168.77.0/24")
    wait_until("the network in force", lambda: lab.client.call("probe", address=LOGIN, port=5190,
                                                               timeout=1.0)["outcome"] == "connected")
    go_online(lab, PORT + 1, CLIENT, UIN + 6, "y")
    peer_gets_in(lab, PORT + 1, uin=UIN + 6)


@case(zones=[], each={"masquerade": {"key": "masquerade", "value": "yes"}, "table": {"key": "table", "value": "other"},
                      "queue-peer": {"key": "queue-peer", "value": 77},
                      "mark-mask": {"key": "mark-mask", "value": "0x60000000"}, "state": {"key": "state", "value": "none"}})
def needs_a_restart(lab, key, value):
    """NOT: a change of what can't change in flight is refused as a whole: nothing of that file comes into force. MUST:
    the log names the key and says that a restart is needed; everything goes on; a later good file counts."""
    go_online(lab)
    peer_gets_in(lab, name="held")
    chains = base_chains(lab)
    old = lab.config[key] if key in lab.config else None
    reload(lab, **{key: value, "port-range": "20050-20099"})
    wait_log(lab, key, "restart")
    session_alive(lab, UIN)
    wait_open(lab)
    alive(lab)
    peer_gets_in(lab)
    expect_equal(base_chains(lab), chains, "base chains")
    expect_equal(lab.run_in("gw", ["nft", "list", "tables"]).count("table inet"), 2, "tables")
    reload(lab, **{key: old, "port-range": "20000-20010"})
    lab.client.call("listen", port=20011, uin=UIN)
    wait_until("the good file in force", lambda: log_lines(lab, "reload") or log_lines(lab, "read"))
    mark = lab.server.mark()
    lab.client.call("announce", port=20011)
    lab.server.wait("status", since=mark)
    session_alive(lab, UIN)
    expect(not lab.exactly(CLIENT, 20011), "a port outside the range of the later file")


@case(zones=[])
def bad_file(lab):
    """NOT: a file with errors, an unreadable or a missing one changes nothing. MUST: the log says file, line, column
    and what was expected; flows and pinholes stay, and the corrected file counts."""
    go_online(lab)
    peer_gets_in(lab, name="held")
    lab.write_config()
    with open(lab.config_path) as file:
        good = file.read()
    lines = good.splitlines()
    for text, line, word in ((good.replace("port-range = 20000-20099", "port-range = 20050-20040"), None, "port-range"),
                             (good + "no-such-key = 1\n", len(lines) + 1, "no-such-key"),
                             ("port-range = 20050-20099\n" + good + "keep = soon\n", len(lines) + 2, "keep"),
                             ("\x00\x01" * 5000, 1, "icqgate.conf")):
        with open(lab.config_path, "w") as file:
            file.write(text)
        lab.daemon.send_signal(signal.SIGHUP)
        place = rf"icqgate\.conf:{line or lines.index('port-range = 20000-20099') + 1}:\d+"
        wait_until(f"a line with {place} and {word}", lambda place=place, word=word: [
            one for one in lab.daemon.log().splitlines() if re.search(place, one) and word in one])
        wait_open(lab)
        alive(lab)
    os.rename(lab.config_path, lab.config_path + ".away")
    count = len(lab.daemon.log().splitlines())
    lab.daemon.send_signal(signal.SIGHUP)
    wait_until("a word about the missing file", lambda: len(lab.daemon.log().splitlines()) > count)
    wait_open(lab)
    peer_gets_in(lab)
    reload(lab, port_range="20050-20099")
    wait_shut(lab)


@case(zones=[], start=False)
def default_file(lab):
    """NOT: the file of /etc gone at a reload does not mean the defaults, with which any client would count: it is told,
    and the running configuration stays. MUST: a file that was not there at the start and is now counts; so does one that
    comes back."""
    folder = os.path.join(lab.directory, "etc")
    os.makedirs(os.path.join(folder, "icqgate"))
    path = os.path.join(folder, "icqgate", "icqgate.conf")
    options = [f"--{key}={value}" for key, value in lab.config.items() if value is not None and key != "client"]
    lab.daemon = Daemon(lab, options, before=f"cp -a /etc/ld.so.cache {folder}\nmount --bind {folder} /etc", config=None)
    lab.daemon.wait_ready()

    def answers(clients, word):
        count = len(log_lines(lab, word))
        if clients is None:
            os.unlink(path)
        else:
            with open(path, "w") as file:
                file.write(f"client = {clients}\n")
        lab.daemon.send_signal(signal.SIGHUP)
        wait_until(f"one more line with {word}", lambda: len(log_lines(lab, word)) > count)
        return "clients4" in lab.run_in("gw", ["nft", "list", "table", "inet", "icqgate"])
    expect(answers("192.168.77.0/24", "reloaded"), "a file that came after the start")
    wait_known(lab, LOGIN, LOGIN2)
    go_online(lab)
    expect(answers(None, "was there before"), "the defaults came into force")
    wait_open(lab)
    peer_gets_in(lab)
    expect(answers(CLIENT2, "reloaded"), "the file come back")
    wait_shut(lab)
    lab.daemon.end()
    lab.daemon = Daemon(lab, options, before=f"mount --bind {folder} /etc", config=None)
    lab.daemon.wait_ready()
    expect(answers(None, "was there before"), "a file that was there at the start")


@case(zones=[], start=False)
def while_it_starts(lab):
    """MUST: a SIGHUP that comes before the service is there leads to a reload once it is. NOT: it does not end it."""
    lab.write_config()
    good = lab.config_path + ".good"
    os.rename(lab.config_path, good)
    os.mkfifo(lab.config_path)
    lab.daemon = Daemon(lab, [])

    def opened():
        with contextlib.suppress(OSError):  # nobody reads it yet
            return os.open(lab.config_path, os.O_WRONLY | os.O_NONBLOCK)
    with open(wait_until("somebody to read the file", opened), "w") as pipe:  # and to wait for what comes
        lab.daemon.send_signal(signal.SIGHUP)
        with open(good) as file:
            text = file.read()
        with open(good, "a") as file:
            file.write("port-deny = 20042\n")
        os.rename(good, lab.config_path)  # what the reload finds
        pipe.write(text)
    lab.daemon.wait_ready()
    wait_log(lab, "reloaded")
    expect(not log_lines(lab, "nothing differs"), "it has reloaded the file of the start")
    go_online(lab)


@case(zones=[])
def reloads_under_load(lab):
    """MUST: during five reloads that add and remove a host, a port range and a client network, twenty verified flows
    echo on, and all pinholes stay. NOT: not one packet is lost, no base chain is made anew, no flow is cut."""
    for number in range(3):
        go_online(lab, PORT + number, uin=UIN + number, session=f"s{number}")
    for number in range(20):
        peer_gets_in(lab, PORT + number % 3, uin=UIN + number % 3, name=f"n{number}", echo=64)
    chains = base_chains(lab)
    beats = [lab.peer.start("beat", name=f"n{number}", seconds=6, pause=0.005) for number in range(20)]
    for number in range(5):
        reload(lab, login_host=[NAME, "service.lab.test"] if number % 2 else NAME,
               port_range=f"20000-20{90 + number:03}", client=["192.168.77.0/24"] + ["10.9.0.0/24"] * (number % 2))
        wait_until("the new host in force", lambda number=number: bool(
            known(lab.status(), "service.lab.test")) == bool(number % 2), 10)
        for one in range(3):
            wait_open(lab, PORT + one)
    results = [lab.peer.finish(number) for number in beats]
    expect_equal({result["outcome"] for result in results}, {"alive"}, "twenty flows")
    expect_equal(sum(result["retransmits"] for result in results), 0, f"packets lost: {results}")
    expect(min(result["echoes"] for result in results) > 50, f"hardly any traffic: {results}")
    expect_equal(base_chains(lab), chains, "base chains")
    for number in range(3):
        session_alive(lab, UIN + number, f"s{number}")
        peer_gets_in(lab, PORT + number, uin=UIN + number)
    expect_equal(login_addresses(lab), {LOGIN, LOGIN2}, "the login set")
