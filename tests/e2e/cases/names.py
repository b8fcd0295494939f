# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of an address: how it comes out of DNS, how long it stays, and what DNS can't talk us into."""

import re

from case import case
from forger import HOW
from handles import expect, expect_equal, wait_until
from lab import CLIENT, LOGIN, LOGIN2, OUTSIDE, ROGUE
from name_steps import (allowed, flows, known, log_lines, login_addresses, more_questions, name_of, never_allowed,
                        no_gap, sampler, wait_forgotten, wait_known, wait_log)
from steps import go_online, log_in, online, reachable, start_icqgate, unreachable
from zones import KNOT, NAME, PRIVATE, echoing, far

SIX, SEVEN = "2600:1400::6", "2600:1400::7"  # no traffic goes there: the sets are what is looked at
FORMS = {"in-place": {"form": "probe"}, "replaced": {"form": "replace"}}


def start_with(lab, **config):
    lab.config.update({key.replace("_", "-"): value for key, value in config.items()})
    start_icqgate(lab)


def hurry(lab, address):
    """A client that knows the address already: that shortens the wait until icqgate asks again."""
    lab.client.call("probe", address=address, port=5190, timeout=0.5)


def lines_about(lab, address):
    """The log's lines on that address of the login name; sessions and other addresses that begin alike don't count."""
    return [line for line in log_lines(lab, NAME) if re.search(rf"(?<![\d.:]){re.escape(address)}(?![\d.])", line)]


@case(zones=[], config={"keep": 600})
def rotating_answers(lab):
    """MUST: of a name that answers with two of six addresses at a time, the union is kept, and a client can log in at
    each. NOT: an address that was in no answer."""
    rounds = [(far(1), far(2)), (far(3), far(4)), (far(5), far(6)), (far(2), far(5))]
    for addresses in rounds:
        lab.zones.set_login(addresses)
        wait_known(lab, *addresses)
    everything = [far(number) for number in range(1, 7)]
    expect_equal(allowed(lab, *everything, LOGIN, LOGIN2), [*everything, LOGIN, LOGIN2], "the union")
    for number, address in enumerate(everything):
        log_in(lab, uin=100100 + number, session=address, login=address)
    unreachable(lab.client, far(7), 5190, "an address that no answer had", timeout=0.8)
    expect_equal(login_addresses(lab), {*everything, LOGIN, LOGIN2}, "the kernel's login set")


@case(zones=[], config={"keep": 2})
def both_types_apart(lab):
    """MUST: IPv4 and IPv6 addresses each follow their own answers: when one type's change, the old one of that type
    goes. NOT: the other type's neither goes nor comes with it."""
    lab.zones.set_records(NAME, "AAAA", [SIX])
    wait_known(lab, SIX, LOGIN)
    lab.zones.set_records(NAME, "AAAA", [SEVEN])
    wait_known(lab, SEVEN)
    wait_forgotten(lab, SIX)
    expect_equal(allowed(lab, LOGIN, LOGIN2, SEVEN), [LOGIN, LOGIN2, SEVEN], "what did not change")
    lab.zones.set_login([far(1)])
    wait_known(lab, far(1))
    wait_forgotten(lab, LOGIN, LOGIN2)
    expect_equal(allowed(lab, far(1), SEVEN), [far(1), SEVEN], "the other type's after a change of the first")
    status = lab.status()
    expect_equal([name_of(status, kind)["addresses"] for kind in ("A", "AAAA")], [1, 1], "addresses by type")


@case(zones=[], start=False, each=FORMS, config={"keep": 2})
def ttl_of_one_second(lab, form):
    """MUST: with a TTL of a second, an address that stays in DNS is in the kernel without a gap, over many refreshes.
    NOT: it is not asked for more often than a few times a second."""
    lab.zones.count()
    start_with(lab, timeout_update=form)
    watcher = sampler(lab)
    watcher.call("watch", set="login4", wanted=[[LOGIN, 5190], [LOGIN2, 5190]])
    before = lab.zones.asked()
    more_questions(lab, 12)
    report = watcher.call("unwatch")
    no_gap(report, "login addresses with a TTL of a second")
    seconds = max(last for _, _, last in report["seen"]) - min(first for _, first, _ in report["seen"])
    expect((lab.zones.asked() - before) / seconds < 8, f"{lab.zones.asked() - before} questions in {seconds:.1f} s")


@case(zones=[], start=False, each=FORMS, config={"keep": 3})
def all_addresses_change(lab, form):
    """MUST: when DNS names none of the old addresses any more, the new ones are usable at once; a flow to an old one
    goes on and its address stays for as long as it lives, then `keep`.
    NOT: at no moment was the set empty; an old address without a flow is gone from the kernel after `keep`, and so is
    the other one once its flow has ended."""
    lab.zones.set_login([LOGIN, LOGIN2, echoing(1), echoing(2)])
    start_with(lab, timeout_update=form)
    wait_known(lab, echoing(1), echoing(2))
    watcher, client = sampler(lab), flows(lab)
    watcher.call("watch", set="login4")
    for name, address in (("held", echoing(1)), ("short", echoing(2))):
        result = client.call("open", address=address, name=name, keep=True, pause=0.1)
        expect_equal(result["outcome"], "connected", f"the flow {name}")
    client.call("end", name="short")
    lab.zones.set_login([echoing(3), echoing(4)])
    wait_known(lab, echoing(3), echoing(4))
    for address in (echoing(3), echoing(4)):
        result = client.call("open", address=address)
        expect_equal((result["outcome"], result["retransmits"]), ("connected", 0), "a new address, at its first SYN")
    wait_forgotten(lab, LOGIN, LOGIN2, echoing(2), timeout=20)
    lab.wait_status("the old address with its flow", lambda status: known(status)[echoing(1)]["flows"] == 1)
    old = known(lab.status())[echoing(1)]
    expect(old["ttl_left"] <= 0, f"DNS no longer names it: {old}")
    expect_equal(client.call("open", address=echoing(1))["outcome"], "connected", "another flow to the old address")
    expect_equal(client.seen("flow-ended"), [], "flows that were cut")
    expect_equal(client.call("all")["flows"]["held"][3], 0, "retransmissions of the flow")
    client.call("end", name="held")
    wait_forgotten(lab, echoing(1), timeout=30)
    unreachable(lab.client, echoing(1), 5190, "the old address", timeout=1.0)
    no_gap(watcher.call("unwatch"), "any login address")


@case(zones=[], start=False, config={"keep": 2})
def least_ttl_of_the_chain(lab):
    """MUST: behind CNAMEs the least TTL of all steps counts, and the addresses are the login host's.
    NOT: no step's name becomes a host of its own, and a change is not missed for the longer TTLs."""
    lab.zones.set_chain([NAME, "edge.icq.com", "pool.icq.com"], [LOGIN, LOGIN2], [900, 2, 600])
    start_icqgate(lab)
    status = lab.status()
    expect({one["host"] for one in status["addresses"]} == {NAME}, f"hosts in status: {status['addresses']}")
    for address in (LOGIN, LOGIN2):
        expect(known(status)[address]["ttl_left"] <= 2, f"TTL left: {known(status)[address]}")
    expect(name_of(status)["next_ask_in"] <= 2, f"next question: {name_of(status)}")
    lab.zones.set_chain([NAME, "edge.icq.com", "pool.icq.com"], [far(1)], [900, 2, 600])
    wait_known(lab, far(1), timeout=10)
    wait_forgotten(lab, LOGIN, LOGIN2)


FAILURES = {
    "servfail": (lambda zones: zones.servfail(), None),
    "nxdomain": (lambda zones: zones.nxdomain(), None),
    "nodata": (lambda zones: zones.nodata(), None),
    "cname-loop": (lambda zones: (zones.set_cname(NAME, "a.icq.com"), zones.set_cname("a.icq.com", NAME)), None),
    "cname-to-nothing": (lambda zones: zones.set_cname(NAME, "nothing.icq.com"), None),
    "refused": (lambda zones: zones.forge("refused"), lambda zones: zones.end_forging()),
    "server-ended": (lambda zones: zones.stop("knot"), lambda zones: zones.restart("knot")),
    "silence": (lambda zones: zones.silence(), lambda zones: zones.speak()),
}


@case(zones=[], config={"keep": 1}, each={label: {"label": label} for label in FAILURES})
def dns_fails(lab, label):
    """MUST: however DNS fails, the last good addresses stay beyond TTL and `keep`, a client can log in, status says for
    how long it has failed and why, and the log once; when DNS is back its answer counts.
    NOT: nothing else becomes reachable, and what DNS named last is never forgotten for its failure."""
    fail, heal = FAILURES[label]
    lab.zones.count()
    more_questions(lab, 1)
    fail(lab.zones)
    wait_until("a failure in status", lambda: name_of(lab.status())["failing_for"] is not None, 40)
    lab.wait_status("failing for longer than TTL and keep", lambda status: name_of(status)["failing_for"] >= 4, 30)
    status = lab.status()
    expect(name_of(status)["last_error"], f"no reason: {name_of(status)}")
    expect_equal(login_addresses(lab), {LOGIN, LOGIN2}, "the last good addresses")
    log_in(lab)
    unreachable(lab.client, far(1), 5190, "an address that nobody named", timeout=0.8)
    said = [line for line in log_lines(lab, NAME) if name_of(status)["last_error"] in line]
    expect(len(said) <= 2, f"the same failure again and again in the log: {said}")  # A and AAAA
    if heal:
        heal(lab.zones)
    lab.zones.set_login([far(1), LOGIN])
    hurry(lab, far(1))
    wait_known(lab, far(1), timeout=40)
    wait_until("no failure in status", lambda: name_of(lab.status())["failing_for"] is None)
    wait_forgotten(lab, LOGIN2)


@case(zones=[], config={"keep": 2, "addresses-per-name": 200})
def truncated_answer(lab):
    """MUST: 120 addresses, far too many for a datagram, all come by TCP, and each is usable.
    NOT: not only those of the datagram; the 121st is not reachable."""
    addresses = [far(number) for number in range(1, 121)]
    lab.zones.set_login(addresses)
    expect(lab.client.call("ask_raw", host=NAME, dns=KNOT)["truncated"],
           "the answer fits a datagram: this proves nothing")
    wait_known(lab, *addresses, timeout=15)
    for address in (addresses[0], addresses[-1]):
        reachable(lab.client, address, 5190, "an address of the long answer")
    unreachable(lab.client, far(121), 5190, "an address that was not in it", timeout=0.8)


@case(zones=[], start=False, config={"keep": 2, "login-host": [NAME, "service.lab.test"], "addresses-total": 90})
def a_thousand_answers(lab):
    """MUST: of a thousand addresses as many are kept as the caps allow, by name and in all; those with a flow go last;
    the log says so, once; memory stays.
    NOT: more than 64 of one name, more than 90 in all; the flow is not cut."""
    lab.zones.set_login([LOGIN, LOGIN2, echoing(1)])
    start_icqgate(lab)
    wait_known(lab, echoing(1))
    memory = lab.daemon.memory()
    client = flows(lab)
    client.call("open", address=echoing(1), name="held", keep=True, pause=0.1)
    lab.wait_status("the flow in status", lambda status: known(status)[echoing(1)]["flows"] == 1)
    thousand = [far(number) for number in range(1, 1001)]
    lab.zones.count()
    lab.zones.set_login(thousand)
    lab.wait_status("64 addresses", lambda status: len(known(status)) == 64, 15)
    more_questions(lab, 3)
    status = lab.status()
    expect_equal(len(known(status)), 64, "addresses of the name")
    expect(echoing(1) in known(status), "the address with a flow was given up for one without")
    expect_equal(len(login_addresses(lab)), 64 + 1, "addresses in the kernel, with the other host's one")
    lab.zones.set_records("service.lab.test", "A", [far(number) for number in range(2001, 3001)])
    lab.wait_status("90 addresses in all", lambda status: len(status["addresses"]) == 90, 15)
    more_questions(lab, 3)
    expect_equal(len(lab.status()["addresses"]), 90, "addresses in all")
    expect_equal(len(login_addresses(lab)), 90, "addresses in the kernel")
    said = len(log_lines(lab, "addresses-per-name"))
    expect(said, "the log names no cap")
    more_questions(lab, 3)
    expect_equal(len(log_lines(lab, "addresses-per-name")), said, "lines about the caps, while nothing changes")
    expect_equal(client.call("beat", name="held")["outcome"], "alive", "the flow")
    expect(lab.daemon.memory() - memory < 8192, f"memory grew from {memory} to {lab.daemon.memory()} KiB")


NEVER = ["127.0.0.1", "169.254.1.1", "224.0.0.5", "0.0.0.0", "255.255.255.255", "240.0.0.1", "192.168.77.1", OUTSIDE,
         CLIENT, "192.168.77.200"]
NEVER6 = ["::1", "::", "fe80::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:192.168.77.10"]


@case(zones=[], config={"keep": 600})
def forbidden_answers(lab):
    """NOT: an answer with private, loopback, link-local, multicast, own or LAN addresses puts none of them into a set;
    the log does not repeat itself. MUST: the good ones of the same answer are allowed, and the log names each refused
    address, with the remedy for private ones."""
    lab.zones.set_records(NAME, "AAAA", [SIX, "fd00::1", *NEVER6])
    lab.zones.set_login([far(1), PRIVATE, "172.16.0.1", *NEVER])
    wait_known(lab, far(1), SIX)
    lab.zones.count()
    more_questions(lab, 3)
    never_allowed(lab, PRIVATE, "172.16.0.1", "fd00::1", *NEVER, *NEVER6)
    for address in (PRIVATE, "172.16.0.1", "127.0.0.1", CLIENT, OUTSIDE):
        lines = lines_about(lab, address)
        expect_equal(len(lines), 1, f"lines that say {address} was refused: {lines}")
    expect(log_lines(lab, PRIVATE, "!private"), f"no remedy: {log_lines(lab, PRIVATE)}")
    expect(not log_lines(lab, "127.0.0.1", "!private"), "a remedy that does not help against loopback")
    unreachable(lab.client, PRIVATE, 5190, "a private server", timeout=0.8)


@case(zones=[], start=False, config={"login-host": f"{NAME}!private"})
def private_where_listed(lab):
    """MUST: login.icq.com!private lets private addresses in, and a client logs in there.
    NOT: loopback, link-local, multicast, own and LAN addresses stay out even so; the !private is no part of the
    name."""
    lab.zones.set_login([PRIVATE, LOGIN, LOGIN2, *NEVER])
    lab.zones.set_records(NAME, "AAAA", ["fd00:5190::1", *NEVER6])
    start_icqgate(lab)
    wait_known(lab, PRIVATE, "fd00:5190::1")
    log_in(lab, login=PRIVATE)
    lab.zones.count()
    more_questions(lab, 2)
    never_allowed(lab, *NEVER, *NEVER6)


AT_ONCE = [how for how in HOW if how not in ("wrong-id", "question-again", "silence", "empty")]


@case(zones=[], config={"keep": 2}, each={"wrong": {"ways": AT_ONCE}, "ignored": {"ways": ["wrong-id", "empty"]},
                                          "question-again": {"ways": ["question-again"]}})
def forged_answers(lab, ways):
    """NOT: an answer with a wrong identity, question or owner, cut, looped or of garbage puts nothing into a set.
    MUST: the last good addresses stay, the daemon lives, and the next honest answer counts."""
    lab.zones.count()
    for number, how in enumerate(ways):
        lab.zones.forge(how, addresses=[far(666)])
        more_questions(lab, 1, timeout=45)
        lab.wait_status(f"a failure by {how}", lambda status: name_of(status)["failing_for"] is not None, 45)
        never_allowed(lab, far(666))
        expect(allowed(lab, LOGIN), f"{how}: the last good address is gone")
        lab.zones.end_forging()
        lab.zones.set_login([LOGIN, far(number + 1)])
        hurry(lab, far(number + 1))
        wait_known(lab, far(number + 1), timeout=45)
    never_allowed(lab, far(666))


@case(zones=[], start=False, config={"login-host": [NAME, ROGUE]})
def what_status_tells(lab):
    """MUST: status gives host, address, port, source, age, TTL left, flows of each address, and of each name when it is
    asked next and for how long it has failed; the log tells an address once, when it comes and when it goes.
    NOT: nothing is told again at each refresh; a static address has no TTL."""
    lab.zones.count()
    lab.config["keep"] = 2
    start_icqgate(lab)
    go_online(lab)
    more_questions(lab, 4)
    status = lab.wait_status("a session with its flow", online)
    by_address = {one["address"]: one for one in status["addresses"]}
    expect_equal({address: (one["source"], one["port"]) for address, one in by_address.items()},
                 {LOGIN: ("answer", 5190), LOGIN2: ("answer", 5190), ROGUE: ("static", 5190)}, "addresses")
    for address in (LOGIN, LOGIN2):
        one = by_address[address]
        expect(0 <= one["ttl_left"] <= 1 and one["age"] >= 1 and one["expires_in"] > 0, f"{address}: {one}")
    expect(not by_address[ROGUE]["ttl_left"], f"the TTL of a static address: {by_address[ROGUE]}")
    for kind, count in (("A", 2), ("AAAA", 0)):
        one = name_of(status, kind)
        expect_equal((one["addresses"], one["failing_for"]), (count, None), f"{kind}: {one}")
        expect(one["next_ask_in"] <= 2, f"{kind}: {one}")
    expect(status["timeout_update"] in ("in place", "replace") and status["owner"] is False, "the kernel's ways")
    expect_equal([queue["lane"] for queue in status["queues"]], ["control", "peer", "names"], "queues")
    table = lab.icqgate("status", "--socket", lab.socket_path)[1]
    expect(LOGIN in table and NAME in table and "answer" in table, f"the table for people:\n{table}")
    lab.zones.set_login([LOGIN])
    wait_forgotten(lab, LOGIN2)
    wait_log(lab, LOGIN2)
    more_questions(lab, 2)
    for address, count in ((LOGIN, 1), (LOGIN2, 2)):
        lines = lines_about(lab, address)
        expect_equal(len(lines), count, f"lines about the name's address {address}: {lines}")


@case(zones=[], config={"queries-per-minute": 12, "ttl-min": 1, "keep": 600})
def query_budget(lab):
    """NOT: with a TTL of a second and SYNs to unknown servers, more questions than queries-per-minute are never sent.
    MUST: it does ask, and the addresses stay."""
    lab.zones.count()
    before = lab.zones.asked()
    for number in [lab.client.start("probe", address=far(900 + n), port=5190, timeout=3.0) for n in range(40)]:
        expect_equal(lab.client.finish(number)["outcome"], "unreachable", "an address nobody named")
    wait_until("questions", lambda: lab.zones.asked() > before, 30)
    expect(lab.zones.asked() - before <= 12, f"{lab.zones.asked() - before} questions in some seconds")
    expect_equal(login_addresses(lab), {LOGIN, LOGIN2}, "the login set")
