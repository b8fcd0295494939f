# SPDX-License-Identifier: GPL-2.0-or-later
"""A's of a name from a given DNS server: the machine's own resolver configuration is not the lab's."""

import os
import socket
import struct


def query(name, identity):
    labels = b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.rstrip(".").split("."))
    return struct.pack(">HHHHHH", identity, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)


def skip_name(data, at):
    while data[at]:
        if data[at] >= 0xC0:
            return at + 2
        at += 1 + data[at]
    return at + 1


def addresses(name, server, timeout=5.0):
    identity = int.from_bytes(os.urandom(2), "big")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout)
        sock.connect((server, 53))
        sock.send(query(name, identity))
        data = sock.recv(4096)
    got, flags, questions, answers = struct.unpack(">HHHH", data[:8])
    if got != identity or flags & 0x000F:
        raise ValueError(f"{name}: DNS answer code {flags & 0x0F}")
    at = 12
    for _ in range(questions):
        at = skip_name(data, at) + 4
    found = []
    for _ in range(answers):
        at = skip_name(data, at)
        kind, _class, _ttl, length = struct.unpack(">HHIH", data[at:at + 10])
        if kind == 1 and length == 4:
            found.append(socket.inet_ntoa(data[at + 10:at + 14]))
        at += 10 + length
    if not found:
        raise ValueError(f"{name}: no address")
    return found
