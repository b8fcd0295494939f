# SPDX-License-Identifier: GPL-2.0-or-later
"""From the name to the session: the login set, redirects, services, and what must not come of a login."""

from case import case
from handles import expect, expect_equal, wait_until
from lab import BOS, CLIENT, CLIENT2, DNS, LOGIN, LOGIN2, PEER, ROGUE, SERVICE
from steps import (PORT, UIN, UIN2, announce, expect_failure, go_online, log_in, online, peer_gets_in, peer_stays_out,
                   reachable, unreachable, wait_open, start_icqgate)


@case(start=False)
def login_by_name(lab):
    """MUST: once icqgate runs, a client that resolves login.icq.com gets through at either address.
    NOT: before it runs, neither address is reachable (the set is what opens them)."""
    found = lab.client.call("lookup", host="login.icq.com", dns=DNS)["addresses"]
    expect_equal(found, [LOGIN, LOGIN2], "what DNS says")
    for address in found:
        unreachable(lab.client, address, 5190, f"{address} before icqgate runs", timeout=1.0)
    start_icqgate(lab)
    for number, address in enumerate(found):
        expect(lab.elements(address), f"{address} is in status, but in no kernel set")
        log_in(lab, uin=UIN + number, session=address, login=address)
        lab.wait_status(f"session {UIN + number} online", lambda status: online(status, UIN + number))
    sources = {entry["address"]: entry["host"] for entry in lab.status()["addresses"]}
    expect_equal(sources.get(LOGIN), "login.icq.com", "the host status names for a login address")


@case()
def only_the_named_servers(lab):
    """MUST: the login addresses on port 5190 are reachable.
    NOT: another OSCAR server, a login address at another port, other outside hosts, a login server's way inward."""
    lab.server.call("open", role="login", target=f"{LOGIN}:5191")
    lab.peer.call("listen", port=5190, uin=1)
    lab.client.call("listen", port=5190, uin=UIN)
    reachable(lab.client, LOGIN, 5190, "a login server")
    for address, port in ((ROGUE, 5190), (LOGIN, 5191), (PEER, 5190), (BOS, 5190)):
        unreachable(lab.client, address, port, f"{address}:{port}, which nobody named", timeout=1.0)
    peer_stays_out(lab, port=5190, connect_timeout=1.0)


@case()
def address_follows_dns(lab):
    """MUST: an address that DNS adds becomes reachable within its TTL; the old ones stay usable for `keep`.
    NOT: it is not reachable before."""
    unreachable(lab.client, ROGUE, 5190, "the new address before DNS names it", timeout=1.0)
    lab.set_name("login.icq.com", [LOGIN2, ROGUE])
    lab.wait_status("the new address", lambda status: ROGUE in {entry["address"] for entry in status["addresses"]}, 15)
    reachable(lab.client, ROGUE, 5190, "the new address")
    reachable(lab.client, LOGIN, 5190, "the old address, kept")


REDIRECTS = {
    "md5-address": {"how": "md5", "target": f"{BOS}:5190"},
    "md5-name": {"how": "md5", "target": "bos.lab.test:5190"},
    "md5-name-no-port": {"how": "md5-newer", "target": "bos.lab.test"},
    "md5-address-no-port": {"how": "md5", "target": BOS},
    "channel4-address": {"how": "roast", "target": f"{BOS}:5190"},
    "channel4-name-no-port": {"how": "roast", "target": "bos.lab.test"},
    "md5-bytewise": {"how": "md5", "target": f"{BOS}:5190", "cut": "bytes"},
    "channel4-bytewise": {"how": "roast", "target": f"{BOS}:5190", "cut": "bytes"},
}


@case(each=REDIRECTS)
def redirect(lab, how, target, cut="whole"):
    """MUST: the client redirected by (17,03) or channel 4 reaches its BOS server, and the session is online in status.
    NOT: nobody reaches it before the redirect, and the other client not after it either (S3: bound to that client)."""
    unreachable(lab.client, BOS, 5190, "the BOS server before any redirect", timeout=0.8)
    lab.server.call("set", redirect=target)
    result = log_in(lab, how=how, cut=cut, dns=DNS)
    expect_equal(result["bos"], [BOS, 5190], "where the client went")
    lab.wait_status("the session online", lambda status: online(status) and online(status)[0]["client"] == CLIENT)
    unreachable(lab.client2, BOS, 5190, "the BOS server for a client that was not redirected", timeout=1.0)


@case()
def redirect_to_other_port(lab):
    """NOT: a redirect to a port that is no login port opens nothing (S3). MUST: the next login works."""
    lab.server.call("open", role="bos", target=f"{ROGUE}:2222")
    lab.server.call("set", redirect=f"{ROGUE}:2222")
    expect_failure("a redirect to port 2222", lab.client.call, "login", address=LOGIN, uin=UIN, session="x")
    expect(not lab.elements(ROGUE), f"a set holds {ROGUE}: {lab.elements(ROGUE)}")
    lab.server.call("set", redirect=f"{BOS}:5190")
    log_in(lab)


@case(config={"server-port": 2222})
def redirect_to_a_configured_port(lab):
    """MUST: with server-port = 2222 a redirect to that port is followed. NOT: 2223 still is not."""
    for port in (2222, 2223):
        lab.server.call("open", role="bos", target=f"{ROGUE}:{port}")
    lab.server.call("set", redirect=f"{ROGUE}:2223")
    expect_failure("a redirect to port 2223", lab.client.call, "login", address=LOGIN, uin=UIN2, session="x")
    lab.server.call("set", redirect=f"{ROGUE}:2222")
    log_in(lab)


@case()
def redirect_into_the_lan(lab):
    """NOT: a redirect to an inside host, to the gateway or to loopback puts nothing into a set.
    MUST: true logins work."""
    targets = (f"{CLIENT2}:5190", "192.168.77.1:5190", "127.0.0.1:5190", "10.0.0.1:5190", "224.0.0.1")
    for number, target in enumerate(targets):
        lab.server.call("set", redirect=target)
        lab.client.call("login_only", address=LOGIN, uin=UIN + number)
        expect(not lab.elements(target.split(":")[0]), f"a set holds {target}")
    lab.server.call("set", redirect=f"{BOS}:5190")
    log_in(lab)
    wait_until("the true redirect in a set", lambda: lab.elements(CLIENT, BOS))


@case()
def login_refused_by_server(lab):
    """NOT: a login that the server refuses opens no way to a BOS server. MUST: a good one afterwards does."""
    lab.server.call("set", error=5)
    expect_failure("a refused login", lab.client.call, "login_only", address=LOGIN, uin=UIN)
    unreachable(lab.client, BOS, 5190, "BOS after a refused login", timeout=1.0)
    expect(not lab.status()["pinholes"], "pinholes after a refused login")
    lab.server.call("set", error=None)
    log_in(lab)


@case(each={"address": {"target": f"{SERVICE}:5190"}, "name-no-port": {"target": "service.lab.test"}})
def service_redirect(lab, target):
    """MUST: the server that (01,05) names is reachable for that client.
    NOT: before (01,05), and for the other client, it is not."""
    log_in(lab)
    unreachable(lab.client, SERVICE, 5190, "the service before (01,05)", timeout=0.8)
    lab.server.call("set", service=target)
    lab.client.call("service", dns=DNS)
    lab.server.wait("service", uin=UIN)
    unreachable(lab.client2, SERVICE, 5190, "the service for another client", timeout=1.0)


@case()
def packed_sign_on(lab):
    """MUST: an announcement packed with the other sign-on frames into one segment opens its port.
    NOT: no other port opens."""
    lab.client.call("listen", port=PORT, uin=UIN)
    lab.client.call("listen", port=PORT + 1, uin=UIN)
    log_in(lab, packed={"port": PORT})
    wait_open(lab)
    peer_gets_in(lab)
    peer_stays_out(lab, port=PORT + 1, connect_timeout=1.0)


@case()
def browser_posts_to_login_server(lab):
    """NOT: an HTTP POST to the login server whose body is a perfect login and announcement opens nothing, wherever its
    segments are cut (S4). MUST: the same host's true login still works."""
    import oscar
    import struct
    frames = (oscar.flap(1, 1, struct.pack(">I", 1) + oscar.tlv(6, bytes(256)))
              + oscar.flap(2, 2, oscar.snac(1, 0x1E, oscar.set_status(0, oscar.direct_info(CLIENT, PORT)), 1)))
    head = b"POST /x HTTP/1.1\r\nHost: login.icq.com:5190\r\nContent-Length: 5000\r\n\r\n" + bytes(1200)
    lab.client.call("listen", port=PORT, uin=UIN)
    for cut in ("whole", [len(head)]):
        lab.client.call("raw_connection", address=LOGIN, port=5190, data=(head + frames).hex(), cut=cut, timeout=0.5)
        expect(not lab.exactly(CLIENT, PORT), "the POST's announcement is in a set")
    peer_stays_out(lab, connect_timeout=1.0)
    go_online(lab, PORT + 1)
    expect(not lab.exactly(CLIENT, PORT), "the POST's announcement is in a set")


@case(start=False, admin="open")
def session_older_than_icqgate(lab):
    """NOT: a session whose start icqgate has not seen announces in vain (S1: blind); its flow goes on.
    MUST: the same client's next login opens its port."""
    log_in(lab)
    start_icqgate(lab)
    lab.client.call("listen", port=PORT, uin=UIN)
    announce(lab, PORT)
    lab.client.call("keep_alive")
    lab.server.wait("keep-alive", uin=UIN)
    expect(not lab.status()["pinholes"], "a pinhole of a blind session")
    expect(not lab.exactly(CLIENT, PORT), "an element of a blind session")
    lab.client.call("logout")
    go_online(lab, PORT, uin=UIN2)
