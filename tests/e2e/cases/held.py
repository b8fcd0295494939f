# SPDX-License-Identifier: GPL-2.0-or-later
"""The race between a client and icqgate, who both learn an address from DNS: held answers, and SYNs to unknown servers.

Between two questions of icqgate's own lies a minute here: what it knows of new addresses is from answers to others.
"""

import signal

from case import case
from cases.memory import state
from handles import expect, expect_equal, wait_until
from lab import CLIENT, CLIENT2, LOGIN, LOGIN2
from name_steps import allowed, helper, known, lane, login_addresses, never_allowed, wait_known
from steps import UIN2, expect_failure, go_online, log_in, start_icqgate, unreachable
from zones import FORGER, GATEWAY, KNOT, NAME, UNBOUND, far

RARELY = {"ttl-min": 60, "ttl-max": 60, "keep": 600}
WAYS = {"forwarded": {"resolver": KNOT}, "on-the-gateway": {"resolver": GATEWAY},
        "resolver-outside": {"resolver": UNBOUND}}
ENDS = {"killed": {"number": signal.SIGKILL}, "stopped": {"number": signal.SIGTERM}}


@case(zones=["gateway", "unbound"], each=WAYS, config={**RARELY, "dns-server": [KNOT, UNBOUND]})
def held_answer(lab, resolver):
    """MUST: a client whose resolver names an address that icqgate has never seen connects with its very first SYN,
    fifty times in a row, whichever resolver it asks; the address is told as from a held answer.
    NOT: no SYN is lost; icqgate did not ask by itself; an address that no answer named is shut."""
    lab.zones.count()
    for number in range(100, 150):
        lab.zones.set_login([far(number)], ttl=0)
        result = lab.client.call("meet", host=NAME, dns=resolver)
        expect_equal((result["address"], result["outcome"], result.get("retransmits")), (far(number), "connected", 0),
                     f"client number {number - 99}, at its first SYN: {result}")
    expect_equal(known(lab.status())[far(149)]["source"], "held answer", "the source of the last address")
    if resolver == KNOT:
        expect_equal(lab.zones.asked(), 0, "questions of icqgate's own")
    expect(lane(lab)["received"] >= 50, f"the queue of names: {lane(lab)}")
    unreachable(lab.client, far(150), 5190, "an address that no answer named", timeout=0.8)


@case(zones=[], config={**RARELY, "hold-answers": "no"})
def answers_not_held(lab):
    """NOT: with hold-answers = no, first SYNs to such addresses are lost: held_answer does not pass by luck.
    MUST: the retransmission passes, for icqgate has asked by then."""
    lost = 0
    for number in range(100, 105):
        lab.zones.set_login([far(number)], ttl=0)
        result = lab.client.call("meet", host=NAME, dns=KNOT, timeout=6.0)
        expect_equal(result["outcome"], "connected", f"with a retransmission: {result}")
        lost += result["retransmits"] > 0
    expect(lost > 0, "not one first SYN was lost: the race is not there, and held_answer proves nothing")


@case(zones=["gateway"], config=RARELY)
def held_behind_a_chain(lab):
    """MUST: an answer that leads over CNAMEs is held as well, and its addresses are the login host's.
    NOT: an answer for the CNAME's target alone, which is no login host, teaches nothing."""
    lab.zones.set_chain([NAME, "edge.icq.com", "pool.icq.com"], [far(1)], [0, 0, 0])
    for resolver in (KNOT, GATEWAY):
        result = lab.client.call("meet", host=NAME, dns=resolver)
        expect_equal((result["outcome"], result.get("retransmits")), ("connected", 0), f"over a chain: {result}")
        lab.zones.set_chain([NAME, "edge.icq.com", "pool.icq.com"], [far(2)], [0, 0, 0])
    lab.zones.set_chain(["edge.icq.com", "pool.icq.com"], [far(3)], [0, 0])
    before = login_addresses(lab)
    for name in ("edge.icq.com", "pool.icq.com"):
        expect_equal(lab.client.call("lookup", host=name, dns=KNOT)["addresses"], [far(3)], name)
    expect_equal(login_addresses(lab), before, "the login set after answers for the target alone")
    expect_equal(set(known(lab.status())), before, "addresses of the login host")


@case(zones=["gateway"], config=RARELY)
def other_answers_stay_in_the_kernel(lab):
    """NOT: answers for other names, subdomains, longer names and other spellings are never queued, by either way.
    MUST: one for the login host is; and a client that spells it otherwise only loses the hold."""
    others = ["bos.lab.test", "xlogin.icq.com", "www.login.icq.com", "login.icq.com.evil.test",
              "login.icq.com.lab.test"]
    for name in others[1:]:
        lab.zones.set_records(name, "A", [far(600)])
    before = lane(lab)["received"]
    for resolver in (KNOT, GATEWAY):
        for name in [*others, "LOGIN.icq.com", "login.ICQ.com"]:
            lab.client.call("ask", host=name, dns=resolver, count=10)
    expect_equal(lane(lab)["received"], before, "packets in the queue of names")
    never_allowed(lab, far(600))
    for number, resolver in enumerate((KNOT, GATEWAY), 1):
        lab.client.call("ask", host=NAME, dns=resolver)
        wait_until("the login host's answer in the queue",
                   lambda number=number: lane(lab)["received"] >= before + number)
    lab.zones.set_login([far(1)], ttl=0)
    result = lab.client.call("meet", host="Login.ICQ.com", dns=KNOT, timeout=6.0)
    expect_equal((result["address"], result["outcome"]), (far(1), "connected"), f"another spelling: {result}")


@case(zones=["unbound"], config={**RARELY, "dns-server": [KNOT, UNBOUND]})
def answers_that_teach_nothing(lab):
    """NOT: an answer from a server that is not trusted, one that nobody asked for, one for a subdomain or a longer
    name, one from inside puts nothing into a set, nor do private addresses in a true one. MUST: the same answer from a
    trusted server, to a question, does; the forger's own packets are good enough."""
    forger = lab.zones.forger()
    forger.call("serve", address=FORGER, how="honest", addresses=[far(601)])
    expect_equal(lab.client.call("lookup", host=NAME, dns=FORGER)["addresses"], [far(601)], "a server nobody trusts")
    forger.call("send", source=KNOT, to=CLIENT, to_port=40000, name=NAME, addresses=[far(602)])
    lab.zones.silence(UNBOUND)
    for number, name in ((603, "xlogin.icq.com"), (604, "login.icq.com.evil.test"), (605, "www.login.icq.com")):
        asked = lab.client.call("ask_only", host=name, dns=UNBOUND)
        forger.call("send", source=UNBOUND, to=CLIENT, to_port=asked["port"], name=name, addresses=[far(number)],
                    identity=asked["identity"])
        wait_until("its arrival", lambda asked=asked: lab.client.call("arrived", port=asked["port"])["bytes"])
    asked = lab.client.call("ask_only", host=NAME, dns=UNBOUND)
    forger.call("send", source=UNBOUND, to=CLIENT, to_port=asked["port"] ^ 1, name=NAME, addresses=[far(607)],
                identity=asked["identity"])
    forger.call("send", source=FORGER, to=CLIENT, to_port=asked["port"], name=NAME, addresses=[far(608)],
                identity=asked["identity"])
    asked = lab.client.call("ask_only", host=NAME, dns=FORGER)
    forger.call("send", source=UNBOUND, to=CLIENT, to_port=asked["port"], name=NAME, addresses=[far(600)],
                identity=asked["identity"])  # a trusted source, but a question to somebody else
    neighbour = helper(lab, "lan2", "forger.py")
    for source in (CLIENT2, KNOT):
        neighbour.call("send", source=source, to=KNOT, to_port=53, name=NAME, addresses=[far(609)])
    asked = lab.client.call("ask_only", host=NAME, dns=UNBOUND)
    forger.call("send", source=UNBOUND, to=CLIENT, to_port=asked["port"], name=NAME,
                addresses=["10.1.2.3", CLIENT, "127.0.0.1", far(1)], identity=asked["identity"])
    wait_until("the true answer", lambda: allowed(lab, far(1)))
    never_allowed(lab, *(far(number) for number in range(600, 610)), "10.1.2.3", CLIENT, "127.0.0.1")
    expect_equal(login_addresses(lab), {LOGIN, LOGIN2, far(1)}, "the login set")


@case(zones=["unbound"], config={**RARELY, "dns-server": UNBOUND})
def answer_with_another_identity(lab):
    """NOT: an answer to the right port, from the right address, but with another identity than the question's, as one
    who can't see the question would send it, puts nothing into a set. MUST: with the question's own, it does."""
    forger = lab.zones.forger()
    lab.zones.silence(UNBOUND)
    asked = lab.client.call("ask_only", host=NAME, dns=UNBOUND)
    for number, identity in ((606, asked["identity"] ^ 1), (607, asked["identity"] ^ 0xFFFF), (1, asked["identity"])):
        forger.call("send", source=UNBOUND, to=CLIENT, to_port=asked["port"], name=NAME, addresses=[far(number)],
                    identity=identity)
    wait_until("the true answer", lambda: allowed(lab, far(1)))
    never_allowed(lab, far(606), far(607))


@case(zones=["unbound"], config={**RARELY, "dns-server": [KNOT, UNBOUND]})
def questions_of_a_neighbour(lab):
    """MUST: while another client sends 80,000 questions for the login host within seconds, to a server that never
    answers, a client's answer is still held: it connects with its first SYN."""
    lab.zones.silence(UNBOUND)
    flood = lab.client2.start("flood_questions", host=NAME, dns=UNBOUND, count=80_000)
    sent = lab.client2.finish(flood, timeout=60)["sent"]
    expect_equal(sent, 80_000, "questions of the neighbour")
    lab.zones.set_login([far(1)], ttl=0)
    result = lab.client.call("meet", host=NAME, dns=KNOT)
    expect_equal((result["address"], result["outcome"], result.get("retransmits")), (far(1), "connected", 0),
                 f"beside a flood: {result}")


@case(zones=["gateway"], config=RARELY, each=ENDS)
def answers_without_icqgate(lab, number):
    """MUST: when icqgate is dead or stopped, answers pass at once, forwarded and from the gateway (fail-open), and old
    addresses are still reachable. NOT: nothing is learned meanwhile, and after a restart it works as before."""
    lab.zones.set_login([far(1)], ttl=0)
    expect_equal(lab.client.call("meet", host=NAME, dns=KNOT).get("retransmits"), 0, "before")
    wait_until("the address on disk", lambda: far(1) in {one["address"] for one in state(lab).get("addresses", [])}, 15)
    lab.daemon.end(number)
    lab.zones.set_login([far(2)], ttl=0)
    for resolver in (KNOT, GATEWAY):
        times = lab.client.call("ask", host=NAME, dns=resolver, count=20)["times"]
        expect(max(times) < 500, f"answers of {resolver} without icqgate took up to {max(times)} ms")
    unreachable(lab.client, far(2), 5190, "an address learned while icqgate was dead", timeout=0.8)
    expect_equal(lab.client.call("probe", address=far(1), port=5190)["outcome"], "connected", "an old address")
    lab.start_daemon()
    wait_known(lab, far(1))
    lab.zones.set_login([far(3)], ttl=0)
    result = lab.client.call("meet", host=NAME, dns=GATEWAY)
    expect_equal((result["address"], result.get("retransmits")), (far(3), 0), f"after the restart: {result}")


@case(zones=[], start=False, config={**RARELY, "hold-answers": "no"})
def unknown_server(lab):
    """MUST: a client's SYN to a new address that DNS already names, and that icqgate has not asked about yet, makes it
    ask: the SYN's retransmission passes.
    NOT: SYNs to addresses that DNS never names never pass, and make it ask only a few times however many there are."""
    start_icqgate(lab)
    lab.zones.count()
    lab.zones.set_login([LOGIN, LOGIN2, far(1)])
    never_allowed(lab, far(1))
    result = lab.client.call("probe", address=far(1), port=5190, timeout=6.0)
    expect_equal(result["outcome"], "connected", "the retransmission")
    expect(allowed(lab, far(1)) and lab.zones.asked() >= 1, "it passed, but not for an answer")
    before = lab.zones.asked()
    attempts = [(client, client.start("probe", address=far(number), port=5190, timeout=3.5))
                for number in range(1000, 1100) for client in (lab.client, lab.client2)]
    outcomes = {client.finish(one)["outcome"] for client, one in attempts}
    expect_equal(outcomes, {"unreachable"}, "two hundred SYNs to addresses that nobody named")
    asked = lab.zones.asked() - before
    expect(asked <= 20, f"{asked} questions for two hundred SYNs and their retransmissions")
    expect_equal(login_addresses(lab), {LOGIN, LOGIN2, far(1)}, "the login set")


@case(zones=[], start=False, config={**RARELY, "hold-answers": "no"},
      each={"outbound-auto": {"outbound": "auto"}, "outbound-checked": {"outbound": "check"}})
def unknown_server_beside_a_session(lab, outbound):
    """MUST: a second user at a client that has a session logs in at a new address too, which its own resolver knew first:
    the connection is not taken for one to a peer. NOT: an address that DNS does not name lets a login through."""
    lab.config["outbound"] = outbound
    start_icqgate(lab)
    go_online(lab)
    lab.zones.set_login([LOGIN, LOGIN2, far(1)])
    never_allowed(lab, far(1))
    log_in(lab, uin=UIN2, session="b", login=far(1))
    expect(allowed(lab, far(1)), "the login passed, but not for an answer")
    expect_failure("a login at an address that DNS does not name", log_in, lab, uin=UIN2 + 1, session="c", login=far(2))
