# SPDX-License-Identifier: GPL-2.0-or-later
"""doctor on a real kernel: each trap is set, found, taken away by the very command that doctor prints, and found no more.

Remedies that end in `systemctl ...` are run without it: the lab has no systemd, and starts icqgate by itself.
"""

import json
import os
import re
import subprocess

from case import case
from handles import Process, expect, expect_equal, wait_until
from lab import OUTSIDE
from steps import PORT, expect_failure, go_online, log_in, peer_gets_in, start_icqgate


def doctor(lab, *arguments):
    """-> (exit status, findings)"""
    lab.write_config()
    status, out, err = lab.icqgate("doctor", "--json", "--config", lab.config_path, *arguments, check=False)
    expect(status in (0, 1) and out, f"doctor: exit {status}: {err}")
    findings = json.loads(out)["findings"]
    expect_equal(status, 1 if findings else 0, f"exit status with {len(findings)} findings")
    return findings


def found(lab, kind, count=1):
    """The findings, all of that kind."""
    findings = doctor(lab)
    expect_equal([one["kind"] for one in findings], [kind] * count,
                 f"what doctor finds: {json.dumps(findings, indent=1)}")
    for one in findings:
        for key in ("what", "follows", "remedy"):
            expect(one[key] and "\n" not in one[key], f"{key} is no line: {one[key]!r}")
    return findings


def nothing(lab):
    findings = doctor(lab)
    expect_equal(findings, [], "what doctor finds where nothing is wrong")


def apply(lab, finding):
    """Runs the remedy as printed, in the gateway; its changes of the configuration are taken over."""
    line = re.sub(r" && systemctl (restart|reload) icqgate$", "", finding["remedy"])
    subprocess.run(["ip", "netns", "exec", lab.namespace("gw"), "sh", "-c", line], check=True, capture_output=True,
                   text=True)
    config = {}
    with open(lab.config_path) as file:
        for one in file:
            if "=" in one:
                key, value = (part.strip() for part in one.split("=", 1))
                config[key] = config[key] + [value] if key in config else [value]
    lab.config.update(config)


def remedy(lab, kind):
    """Found, its remedy applied, gone. -> the finding"""
    finding = found(lab, kind)[0]
    apply(lab, finding)
    nothing(lab)
    return finding


FORWARD = "table inet strict {{ chain forward {{ type filter hook forward priority {}; policy {}; {} }}; }}"


@case(start=False, admin="open")
def doctor_finds_nothing(lab):
    """NOT: no finding in an open gateway, with icqgate running or not, beside unrelated rules, and beside Docker's usual
    tables with the mark line."""
    nothing(lab)
    lab.nft(FORWARD.format("filter", "accept", "ct state invalid drop; tcp dport { 25, 6000-6063 } drop;"
                           " ip saddr 10.0.0.0/8 drop; limit rate over 100000/second drop; meta mark set mark | 0x80000;"))
    nothing(lab)
    lab.run_in("gw", ["iptables-nft-restore"], input="""*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:DOCKER-USER - [0:0]
:DOCKER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A DOCKER-USER -m mark ! --mark 0x0/0x06000000 -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
COMMIT
""")
    nothing(lab)
    start_icqgate(lab)
    nothing(lab)
    go_online(lab)
    peer_gets_in(lab)
    status, out, _ = lab.icqgate("doctor", "--config", lab.config_path)
    expect_equal((status, out), (0, "nothing found that is in ICQ's way\n"), "doctor for people")


@case(start=False)
def doctor_in_the_lab(lab):
    """NOT: no finding with the lab's own default-deny firewall, which has the README's line."""
    nothing(lab)


DROPS = {
    "policy": {"rules": FORWARD.format("filter", "drop", "")},
    "rule": {"rules": FORWARD.format("filter", "accept", "tcp dport 5190 drop; tcp sport 5190 drop;")},
    "reject-in-chain": {"rules": "table inet strict { chain sub { meta l4proto tcp counter reject with tcp reset; };"
                                 " chain forward { type filter hook forward priority 10; iifname \"lan0\" jump sub; }; }"},
    "postrouting": {"rules": "table inet strict { chain out { type filter hook postrouting priority 0; policy drop; meta l4proto udp accept; }; }"},
}


@case(start=False, admin="open", config={"outbound": "check"}, each=DROPS)
def doctor_drop(lab, rules):
    """MUST: another table that drops is found; ICQ does not work before its remedy, and does after it.
    NOT: nothing is found any more then."""
    lab.nft(rules)
    finding = found(lab, "drop")[0]
    expect("strict" in finding["what"] and finding["certain"], f"where and how: {finding}")
    start_icqgate(lab)
    expect_failure("a login before the remedy", log_in, lab)
    apply(lab, finding)
    nothing(lab)
    go_online(lab)
    peer_gets_in(lab)


@case(start=False, admin="open")
def doctor_drop_before(lab):
    """MUST: a chain that drops before icqgate's is found in spite of its mark line, and the new priority helps."""
    lab.nft(FORWARD.format("-100", "drop", "meta mark & 0x06000000 != 0 accept;"
                           " udp dport 53 accept; udp sport 53 accept;"))
    finding = found(lab, "drop")[0]
    expect("before icqgate" in finding["what"], f"what: {finding}")
    daemon = lab.start_daemon()
    expect_failure("a login before the remedy", log_in, lab)
    daemon.end()
    apply(lab, finding)
    expect_equal(lab.config["priority"], ["-101"], "the remedy's priority")
    nothing(lab)
    start_icqgate(lab)
    go_online(lab)
    peer_gets_in(lab)


@case(start=False, admin="open", each={"nft": {"program": "iptables-nft"}, "legacy": {"program": "iptables-legacy"}})
def doctor_iptables(lab, program):
    """MUST: iptables of both kinds that drops is found, ICQ does not work before the remedy, and does after it."""
    lab.shell("gw", f"{program} -P FORWARD DROP && {program} -A FORWARD -i lan0 -p udp --dport 53 -j ACCEPT"
                    f" && {program} -A FORWARD -m conntrack --ctstate ESTABLISHED -m comment --comment 'of -j DROP' -j ACCEPT")
    finding = found(lab, "drop")[0]
    expect(finding["remedy"].startswith(program), f"the remedy's program: {finding}")
    start_icqgate(lab)
    expect_failure("a login before the remedy", log_in, lab)
    apply(lab, finding)
    nothing(lab)
    go_online(lab)
    peer_gets_in(lab)


@case(start=False, admin="open")
def doctor_prerouting(lab):
    """MUST: a drop before conntrack, a notrack, and a drop of DNS on the gateway itself are found, and their remedies
    help."""
    lab.nft("table inet early { chain pre { type filter hook prerouting priority raw; tcp dport 20000-20099 drop; }; }")
    remedy(lab, "drop")
    lab.nft("table inet late { chain pre { type filter hook prerouting priority raw; tcp dport 5190 notrack; }; }")
    remedy(lab, "notrack")
    lab.nft("table inet own { chain out { type filter hook output priority 0; tcp dport 53 accept; udp dport 53 reject; }; }")
    findings = doctor(lab)
    expect_equal(sorted(one["kind"] for one in findings), ["dns", "drop"], f"{findings}")
    apply(lab, next(one for one in findings if one["kind"] == "drop"))
    nothing(lab)
    lab.shell("gw", "iptables-nft -t raw -A PREROUTING -p tcp --sport 5190 -j DROP")
    remedy(lab, "drop")
    lab.shell("gw", "iptables-legacy -t raw -A PREROUTING -p tcp -m multiport --dports 5190,5191 -j CT --notrack")
    remedy(lab, "notrack")
    lab.nft("table netdev edge { chain in { type filter hook ingress device wan0 priority 0; tcp dport 20000 drop; }; }")
    remedy(lab, "drop")
    start_icqgate(lab)
    go_online(lab)
    peer_gets_in(lab)


DNATS = {
    "one-port": {"rules": "table ip forwards { chain pre { type nat hook prerouting priority dstnat - 5;"
                          " iifname \"wan0\" tcp dport 20000 dnat to 192.168.77.11; }; }", "port": 20000},
    "map": {"rules": "table ip forwards { map m { type inet_service : ipv4_addr; elements = { 20000 : 192.168.77.11 } };"
                     " chain pre { type nat hook prerouting priority dstnat - 5; dnat to tcp dport map @m; }; }",
            "port": 20000},
    "everything": {"rules": "table ip forwards { chain pre { type nat hook prerouting priority dstnat - 5;"
                            " iifname \"wan0\" meta l4proto tcp redirect to :9; }; }", "port": None},
}


@case(start=False, masquerade=True, each=DNATS)
def doctor_dnat(lab, rules, port):
    """MUST: a translation that takes a port of the range is found; the remedy denies the port, or leaves ICQ out of a
    rule for everything, and peers get in."""
    lab.nft(rules)
    finding = remedy(lab, "dnat")
    expect("20000" in finding["what"], f"the port: {finding}")
    start_icqgate(lab)
    own = PORT + 1 if port else PORT
    go_online(lab, own)
    peer_gets_in(lab, port=own, to=OUTSIDE)


@case(start=False, admin="open")
def doctor_marks(lab):
    """MUST: a rule that overwrites the ct mark is found, and its remedy leaves our flows alone, which pass; bits of ours
    in a rule or an ip rule are found, and another mask is none of theirs."""
    lab.nft("table inet marker { chain pre { type filter hook prerouting priority mangle; ct mark set 0x1; }; }")
    finding = remedy(lab, "mark")
    expect("ct mark set 0x00000001" in finding["rule"], f"the rule: {finding}")
    daemon = lab.start_daemon()
    go_online(lab)
    peer_gets_in(lab)
    daemon.end()
    lab.nft("delete table inet marker\n"
            "table inet marker { chain passing { type filter hook forward priority mangle; meta mark set mark | 0x4000000; }; }")
    lab.shell("gw", "ip rule add fwmark 0x2000000/0x2000000 table 100")
    apply(lab, found(lab, "mark", 2)[0])
    nothing(lab)
    lab.nft("delete table inet marker\ndelete table inet icqgate")
    start_icqgate(lab)
    go_online(lab)
    peer_gets_in(lab)


@case(start=False, admin="open")
def doctor_queues(lab):
    """MUST: a rule of another that uses our queue's number is found, and another number helps."""
    lab.shell("gw", "iptables-nft -A INPUT -p tcp --dport 2222 -j NFQUEUE --queue-num 5191 --queue-bypass")
    finding = remedy(lab, "queue")
    expect("queue-peer" in finding["what"], f"which queue: {finding}")
    start_icqgate(lab)
    go_online(lab)
    peer_gets_in(lab)


@case(start=False, admin="open")
def doctor_queue_taken(lab):
    """MUST: a queue that another icqgate reads is found, and so is a table of our name that is not ours; with the
    remedies icqgate starts.
    NOT: our own service's queues are none."""
    other = start_other(lab)
    for kind in ("queue", "queue", "queue"):
        findings = doctor(lab)
        expect(findings and findings[0]["kind"] == kind, f"what doctor finds: {findings}")
        apply(lab, findings[0])
    expect(not [one for one in doctor(lab) if "is read by another program" in one["what"]], "queues are still taken")
    other.end()
    lab.nft("delete table inet other")
    nothing(lab)
    lab.nft("table inet icqgate { chain c { }; }")
    remedy(lab, "table")
    start_icqgate(lab)
    nothing(lab)


def start_other(lab):
    """A second icqgate: other table and socket, the same queues."""
    lab.write_config()
    path = os.path.join(lab.directory, "other.conf")
    with open(lab.config_path) as file, open(path, "w") as other:
        other.writelines(line for line in file if line.split(" ")[0] not in ("socket", "state"))
        other.write(f"table = other\nsocket = {lab.directory}/other.sock\nstate = {lab.directory}/other.json\n")
    process = Process(lab, "gw", [lab.binary, "run", "--config", path], stdin=subprocess.DEVNULL,
                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until("the other's queues", lambda: "5192" in lab.shell("gw", "cat /proc/net/netfilter/nfnetlink_queue"))
    return process


@case(start=False, admin="open", masquerade=True)
def doctor_host(lab):
    """MUST: forwarding off, a missing interface, a listener and the gateway's own ports in the range, a strict reverse
    path with two ways out, and DNS that does not answer are found; the remedies help. `check` warns of the
    configuration's part, and does not fail for it.
    NOT: without masquerade a listener of the gateway is none."""
    lab.shell("gw", "echo 0 > /proc/sys/net/ipv4/ip_forward")
    remedy(lab, "forward")

    lab.config["lan"] = "lan7"
    finding = found(lab, "interface")[0]
    expect("there are lan0" in finding["what"], f"what there is: {finding}")
    status, out, err = lab.icqgate("check", "--config", lab.config_path)
    expect(": ok" in out and "warning: lan = lan7: there is no such interface" in err, f"check: {out}{err}")
    apply(lab, finding)
    expect_equal(lab.config["lan"], ["lan0"], "lan, as the remedy sets it")
    nothing(lab)

    listener = Process(lab, "gw", ["/usr/bin/python3", "-c", "import socket, time\ns = socket.create_server(('', 20005))\n"
                                   "print('listens', flush=True)\ntime.sleep(1000)"], stdout=subprocess.PIPE, text=True)
    listener.popen.stdout.readline()
    finding = found(lab, "listener")[0]
    expect("0.0.0.0:20005" in finding["what"], f"who listens: {finding}")
    lab.config["masquerade"] = "no"
    nothing(lab)
    lab.config["masquerade"] = "yes"
    _, _, err = lab.icqgate("check", "--config", lab.config_path, "--masquerade", "yes")
    expect("20005" in err, f"check: {err}")
    remedy(lab, "listener")
    listener.end()
    listener.popen.stdout.close()

    lab.config["port-range"] = "40000-40049"
    remedy(lab, "ephemeral")
    lab.config["port-range"] = "20000-20099"

    lab.shell("gw", "ip route add default via 198.51.100.9 && ip route add default via 192.168.77.99 metric 9"
                    " && echo 1 > /proc/sys/net/ipv4/conf/wan0/rp_filter && echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter"
                    " && echo 0 > /proc/sys/net/ipv4/conf/lan0/rp_filter")
    remedy(lab, "rp-filter")

    lab.silence_dns()
    finding = found(lab, "dns")[0]
    expect("login.icq.com did not resolve" in finding["what"], f"DNS: {finding}")


@case(start=False, admin="open")
def doctor_changes_nothing(lab):
    """NOT: looking leaves no trace: the ruleset, iptables' tables and the sysctls are as they were.
    MUST: who is not root is told; a wrong option is a misuse."""
    lab.nft(FORWARD.format("filter", "drop", ""))
    look = ("nft -s -a list ruleset; cat /proc/net/ip_tables_names /proc/net/netfilter/nfnetlink_queue 2>/dev/null;"
            " sysctl -a 2>/dev/null | grep -E 'rp_filter|ip_forward|reserved'; ip rule; ip route")
    before = lab.shell("gw", look)
    found(lab, "drop")
    expect_equal(lab.shell("gw", look), before, "the gateway after doctor")
    status, out, err = lab.icqgate("doctor", "--jsn", check=False)
    expect_equal((status, out), (2, ""), f"a wrong option: {err}")
    done = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", lab.binary, "doctor"], capture_output=True,
                          text=True)
    expect_equal((done.returncode, done.stdout), (1, ""), "as nobody")
    expect("needs root" in done.stderr, f"as nobody: {done.stderr}")
