# SPDX-License-Identifier: GPL-2.0-or-later
"""DNS answers that no honest server gives: garbage, another's identity, another name, from another's address."""

import os
import random
import socket
import struct

from process import Actor, spawn
from resolve import skip_name
from wire import dotted, listen

actor = Actor()
behaviour = {"how": "honest", "addresses": []}
served = {}  # address -> socket
chance = random.Random(1)


def encode(name):
    return b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.rstrip(".").split(".")) + b"\0"


def record(owner, address, ttl):
    return owner + struct.pack(">HHIH", 1, 1, ttl, 4) + dotted(address)


def answer(identity, question, addresses, owner=b"\xc0\x0c", ttl=30, flags=0x8580, count=None):
    """`question`: name, type and class as asked; `owner`: of the addresses, by default the name asked for."""
    head = struct.pack(">HHHHHH", identity, flags, 1, len(addresses) if count is None else count, 0, 0)
    return head + question + b"".join(record(owner, address, ttl) for address in addresses)


def forge(query):
    """What `behaviour` makes of a question; None: silence."""
    how, addresses = behaviour["how"], behaviour["addresses"]
    identity = struct.unpack(">H", query[:2])[0]
    question = query[12:skip_name(query, 12) + 4]
    if how == "honest":
        return answer(identity, question, addresses)
    if how == "garbage":
        return query[:2] + chance.randbytes(chance.randrange(1, 400))
    if how == "garbage-behind-the-head":
        return answer(identity, question, [], count=9) + chance.randbytes(chance.randrange(0, 200))
    if how == "wrong-id":
        return answer(identity ^ 0x5555, question, addresses)
    if how == "wrong-question":
        return answer(identity, encode("login.icq.org") + question[-4:], addresses)
    if how == "wrong-owner":
        return answer(identity, question, addresses, owner=encode("elsewhere.lab.test"))
    if how == "cut":
        return answer(identity, question, addresses)[:-3]
    if how == "pointer-loop":
        at = 12 + len(question)
        return answer(identity, question, addresses, owner=struct.pack(">H", 0xC000 | at))
    if how == "counts-lie":
        return answer(identity, question, addresses, count=65535)
    if how == "question-again":
        return query
    if how == "empty":
        return b""
    if how == "refused":
        return answer(identity, question, [], flags=0x8585)
    if how == "silence":
        return None
    raise ValueError(how)


HOW = ("garbage", "garbage-behind-the-head", "wrong-id", "wrong-question", "wrong-owner", "cut", "pointer-loop",
       "counts-lie", "question-again", "empty", "refused", "silence")


def read(sock):
    while True:
        query, remote = sock.recvfrom(4096)
        try:
            forged = forge(query)
        except (IndexError, struct.error):
            continue
        if forged is not None:
            sock.sendto(forged, remote)


def refuse_tcp(sock):
    while True:
        connection, _ = sock.accept()
        connection.close()


@actor.command
def serve(address, how="honest", addresses=()):
    behaviour.update(how=how, addresses=list(addresses))
    if address in served:
        return
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, 53))
    served[address] = sock
    spawn(read, sock)
    spawn(refuse_tcp, listen(53, address))


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@actor.command
def send(source, to, to_port, name, addresses, identity=None, source_port=53, ttl=30):
    """One answer out of nowhere, with any source address."""
    identity = int.from_bytes(os.urandom(2), "big") if identity is None else identity
    data = answer(identity, encode(name) + struct.pack(">HH", 1, 1), addresses, ttl=ttl)
    ends = dotted(source) + dotted(to)
    length = 8 + len(data)
    head = struct.pack(">HHHH", source_port, to_port, length, 0)
    sum_ = checksum(ends + struct.pack(">HH", 17, length) + head + data) or 0xFFFF
    packet = (struct.pack(">BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, 17, 0) + ends
              + struct.pack(">HHHH", source_port, to_port, length, sum_) + data)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        sock.sendto(packet, (to, 0))


if __name__ == "__main__":
    actor.serve()
