# SPDX-License-Identifier: GPL-2.0-or-later
"""Who gets through an open pinhole: true peers of every age, and nobody else."""

import direct
from case import case
from handles import expect, expect_equal
from lab import CLIENT, CLIENT2, PEER
from steps import (PEER_UIN, PORT, UIN, UIN2, client_side_ended, flow_is_gone, go_online, listener_saw, peer_gets_in,
                   peer_stays_out, refused, wait_refused)

FORMS = {
    "v8": {"shape": "v8"}, "v7": {"shape": "v7"}, "v6": {"shape": "v6"}, "v6-short": {"shape": "v6-short"},
    "v7-in-v6": {"shape": "v7-in-v6"}, "v3": {"shape": "old"}, "old-form-version-8": {"shape": "old", "version": 8},
    "gnome": {"shape": "gnome"}, "v9": {"shape": "v8", "version": 9}, "v10": {"shape": "v8", "version": 10},
    "reverse": {"shape": "v8", "connect_id": 0x2F},
    "reverse-no-source": {"shape": "v8", "connect_id": 0x2F, "own": 0},
    "v8-bytewise": {"shape": "v8", "cut": "bytes"}, "v6-bytewise": {"shape": "v6", "cut": "bytes"},
    "v3-2-26": {"shape": "old", "cut": [2]}, "v6-2-44": {"shape": "v6", "cut": [2]},
    "v7-in-v6-2-44": {"shape": "v7-in-v6", "cut": [2]}, "v8-2-48": {"shape": "v8", "cut": [2]},
    "v8-11-39": {"shape": "v8", "cut": [11]}, "v8-49-1": {"shape": "v8", "cut": [49]},
}


@case(each=FORMS)
def peer(lab, **form):
    """MUST: this form of PEER_INIT gets in, and 64 KiB pass both ways.
    NOT: the same form with a byte of 0xFF changed is refused: the form is really looked at."""
    go_online(lab)
    peer_gets_in(lab, echo=65536, **form)
    lab.wait_status("a verified peer", lambda status: status["counters"]["peers_verified"] >= 1)
    init = bytearray(direct.packet(direct.peer_init(form["shape"], UIN, PEER_UIN, 30001)))
    init[2] = 0xFE
    peer_stays_out(lab, raw=init.hex(), outcomes=["reset"])
    wait_refused(lab, "not-icq")


@case()
def wrong_user(lab):
    """NOT: a peer that looks for another user is refused: both sides reset, no byte reaches the client, the conntrack
    entry goes, the reason is counted. MUST: a true peer before and after it is unharmed."""
    go_online(lab)
    peer_gets_in(lab, name="before")
    mark = lab.client.mark()
    result = peer_stays_out(lab, uin=UIN + 77, outcomes=["reset"])
    expect(result["seconds"] < 3, f"refused only after {result['seconds']} s")
    client_side_ended(lab, result, mark)
    flow_is_gone(lab, PORT, result)
    wait_refused(lab, "wrong-user")
    expect_equal(lab.status()["counters"]["peers_refused"], 1, "peers refused")
    peer_gets_in(lab, name="after")
    expect_equal(lab.peer.call("echo", name="before")["outcome"], "alive", "the flow that was there before")


@case()
def wrong_user_bytewise(lab):
    """NOT: cut into single bytes, the wrong user is refused as soon as the eleventh byte is there: at most ten bytes
    reach the client. MUST: a true peer gets in afterwards."""
    go_online(lab)
    mark = lab.client.mark()
    result = peer_stays_out(lab, uin=UIN + 77, cut="bytes", outcomes=["reset"], reaches=10)
    client_side_ended(lab, result, mark, reaches=10)
    flow_is_gone(lab, PORT, result)
    wait_refused(lab, "wrong-user")
    peer_gets_in(lab)


def bad(shape="v8", **fields):
    own = {"to": UIN, "own": PEER_UIN, "port": 30001, **fields}
    return direct.packet(direct.peer_init(shape, **own)).hex()


def bad_inner_length():
    raw = bytearray.fromhex(bad())
    raw[5] = 0x2A
    return raw.hex()


GARBAGE = {
    "http": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".hex(), "not-icq"),
    "tls": ("160301010501000101", "not-icq"),
    "ssh": (b"SSH-2.0-OpenSSH_9.2\r\n".hex(), "not-icq"),
    "bittorrent": ((b"\x13BitTorrent protocol" + bytes(48)).hex(), "not-icq"),
    "flap": ("2a010001000400000001", "not-icq"),
    "64-KiB": ((b"A" * 65536).hex(), "not-icq"),
    "oft": ((b"OFT2\x01\x00\x01\x01" + bytes(248)).hex(), "transfer"),
    "odc": ((b"ODC2\x00\x4c\x00\x01" + bytes(68)).hex(), "transfer"),
    "inner-length": (bad_inner_length(), "bad-length"),
    "ports-differ": (bad(first_port=30002), "port-mismatch"),
    "own-uin": (bad(own=UIN), "own-uin"),
    "no-source": (bad(own=0), "no-source-uin"),
    "version-12": (bad(version=12), "bad-version"),
    "old-version-1": (bad("old", version=1), "bad-version"),
}


@case(each={name: {"raw": raw, "reason": reason} for name, (raw, reason) in GARBAGE.items()})
def garbage(lab, raw, reason):
    """NOT: what is no PEER_INIT for this user is reset, reaches the client with no byte, leaves no conntrack entry, and
    its reason is counted. MUST: a true peer gets in afterwards."""
    go_online(lab)
    mark = lab.client.mark()
    result = peer_stays_out(lab, raw=raw, outcomes=["reset"])
    client_side_ended(lab, result, mark)
    flow_is_gone(lab, PORT, result)
    wait_refused(lab, reason)
    expect_equal(refused(lab.status(), reason), 1, f"refusals counted as {reason}")
    peer_gets_in(lab)


@case(config={"allow-old-versions": "no"})
def old_versions_switched_off(lab):
    """NOT: with allow-old-versions = no, the 26-byte form is refused. MUST: versions 6 and 8 get in."""
    go_online(lab)
    peer_stays_out(lab, shape="old", outcomes=["reset"])
    wait_refused(lab, "old-version")
    peer_gets_in(lab, shape="v6")
    peer_gets_in(lab, shape="v8")


@case()
def cookie_known_from_the_server(lab):
    """MUST: a peer that the server announced gets in with the pair's cookie or with the one our client announced; one
    that it never spoke of gets in on the UIN alone, and version 6 may invent its cookie (4.5).
    NOT: with any other cookie the announced peer is refused."""
    go_online(lab, cookie=0x11223344)
    lab.server.call("buddy", to=UIN, about=PEER_UIN, address=PEER, port=42000, cookie=0x55667788)
    lab.client.wait("buddy")
    peer_gets_in(lab, cookie=0x55667788)
    peer_gets_in(lab, cookie=0x11223344)
    peer_stays_out(lab, cookie=0x99999999, outcomes=["reset"])
    wait_refused(lab, "cookie")
    peer_gets_in(lab, own=PEER_UIN + 5, cookie=0x99999999)
    peer_gets_in(lab, shape="v6", cookie=0x99999999)


@case(config={"check-cookie": "no"})
def cookie_check_switched_off(lab):
    """MUST: with check-cookie = no a wrong cookie is let in. NOT: a wrong user still is not."""
    go_online(lab, cookie=0x11223344)
    lab.server.call("buddy", to=UIN, about=PEER_UIN, address=PEER, port=42000, cookie=0x55667788)
    lab.client.wait("buddy")
    peer_gets_in(lab, cookie=0x99999999)
    peer_stays_out(lab, uin=UIN2, outcomes=["reset"])


@case()
def silent_peer(lab):
    """NOT: a peer that connects and says nothing, or stops within its handshake, gets nothing for half a minute; if it
    is not ended by then, what it says afterwards is too late: reset, though it is a perfect handshake.
    MUST: meanwhile and afterwards true peers get in."""
    go_online(lab)
    mark = lab.client.mark()
    init = direct.packet(direct.peer_init("v8", UIN, PEER_UIN, 30001))
    attempts = ((lab.peer, "silent", {"silent": True}, init, 0),
                (lab.stranger, "half", {"raw": init[:7].hex()}, init[7:], 7))
    started = [actor.start("connect", address=CLIENT, port=PORT, name=name, timeout=35, **options)
               for actor, name, options, _, _ in attempts]
    peer_gets_in(lab)
    for number, (actor, name, _, rest, reaches) in zip(started, attempts):
        result = actor.finish(number)
        expect(result["outcome"] in ("silent", "reset") and not result["received"], f"the {name} peer: {result}")
        if result["outcome"] == "silent":
            late = actor.call("say", name=name, raw=rest.hex())
            expect_equal((late["outcome"], late["received"]), ("reset", 0), f"the {name} peer that spoke too late")
        for event in listener_saw(lab.client, result, mark, "bytes"):
            expect(len(event["first"]) <= 2 * reaches, f"bytes of the {name} peer that reached the client: {event}")
    peer_gets_in(lab)


@case(admin="deny-strict")
def mark_alone_carries_all(lab):
    """MUST: where the gateway accepts nothing by connection state, login, pinhole and bulk pass on icqgate's mark.
    NOT: a wrong user is refused there too."""
    go_online(lab)
    expect_equal(peer_gets_in(lab, echo=1 << 20)["echoed"], 1 << 20, "bytes both ways")
    peer_stays_out(lab, uin=UIN2, outcomes=["reset"])


@case(offloads=True)
def with_offloads(lab):
    """MUST: with the interfaces' offloads on (segments beyond the MTU, checksums not yet made) all the same passes.
    NOT: a wrong user is refused."""
    go_online(lab)
    peer_gets_in(lab, echo=4 << 20, timeout=20)
    peer_stays_out(lab, uin=UIN2, outcomes=["reset"])


@case()
def many_at_once(lab):
    """MUST: a hundred true peers at once all get in. NOT: a hundred wrong ones among them all stay out."""
    go_online(lab)
    options = {"address": CLIENT, "port": PORT, "own": PEER_UIN, "timeout": 20}
    good = [lab.peer.start("connect", to=UIN, name=f"g{n}", echo=256, **options) for n in range(100)]
    wrong = [lab.stranger.start("connect", to=UIN2, name=f"b{n}", **options) for n in range(100)]
    outcomes = {lab.peer.finish(number)["outcome"] for number in good}
    expect_equal(outcomes, {"verified"}, "true peers")
    seen = [lab.stranger.finish(number) for number in wrong]
    let_in = [one for one in seen if one["outcome"] not in ("reset", "unreachable") or one["received"]]
    expect_equal(let_in, [], "wrong peers that got more than a reset")


@case()
def address_of_the_other_client(lab):
    """NOT: a pinhole of one client is none of the other: its address stays shut at the same port.
    MUST: the owner's is open."""
    lab.client2.call("listen", port=PORT, uin=UIN)
    go_online(lab)
    peer_stays_out(lab, address=CLIENT2, connect_timeout=1.0, outcomes=["unreachable"])
    peer_gets_in(lab)
