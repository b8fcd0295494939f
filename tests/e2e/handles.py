# SPDX-License-Identifier: GPL-2.0-or-later
"""What a test holds of a running process: an actor (line JSON), a program with a log, the daemon."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = "/usr/bin/python3"
# On a machine made by software all waiting takes longer; a test that fails is only later to say so.
SLOW = float(os.environ.get("ICQGATE_TEST_SLOW", "1"))


class Failure(AssertionError):
    """A test's expectation was not met; the text says which and what was seen instead."""


def wait_until(what, probe, timeout=8.0, pause=0.02):
    """The first true value of probe(). Fails with `what` and the last value after `timeout` seconds."""
    timeout *= SLOW
    deadline = time.monotonic() + timeout
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {timeout:g} s (last seen: {value!r})")
        time.sleep(pause)


def expect(condition, what):
    if not condition:
        raise Failure(what)


def expect_equal(seen, wanted, what):
    if seen != wanted:
        raise Failure(f"{what}: expected {wanted!r}, got {seen!r}")


class Process:
    """A child in a namespace. It dies with the test run, whatever becomes of that."""

    def __init__(self, lab, role, arguments, own_sys=False, **popen):
        self.role = role
        name = lab.namespace(role)
        # `ip netns exec` also mounts the namespace's own /sys, which a network daemon expects; nsenter is quicker.
        enter = ["ip", "netns", "exec", name] if own_sys else ["nsenter", f"--net=/run/netns/{name}"]
        self.popen = subprocess.Popen(enter + ["setpriv", "--pdeathsig", "KILL"] + arguments, **popen)
        lab.processes.append(self)

    @property
    def pid(self):
        return self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def close(self):
        pass

    def send_signal(self, number):
        if self.alive():
            os.kill(self.pid, number)

    def end(self, number=signal.SIGTERM, timeout=5.0):
        """Sends the signal, waits, kills if need be. -> exit status."""
        self.send_signal(number)
        try:
            return self.popen.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise Failure(f"{self.role}: did not end within {timeout:g} s of signal {number}") from None


class Actor(Process):
    def __init__(self, lab, role, script, *arguments):
        super().__init__(lab, role, [PYTHON, "-E", "-s", "-S", os.path.join(HERE, "actors", script), *arguments],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.condition = threading.Condition()
        self.events = []
        self.replies = {}
        self.numbers = itertools.count(1)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.popen.stdout:
            message = json.loads(line)
            with self.condition:
                if "reply" in message:
                    self.replies[message["reply"]] = message
                else:
                    self.events.append(message)
                self.condition.notify_all()
        with self.condition:
            self.condition.notify_all()

    def start(self, do, **arguments):
        """Starts a command; finish() waits for what it says."""
        number = next(self.numbers)
        self.popen.stdin.write(json.dumps({"id": number, "do": do, **arguments}) + "\n")
        self.popen.stdin.flush()
        return number

    def finish(self, number, timeout=60.0):
        with self.condition:
            if not self.condition.wait_for(lambda: number in self.replies or not self.alive(), timeout * SLOW):
                raise Failure(f"{self.role}: no reply within {timeout:g} s")
            reply = self.replies.pop(number, None)
        if reply is None:
            raise Failure(f"{self.role}: the actor has ended")
        del reply["reply"]
        if not reply.pop("ok"):
            raise Failure(f"{self.role}: {reply['error']}" + (f"\n{reply['trace']}" if reply.get("trace") else ""))
        return reply

    def call(self, do, **arguments):
        return self.finish(self.start(do, **arguments))

    def close(self):
        """After the process has ended."""
        self.reader.join()
        with contextlib.suppress(BrokenPipeError):  # what it died before it could read
            self.popen.stdin.close()
        self.popen.stdout.close()

    # -- events
    def mark(self):
        """A place in the stream of events; wait() and seen() can begin there."""
        with self.condition:
            return len(self.events)

    def seen(self, event, since=0, **fields):
        with self.condition:
            return [e for e in self.events[since:] if e["event"] == event
                    and all(e.get(key) == value for key, value in fields.items())]

    def wait(self, event, timeout=8.0, since=0, **fields):
        """The first such event."""
        timeout *= SLOW
        deadline = time.monotonic() + timeout
        while True:
            found = self.seen(event, since, **fields)
            if found:
                return found[0]
            with self.condition:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise Failure(f"{self.role}: no event {event} {fields or ''} within {timeout:g} s")
                self.condition.wait(min(left, 0.5))


class Logged(Process):
    """A program whose standard output and error go to a file."""

    def __init__(self, lab, role, name, arguments, **options):
        self.log_path = os.path.join(lab.directory, f"{name}.log")
        with open(self.log_path, "ab") as log:
            self.offset = log.tell()
            super().__init__(lab, role, arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)

    def log(self):
        with open(self.log_path, errors="replace") as log:
            log.seek(self.offset)
            return log.read()


class Daemon(Logged):
    """`icqgate run` in the gateway's namespace. `config`: the lab's own, or None: none is named."""

    def __init__(self, lab, arguments, before=None, config="lab"):
        command = [lab.binary, "run", *(["--config", lab.config_path] if config else []), *arguments]
        if before:
            command = ["sh", "-ec", f"{before}\nexec \"$@\"", "sh", *command]
        super().__init__(lab, "gw", "icqgate", command, own_sys=True)

    def ready(self):
        return "ready" in self.log()

    def inside(self, line):
        """A shell line in the daemon's mount namespace."""
        done = subprocess.run(["nsenter", f"--mount=/proc/{self.pid}/ns/mnt", "sh", "-ec", line], capture_output=True,
                              text=True)
        if done.returncode:
            raise Failure(f"{line}: {done.stderr.strip()}")
        return done.stdout

    def memory(self):
        """Resident, in KiB."""
        with open(f"/proc/{self.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))

    def wait_ready(self, timeout=15.0):
        wait_until("icqgate ready", lambda: self.ready() or not self.alive(), timeout)
        if not self.ready():
            raise Failure(f"icqgate ended with {self.popen.returncode} before it was ready:\n{self.log()[-2000:]}")
