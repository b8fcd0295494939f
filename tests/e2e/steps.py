# SPDX-License-Identifier: GPL-2.0-or-later
"""Steps that many cases take: going online, a pinhole opening and closing, a peer that gets in, one that does not."""

from handles import Failure, expect, expect_equal, wait_until
from lab import BOS, CLIENT, CLIENT2, LOGIN, LOGIN2, PEER

UIN, UIN2, PEER_UIN = 100001, 100003, 200002
PORT = 20000


def start_icqgate(lab):
    """Started, and the login addresses known."""
    lab.start_daemon()
    wait_until("both login addresses in status",
               lambda: {LOGIN, LOGIN2} <= {entry["address"] for entry in lab.status()["addresses"]})


def client_of(lab, address):
    return {CLIENT: lab.client, CLIENT2: lab.client2}[address]


def log_in(lab, address=CLIENT, uin=UIN, session="a", **options):
    """Logs in and waits until the server has the client online. -> what the client's login says."""
    mark = lab.server.mark()
    login = options.pop("login", LOGIN)
    result = client_of(lab, address).call("login", address=login, uin=uin, session=session, **options)
    lab.server.wait("online", since=mark, uin=uin)
    return result


def announce(lab, port, address=CLIENT, session="a", uin=UIN, **fields):
    """Announces and waits until the server has read it."""
    mark = lab.server.mark()
    client_of(lab, address).call("announce", session=session, port=port, **fields)
    return lab.server.wait("status", since=mark, uin=uin)


def go_online(lab, port=PORT, address=CLIENT, uin=UIN, session="a", **fields):
    """Login, a listener on `port`, the announcement, and the pinhole open in status and kernel.
    -> what the client's login says"""
    result = log_in(lab, address, uin, session)
    client_of(lab, address).call("listen", port=port, uin=uin)
    announce(lab, port, address, session, uin, **fields)
    wait_open(lab, port, address)
    return result


# -- pinholes
def pinholes(status, port=None, address=None):
    return [hole for hole in status["pinholes"] if port in (None, hole["port"]) and address in (None, hole["client"])]


def wait_open(lab, port=PORT, address=CLIENT, timeout=8.0):
    """Open in status, and in a kernel set with both values."""
    lab.wait_status(f"pinhole {address}:{port} open", lambda status: any(
        hole["state"] == "open" for hole in pinholes(status, port, address)), timeout)
    expect(lab.exactly(address, port), f"status says {address}:{port} is open, but no kernel set holds it")


def wait_shut(lab, port=PORT, address=CLIENT, timeout=8.0):
    """Gone from status and from every kernel set."""
    lab.wait_status(f"pinhole {address}:{port} shut", lambda status: not pinholes(status, port, address), timeout)
    wait_until(f"no kernel element {address} . {port}", lambda: not lab.exactly(address, port), 2.0)


def refused(status, reason):
    return status["counters"].get("refused", {}).get(reason, 0)


def wait_refused(lab, reason, at_least=1, timeout=8.0):
    lab.wait_status(f"counter refused {reason} >= {at_least}",
                    lambda status: refused(status, reason) >= at_least, timeout)


# -- peers
def peer_gets_in(lab, port=PORT, address=CLIENT, uin=UIN, actor=None, to=None, **options):
    """A peer's handshake is answered by the client itself, and bytes pass both ways."""
    options = {"name": "good", "shape": "v8", "own": PEER_UIN, **options}
    result = (actor or lab.peer).call("connect", address=to or address, port=port, to=uin, **options)
    expect_equal(result["outcome"], "verified", f"a true peer ({options['shape']}) to {to or address}:{port}: {result}")
    return result


def listener_saw(client, result, since, event="bytes"):
    """Events at the client's listener that stem from that connection."""
    local = result.get("local")
    return [e for e in client.seen(event, since) if local and e["remote"][1] == local[1]]


def peer_stays_out(lab, actor=None, port=PORT, address=CLIENT, to=None, outcomes=("unreachable",), shape="v8",
                   uin=UIN, reaches=0, **options):
    """That attempt fails with one of `outcomes`, gets no byte back, and no more than `reaches` bytes of it reach the
    client. "refused" would be the RST of a client whose port is closed: the gateway has let the SYN pass.
    -> the connector's result"""
    client = client_of(lab, address)
    mark = client.mark()
    options = {"name": "bad", "own": PEER_UIN, **options}
    result = (actor or lab.peer).call("connect", address=to or address, port=port, shape=shape, to=uin, **options)
    expect(result["outcome"] in outcomes,
           f"an attempt on {to or address}:{port} that must end as {' or '.join(outcomes)}: {result}")
    expect_equal(result["received"], 0, f"bytes the refused side got: {result}")
    for event in listener_saw(client, result, mark):
        expect(len(event["first"]) <= 2 * reaches, f"refused bytes reached the client: {event}")
    return result


def client_side_ended(lab, result, since, address=CLIENT, reaches=0, timeout=8.0):
    """The client's own end of a refused connection was reset, having got no more than `reaches` bytes."""
    client = client_of(lab, address)
    wait_until("the client's end to be over", lambda: listener_saw(client, result, since, "ended")
               or not listener_saw(client, result, since, "accepted"), timeout)
    for event in listener_saw(client, result, since, "ended"):
        expect_equal(event["how"], "reset", "how the client's end of a refused connection ended")
        expect(event["total"] <= reaches, f"bytes of the refused connection that reached the client: {event['total']}")


def flow_is_gone(lab, port, result, timeout=8.0):
    source_port = result["local"][1]
    wait_until(f"conntrack entry of {PEER}:{source_port} gone",
               lambda: not [line for line in lab.flows(port) if f"sport={source_port} " in line], timeout)


def expect_failure(what, function, *arguments, **options):
    """The call must fail (an actor could not do it)."""
    try:
        result = function(*arguments, **options)
    except Failure:
        return
    raise Failure(f"{what}: it worked, and must not: {result}")


def unreachable(actor, address, port, what, timeout=1.5):
    expect_equal(actor.call("probe", address=address, port=port, timeout=timeout)["outcome"], "unreachable", what)


def reachable(actor, address, port, what, timeout=4.0):
    expect_equal(actor.call("probe", address=address, port=port, timeout=timeout)["outcome"], "connected", what)


def online(status, uin=UIN, server=BOS):
    return [one for one in status["sessions"]
            if one["uin"] == uin and one["state"] == "online" and server in one["server"]]
