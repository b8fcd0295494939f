# SPDX-License-Identifier: GPL-2.0-or-later
"""ICQ direct connections (protocol.md 6): PEER_INIT in every shape, a connector and a listener that echoes.

After the handshake both sides speak in packets (u16 LE length, body); the listener sends every one back, so that a
connector knows that bytes pass both ways.
"""

import os
import struct
import time

from process import spawn
from tunnel import await_peer, bind_at, open_through
from wire import Ended, Reader, dotted, listen, reset, retransmits, send_cut, stop_listening

INIT_ACK = b"\x01\0\0\0"
INIT2 = (b"\x03" + struct.pack("<III", 0x0A, 1, 0) + bytes(12) + b"\0\0\0\0" + b"\x01\0\x04\0")  # initiator, messages


def packet(body):
    return struct.pack("<H", len(body)) + body


# shape: (body length, inner length, default version)
SHAPES = {
    "old": (26, None, 3),
    "v6": (44, 0x27, 6),
    "v6-short": (36, 0, 6),
    "v7-in-v6": (44, 0x27, 7),
    "v7": (48, 0x2B, 7),
    "v8": (48, 0x2B, 8),
    "gnome": (48, 0, 8),
}


def peer_init(shape, to, own, port, cookie=0, version=None, first_port=None, external="198.51.100.20",
              internal="10.0.0.9", dc_type=4, connect_id=0):
    """Body of PEER_INIT (6.2, 6.3). `first_port`: the field at offset 11, as `port` unless given."""
    length, inner, default = SHAPES[shape]
    version = default if version is None else version
    if shape == "old":
        return (b"\xff" + struct.pack("<II", version, first_port or 0) + struct.pack("<I", own)
                + dotted(internal) + dotted(external) + bytes([dc_type]) + struct.pack("<I", port))
    body = (b"\xff" + struct.pack("<HH", version, inner) + struct.pack("<I", to) + b"\0\0"
            + struct.pack("<I", port if first_port is None else first_port) + struct.pack("<I", own)
            + dotted(external) + dotted(internal) + bytes([dc_type]) + struct.pack("<II", port, cookie))
    if length >= 44:
        body += struct.pack("<II", 0x50, 3)
    if length == 48:
        body += struct.pack("<I", connect_id)
    assert len(body) == length
    return body


def parse_init(body):
    if len(body) == 26 and body[0] == 0xFF:
        version, _port, source = struct.unpack("<III", body[1:13])
        port = struct.unpack("<I", body[22:26])[0]
        return {"version": version, "to": None, "from": source, "port": port, "cookie": None}
    if len(body) < 36 or body[0] != 0xFF:
        raise ValueError(f"not PEER_INIT: {body.hex()}")
    version, _inner, to = struct.unpack("<HHI", body[1:9])
    source = struct.unpack("<I", body[15:19])[0]
    port, cookie = struct.unpack("<II", body[28:36])
    return {"version": version, "to": to, "from": source, "port": port, "cookie": cookie}


def take_packet(reader, deadline):
    length = struct.unpack("<H", reader.take(2, deadline))[0]
    return reader.take(length, deadline)


class Direct:
    """The direct-connection commands that every actor has: probe, listen, unlisten, connect, say, echo, watch, shut."""

    def __init__(self, actor):
        self.actor = actor
        self.listeners = {}
        self.connections = {}  # name -> Reader
        for command in (self.probe, self.connect, self.say, self.echo, self.beat, self.watch, self.shut,
                        self.listen, self.unlisten, self.bind):
            actor.command(command)

    # -- connecting
    def probe(self, address, port, timeout=1.5, via=None):
        """Does the port answer to a SYN at all? "connected", "refused" (RST) or "unreachable" (nothing came back);
        through a proxy what tunnel.request() says."""
        sock, outcome = open_through(via, address, port, timeout)
        if sock:
            sock.close()
        return {"outcome": outcome}

    def connect(self, address, port, name="c", shape="v8", to=0, own=0, cookie=0, own_port=30001, version=None,
                connect_id=0, cut="whole", raw=None, silent=False, timeout=8.0, connect_timeout=3.0, echo=4096,
                via=None):
        """Connects and shakes hands. Outcome: "unreachable", "refused", then "reset", "closed" or "silent" if the
        handshake never ended, else "verified" (the user wanted answered, and `echo` bytes came back) or "another user".
        `raw` (hex) is sent instead of PEER_INIT; `silent` sends nothing and waits."""
        sock, outcome = open_through(via, address, port, connect_timeout)
        if not sock:
            return {"outcome": outcome, "received": 0}
        reader = Reader(sock)
        self.connections[name] = reader
        start = time.monotonic()
        deadline = start + timeout
        result = {"local": list(sock.getsockname())}
        try:
            if raw is not None:
                send_cut(sock, bytes.fromhex(raw), cut)
            elif not silent:
                init = peer_init(shape, to, own, own_port, cookie, version, connect_id=connect_id)
                send_cut(sock, packet(init), cut)
            if raw is not None or silent:
                while True:
                    reader.fill(deadline)
            result["answer"] = self.finish_handshake(sock, reader, shape, deadline)
            result["echoed"] = self.echo_on(reader, echo, deadline)
            result["outcome"] = "verified" if result["answer"]["from"] == to else "another user"
        except Ended as end:
            result["outcome"] = str(end)
        except OSError:
            result["outcome"] = "reset"
        result["received"] = reader.total
        result["seconds"] = round(time.monotonic() - start, 3)
        return result

    def finish_handshake(self, sock, reader, shape, deadline):
        if shape == "old":  # neither ACK nor INIT2; the listener answers with its own 26 bytes
            answer = parse_init(take_packet(reader, deadline))
        else:
            ack = take_packet(reader, deadline)
            if ack != INIT_ACK:
                raise ValueError(f"no PEER_INIT_ACK: {ack.hex()}")
            answer = parse_init(take_packet(reader, deadline))
            sock.sendall(packet(INIT_ACK) + (packet(INIT2) if SHAPES[shape][0] == 48 else b""))
        return answer

    @staticmethod
    def echo_on(reader, count, deadline):
        done = 0
        while done < count:
            size = min(4096, count - done)
            body = b"\x02" + os.urandom(size - 1)
            reader.sock.settimeout(max(0.01, deadline - time.monotonic()))
            reader.sock.sendall(packet(body))
            if take_packet(reader, deadline) != body:
                raise ValueError("the echo differs")
            done += size
        return done

    def echo(self, name="c", count=4096, timeout=5.0):
        """Is the connection still alive? Sends `count` bytes and reads them back."""
        reader = self.connections[name]
        try:
            return {"outcome": "alive", "echoed": self.echo_on(reader, count, time.monotonic() + timeout)}
        except Ended as end:
            return {"outcome": str(end)}
        except OSError:
            return {"outcome": "reset"}

    def beat(self, name="c", seconds=5.0, pause=0.02):
        """Small echoes, one after the other, for that long. `retransmits`: packets of ours that were lost on the way;
        `longest`: the longest that an echo took, milliseconds."""
        reader = self.connections[name]
        before = retransmits(reader.sock)
        end = time.monotonic() + seconds
        count, longest, outcome = 0, 0.0, "alive"
        try:
            while time.monotonic() < end:
                start = time.monotonic()
                self.echo_on(reader, 32, start + 5)
                longest = max(longest, time.monotonic() - start)
                count += 1
                time.sleep(pause)
        except Ended as ended:
            outcome = str(ended)
        except OSError:
            outcome = "reset"
        lost = retransmits(reader.sock) - before if outcome == "alive" else None
        return {"outcome": outcome, "echoes": count, "longest": round(longest * 1e3, 1), "retransmits": lost}

    def say(self, name, raw, timeout=5.0):
        """More bytes on a connection that connect() left open; then how it ends, as watch()."""
        try:
            send_cut(self.connections[name].sock, bytes.fromhex(raw))
        except OSError:
            return {"outcome": "reset", "received": 0}
        return self.watch(name, timeout)

    def watch(self, name="c", timeout=10.0):
        """Waits for the end of a connection: "closed", "reset", or "silent" if it stays open for all of `timeout`."""
        reader = self.connections[name]
        before = reader.total
        try:
            while True:
                reader.fill(time.monotonic() + timeout)
        except Ended as end:
            return {"outcome": str(end), "received": reader.total - before}

    def shut(self, name="c", how="fin"):
        reader = self.connections.pop(name)
        reset(reader.sock) if how == "reset" else reader.sock.close()

    # -- listening
    def listen(self, port, uin, shape="v8", cut="whole", answer=True, cookie=0):
        """Answers PEER_INIT on `port` as `uin`. Events: "accepted" (a connection is there), "bytes" (the first that
        arrive on it), "handshake" (what its PEER_INIT says), "ended" (how, and how many bytes came in all). A listener
        that is there already is replaced."""
        if port in self.listeners:
            self.unlisten(port)
        sock = listen(port)
        self.listeners[port] = sock
        spawn(self.accept, sock, port, uin, shape, cut, answer, cookie)

    def bind(self, via, uin, port=0, host="0.0.0.0", shape="v8", cut="whole", cookie=0, wait=60.0):
        """listen() at a SOCKS server, for one peer. -> where that peer has to go. The events carry that port, and the
        peer as the server names it."""
        sock, outcome, address, bound = bind_at(via, host, port)
        if sock:
            spawn(self.welcome, via, sock, bound, wait, uin, shape, cut, True, cookie)
        return {"outcome": outcome, "address": address, "port": bound}

    def welcome(self, via, sock, port, wait, *options):
        try:
            outcome, *remote = await_peer(via, sock, wait)
        except (OSError, ValueError) as error:
            outcome, remote = str(error), [None, None]
        if outcome != "connected":
            sock.close()
            self.actor.emit(event="nobody", port=port, how=outcome)
            return
        self.actor.emit(event="accepted", port=port, remote=remote)
        self.answer(sock, remote, port, *options)

    def unlisten(self, port):
        stop_listening(self.listeners.pop(port))

    def accept(self, sock, port, *options):
        while True:
            try:
                connection, remote = sock.accept()
            except OSError:
                return
            self.actor.emit(event="accepted", port=port, remote=list(remote))
            spawn(self.answer, connection, remote, port, *options)

    def answer(self, sock, remote, port, uin, shape, cut, answer, cookie):
        reader = Reader(sock)
        where = {"port": port, "remote": list(remote)}
        forever = time.monotonic() + 86400
        try:
            reader.fill(forever)
            self.actor.emit(event="bytes", first=reader.buffer[:64].hex(), **where)
            body = take_packet(reader, forever)
            init = parse_init(body)
            self.actor.emit(event="handshake", init=init, **where)
            if answer:
                self.answer_handshake(sock, reader, init, body, port, uin, shape, cut, cookie)
                while True:
                    data = take_packet(reader, forever)
                    if data not in (INIT_ACK, INIT2):
                        sock.sendall(packet(data))
            while True:
                reader.fill(forever)
        except Ended as end:
            self.actor.emit(event="ended", how=str(end), total=reader.total, **where)
        except (OSError, ValueError) as error:
            how = "reset" if isinstance(error, OSError) else str(error)
            self.actor.emit(event="ended", how=how, total=reader.total, **where)
        sock.close()

    @staticmethod
    def answer_handshake(sock, _reader, init, body, port, uin, shape, cut, cookie):
        """As the recorded listeners: the smaller of the two shapes, the same cookie; in segments of 2 | 50 if asked."""
        if len(body) == 26:
            sock.sendall(packet(peer_init("old", 0, uin, port)))
            return
        if len(body) < 48:
            shape = "v6"
        own = peer_init(shape, init["from"], uin, port, init["cookie"] or cookie, external="0.0.0.0",
                        internal=sock.getsockname()[0], first_port=0 if shape == "v6" else None)
        send_cut(sock, packet(INIT_ACK) + packet(own), cut)
