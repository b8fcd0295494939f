# SPDX-License-Identifier: GPL-2.0-or-later
"""The same traffic in other capture formats, made from a pcap file of Ethernet frames, and changes to it."""

import struct

ETHERNET, NULL, RAW, SLL, SLL2 = 1, 0, 101, 113, 276


def read(path):
    """-> [(seconds, microseconds, Ethernet frame)]; a pcap file as this machine's tcpdump writes it."""
    data = path.read_bytes()
    magic, _, _, _, _, _, link = struct.unpack_from("<IHHiIII", data)
    assert magic == 0xA1B2C3D4 and link == ETHERNET, path
    packets, at = [], 24
    while at < len(data):
        seconds, micros, size, _ = struct.unpack_from("<IIII", data, at)
        packets.append((seconds, micros, data[at + 16:at + 16 + size]))
        at += 16 + size
    return packets


def pcap(packets, link=ETHERNET, order="<", nanoseconds=False):
    magic, scale = (0xA1B23C4D, 1000) if nanoseconds else (0xA1B2C3D4, 1)
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, link)
    for seconds, micros, frame in packets:
        out += struct.pack(order + "IIII", seconds, micros * scale, len(frame), len(frame)) + frame
    return out


def pcapng(packets, link=ETHERNET):
    def block(kind, body):
        body += bytes(-len(body) % 4)
        return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)

    out = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)) + block(1, struct.pack("<HHI", link, 0, 0))
    for seconds, micros, frame in packets:
        time = seconds * 1_000_000 + micros
        out += block(6, struct.pack("<IIIII", 0, time >> 32, time & 0xFFFFFFFF, len(frame), len(frame)) + frame)
    return out


def relinked(packets, change):
    return [(seconds, micros, change(frame)) for seconds, micros, frame in packets]


def only_ip(packets):
    return [packet for packet in packets if packet[2][12:14] in (b"\x08\x00", b"\x86\xdd")]


def every_form(packets):
    """Name -> bytes of a capture file; each of them holds the same IP packets at the same times."""
    ip = only_ip(packets)
    family = lambda frame: 2 if frame[12:14] == b"\x08\x00" else 10
    return {
        "big-endian": pcap(packets, order=">"),
        "nanoseconds": pcap(packets, nanoseconds=True),
        "pcapng": pcapng(packets),
        "pcapng-raw": pcapng(relinked(ip, lambda f: f[14:]), RAW),
        "raw": pcap(relinked(ip, lambda f: f[14:]), RAW),
        "null": pcap(relinked(ip, lambda f: struct.pack("<I", family(f)) + f[14:]), NULL),
        "sll": pcap(relinked(packets, lambda f: struct.pack(">HHH", 0, 1, 6) + f[6:12] + bytes(2) + f[12:]), SLL),
        "sll2": pcap(relinked(packets, lambda f: f[12:14] + struct.pack(">HIHBB", 0, 2, 1, 0, 6) + f[6:12] + bytes(2)
                              + f[14:]), SLL2),
        "vlan": pcap(relinked(packets, lambda f: f[:12] + b"\x81\x00\x00\x07" + f[12:])),
        "qinq": pcap(relinked(packets, lambda f: f[:12] + b"\x88\xa8\x00\x09\x81\x00\x00\x07" + f[12:])),
        "pppoe": pcap(relinked(ip, lambda f: f[:12] + b"\x88\x64\x11\x00\x00\x01" + struct.pack(">H", len(f) - 12)
                               + b"\x00\x21" + f[14:])),
        "padded": pcap(relinked(packets, lambda f: f + bytes(max(0, 60 - len(f))))),
    }


def tcp_of(frame):
    """-> (source port, destination port, offset of the payload, payload) of an IPv4 TCP frame, else None."""
    if frame[12:14] != b"\x08\x00" or frame[23] != 6:
        return None
    start = 14 + 4 * (frame[14] & 15)
    source, destination = struct.unpack_from(">HH", frame, start)
    data = start + 4 * (frame[start + 12] >> 4)
    return source, destination, data, frame[data:14 + struct.unpack_from(">H", frame, 16)[0]]


def split(frame, at):
    """One TCP segment as two: the payload parted at `at`. Checksums stay wrong, as with offload."""
    _, _, data, payload = tcp_of(frame)
    start = 14 + 4 * (frame[14] & 15)
    sequence = struct.unpack_from(">I", frame, start + 4)[0]
    parts = []
    for offset, part in ((0, payload[:at]), (at, payload[at:])):
        header = bytearray(frame[:data])
        struct.pack_into(">H", header, 16, data - 14 + len(part))
        struct.pack_into(">I", header, start + 4, (sequence + offset) & 0xFFFFFFFF)
        parts.append(bytes(header) + part)
    return parts


def dns_answer(name, address, ttl):
    """An Ethernet frame with the answer of 10.77.1.1 to 10.77.1.10 for A of this name."""
    owner = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    message = struct.pack(">HHHHHH", 1, 0x8180, 1, 1, 0, 0) + owner + struct.pack(">HH", 1, 1)
    message += struct.pack(">HHHIH", 0xC00C, 1, 1, ttl, 4) + bytes(map(int, address.split(".")))
    udp = struct.pack(">HHHH", 53, 40000, 8 + len(message), 0) + message
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes([10, 77, 1, 1]),
                     bytes([10, 77, 1, 10]))
    return bytes(12) + b"\x08\x00" + ip + udp
