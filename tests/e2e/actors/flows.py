# SPDX-License-Identifier: GPL-2.0-or-later
"""Long flows to login servers: FLAP from the first byte on, then keep-alive frames that come back.

The same program is the server (serve) and the client (open, beat, keep).
"""

import os
import struct
import threading
import time

import oscar
from process import Actor, spawn
from wire import Ended, Reader, listen, open_connection, retransmits, reset

actor = Actor()
flows = {}  # name -> Flow
HELLO = struct.pack(">I", 1)


# -- the server
def answer(sock):
    frames = oscar.FlapReader(Reader(sock))
    try:
        sock.sendall(oscar.flap(1, 1, HELLO))
        while True:
            frame = frames.next(time.monotonic() + 86400)
            if frame.channel == 5:
                sock.sendall(oscar.flap(5, frame.sequence, frame.data))
    except (Ended, OSError, ValueError):
        sock.close()


def accept(sock):
    while True:
        connection, _ = sock.accept()
        spawn(answer, connection)


@actor.command
def serve(port, address="0.0.0.0"):
    spawn(accept, listen(port, address))


# -- the client
class Flow:
    def __init__(self, address, port, timeout):
        self.address = address
        self.sock, self.outcome = open_connection(address, port, timeout)
        self.sequence = 0
        self.echoes = 0
        self.stop = threading.Event()
        if not self.sock:
            return
        self.syns = retransmits(self.sock)
        self.frames = oscar.FlapReader(Reader(self.sock))
        try:
            if self.frames.next(time.monotonic() + timeout).data != HELLO:
                raise ValueError("not a FLAP hello")
            self.send(1, HELLO)
        except (Ended, OSError, ValueError) as error:
            self.outcome = f"no hello: {error}"

    def send(self, channel, data):
        self.sequence += 1
        self.sock.sendall(oscar.flap(channel, self.sequence, data))

    def beat(self, timeout=8.0):
        """One echo. Raises when the flow is no more."""
        data = os.urandom(16)
        self.send(5, data)
        if self.frames.next(time.monotonic() + timeout).data != data:
            raise ValueError("the echo differs")
        self.echoes += 1

    def run(self, name, pause):
        try:
            while not self.stop.wait(pause):
                self.beat()
            self.outcome = "stopped"
        except (Ended, OSError, ValueError) as error:
            self.outcome = str(error)
            actor.emit(event="flow-ended", flow=name, address=self.address, how=str(error))


@actor.command
def open_(address, name=None, port=5190, timeout=4.0, keep=False, pause=0.5):
    """A flow, with one echo. `keep`: it beats by itself from then on, and an event says when it ends."""
    start = time.monotonic()
    flow = Flow(address, port, timeout)
    result = {"outcome": flow.outcome, "seconds": round(time.monotonic() - start, 3)}
    if flow.outcome != "connected":
        return result
    result["retransmits"] = flow.syns
    flow.beat()
    if name is None:
        flow.sock.close()
        return result
    flows[name] = flow
    if keep:
        spawn(flow.run, name, pause)
    return result


@actor.command
def beat(name):
    """Is the flow still alive?"""
    try:
        flows[name].beat()
        return {"outcome": "alive"}
    except (Ended, OSError, ValueError) as error:
        return {"outcome": str(error)}


@actor.command
def all_():
    """-> name: [address, outcome, echoes, retransmits] of every flow that beats by itself."""
    return {"flows": {name: [flow.address, flow.outcome, flow.echoes, flow_retransmits(flow)]
                      for name, flow in flows.items()}}


def flow_retransmits(flow):
    try:
        return retransmits(flow.sock)
    except OSError:
        return None


@actor.command
def end(name, how="fin"):
    flow = flows.pop(name)
    flow.stop.set()
    reset(flow.sock) if how == "reset" else flow.sock.close()


if __name__ == "__main__":
    actor.serve()
