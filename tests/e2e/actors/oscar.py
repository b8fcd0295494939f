# SPDX-License-Identifier: GPL-2.0-or-later
"""FLAP, SNAC, TLV and what stands in them (protocol.md 1 to 4), written from the notes and from nothing else.

Shares no line with the program under test, so that one misreading can't hide on both sides.
"""

import hashlib
import struct
from collections import namedtuple

from wire import dotted, undotted

ROAST = bytes.fromhex("F32681C43986DB9271A3B9E6537A957C")
MD5_TEXT = b"AOL Instant Messenger (SM)"  # the fixed text of 1.4

Frame = namedtuple("Frame", "channel sequence data")
Snac = namedtuple("Snac", "family subtype flags request body")
DirectInfo = namedtuple("DirectInfo", "address port type version cookie")


# --- FLAP (1.1)
def flap(channel, sequence, data=b""):
    return struct.pack(">BBHH", 0x2A, channel, sequence & 0xFFFF, len(data)) + data


class FlapReader:
    """Frames out of a wire.Reader."""

    def __init__(self, reader):
        self.reader = reader

    def next(self, deadline):
        head = self.reader.take(6, deadline)
        marker, channel, sequence, length = struct.unpack(">BBHH", head)
        if marker != 0x2A:
            raise ValueError(f"not FLAP: {head.hex()}")
        return Frame(channel, sequence, self.reader.take(length, deadline))


# --- SNAC and TLV (2)
def snac(family, subtype, body=b"", request=0, flags=0, block=None):
    """With `block` the extra block of flag 0x8000 stands before the body."""
    if block is not None:
        flags |= 0x8000
        body = struct.pack(">H", len(block)) + block + body
    return struct.pack(">HHHI", family, subtype, flags, request) + body


def parse_snac(data):
    family, subtype, flags, request = struct.unpack(">HHHI", data[:10])
    body = data[10:]
    if flags & 0x8000:
        length = struct.unpack(">H", body[:2])[0]
        if length > len(body) - 2:
            raise ValueError("SNAC block longer than the SNAC")
        body = body[2 + length:]
    return Snac(family, subtype, flags, request, body)


def tlv(number, value=b""):
    if isinstance(value, str):
        value = value.encode("ascii")
    return struct.pack(">HH", number, len(value)) + value


def tlv16(number, value):
    return tlv(number, struct.pack(">H", value))


def tlv32(number, value):
    return tlv(number, struct.pack(">I", value))


def parse_tlvs(data):
    """[(type, value)]; a length running past the end ends parsing without losing what was read."""
    found = []
    while len(data) >= 4:
        number, length = struct.unpack(">HH", data[:4])
        if length > len(data) - 4:
            break
        found.append((number, data[4:4 + length]))
        data = data[4 + length:]
    return found


def first_tlvs(data):
    """{type: value}, the first of each type."""
    found = {}
    for number, value in parse_tlvs(data):
        found.setdefault(number, value)
    return found


# --- Login (1.3, 1.4, 1.5)
def roast(password):
    return bytes(c ^ ROAST[i % 16] for i, c in enumerate(password.encode("ascii")))


def digest(key, password, newer_hash):
    secret = password.encode("ascii")
    if newer_hash:  # TLV 0x4C
        secret = hashlib.md5(secret).digest()
    return hashlib.md5(key + secret + MD5_TEXT).digest()


def roasted_login(uin, password):
    """Data of the channel 1 frame of login A, with the TLVs ICQ 2000b sends."""
    return (struct.pack(">I", 1) + tlv(1, str(uin)) + tlv(2, roast(password))
            + tlv(3, "ICQ Inc. - Product of ICQ (TM).2000b.4.65.1.3281.85")
            + tlv16(0x16, 0x010A) + tlv16(0x17, 4) + tlv16(0x18, 65) + tlv16(0x19, 1) + tlv16(0x1A, 3281)
            + tlv32(0x14, 0x55) + tlv(0x0F, "en") + tlv(0x0E, "us"))


def md5_key_request(uin):
    return tlv(1, str(uin)) + tlv(0x4B) + tlv(0x5A)


def md5_login(uin, password, key, newer_hash):
    return (tlv(1, str(uin)) + tlv(3, "ICQBasic") + tlv(0x25, digest(key, password, newer_hash))
            + (tlv(0x4C) if newer_hash else b"")
            + tlv16(0x16, 0x010A) + tlv16(0x17, 20) + tlv16(0x18, 52) + tlv16(0x19, 0) + tlv16(0x1A, 3000)
            + tlv32(0x14, 0x43D) + tlv(0x0F, "en") + tlv(0x0E, "us"))


def login_reply(uin, target, cookie):
    return tlv(1, str(uin)) + tlv(5, target) + tlv(6, cookie)


def login_error(uin, code):
    return tlv(1, str(uin)) + tlv(4, "http://www.icq.example/err") + tlv16(8, code)


def split_target(text, default_port):
    """TLV 0x05 as in 1.5: (host, port)."""
    text = text.decode("ascii").rstrip("\0 ")
    host, colon, port = text.rpartition(":")
    if colon and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535:
        return host, int(port)
    return text, default_port


# --- User info (3)
def user_info(uin, tlvs):
    name = str(uin).encode("ascii")
    return bytes([len(name)]) + name + struct.pack(">HH", 0, len(tlvs)) + b"".join(tlvs)


def parse_user_info(data):
    """(uin as text, [(type, value)], rest)."""
    length = data[0]
    name = data[1:1 + length].decode("ascii")
    count = struct.unpack(">H", data[3 + length:5 + length])[0]
    at = 5 + length
    found = []
    for _ in range(count):
        number, size = struct.unpack(">HH", data[at:at + 4])
        found.append((number, data[at + 4:at + 4 + size]))
        at += 4 + size
    return name, found, data[at:]


# --- Direct connection info, TLV 0x0C (4.2)
def direct_info(address, port, dc_type=4, version=8, cookie=0, times=(0x3BC0F531, 0x3BC0F844, 0x3BC0F527)):
    return (dotted(address) + struct.pack(">IBHI", port, dc_type, version, cookie)
            + struct.pack(">II", 0x50, 3) + struct.pack(">III", *times) + b"\0\0")


def parse_direct_info(value):
    """None for anything too short to name a cookie."""
    if len(value) < 15:
        return None
    port, dc_type, version, cookie = struct.unpack(">IBHI", value[4:15])
    return DirectInfo(undotted(value[:4]), port, dc_type, version, cookie)


def set_status(status, info=None, error_tlv=True):
    """Body of (01,1E)."""
    return (tlv32(6, status) + (tlv16(8, 0) if error_tlv and info is not None else b"")
            + (tlv(0x0C, info) if info is not None else b""))


# --- What a BOS server says after the cookie (1.6)
FAMILIES = (0x01, 0x02, 0x03, 0x04, 0x09, 0x0B, 0x10, 0x13, 0x15)


def families_body():
    return b"".join(struct.pack(">H", family) for family in FAMILIES)


def versions_body():
    return b"".join(struct.pack(">HH", family, 1) for family in FAMILIES)


def rates_body():
    """(01,07), as long as the recorded one (about 1.8 kB): it never fits one segment of a small MTU."""
    classes = b"".join(struct.pack(">HIIIIIIIIB", number, 80, 2500, 2000, 1500, 800, 6000, 6000, 0, 0)
                       for number in range(1, 6))
    groups = b""
    for number in range(1, 6):
        pairs = [(family, subtype) for family in FAMILIES for subtype in range(number, number + 9)]
        groups += struct.pack(">HH", number, len(pairs)) + b"".join(struct.pack(">HH", *pair) for pair in pairs)
    return struct.pack(">H", 5) + classes + groups
