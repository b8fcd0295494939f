# SPDX-License-Identifier: GPL-2.0-or-later
"""The laboratory proves itself, without icqgate: actors understand each other, firewalls refuse, segments are cut."""

import json

from case import case
from direct import SHAPES
from handles import expect, expect_equal
from lab import BOS, CLIENT, DNS, LOGIN, LOGIN2, OUTSIDE, PEER, ROGUE
from steps import (PEER_UIN, PORT, UIN, announce, expect_failure, log_in, peer_gets_in, peer_stays_out, reachable,
                   unreachable)


@case(self_test=True, admin="open")
def lab_login(lab):
    """MUST: every way of logging in, in every cut, with every form of redirect.
    NOT: a wrong password, a login server told to refuse, a cookie used twice."""
    expect_equal(lab.client.call("lookup", host="login.icq.com", dns=DNS)["addresses"], [LOGIN, LOGIN2], "DNS")
    for number, (how, cut, redirect) in enumerate((
            ("md5", "whole", "198.51.100.7:5190"), ("md5-newer", "bytes", "198.51.100.7"),
            ("roast", "whole", "bos.lab.test:5190"), ("roast", "bytes", "bos.lab.test"))):
        lab.server.call("set", redirect=redirect)
        result = log_in(lab, uin=UIN + number, session=how + cut, how=how, cut=cut, dns=DNS)
        expect_equal(result["bos"], [BOS, 5190], f"{how} {cut} {redirect}")
    lab.server.call("set", redirect="198.51.100.7:5190")
    expect_failure("a wrong password", lab.client.call, "login", address=LOGIN, uin=UIN, password="no", session="x")
    lab.server.call("set", error=0x18)
    expect_failure("a refused login", lab.client.call, "login", address=LOGIN, uin=UIN, session="x")


@case(self_test=True, admin="open")
def lab_session(lab):
    """MUST: announcements arrive as sent, packed or byte-wise; services, buddies, kicks and sign-offs are seen."""
    log_in(lab, packed={"port": 20005, "cookie": 7})
    expect_equal(lab.server.wait("status", uin=UIN)["announced"]["port"], 20005, "announced within the sign-on segment")
    got = announce(lab, 20006, address=CLIENT, cut="bytes", block=True, cookie=0x11223344)["announced"]
    expect_equal((got["port"], got["cookie"]), (20006, 0x11223344), "announced byte by byte, with the 0x8000 block")
    lab.client.call("status", status=1)
    lab.server.wait("status", announced=None)
    lab.client.call("keep_alive")
    lab.server.wait("keep-alive")
    expect_equal(lab.client.call("service")["service"], "198.51.100.8:5190", "service redirect")
    lab.server.call("buddy", to=UIN, about=PEER_UIN, address=PEER, port=42000, cookie=5)
    lab.client.wait("buddy", uin=PEER_UIN)
    lab.server.call("kick", uin=UIN)
    lab.client.wait("signed-off", reason=1)
    for how, seen in (("channel4", "done"), ("fin", "closed"), ("reset", "reset")):
        log_in(lab, uin=UIN + 1, session=how)
        mark = lab.server.mark()
        lab.client.call("logout", session=how, how=how)
        expect_equal(lab.server.wait("end", since=mark, role="bos")["how"], seen, f"logout {how}")


@case(self_test=True, admin="open")
def lab_peers(lab):
    """MUST: every shape of PEER_INIT is answered and echoes; `bytes` and `2 | 44` really are segments of their own.
    NOT: garbage, silence and a closed port do not look like success."""
    lab.client.call("listen", port=PORT, uin=UIN, cut=[2, 50])
    for shape in SHAPES:
        peer_gets_in(lab, shape=shape)
    lab.nft("table ip segments { counter ones {}; counter twos {}; chain f { type filter hook forward priority 0;"
            f" tcp dport {PORT} ip length 53 counter name ones;"
            f" tcp dport {PORT} ip length 54 counter name twos; }}; }}")
    peer_gets_in(lab, shape="v8", cut="bytes")
    peer_gets_in(lab, shape="v7-in-v6", cut=[2, 44])
    listing = json.loads(lab.run_in("gw", ["nft", "-j", "list", "counters"]))["nftables"]
    counted = {one["counter"]["name"]: one["counter"]["packets"] for one in listing if "counter" in one}
    # 20 bytes of IP, 32 of TCP (timestamps), the payload. A busy machine sends the last byte again now and then.
    expect(50 <= counted["ones"] <= 60 and 1 <= counted["twos"] <= 3, f"segments of one byte, of two bytes: {counted}")
    peer_stays_out(lab, raw=b"GET / HTTP/1.1\r\n\r\n".hex(), outcomes=["closed", "silent"], timeout=1, reaches=99)
    peer_stays_out(lab, silent=True, outcomes=["silent"], timeout=0.5)
    peer_stays_out(lab, port=PORT + 1, outcomes=["refused"])
    mark = lab.client.mark()
    peer_gets_in(lab, name="held")
    lab.peer.call("shut", name="held", how="reset")
    expect_equal(lab.client.wait("ended", since=mark)["how"], "reset", "how the listener saw it end")


@case(self_test=True, admin="open")
def lab_bulk(lab):
    """MUST: a MiB in both directions, a hundred connections, and the way out to a listening peer."""
    lab.client.call("listen", port=PORT, uin=UIN)
    expect_equal(peer_gets_in(lab, echo=1 << 20)["echoed"], 1 << 20, "bytes back")
    numbers = [lab.peer.start("connect", address=CLIENT, port=PORT, to=UIN, own=PEER_UIN, name=f"n{n}", echo=64)
               for n in range(100)]
    outcomes = {lab.peer.finish(number)["outcome"] for number in numbers}
    expect_equal(outcomes, {"verified"}, "a hundred at a time")
    lab.peer.call("listen", port=42000, uin=PEER_UIN)
    peer_gets_in(lab, actor=lab.client, to=PEER, port=42000, uin=PEER_UIN, own=UIN)


@case(self_test=True)
def lab_default_deny(lab):
    """NOT: with the default-deny firewall and no icqgate, neither login server nor client nor peer is reachable.
    MUST: DNS is."""
    lab.client.call("listen", port=PORT, uin=UIN)
    lab.peer.call("listen", port=42000, uin=PEER_UIN)
    lab.client.call("lookup", host="login.icq.com", dns=DNS)
    for address in (LOGIN, LOGIN2, BOS, ROGUE):
        unreachable(lab.client, address, 5190, "OSCAR through a closed firewall", timeout=0.4)
    unreachable(lab.client, PEER, 42000, "a peer through a closed firewall", timeout=0.4)
    peer_stays_out(lab, outcomes=["unreachable"], connect_timeout=0.4)
    reachable(lab.client2, CLIENT, PORT, "the LAN itself is not filtered")


@case(self_test=True, admin="open", masquerade=True)
def lab_masquerade(lab):
    """MUST: the server sees the gateway's address. NOT: the outside can't route to the LAN at all."""
    log_in(lab)
    expect_equal(lab.server.wait("bos")["remote"][0], OUTSIDE, "whom the server sees")
    lab.client.call("listen", port=PORT, uin=UIN)
    unreachable(lab.peer, CLIENT, PORT, "an inside address from outside", timeout=0.4)
    expect_equal(lab.peer.call("probe", address=OUTSIDE, port=PORT)["outcome"], "refused", "the gateway itself")


@case(self_test=True, admin="deny-strict")
def lab_strict(lab):
    """MUST: `meta mark` alone lets a whole connection pass in the strict firewall. NOT: without the mark, nothing."""
    lab.client.call("listen", port=PORT, uin=UIN)
    peer_stays_out(lab, outcomes=["unreachable"], connect_timeout=0.4)
    lab.nft("table ip marker { chain f { type filter hook forward priority -5; meta mark set 0x02000000; }; }")
    peer_gets_in(lab)
    expect(not lab.has_table(), "no icqgate here")
