# SPDX-License-Identifier: GPL-2.0-or-later
"""icqgate beside nftables rulesets: an administrator's /etc/nftables.conf, and what OpenWrt's fw4 makes."""

from beside import DEAD, OPEN_IN, OPEN_OUT, Room, icq_works, listeners, nft_rules, story, undone
from case import case
from handles import expect, wait_until
from lab import LOGIN, OUTSIDE
from steps import go_online, peer_gets_in, peer_stays_out, start_icqgate

# Debian's own example of a ruleset with a forward chain; `flush ruleset` takes icqgate's table away as well.
CONF = f"""#!/usr/sbin/nft -f

flush ruleset

table inet filter {{
	chain input {{
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		iifname "lo" accept
	}}
	chain forward {{
		type filter hook forward priority filter; policy drop;
@LINE@		ct state established,related accept
		iifname "lan0" oifname "wan0" tcp dport {OPEN_OUT} accept
		iifname "wan0" oifname "lan0" tcp dport {OPEN_IN} accept
	}}
	chain output {{
		type filter hook output priority filter; policy accept;
	}}
}}
"""


@case(admin="open", start=False, config={"mark-mask": "0x00f00000"})
def beside_nftables(lab):
    """MUST: beside a ruleset whose forward chain drops, login and peers in both directions work once that chain
    includes what `emit --integrate nftables` prints (here for a mark-mask of its own), or once the command in it was
    run; the file may be loaded again, though it flushes the ruleset.
    NOT: without the line nothing of ICQ passes; other traffic and the other rules are the same before, with and after
    it."""
    room = Room(lab)
    conf, fragment = f"{room.folder}/nftables.conf", f"{room.folder}/icqgate-mark.nft"

    def load(line=""):
        room.write(conf, CONF.replace("@LINE@", line))
        room.sh(f"nft -f {conf}")
        if lab.daemon:
            wait_until("icqgate's table, flushed with the rest", lambda: lab.elements(LOGIN))

    def add():
        room.write(fragment, lab.icqgate("emit", "--integrate", "nftables", "--config", lab.config_path)[1])
        load(f'\t\tinclude "{fragment}"\n')

    def rules():
        return nft_rules(room, "inet filter")
    load()
    lines, before, passed = story(lab, room, "nftables", rules, add=add)
    undone(lab, room, lines, before, passed, rules, undo=load)
    room.sh(lines.under("now"))
    room.sh(lines.under("check"))
    icq_works(lab)


# What fw4 prints for `lan` = lan0 and `wan` = wan0, from its template (firewall4, ruleset.uc): defaults but for a rule
# that lets something in, @LAN@ (what the zone of the LAN is let out to) and @DNAT@ (there if the zone of wan has a
# `config redirect`). @PRE@: its includes of the folder chain-pre/forward.
FW4 = f"""table inet fw4
flush table inet fw4

table inet fw4 {{
	chain input {{
		type filter hook input priority filter; policy drop;
		iif "lo" accept comment "!fw4: Accept traffic from loopback"
		ct state vmap {{ established : accept, related : accept }} comment "!fw4: Handle inbound flows"
		tcp flags & (fin | syn | rst | ack) == syn jump syn_flood comment "!fw4: Rate limit TCP syn packets"
		iifname "lan0" jump input_lan comment "!fw4: Handle lan IPv4/IPv6 input traffic"
		iifname "wan0" jump input_wan comment "!fw4: Handle wan IPv4/IPv6 input traffic"
		jump handle_reject
	}}
	chain forward {{
		type filter hook forward priority filter; policy drop;
@PRE@
		ct state vmap {{ established : accept, related : accept }} comment "!fw4: Handle forwarded flows"
		iifname "lan0" jump forward_lan comment "!fw4: Handle lan IPv4/IPv6 forward traffic"
		iifname "wan0" jump forward_wan comment "!fw4: Handle wan IPv4/IPv6 forward traffic"
		jump handle_reject
	}}
	chain output {{
		type filter hook output priority filter; policy accept;
		oif "lo" accept comment "!fw4: Accept traffic towards loopback"
		ct state vmap {{ established : accept, related : accept }} comment "!fw4: Handle outbound flows"
		oifname "lan0" jump output_lan comment "!fw4: Handle lan IPv4/IPv6 output traffic"
		oifname "wan0" jump output_wan comment "!fw4: Handle wan IPv4/IPv6 output traffic"
	}}
	chain handle_reject {{
		meta l4proto tcp reject with tcp reset comment "!fw4: Reject TCP traffic"
		reject with icmpx type port-unreachable comment "!fw4: Reject any other traffic"
	}}
	chain syn_flood {{
		limit rate 25/second burst 50 packets return comment "!fw4: Accept SYN packets below rate-limit"
		drop comment "!fw4: Drop excess packets"
	}}
	chain input_lan {{
		jump accept_from_lan
	}}
	chain output_lan {{
		jump accept_to_lan
	}}
	chain forward_lan {{
		@LAN@
		jump accept_to_lan
	}}
	chain accept_from_lan {{
		iifname "lan0" counter accept comment "!fw4: accept lan IPv4/IPv6 traffic"
	}}
	chain accept_to_lan {{
		oifname "lan0" counter accept comment "!fw4: accept lan IPv4/IPv6 traffic"
	}}
	chain input_wan {{
		meta nfproto ipv4 icmp type 8 counter accept comment "!fw4: Allow-Ping"
		jump reject_from_wan
	}}
	chain output_wan {{
		jump accept_to_wan
	}}
	chain forward_wan {{
		tcp dport {OPEN_IN} counter jump accept_to_lan comment "!fw4: Allow-In"
		@DNAT@
		jump drop_to_wan
	}}
	chain accept_to_wan {{
		meta nfproto ipv4 oifname "wan0" ct state invalid counter drop comment "!fw4: Prevent NAT leakage"
		oifname "wan0" counter accept comment "!fw4: accept wan IPv4/IPv6 traffic"
	}}
	chain reject_from_wan {{
		iifname "wan0" counter jump handle_reject comment "!fw4: reject wan IPv4/IPv6 traffic"
	}}
	chain drop_to_wan {{
		oifname "wan0" counter drop comment "!fw4: drop wan IPv4/IPv6 traffic"
	}}
}}
"""
LAN_OUT = 'jump accept_to_wan comment "!fw4: Accept lan to wan forwarding"'
LAN_SHUT = f'tcp dport {OPEN_OUT} counter jump accept_to_wan comment "!fw4: Allow-Out"'
DNAT = 'ct status dnat accept comment "!fw4: Accept port forwards"'
# fw4's own way with its includes: a line for each file that is there.
PROGRAM = r"""#!/bin/sh
echo "fw4 $*" >>"$ROOM/calls"
[ "$1" = reload ] || exit 1
: >"$ROOM/pre"
for file in /usr/share/nftables.d/chain-pre/forward/*.nft; do
  [ ! -e "$file" ] || echo "		include \"$file\"" >>"$ROOM/pre"
done
sed -e "/@PRE@/r $ROOM/pre" -e /@PRE@/d "$ROOM/fw4.nft" | nft -f -
"""


def fw4(lab, lan, dnat=""):
    room = Room(lab, places=["/usr/share"], stubs={"fw4": PROGRAM})
    room.write(f"{room.folder}/fw4.nft", FW4.replace("@LAN@", lan).replace("@DNAT@", dnat))
    room.sh("fw4 reload")
    return room


@case(admin="open", start=False, config={"outbound": "check"})
def beside_fw4(lab):
    """MUST: beside the ruleset of OpenWrt's fw4, with a LAN that is not let out, login and peers in both directions
    work once the lines of `emit --integrate fw4` were run; the file of theirs is kept by a system upgrade.
    NOT: without them nothing of ICQ passes; other traffic and fw4's other rules are the same before, with and after
    them; the lines run twice add nothing."""
    room = fw4(lab, LAN_SHUT)

    def rules():
        return nft_rules(room, "inet fw4")
    lines, before, passed = story(lab, room, "fw4", rules)
    kept = room.sh("cat /etc/sysupgrade.conf").splitlines()
    expect(len(kept) == 1 and not room.try_sh(f"ls {kept[0]}")[0], f"/etc/sysupgrade.conf names other files: {kept}")
    undone(lab, room, lines, before, passed, rules)
    expect(not room.sh("cat /etc/sysupgrade.conf"), "a line is left in /etc/sysupgrade.conf")


@case(admin="open", start=False, masquerade=True,
      each={"port-forward": {"dnat": DNAT}, "no-port-forward": {"dnat": ""}})
def beside_fw4_masquerade(lab, dnat):
    """MUST: beside fw4's defaults (the LAN is let out) a hidden client goes online, and a peer reaches its pinhole: by
    itself where fw4 has a port forward of any kind, because it then accepts what is DNATed; else with the lines.
    NOT: without a port forward and without the lines the peer stays out; another port stays shut."""
    room = fw4(lab, LAN_OUT, dnat)
    listeners(lab)
    start_icqgate(lab)
    go_online(lab)
    if not dnat:
        peer_stays_out(lab, to=OUTSIDE, outcomes=DEAD, connect_timeout=2.0)
        room.sh(lab.icqgate("emit", "--integrate", "fw4", "--config", lab.config_path)[1])
    peer_gets_in(lab, to=OUTSIDE)
    peer_stays_out(lab, to=OUTSIDE, port=20001, outcomes=DEAD, connect_timeout=1.0)
