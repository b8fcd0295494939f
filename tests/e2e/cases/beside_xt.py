# SPDX-License-Identifier: GPL-2.0-or-later
"""icqgate beside rules made with iptables-nft: an administrator's own, and Docker's."""

from beside import OPEN_IN, OPEN_OUT, Room, again_online, story, undone, xt_rules
from case import case
from handles import expect, expect_equal

OWN = f"""*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i lan0 -o wan0 -p tcp -m tcp --dport {OPEN_OUT} -j ACCEPT
-A FORWARD -i wan0 -o lan0 -p tcp -m tcp --dport {OPEN_IN} -j ACCEPT
COMMIT
"""

# What dockerd (20.10.24, Debian 12's) makes at its start, as iptables-save shows it; but in DOCKER-USER, before its
# last rule, what the administrator has there for the LAN.
DOCKER = f"""*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-USER -i lan0 -o wan0 -p tcp -m tcp --dport {OPEN_OUT} -j ACCEPT
-A DOCKER-USER -i wan0 -o lan0 -p tcp -m tcp --dport {OPEN_IN} -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
"""
UNIT = "/etc/systemd/system/docker.service.d/icqgate.conf"


@case(admin="open", start=False)
def beside_iptables(lab):
    """MUST: beside rules of iptables-nft whose FORWARD drops, login and peers in both directions work once the lines of
    `emit --integrate iptables` were run.
    NOT: without them nothing of ICQ passes; other traffic and the other rules are the same before, with and after
    them; the lines run twice add nothing."""
    room = Room(lab)
    room.sh("iptables-restore", OWN)
    room.sh("ip6tables-restore", OWN)
    undone(lab, room, *story(lab, room, "iptables", lambda: xt_rules(room)), lambda: xt_rules(room))


def docker_starts(room):
    """The lines of the unit that systemd runs when Docker has started."""
    for line in room.sh(f"cat {UNIT}").splitlines():
        if line.startswith("ExecStartPost=-"):
            room.try_sh(line.removeprefix("ExecStartPost=-"))


@case(admin="open", start=False)
def beside_docker(lab):
    """MUST: beside the rules that Docker makes (FORWARD drops, DOCKER-USER is the administrator's) login and peers in
    both directions work once the lines of `emit --integrate docker` were run; where DOCKER-USER is made anew, the unit
    among them puts the line back.
    NOT: without them nothing of ICQ passes; other traffic and the other rules are the same before, with and after
    them; another start of Docker does not add the line twice."""
    room = Room(lab, stubs={"systemctl": ""})
    room.sh("iptables-restore", DOCKER)
    lines, before, passed = story(lab, room, "docker", lambda: xt_rules(room))
    expect_equal(set(room.calls()), {"systemctl daemon-reload"}, "what systemd was told")
    after = xt_rules(room)
    docker_starts(room)
    expect_equal(xt_rules(room), after, "the rules after another start of Docker")
    room.sh("iptables -F; iptables -t nat -F; iptables-restore", DOCKER)  # as after a start of the machine
    expect_equal(xt_rules(room), before, "Docker's rules, made anew")
    docker_starts(room)
    expect_equal(xt_rules(room), after, "the rules after a start of the machine and of Docker")
    again_online(lab)
    undone(lab, room, lines, before, passed, lambda: xt_rules(room))
    expect(room.try_sh(f"ls {UNIT}")[0], "the unit is still there")
