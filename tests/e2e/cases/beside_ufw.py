# SPDX-License-Identifier: GPL-2.0-or-later
"""icqgate beside ufw, as Debian has it: DEFAULT_FORWARD_POLICY=DROP, and a few routes allowed."""

from beside import OPEN_IN, OPEN_OUT, Room, again_online, story, undone, xt_rules
from case import case

PACKAGED = "/usr/share/ufw"  # the files that become those of /etc/ufw


def ufw(lab, **options):
    """Enabled, in a room of its own: its files are those of the package, not the machine's."""
    room = Room(lab, **options)
    room.sh(f"mkdir /etc/ufw; cp {PACKAGED}/ufw.conf {PACKAGED}/*.init {PACKAGED}/iptables/*.rules /etc/ufw;"
            " chmod 640 /etc/ufw/*.rules; mkdir /etc/ufw/applications.d; : >/etc/ufw/sysctl.conf")
    room.write("/etc/default/ufw", "IPV6=yes\nDEFAULT_INPUT_POLICY=\"DROP\"\nDEFAULT_OUTPUT_POLICY=\"ACCEPT\"\n"
               "DEFAULT_FORWARD_POLICY=\"DROP\"\nDEFAULT_APPLICATION_POLICY=\"SKIP\"\nMANAGE_BUILTINS=no\n"
               "IPT_SYSCTL=/etc/ufw/sysctl.conf\nIPT_MODULES=\"\"\n")
    room.sh("ufw --force enable")
    room.sh(f"ufw route allow in on lan0 out on wan0 proto tcp to any port {OPEN_OUT}")
    room.sh(f"ufw route allow in on wan0 out on lan0 proto tcp to any port {OPEN_IN}")
    room.sh("ufw reload")  # it has rewritten its own files: its rules for IPv6 differ from the first time's
    return room


@case(admin="open", start=False)
def beside_ufw(lab):
    """MUST: beside ufw, which drops what it has no route for, login and peers in both directions work once the lines of
    `emit --integrate ufw` were run, and still after `ufw reload`, and after it was disabled and enabled.
    NOT: without them nothing of ICQ passes; other traffic and ufw's other rules are the same before, with and after
    them; the lines run twice add nothing."""
    room = ufw(lab)
    lines, before, passed = story(lab, room, "ufw", lambda: xt_rules(room))
    for command in ("ufw reload", "ufw disable && ufw --force enable"):
        room.sh(command)
        again_online(lab)
    undone(lab, room, lines, before, passed, lambda: xt_rules(room))


@case(admin="open", start=False, masquerade=True)
def beside_ufw_masquerade(lab):
    """MUST: the same where the clients are hidden: a pinhole is DNATed, and ufw drops that as well without the lines.
    NOT: as above."""
    room = ufw(lab)
    lines, before, passed = story(lab, room, "ufw", lambda: xt_rules(room), masquerade=True)
    undone(lab, room, lines, before, passed, lambda: xt_rules(room), masquerade=True)
