# SPDX-License-Identifier: GPL-2.0-or-later
"""An OSCAR server: both logins (1.3, 1.4), BOS (1.6), services (1.7), migration (1.8), sign-off (1.9).

Writes like the recorded open server: every FLAP as five segments, 1 + 1 + 2 + 2 bytes and the payload. Which role an
address plays is said on the command line (--login A:P, --bos A:P, --service A:P) or by the command `open`.
"""

import argparse
import hashlib
import os
import struct
import threading
import time

import oscar
from process import Actor, spawn
from wire import Ended, Reader, dotted, listen, reset, send_cut

actor = Actor()
options = {
    "redirect": "198.51.100.7:5190",  # TLV 0x05 of a login reply
    "service": "198.51.100.8:5190",   # TLV 0x05 of (01,05)
    "cut": [1, 1, 2, 2],
    "error": None,                    # a code: every login is refused with it
    "hello": True,                    # False: the server stays silent after the TCP handshake
}
cookies = {}   # cookie -> uin
online = {}    # uin -> Connection (the last BOS connection)


class Connection:
    def __init__(self, sock, remote):
        self.sock, self.remote = sock, list(remote)
        self.sequence = int.from_bytes(os.urandom(2), "big") >> 1
        self.lock = threading.Lock()
        self.frames = oscar.FlapReader(Reader(sock))
        self.uin = None
        self.info = bytes(37)  # the client's TLV 0x0C: the server's view is empty at first

    def send(self, channel, data=b""):
        with self.lock:
            self.sequence += 1
            send_cut(self.sock, oscar.flap(channel, self.sequence, data), options["cut"])

    def snac(self, family, subtype, body=b"", request=0x80000000):
        self.send(2, oscar.snac(family, subtype, body, request))

    def next(self, timeout=86400):
        return self.frames.next(time.monotonic() + timeout)


def new_cookie(uin):
    cookie = hashlib.sha512(os.urandom(16)).digest() * 4  # 256 bytes, as in practice
    cookies[cookie] = uin
    return cookie


def answer_login(connection, uin, good, snac_request=None):
    if options["error"] or not good:
        body = oscar.login_error(uin, options["error"] or 5)
    else:
        body = oscar.login_reply(uin, options["redirect"], new_cookie(uin))
    actor.emit(event="login", uin=uin, good=good, remote=connection.remote,
               how="channel1" if snac_request is None else "md5")
    if snac_request is None:
        connection.send(4, body)
    else:
        connection.snac(0x17, 3, body, snac_request)


def serve_login(connection):
    key = os.urandom(5).hex().encode("ascii")
    uin = None
    while True:
        frame = connection.next(60)
        if frame.channel == 1:
            found = oscar.first_tlvs(frame.data[4:])
            if 2 in found:
                uin = int(found[1])
                answer_login(connection, uin, found[2] == oscar.roast(f"pw{uin}"))
                connection.sock.shutdown(1)
        elif frame.channel == 2:
            snac = oscar.parse_snac(frame.data)
            found = oscar.first_tlvs(snac.body)
            if (snac.family, snac.subtype) == (0x17, 6):
                uin = int(found[1])
                connection.snac(0x17, 7, struct.pack(">H", len(key)) + key, snac.request)
            elif (snac.family, snac.subtype) == (0x17, 2):
                good = found[0x25] == oscar.digest(key, f"pw{uin}", 0x4C in found)
                answer_login(connection, uin, good, snac.request)
        elif frame.channel == 4:
            return


def serve_bos(connection, service=False):
    frame = connection.next(60)
    found = oscar.first_tlvs(frame.data[4:])
    uin = cookies.pop(found.get(6), None)
    if frame.channel != 1 or uin is None:
        actor.emit(event="bad-cookie", remote=connection.remote)
        return
    connection.uin = uin
    actor.emit(event="service" if service else "bos", uin=uin, remote=connection.remote)
    if not service:
        online[uin] = connection
    connection.snac(1, 3, oscar.families_body())
    while True:
        frame = connection.next()
        if frame.channel == 4:
            actor.emit(event="sign-off", uin=uin)
            return
        if frame.channel == 5:
            actor.emit(event="keep-alive", uin=uin)
        if frame.channel == 2:
            take(connection, oscar.parse_snac(frame.data))


def self_info(connection):
    return oscar.user_info(connection.uin, [
        oscar.tlv16(1, 0x50), oscar.tlv(0x0C, connection.info), oscar.tlv(0x0A, dotted(connection.remote[0])),
        oscar.tlv32(6, 0)])


def take(connection, snac):
    """What the server does about a SNAC of an online client; those it does not know it passes over."""
    kind = (snac.family, snac.subtype)
    if kind == (1, 0x17):
        connection.snac(1, 0x18, oscar.versions_body(), snac.request)
    elif kind == (1, 6):
        connection.snac(1, 7, oscar.rates_body(), snac.request)
    elif kind == (1, 0x0E):
        connection.snac(1, 0x0F, self_info(connection), snac.request)
    elif kind == (4, 2):
        connection.snac(4, 5, struct.pack(">HIHHHI", 4, 3, 8000, 999, 999, 0), snac.request)
    elif kind == (1, 4):
        body = (oscar.tlv(0x0D, snac.body[:2]) + oscar.tlv(5, options["service"])
                + oscar.tlv(6, new_cookie(connection.uin)))
        connection.snac(1, 5, body, snac.request)
    elif kind == (1, 2):
        actor.emit(event="online", uin=connection.uin)
    elif kind == (1, 0x1E):
        value = oscar.first_tlvs(snac.body).get(0x0C)
        info = oscar.parse_direct_info(value) if value is not None else None
        if value is not None:
            connection.info = value
        actor.emit(event="status", uin=connection.uin, announced=info._asdict() if info else None)
        connection.snac(1, 0x0F, self_info(connection), snac.request)  # echoed, as the open server does


def serve(sock, remote, role):
    connection = Connection(sock, remote)
    how = "done"
    try:
        if options["hello"]:
            connection.send(1, struct.pack(">I", 1))
        if role == "login":
            serve_login(connection)
        else:
            serve_bos(connection, role == "service")
    except Ended as end:
        how = str(end)
    except (OSError, ValueError, KeyError) as error:
        how = f"{type(error).__name__}: {error}"
    actor.emit(event="end", role=role, uin=connection.uin, how=how, remote=connection.remote)
    sock.close()


def accept(sock, role):
    while True:
        connection, remote = sock.accept()
        actor.emit(event="connection", role=role, remote=list(remote))
        spawn(serve, connection, remote, role)


def open_role(role, target):
    address, port = target.split(":")
    spawn(accept, listen(int(port), address), role)


@actor.command
def open_(role, target):
    """One more address: `role` login, bos or service."""
    open_role(role, target)


@actor.command
def set_(**changes):
    options.update(changes)


@actor.command
def buddy(to, about, address, port, cookie=0, external=None, dc_type=4, version=8):
    """(03,0B) to `to` about `about` (4.7): the address, port and cookie that peer is said to have."""
    tlvs = [oscar.tlv32(1, 0x50), oscar.tlv(0x0C, oscar.direct_info(address, port, dc_type, version, cookie)),
            oscar.tlv(0x0A, dotted(external or address)), oscar.tlv32(6, 0)]
    online[to].snac(3, 0x0B, oscar.user_info(about, tlvs))


@actor.command
def kick(uin, reason=1):
    """Sign-off by the server, as when the same UIN logs in elsewhere. The client's connection is then closed."""
    online[uin].send(4, oscar.tlv16(9, reason) + oscar.tlv(0x0B, "http://www.icq.example/kicked"))
    online[uin].sock.shutdown(1)


@actor.command
def drop(uin, how="fin"):
    """Ends the BOS connection without a word."""
    if how == "reset":
        reset(online[uin].sock)
    else:
        online[uin].sock.shutdown(1)


@actor.command
def migrate(uin, target):
    """(01,12) with an empty family list: the session moves to `target`."""
    online[uin].snac(1, 0x12, struct.pack(">H", 0) + oscar.tlv(5, target) + oscar.tlv(6, new_cookie(uin)))


@actor.command
def redirect_service(uin, target, family=0x10):
    """(01,05) nobody asked for."""
    online[uin].snac(1, 5, oscar.tlv16(0x0D, family) + oscar.tlv(5, target) + oscar.tlv(6, new_cookie(uin)))


@actor.command
def send_raw(uin, data):
    with online[uin].lock:
        online[uin].sock.sendall(bytes.fromhex(data))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for role in ("login", "bos", "service"):
        parser.add_argument(f"--{role}", action="append", default=[])
    chosen = vars(parser.parse_args())
    for role, targets in chosen.items():
        for target in targets:
            open_role(role, target)
    actor.serve()
