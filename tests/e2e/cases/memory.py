# SPDX-License-Identifier: GPL-2.0-or-later
"""What a restart goes on from: addresses, sessions and pinholes of the state file, and what a bad file must not do."""

import base64
import json
import os
import signal
import stat

from case import case
from handles import expect, expect_equal, wait_until
from lab import CLIENT, CLIENT2, LOGIN, LOGIN2
from name_steps import alive, known, log_lines, login_addresses, never_allowed, session_alive, wait_known, wait_log
from steps import (PORT, UIN, UIN2, announce, go_online, online, peer_gets_in, peer_stays_out, pinholes,
                   start_icqgate, wait_open, wait_shut)
from zones import PRIVATE, far

SECRET = "correct horse battery"
ENDS = {"killed": {"number": signal.SIGKILL}, "stopped": {"number": signal.SIGTERM}}


def state(lab):
    """The file's content; {} as long as there is none, or what is there is a test's own nonsense."""
    try:
        with open(lab.state_path) as file:
            whole = json.load(file)
            return whole if isinstance(whole, dict) else {}
    except (FileNotFoundError, ValueError, RecursionError):
        return {}


def wait_saved(lab, port=PORT, session=True):
    """The open pinhole and its session are on disk."""
    wait_until("the pinhole in the state file", lambda: any(
        hole["port"] == port for hole in state(lab).get("pinholes", [])), 15, pause=0.1)
    expect(not session or any(one["uin"] == UIN and one["online"] for one in state(lab)["sessions"]),
           "no session saved")


def live_flows(lab, local):
    """conntrack's entries of that connection that are established."""
    return [line for line in lab.flows(5190) if f"sport={local[1]} " in line and "ESTABLISHED" in line]


def restart(lab):
    """Without DNS, so that everything it knows is what it remembers."""
    lab.zones.silence()
    lab.start_daemon()


@case(zones=[], each=ENDS)
def goes_on_from_the_file(lab, number):
    """MUST: after kill -9 and after SIGTERM, with DNS dead and even the table gone, addresses (source saved), the
    session (online) and the pinhole are back, peers get in and verified flows go on; the session's end still closes its
    port.
    NOT: a wrong user is refused; nothing comes in that was not there before."""
    go_online(lab)
    peer_gets_in(lab, name="held")
    wait_saved(lab)
    before = login_addresses(lab)
    lab.daemon.end(number)
    lab.nft("delete table inet icqgate")
    restart(lab)
    wait_open(lab)
    status = lab.wait_status("the session online", online)
    expect_equal({one["source"] for one in known(status).values()}, {"saved"}, "the source of the addresses")
    expect_equal(login_addresses(lab), before, "the login set")
    alive(lab)
    session_alive(lab, UIN)
    peer_gets_in(lab)
    peer_stays_out(lab, uin=UIN2, outcomes=["reset"])
    peer_stays_out(lab, port=PORT + 1, connect_timeout=0.8)
    lab.client.call("logout")
    wait_shut(lab)
    peer_stays_out(lab, connect_timeout=0.8)


@case(zones=[])
def follows_the_session_on(lab):
    """MUST: stopped and started again with no byte of the session in between, a new announcement on the old connection
    is followed: the new port opens, the old one closes. NOT: nothing opens before it is announced."""
    go_online(lab)
    wait_saved(lab)
    expect_equal(lab.daemon.end(), 0, "exit status")
    restart(lab)
    wait_open(lab)
    lab.client.call("listen", port=PORT + 1, uin=UIN)
    peer_stays_out(lab, port=PORT + 1, connect_timeout=0.8)
    announce(lab, PORT + 1)
    wait_open(lab, PORT + 1)
    wait_shut(lab, PORT)
    peer_gets_in(lab, PORT + 1)
    lab.server.call("kick", uin=UIN)
    wait_shut(lab, PORT + 1)


@case(zones=[])
def bytes_were_missed(lab):
    """NOT: with bytes of the session lost while icqgate was down, a new announcement opens nothing: it is blind.
    MUST: what was open stays open while the session lives, and the next login is followed."""
    go_online(lab)
    wait_saved(lab)
    lab.daemon.end()
    session_alive(lab, UIN)
    restart(lab)
    wait_open(lab)
    lab.client.call("listen", port=PORT + 1, uin=UIN)
    announce(lab, PORT + 1)
    session_alive(lab, UIN)
    peer_stays_out(lab, port=PORT + 1, connect_timeout=1.0)
    expect(not lab.exactly(CLIENT, PORT + 1) and not pinholes(lab.status(), PORT + 1), "a blind session opened a port")
    wait_open(lab)
    peer_gets_in(lab)
    go_online(lab, PORT + 2, uin=UIN2, session="b")
    lab.client.call("logout")
    wait_shut(lab)
    wait_open(lab, PORT + 2)


@case(zones=[], each={"by-the-client": {"end": lambda lab: lab.client.call("logout")},
                      "by-reset": {"end": lambda lab: lab.client.call("logout", how="reset")},
                      "by-the-server": {"end": lambda lab: lab.server.call("drop", uin=UIN, how="fin")}})
def ended_meanwhile(lab, end):
    """NOT: a session that ended while icqgate was down has no pinhole after the start, nor does anybody get in.
    MUST: another one that lives on keeps its own."""
    local = go_online(lab)["local"]
    go_online(lab, PORT + 1, uin=UIN2, session="b")
    wait_saved(lab)
    wait_saved(lab, PORT + 1)
    lab.daemon.end()
    end(lab)
    wait_until("no flow of the session", lambda: not live_flows(lab, local), 10)
    restart(lab)
    wait_shut(lab)
    peer_stays_out(lab, connect_timeout=1.0)
    wait_open(lab, PORT + 1)
    peer_gets_in(lab, PORT + 1, uin=UIN2)
    expect_equal([one["uin"] for one in lab.status()["sessions"] if one["state"] == "online"], [UIN2], "sessions")


def change(text, section, **values):
    whole = json.loads(text)
    for entry in whole[section]:
        entry.update(values)
    return json.dumps(whole)


HOSTILE = {
    "truncated": lambda text: text[:len(text) // 2],
    "empty": lambda text: "",
    "no-json": lambda text: "\x00\xff icqgate" * 100,
    "another-json": lambda text: '[{"pinholes": []}]',
    "nested": lambda text: "[" * 100_000,
    "huge-number": lambda text: change(text, "pinholes", age=10 ** 40),
    "port-22": lambda text: change(text, "pinholes", port=22),
    "port-outside-range": lambda text: change(text, "pinholes", port=40000),
    "port-as-text": lambda text: change(text, "pinholes", port="20000"),
    "another-client": lambda text: change(text, "pinholes", client=CLIENT2),
    "unknown-session": lambda text: change(text, "pinholes", owner={"client": f"{CLIENT}:1234",
                                                                    "server": f"{LOGIN}:5190"}),
    "no-such-session": lambda text: json.dumps({**json.loads(text), "sessions": []}),
    "next-version": lambda text: json.dumps({**json.loads(text), "version": 1000}),
}


@case(zones=[], each={label: {"label": label} for label in HOSTILE})
def hostile_file(lab, label):
    """NOT: from a state file that is cut, of another kind, or names a pinhole of another client, a forbidden port or an
    unknown session, no port is opened. MUST: it says so in a warning that names the file, starts all the same, and a
    login works."""
    go_online(lab)
    wait_saved(lab)
    lab.daemon.end()
    lab.nft("delete table inet icqgate")
    with open(lab.state_path) as file:
        text = HOSTILE[label](file.read())
    with open(lab.state_path, "w", encoding="latin-1") as file:
        file.write(text)
    start_icqgate(lab)
    expect_equal(pinholes(lab.status()), [], "pinholes out of a hostile file")
    for port in (PORT, 22, 40000):
        expect(not lab.exactly(CLIENT, port) and not lab.exactly(CLIENT2, port), f"port {port} is in a set")
    peer_stays_out(lab, connect_timeout=0.8)
    expect(log_lines(lab, "state.json"), f"no word about the file in the log:\n{lab.daemon.log()}")
    go_online(lab, PORT + 1, uin=UIN2, session="b")
    wait_saved(lab, PORT + 1, session=False)


@case(zones=[])
def hostile_addresses(lab):
    """NOT: addresses in the state file that DNS could never have talked us into, of hosts that are not configured, or
    inside, reach no set. MUST: the good one beside them does."""
    wait_known(lab, LOGIN)
    wait_until("the addresses in the file", lambda: state(lab).get("addresses"), 15)
    lab.daemon.end()
    lab.nft("delete table inet icqgate")
    whole = state(lab)
    model = whole["addresses"][0]
    names = {"127.0.0.1": model["name"], CLIENT: model["name"], PRIVATE: model["name"], "224.0.0.1": model["name"],
             "192.168.77.1": model["name"], far(1): "elsewhere.lab.test", far(2): model["name"]}
    whole["addresses"] = [{**model, "address": address, "name": name} for address, name in names.items()]
    with open(lab.state_path, "w") as file:
        json.dump(whole, file)
    restart(lab)
    never_allowed(lab, *[address for address in names if address != far(2)])
    expect(login_addresses(lab) <= {far(2)}, f"the login set: {login_addresses(lab)}")


@case(zones=[], start=False)
def the_file_itself(lab):
    """MUST: mode 0600, replaced whole, complete at any moment. NOT: it holds no password, cookie or message text;
    `none` writes nothing; a file that others may write, or a link in its place, is not believed."""
    start_icqgate(lab)
    go_online(lab, cookie=0x5EC2E7AA)
    peer_gets_in(lab, name="held", cookie=0x5EC2E7AA)
    login = lab.client2.call("login_only", address=LOGIN, uin=UIN2, how="roast")
    lab.client.call("send_raw", data=(b"\x2a\x02\x10\x01" + len(SECRET).to_bytes(2, "big") + SECRET.encode()).hex())
    wait_saved(lab)
    first = os.stat(lab.state_path)
    expect_equal((stat.S_IMODE(first.st_mode), first.st_uid, first.st_nlink), (0o600, 0, 1), "mode, owner, links")
    announce(lab, PORT + 1, address=CLIENT, cookie=0x5EC2E7AA)
    wait_saved(lab, PORT + 1, session=False)
    expect(os.stat(lab.state_path).st_ino != first.st_ino, "written into, not replaced")
    lab.daemon.end()
    with open(lab.state_path, "rb") as file:
        data = file.read()
    for what, needle in (("a password", b"pw1000"), ("a text", SECRET.encode()), ("a cookie", str(0x5EC2E7AA).encode()),
                         ("a cookie in hex", b"5ec2e7aa"), ("the word", b"cookie"), ("the word", b"password")):
        expect(needle not in data.lower(), f"the state file holds {what}: {needle}")
    cookie = bytes.fromhex(login["cookie"])
    for form in (cookie, cookie.hex().encode(), base64.b64encode(cookie)):
        expect(form[:40] not in data, "the state file holds a login cookie")
    expect_equal(sorted(os.listdir(os.path.dirname(lab.state_path))), ["state.json"], "files left in the folder")
    os.chmod(lab.state_path, 0o666)
    lab.nft("delete table inet icqgate")
    restart(lab)
    expect_equal((login_addresses(lab), pinholes(lab.status())), (set(), []), "out of a file that anybody may write")
    expect(log_lines(lab, "state.json"), "no word about the file's mode")
    lab.daemon.end()
    lab.nft("delete table inet icqgate")
    os.rename(lab.state_path, lab.state_path + ".moved")
    os.chmod(lab.state_path + ".moved", 0o600)
    os.symlink(lab.state_path + ".moved", lab.state_path)
    restart(lab)
    expect_equal(login_addresses(lab), set(), "out of a link")
    lab.daemon.end()
    lab.config["state"] = "none"
    os.unlink(lab.state_path)
    lab.zones.speak()
    start_icqgate(lab)
    go_online(lab, session="c")
    lab.daemon.end()
    expect_equal(os.listdir(os.path.dirname(lab.state_path)), ["state.json.moved"], "files with state = none")


@case(zones=[], start=False)
def disk_full(lab):
    """MUST: on a full disk the service goes on, says so once, and saves again as soon as there is room.
    NOT: no half a file, nothing opened or closed for it."""
    folder = os.path.dirname(lab.state_path)
    lab.start_daemon(before=f"mount -t tmpfs -o size=64k,mode=700 state {folder}")
    wait_known(lab, LOGIN, LOGIN2)
    wait_until("a first file", lambda: lab.daemon.inside(f"cat {lab.state_path} 2>/dev/null || true"), 15)
    lab.daemon.inside(f"dd if=/dev/zero of={folder}/rest bs=4k 2>/dev/null || true")
    for number in range(3):
        go_online(lab, PORT + number, uin=UIN + number, session=f"s{number}")
        peer_gets_in(lab, PORT + number, uin=UIN + number)
    wait_log(lab, "state.json", timeout=20)
    lab.zones.set_login([LOGIN, LOGIN2, far(1)])
    wait_known(lab, far(1))
    lines = log_lines(lab, "state.json")
    expect_equal(len(lines), 1, f"lines about the full disk: {lines}")
    expect("space" in lines[0].lower() or "full" in lines[0].lower(), f"its reason: {lines[0]}")
    json.loads(lab.daemon.inside(f"cat {lab.state_path}"))
    lab.daemon.inside(f"rm {folder}/rest")
    announce(lab, PORT + 9, session="s0")
    wait_open(lab, PORT + 9)
    wait_until("the file anew", lambda: str(PORT + 9) in lab.daemon.inside(f"cat {lab.state_path}"), 30)
    peer_gets_in(lab, PORT + 1, uin=UIN + 1)
