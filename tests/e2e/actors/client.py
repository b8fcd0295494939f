# SPDX-License-Identifier: GPL-2.0-or-later
"""An ICQ client: logs in (1.3 or 1.4), follows the redirect, announces its port (4.1), listens and connects (6).

One process may hold several sessions, told apart by the name in `session`.
"""

import os
import socket
import struct
import threading
import time

import oscar
import resolve
from direct import Direct
from process import Actor, spawn
from tunnel import open_through
from wire import Ended, Reader, open_connection, reset, retransmits, send_cut

actor = Actor()
sessions = {}
silent = []     # sockets of connect_from()
questions = {}  # port -> socket of ask_only(): while it is open the port answers no ICMP error


class Connection:
    """One FLAP connection. `cut`: how outgoing bytes are cut into segments."""

    def __init__(self, address, port, cut="whole", timeout=4.0, source="0.0.0.0", source_port=0,
                 via=None):
        self.sock, outcome = open_through(via, address, port, timeout, source_port, source)
        if not self.sock:
            raise ConnectionError(f"{address}:{port}: {outcome}")
        self.remote = [address, port]
        self.cut = cut
        self.sequence = int.from_bytes(self.sock.getsockname()[1].to_bytes(2, "big"), "big") * 7 & 0x7FFF
        self.request = 0
        self.lock = threading.Lock()
        self.frames = oscar.FlapReader(Reader(self.sock))

    def frame(self, channel, data=b""):
        self.sequence += 1
        return oscar.flap(channel, self.sequence, data)

    def snac(self, family, subtype, body=b"", block=None):
        self.request += 1
        return self.frame(2, oscar.snac(family, subtype, body, self.request, block=block))

    def send(self, *frames, cut=None):
        """Several frames at once share segments, as ICQ 2000b packs them."""
        with self.lock:
            send_cut(self.sock, b"".join(frames), cut or self.cut)

    def next(self, timeout=8.0):
        return self.frames.next(time.monotonic() + timeout)

    def expect(self, channel, family=None, subtype=None, timeout=8.0):
        """The next frame of that channel (and SNAC); others on the way are skipped."""
        deadline = time.monotonic() + timeout
        while True:
            frame = self.frames.next(deadline)
            if frame.channel == 4 and channel != 4:
                raise ConnectionError("the server signed us off")
            if frame.channel != channel:
                continue
            if channel != 2:
                return frame.data
            snac = oscar.parse_snac(frame.data)
            if (snac.family, snac.subtype) == (family, subtype):
                return snac

    def hello(self, tlvs=b""):
        if self.expect(1) != struct.pack(">I", 1):
            raise ValueError("not a FLAP hello")
        self.send(self.frame(1, struct.pack(">I", 1) + tlvs))


class Session:
    def __init__(self, name, uin, source="0.0.0.0", via=None):
        self.name, self.uin, self.source, self.via = name, uin, source, via
        self.bos = None
        self.buddies = {}
        self.services = []
        self.redirects = []
        self.condition = threading.Condition()

    def log_in(self, address, port, password, how, cut):
        """-> (host, port of the redirect, cookie)."""
        login = Connection(address, port, cut, source=self.source, via=self.via)
        try:
            if how == "roast":
                if login.expect(1) != struct.pack(">I", 1):
                    raise ValueError("not a FLAP hello")
                login.send(login.frame(1, oscar.roasted_login(self.uin, password)))
                reply = oscar.first_tlvs(login.expect(4))
            else:
                login.hello()
                login.send(login.snac(0x17, 0x06, oscar.md5_key_request(self.uin)))
                body = login.expect(2, 0x17, 0x07).body
                key = body[2:2 + struct.unpack(">H", body[:2])[0]]
                login.send(login.snac(0x17, 0x02, oscar.md5_login(self.uin, password, key, how == "md5-newer")))
                reply = oscar.first_tlvs(login.expect(2, 0x17, 0x03).body)
        finally:
            login.sock.close()
        if 8 in reply:
            raise PermissionError(f"login refused, code {struct.unpack('>H', reply[8])[0]}")
        return *oscar.split_target(reply[5], port), reply[6]

    def sign_on(self, address, port, cookie, cut, packed, source_port=0):
        """The BOS connection up to (01,0F). `packed`: bytes that go out in the same segment as the last requests."""
        bos = self.bos = Connection(address, port, cut, source=self.source, source_port=source_port, via=self.via)
        bos.hello(oscar.tlv(6, cookie))
        bos.expect(2, 1, 3)
        bos.send(bos.snac(1, 0x17, oscar.versions_body()))
        bos.expect(2, 1, 0x18)
        bos.send(bos.snac(1, 6))
        bos.expect(2, 1, 7)
        frames = [bos.snac(1, 8, struct.pack(">HHHHH", 1, 2, 3, 4, 5)), bos.snac(1, 0x0E), bos.snac(4, 2, bytes(16)),
                  bos.snac(2, 2), bos.snac(3, 2), bos.snac(9, 2)]
        if packed is not None:
            frames += [bos.snac(1, 0x1E, packed), bos.snac(1, 2, bytes(8))]
        bos.send(*frames)
        name, _, _ = oscar.parse_user_info(bos.expect(2, 1, 0x0F).body)
        if int(name) != self.uin:
            raise ValueError(f"the server calls us {name}")
        if packed is None:
            bos.send(bos.snac(1, 2, bytes(8)))
        spawn(self.follow)

    def follow(self):
        """Reads the BOS connection until it ends."""
        try:
            while True:
                frame = self.bos.next(86400)
                if frame.channel == 4:
                    found = oscar.first_tlvs(frame.data)
                    actor.emit(event="signed-off", session=self.name, reason=int.from_bytes(found.get(9, b""), "big"))
                elif frame.channel == 2:
                    self.take(oscar.parse_snac(frame.data))
        except Ended as end:
            actor.emit(event="session-ended", session=self.name, how=str(end))
        except (OSError, ValueError) as error:
            actor.emit(event="session-ended", session=self.name, how=str(error))

    def take(self, snac):
        with self.condition:
            if (snac.family, snac.subtype) == (1, 5):
                self.redirects.append(oscar.first_tlvs(snac.body))
            elif (snac.family, snac.subtype) == (3, 0x0B):
                name, tlvs, _ = oscar.parse_user_info(snac.body)
                self.buddies[int(name)] = oscar.parse_direct_info(dict(tlvs).get(0x0C, b""))
                actor.emit(event="buddy", session=self.name, uin=int(name))
            self.condition.notify_all()


def host_address(host, dns):
    if host.replace(".", "").isdigit():
        return host
    return resolve.addresses(host, dns)[0]


@actor.command
def lookup(host, dns, timeout=5.0):
    return {"addresses": sorted(resolve.addresses(host, dns, timeout))}


@actor.command
def meet(host, dns, port=5190, timeout=4.0):
    """Resolves and connects to the first address, as a client does when its user logs in. `retransmits`: how often its
    SYN had to be sent again."""
    start = time.monotonic()
    address = resolve.addresses(host, dns)[0]
    resolved = time.monotonic()
    sock, outcome = open_connection(address, port, timeout)
    result = {"outcome": outcome, "address": address, "resolved_in": round((resolved - start) * 1e3, 3),
              "connected_in": round((time.monotonic() - resolved) * 1e3, 3)}
    if sock:
        result["retransmits"] = retransmits(sock)
        sock.close()
    return result


@actor.command
def ask(host, dns, count=1):
    """Resolves `count` times and connects nowhere. -> how long each took, milliseconds."""
    times = []
    for _ in range(count):
        start = time.monotonic()
        resolve.addresses(host, dns)
        times.append(round((time.monotonic() - start) * 1e3, 3))
    return {"times": times}


@actor.command
def ask_only(host, dns, port=0, identity=None):
    """Sends a question and waits for no answer. -> its port and identity, for a forger."""
    identity = int.from_bytes(os.urandom(2), "big") if identity is None else identity
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("0.0.0.0", port))
    sock.connect((dns, 53))
    sock.send(resolve.query(host, identity))
    sock.setblocking(False)
    questions[sock.getsockname()[1]] = sock
    return {"port": sock.getsockname()[1], "identity": identity}


@actor.command
def flood_questions(host, dns, count):
    """So many questions, none like another in port and identity, to a server that need not be there."""
    sent = 0
    while sent < count:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for identity in range(min(count - sent, 1 << 16)):
                try:
                    sock.sendto(resolve.query(host, identity), (dns, 53))
                except OSError:  # an ICMP error, or a full buffer
                    continue
                sent += 1
    return {"sent": sent}


@actor.command
def arrived(port):
    """What came in answer to ask_only() by now; a connected socket takes its server's datagrams only."""
    try:
        return {"bytes": len(questions[port].recv(65535))}
    except OSError:
        return {"bytes": 0}


@actor.command
def ask_raw(host, dns, timeout=2.0, tcp=False):
    """One question. -> what the answer's head says; no bytes: none came."""
    query = resolve.query(host, 77)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout)
        try:
            sock.connect((dns, 53))
            sock.sendall(struct.pack(">H", len(query)) + query if tcp else query)
            data = sock.makefile("rb").read(14)[2:] if tcp else sock.recv(65535)
        except OSError:
            return {"bytes": 0}
    flags, answers = struct.unpack(">HH", data[2:4] + data[6:8]) if len(data) >= 12 else (0, 0)
    return {"bytes": len(data), "code": flags & 15, "truncated": bool(flags & 0x200), "answers": answers}


@actor.command
def login(address, uin, session="a", port=5190, password=None, how="md5", cut="whole", dns=None, packed=None,
          source="0.0.0.0", bos_from=0, via=None):
    """The whole way up to an online session. `packed`: arguments of announce(), sent within the last segment of the
    sign-on; `source`: which of the host's own addresses; `bos_from`: the own port of the BOS connection; `via`: a
    proxy (tunnel.py), which then resolves names as well. -> where the redirect led, and the BOS connection's own
    address."""
    made = Session(session, uin, source, via)
    host, redirect_port, cookie = made.log_in(address, port, password or f"pw{uin}", how, cut)
    body = announcement(**packed) if packed is not None else None
    made.sign_on(host if via else host_address(host, dns), redirect_port, cookie, cut, body, bos_from)
    sessions[session] = made
    return {"redirect": f"{host}:{redirect_port}", "bos": made.bos.remote, "local": list(made.bos.sock.getsockname())}


@actor.command
def login_only(address, uin, port=5190, password=None, how="md5", cut="whole"):
    """The login connection alone: the redirect is shown, not followed."""
    host, redirect_port, cookie = Session("-", uin).log_in(address, port, password or f"pw{uin}", how, cut)
    return {"redirect": f"{host}:{redirect_port}", "cookie": cookie.hex()}


def announcement(port, address="0.0.0.0", dc_type=4, version=8, cookie=0, status=0, twice=None):
    """`twice`: a second TLV 0x0C with that port."""
    body = oscar.set_status(status, oscar.direct_info(address, port, dc_type, version, cookie))
    if twice is not None:
        body += oscar.tlv(0x0C, oscar.direct_info(address, twice, dc_type, version, cookie))
    return body


@actor.command
def announce(session="a", cut=None, block=False, **fields):
    """(01,1E) with TLV 0x0C. `block`: with the extra block of SNAC flag 0x8000."""
    bos = sessions[session].bos
    bos.send(bos.snac(1, 0x1E, announcement(**fields), block=oscar.tlv16(1, 4) if block else None), cut=cut)


@actor.command
def status(session="a", status=1):
    """(01,1E) without TLV 0x0C."""
    bos = sessions[session].bos
    bos.send(bos.snac(1, 0x1E, oscar.set_status(status)))


@actor.command
def keep_alive(session="a"):
    bos = sessions[session].bos
    bos.send(bos.frame(5))


@actor.command
def send_raw(session="a", data="", cut="whole"):
    sessions[session].bos.send(bytes.fromhex(data), cut=cut)


@actor.command
def service(session="a", family=0x10, timeout=8.0, cut="whole", dns=None, follow=True):
    """(01,04), then the connection that (01,05) names, up to the server's (01,03)."""
    this = sessions[session]
    have = len(this.redirects)
    this.bos.send(this.bos.snac(1, 4, struct.pack(">H", family)))
    with this.condition:
        if not this.condition.wait_for(lambda: len(this.redirects) > have, timeout):
            raise TimeoutError("no (01,05)")
        found = this.redirects[have]
    host, port = oscar.split_target(found[5], this.bos.remote[1])
    if follow:
        connection = Connection(host_address(host, dns), port, cut)
        connection.hello(oscar.tlv(6, found[6]))
        connection.expect(2, 1, 3)
        this.services.append(connection)
    return {"service": f"{host}:{port}"}


@actor.command
def logout(session="a", how="channel4"):
    """`how`: channel4 (the sign-off frame, then FIN), fin, reset, or frame (the frame alone: the connection stays)."""
    bos = sessions[session].bos
    if how in ("channel4", "frame"):
        bos.send(bos.frame(4))
    if how == "reset":
        reset(bos.sock)
    elif how != "frame":
        bos.sock.shutdown(2)
        bos.sock.close()


@actor.command
def connect_from(address, port, source_port):
    """A connection from that port of its own, on which nothing is said. It stays."""
    sock, outcome = open_connection(address, port, 4.0, source_port)
    if sock:
        silent.append(sock)
    return {"outcome": outcome}


@actor.command
def raw_connection(address, port, data, cut="whole", timeout=3.0):
    """Sends `data` (hex) on a new connection and reads for `timeout`: what a browser does to a server of its page."""
    sock, outcome = open_connection(address, port, 4.0)
    if not sock:
        return {"outcome": outcome}
    reader = Reader(sock)
    try:
        send_cut(sock, bytes.fromhex(data), cut)
        reader.fill(time.monotonic() + timeout)
        while True:
            reader.fill(time.monotonic() + timeout)
    except Ended as end:
        return {"outcome": str(end), "received": reader.total}
    except OSError:
        return {"outcome": "reset", "received": reader.total}
    finally:
        sock.close()


if __name__ == "__main__":
    Direct(actor)
    actor.serve()
