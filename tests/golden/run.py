#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Holds what the subcommands print against files kept beside this one.

usage: run.py PROGRAM                  compare; a diff for each file that differs
       run.py PROGRAM --regenerate     write the files anew; look at `git diff` before you believe them

trace/      what `trace` says of each capture, as text and as JSON; the same in every capture format
emit/       rulesets with options, and ../../rules/: see rulesets.py; guides and proxies' files: client_texts.py
status/     what `status` makes of one answer of the service
"""

import argparse
import difflib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import capture_variants as variants
import client_texts
import rulesets

HERE = Path(__file__).resolve().parent
LOGIN = ["--login-host", "10.77.2.5"]
CLIENT = ["--client", "10.77.1.0/24"]
CAPTURES = ["licq-dc-wan2lan", "climm-dc-lan2wan", "purple-ports"]
STATUS = {
    "version": "0.1.0", "table": "icqgate", "uptime": 3725, "queue_form": "native", "timeout_update": "in place",
    "owner": True, "state": "/var/lib/icqgate/state.json",
    "state_problem": "/var/lib/icqgate/state.json: write: No space left on device",
    "addresses": [
        {"host": "login.icq.com", "address": "203.0.113.5", "port": 5190, "source": "answer", "age": 7300,
         "ttl_left": 80, "expires_in": 680, "flows": 1},
        {"host": "2001:db8::5", "address": "2001:db8::5", "port": 443, "source": "static", "age": 0,
         "ttl_left": None, "expires_in": 90000, "flows": 0}],
    "names": [{"name": "login.icq.com", "type": "A", "addresses": 1, "last_error": "", "failing_for": None,
               "next_ask_in": 80},
              {"name": "login.icq.com", "type": "AAAA", "addresses": 0,
               "last_error": "SERVFAIL\n\x1b[31m", "failing_for": 340, "next_ask_in": 0}],
    "sessions": [{"client": "192.168.1.20", "uin": 100003, "server": "203.0.113.9:5190", "state": "online",
                  "since": 59},
                 {"client": "192.168.1.21", "uin": None, "server": "203.0.113.5:5190", "state": "login", "since": 0}],
    "pinholes": [{"client": "192.168.1.20", "port": 20007, "uin": 100003, "kind": "direct", "state": "open",
                  "expires_in": 120, "peers": 2}],
    "returns": [],
    "counters": {"peers_verified": 2, "peers_refused": 0, "refused": {"not-icq": 3}, "kernel": {"no_pinhole": 4}},
    "queues": [{"number": 5190, "lane": "control", "received": 1234, "lost": 0, "waiting": 0, "dropped": 0}],
}


class Golden:
    def __init__(self, program, regenerate, folder):
        self.program, self.regenerate, self.folder = program, regenerate, folder
        self.failures, self.checks = 0, 0

    def run(self, *arguments, stdin=None):
        """-> (exit status, standard output, standard error)"""
        done = subprocess.run([self.program, *arguments], capture_output=True, timeout=60, input=stdin, check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def expect(self, what, holds, details=""):
        self.checks += 1
        if not holds:
            self.failures += 1
            print(f"FAIL {what}" + (f"\n{details}" if details else ""))

    def same(self, what, wanted, got):
        diff = difflib.unified_diff(wanted.splitlines(), got.splitlines(), "expected", "printed", lineterm="", n=1)
        self.expect(what, wanted == got, "\n".join(diff))

    def file(self, path, text):
        if self.regenerate:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        elif not path.exists():
            self.expect(f"{path.name}: there is no such file; run with --regenerate", False)
        else:
            self.same(f"{path.parent.name}/{path.name}", path.read_text(), text)

    def write(self, name, data):
        path = self.folder / name
        path.write_bytes(data)
        return str(path)

    def exits(self, wanted, *arguments, says=""):
        """The exit status, the words on standard error, and that nothing is on standard output."""
        status, out, errors = self.run(*arguments)
        self.expect(f"{' '.join(arguments)}: exit status {status}, wanted {wanted}", status == wanted, errors)
        self.expect(f"{' '.join(arguments)}: prints although it fails", out == "", out)
        self.expect(f"{' '.join(arguments)}: does not say '{says}'", says in errors, errors)


def trace_of_captures(golden):
    for name in CAPTURES:
        capture = HERE / "captures" / f"{name}.pcap"
        text = golden.run("trace", str(capture), *CLIENT, *LOGIN)
        lines = golden.run("trace", str(capture), *CLIENT, *LOGIN, "--json")
        golden.expect(f"trace {name}: exit status", text[0] == 0 and lines[0] == 0, text[2])
        golden.file(HERE / "trace" / f"{name}.txt", text[1])
        golden.file(HERE / "trace" / f"{name}.summary.txt", text[2])
        golden.file(HERE / "trace" / f"{name}.jsonl", lines[1])
        guessed = golden.run("trace", str(capture), *LOGIN, "--json")
        golden.same(f"trace {name} without --client", lines[1], guessed[1])
        golden.expect(f"trace {name} without --client: no hint", "--client" in guessed[2])
        for form, data in variants.every_form(variants.read(capture)).items():
            golden.same(f"trace {name} as {form}", lines[1],
                        golden.run("trace", golden.write(f"{form}.pcap", data), *CLIENT, *LOGIN, "--json")[1])
        golden.same(f"trace {name} from a pipe", lines[1],
                    golden.run("trace", "-", *CLIENT, *LOGIN, "--json", stdin=capture.read_bytes())[1])


def events(lines, without=("time",)):
    return [{key: value for key, value in json.loads(line).items() if key not in without}
            for line in lines.splitlines()]


def trace_of_changes(golden):
    """One capture changed in ways that must or must not change what is said of it."""
    packets = variants.read(HERE / "captures" / f"{CAPTURES[0]}.pcap")
    trace = lambda data, *more: golden.run("trace", golden.write("changed.pcap", data), *CLIENT, "--json", *more)
    plain = events(trace(variants.pcap(packets), *LOGIN)[1])
    words = lambda run: [event["event"] for event in events(run[1])]

    name = "login.example.net"
    answer = (packets[-1][0], packets[-1][1], variants.dns_answer(name, "10.77.2.5", 60))
    by_name = [{**event, "text": name} if event["event"] == "address-added" else event for event in plain]
    for place, captured in (("first", [packets[0][:2] + answer[2:], *packets]), ("last", [*packets, answer])):
        got = events(trace(variants.pcap(captured), "--login-host", f"{name}!private")[1])
        golden.expect(f"trace: a DNS answer that comes {place}", got == by_name, f"{got}")
    refused = events(trace(variants.pcap([packets[0][:2] + answer[2:], *packets]), "--login-host", name)[1])
    golden.expect("trace: a private address of a host that is not listed for it",
                  refused[0]["event"] == "address-refused" and "session-opened" not in {e["event"] for e in refused},
                  f"{refused}")
    nameless = trace(variants.pcap(packets), "--login-host", name)
    golden.expect("trace: no DNS answer", nameless[0] == 0 and "no DNS answer for login.example.net" in nameless[2]
                  and not any(event["event"] == "session-opened" for event in events(nameless[1])), nameless[2])

    jumped = [(s - 3600, u, f) if number % 50 == 49 else (s, u, f) for number, (s, u, f) in enumerate(packets)]
    golden.expect("trace: time that goes back", events(trace(variants.pcap(jumped), *LOGIN)[1]) == plain)

    # The peer's first segment in two parts, the second before the first: it comes again a second later.
    first = next(number for number, (_, _, frame) in enumerate(packets)
                 if (tcp := variants.tcp_of(frame)) and tcp[1] == 41000 and tcp[3])
    seconds, micros, frame = packets[first]
    head, tail = variants.split(frame, 2)
    for order, parts in (("in order", (head, tail)), ("out of order", (tail, head))):
        parted = [*packets[:first], *((seconds, micros, part) for part in parts), *packets[first + 1:]]
        golden.expect(f"trace: the peer's length and body apart, {order}",
                      events(trace(variants.pcap(parted), *LOGIN)[1]) == plain)

    # The peer comes before the server has acknowledged the announcement: not yet let in, but when it tries again.
    announced = next(json.loads(line)["time"] for line in trace(variants.pcap(packets), *LOGIN)[1].splitlines()
                     if '"pinhole-probation"' in line)
    place = next(number for number, (s, u, _) in enumerate(packets) if round((s + u / 1e6) - announced, 6) == 0)
    early = [number for number in range(first + 1)
             if (tcp := variants.tcp_of(packets[number][2])) and 41000 in tcp[:2]]
    moved = [*packets[:place + 1], *(packets[place][:2] + packets[number][2:] for number in early),
             *(packet for number, packet in enumerate(packets[place + 1:], place + 1) if number not in early)]
    lines = trace(variants.pcap(moved), *LOGIN)[1].splitlines()
    verified = [json.loads(line) for line in lines if '"peer-verified"' in line]
    golden.expect("trace: a peer in probation tries again", len(verified) == 1 and len(early) == 4
                  and 0.9 < verified[0]["time"] - announced < 1.1, "\n".join(lines))

    # From the middle on nothing is learned; without the handshake of the peer nobody is let in.
    middle = trace(variants.pcap(packets[100:]), *LOGIN)
    golden.expect("trace: from the middle on", not {"session-opened", "pinhole-probation", "pinhole-opened",
                                                    "peer-verified"} & set(words(middle)), middle[1])
    golden.expect("trace: from the middle on: no word of it", "whose beginning is not in the capture" in middle[2])
    denied = trace(variants.pcap(packets), *LOGIN, "--port-range", "20000-20099")
    golden.expect("trace: a port outside the range", "announce-refused" in words(denied)
                  and "pinhole-opened" not in words(denied), denied[1])
    config = golden.write("range.conf", b"port-range = 20000-20099\n")
    golden.same("trace: a port-range from the file", denied[1],
                trace(variants.pcap(packets), *LOGIN, "--config", config)[1])
    foreign = trace(variants.pcap(packets), *LOGIN, "--client", "10.77.9.0/24")
    golden.expect("trace: other clients", "session-opened" in words(foreign))  # --client adds to CLIENT
    secrets = (b"AIM", b"password")
    whole = trace(variants.pcap(packets), *LOGIN)[1].encode()
    golden.expect("trace: no secret in what it says", not any(secret in whole for secret in secrets))

    for end in (23, 24, 30, 41, 20000):
        cut = golden.run("trace", golden.write("cut.pcap", variants.pcap(packets)[:end]), *CLIENT, *LOGIN)
        wanted = 0 if end == 24 else 1
        golden.expect(f"trace: cut at {end}: exit status {cut[0]}", cut[0] == wanted and cut[2], cut[2])
    golden.expect("trace: cut short: what is there comes first", "pinhole-opened" in cut[1] and "ended early" in cut[2])
    relative = golden.run("trace", golden.write("whole.pcap", variants.pcap(packets)), *CLIENT, *LOGIN, "--relative")[1]
    golden.expect("trace --relative", relative.lstrip().startswith("+0.000000") and "UTC" not in relative, relative)


def wrong_ways(golden):
    golden.exits(2, "emit", "--integrate", "shorewall", says="'shorewall' is no firewall known here")
    golden.exits(2, "emit", "--integrate", "ufw", "--profile", "range", says="exclude each other")
    golden.exits(2, "emit", "--integrate", "ufw", "--client-guide", says="exclude each other")
    golden.exits(1, "emit", "--integrate", "ufw", "--config", "/nonexistent", says="/nonexistent: No such file")
    golden.exits(2, "trace", says="no capture file")
    golden.exits(2, "trace", "a", "b", says="more than one")
    golden.exits(2, "trace", "a", "--jsn", says="'--jsn'")
    golden.exits(1, "trace", "/nonexistent", says="/nonexistent: No such file")
    golden.exits(1, "trace", golden.write("garbage", b"\x17" * 5000), says="not a capture file")
    golden.exits(1, "trace", golden.write("empty", b""), says="not a capture file")
    golden.exits(1, "trace", golden.write("wifi", variants.pcap([], 105)), says="link type IEEE802_11")
    golden.exits(1, "check", "--config", "/nonexistent", says="/nonexistent: No such file")
    golden.exits(2, "check", "--bogus", says="'--bogus'")
    bad = golden.write("bad.conf", b"port-range = 5\nprot-range = 1\n")
    golden.exits(1, "check", "--config", bad, says="bad.conf:1:14: port-range")
    golden.exits(1, "check", "--config", bad, says="bad.conf:2:1: unknown key 'prot-range'")
    golden.exits(1, "check", "--port-range", "5", says="--port-range")
    golden.exits(2, "status", "--bogus", says="'--bogus'")
    golden.exits(1, "status", "--socket", str(golden.folder / "nobody"), says="is it running?")
    for command in ("emit", "trace", "check", "status"):
        status, out, errors = golden.run(command, "--help")
        golden.expect(f"{command} --help", status == 0 and out.startswith(f"usage: icqgate {command}") and not errors
                      and "--login-host" in out and "examples:" in out, out + errors)


def checked_configuration(golden):
    """As root `check` asks the kernel too: in a namespace of its own."""
    alone = ["unshare", "-n"] if os.geteuid() == 0 and shutil.which("unshare") else []
    asked = ", and the kernel takes the ruleset" if os.geteuid() == 0 else " (the kernel was not asked: that needs root)"
    good = golden.write("good.conf", b"# ours\nport-range = 24000-24009\nclient = 192.168.1.0/24\n")
    done = subprocess.run([*alone, golden.program, "check", "--config", good], capture_output=True, check=False)
    golden.expect("check of a good file", done.returncode == 0 and done.stdout.decode() == f"{good}: ok{asked}\n",
                  f"{done.stdout.decode()}{done.stderr.decode()}")


def status_of_service(golden):
    path = str(golden.folder / "socket")
    asked, answers = [], [STATUS, STATUS, {}, "no object"]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve():
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    asked.append(connection.recv(100))
                    connection.sendall(json.dumps(answer).encode() + b"\n")

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        table = golden.run("status", "--socket", path)
        whole = golden.run("status", "--json", "--socket", path)
        empty = golden.run("status", "--socket", path)
        golden.exits(1, "status", "--socket", path, says="is not this program's service")
        server.join(10)
    golden.expect("status: exit status", table[0] == 0 and whole[0] == 0, table[2] + whole[2])
    golden.file(HERE / "status" / "table.txt", table[1])
    golden.same("status --json", json.dumps(STATUS, indent=2), json.dumps(json.loads(whole[1]), indent=2))
    golden.expect("status --json is indented", whole[1].startswith('{\n  "version"'))
    golden.expect("status of nothing", empty[0] == 0 and empty[1].count("  none\n") == 7, empty[1])
    golden.expect("status asks in one line", set(asked) == {b"status\n"}, f"{asked}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("--regenerate", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        golden = Golden(str(arguments.program.resolve()), arguments.regenerate, Path(folder))
        for part in (trace_of_captures, trace_of_changes, *rulesets.PARTS, *client_texts.PARTS, wrong_ways,
                     checked_configuration, status_of_service):
            part(golden)
    print(f"{golden.checks} checks, {golden.failures} failed")
    return 1 if golden.failures else 0


if __name__ == "__main__":
    sys.exit(main())
