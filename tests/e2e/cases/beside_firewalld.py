# SPDX-License-Identifier: GPL-2.0-or-later
"""icqgate beside firewalld with its nftables backend: the daemon itself, on a D-Bus of its own."""

import os

from beside import (DEAD, OPEN_IN, OPEN_OUT, Lines, Room, again_online, icq_blocked, icq_works, listeners,
                    nft_rules, story, traffic, undone)
from case import case
from handles import expect, expect_equal, wait_until
from steps import start_icqgate

BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=@FOLDER@/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="root"/><allow own="*"/><allow send_destination="*"/><allow send_type="method_call"/>
    <allow receive_sender="*"/><allow eavesdrop="true"/>
  </policy>
</busconfig>
"""
SETTINGS = "DefaultZone=public\nFirewallBackend=nftables\nLogDenied=off\nIPv6_rpfilter=no\nCleanupOnExit=yes\n"
# What systemd does with the unit that the lines write: its ExecStart runs, and ends.
SYSTEMCTL = r"""#!/bin/sh
echo "systemctl $*" >>"$ROOM/calls"
stop() {
  [ ! -e "$ROOM/service" ] || kill -- "-$(cat "$ROOM/service")"
  rm -f "$ROOM/service"
}
case "$*" in
  "restart icqgate-firewalld")
    stop
    setsid $(sed -n 's/^ExecStart=//p' /etc/systemd/system/icqgate-firewalld.service) \
      >"$ROOM/service.log" 2>&1 </dev/null &
    echo $! >"$ROOM/service" ;;
  "disable --now icqgate-firewalld") stop ;;
esac
"""


NAME = "org.fedoraproject.FirewallD1"
ASK_BUS = "dbus-send --system --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus."


def start_firewalld(room):
    """Started as systemd takes it: it has its name on the bus, and perhaps no table yet."""
    daemon = room.started("firewalld", ["/usr/sbin/firewalld", "--nofork", "--nopid"])
    wait_until("firewalld", lambda: "true" in room.sh(f"{ASK_BUS}NameHasOwner string:{NAME}") or not daemon.alive(), 30)
    expect(daemon.alive(), f"firewalld has ended: {daemon.log()}")
    return daemon


def firewalld(lab, *commands, places=(), stubs=None):
    """Its daemon, with these permanent settings."""
    room = Room(lab, places=["/usr/local/sbin", "/var/log", *places], stubs={"systemctl": SYSTEMCTL, **(stubs or {})})
    room.sh("mkdir -p /etc/systemd/system")
    room.write("/etc/firewalld/firewalld.conf", SETTINGS)
    bus = os.path.join(room.folder, "bus")
    room.write(f"{bus}.conf", BUS.replace("@FOLDER@", room.folder))
    room.started("dbus", ["dbus-daemon", f"--config-file={bus}.conf", "--nofork", "--nopidfile"])
    # Its socket is there before it hears.
    wait_until("the private D-Bus", lambda: room.try_sh(f"{ASK_BUS}GetId")[0] == 0)
    daemon = start_firewalld(room)
    room.sh("firewall-cmd --state")
    for command in commands:
        room.sh(f"firewall-cmd --permanent {command}")
    if commands:
        room.sh("firewall-cmd --reload")
    return room, daemon


SIDES = ("--zone internal --add-interface lan0", "--zone public --add-interface wan0")


def policy(name, ingress, egress, what):
    return (f"--new-policy {name}", f"--policy {name} --add-ingress-zone {ingress}",
            f"--policy {name} --add-egress-zone {egress}", f"--policy {name} {what}")


@case(admin="open", start=False, config={"outbound": "check"})
def beside_firewalld(lab):
    """MUST: beside firewalld, which rejects what no policy lets through, login and peers in both directions work once
    the lines of `emit --integrate firewalld` were run, and still after `firewall-cmd --reload` and a restart of
    firewalld.
    NOT: without them nothing of ICQ passes, not even where a direct rule accepts the mark; other traffic and
    firewalld's other rules are the same before, with and after them; the lines run twice add nothing."""
    room, daemon = firewalld(lab, *SIDES, *policy("out", "internal", "public", f"--add-port {OPEN_OUT}/tcp"),
                             *policy("in", "public", "internal", f"--add-port {OPEN_IN}/tcp"))

    def rules():
        return nft_rules(room, "inet firewalld")

    def check_passes(lines):
        wait_until("the line, back in firewalld's table", lambda: room.try_sh(lines.under("check"))[0] == 0, pause=0.1)

    def blocked(lab):
        icq_blocked(lab)
        direct = "ipv4 filter FORWARD 0 -m mark ! --mark 0x0/0x06000000 -j ACCEPT"
        room.sh(f"firewall-cmd --direct --add-rule {direct}")
        icq_blocked(lab)
        room.sh(f"firewall-cmd --direct --remove-rule {direct}")

    def add():
        room.sh(added.text)
        check_passes(added)
    added = Lines(lab, "firewalld")
    lines, before, passed = story(lab, room, "firewalld", rules, add=add, blocked=blocked)
    room.sh("firewall-cmd --reload")
    check_passes(lines)
    again_online(lab)
    daemon.end()
    daemon = start_firewalld(room)
    room.sh("systemctl restart icqgate-firewalld")  # its unit is PartOf firewalld's, and After it
    check_passes(lines)
    again_online(lab)
    undone(lab, room, lines, before, passed, rules)
    expect(not room.sh("ls /usr/local/sbin /etc/systemd/system | grep icqgate || true"), "files are left behind")


@case(admin="open", start=False, masquerade=True)
def beside_firewalld_masquerade(lab):
    """MUST: where firewalld lets the clients out, a hidden client's login, pinhole and peers need no line at all:
    firewalld accepts what is DNATed.
    NOT: the rest stays as firewalld has it; another port of the gateway stays shut."""
    room, _ = firewalld(lab, *SIDES, *policy("icqgate-out", "internal", "public", "--set-target ACCEPT"))
    before = nft_rules(room, "inet firewalld")
    listeners(lab)
    start_icqgate(lab)
    icq_works(lab, masquerade=True)
    expect_equal(nft_rules(room, "inet firewalld"), before, "firewalld's rules")
    expect("accept comment" not in "\n".join(before), "a line was there from the start")


@case(admin="open", start=False, masquerade=True, config={"outbound": "check"})
def beside_firewalld_only_icq(lab):
    """MUST: where firewalld lets hidden clients do nothing at all, its lines and `outbound = check` are enough for
    login, pinhole and peers.
    NOT: before the lines nothing of ICQ passes, and nothing else ever does."""
    room, _ = firewalld(lab, *SIDES)
    lines = Lines(lab, "firewalld")
    listeners(lab)
    start_icqgate(lab)
    icq_blocked(lab)
    room.sh(lines.text)
    wait_until("the line in firewalld's table", lambda: room.try_sh(lines.under("check"))[0] == 0, pause=0.1)
    icq_works(lab, masquerade=True)
    for what, outcome in traffic(lab, routed=False).items():
        expect(outcome in DEAD, f"{what}: {outcome}")
