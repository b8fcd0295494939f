# SPDX-License-Identifier: GPL-2.0-or-later
"""TCP as the actors need it: bytes sent in chosen segments, ends told apart, outcomes in plain words."""

import ctypes
import errno
import fcntl
import socket
import struct
import time

libc = ctypes.CDLL(None, use_errno=True)
SIOCOUTQNSD = 0x894B  # <linux/sockios.h>: bytes written but not yet sent for the first time


def dotted(address):
    return socket.inet_aton(address)


def undotted(raw):
    return socket.inet_ntoa(raw)


def cut(data, how):
    """`data` in pieces: "whole", "bytes" (one by one), or a list of sizes (what is left goes into the last piece)."""
    if how in (None, "whole"):
        return [data] if data else []
    if how == "bytes":
        return [data[i:i + 1] for i in range(len(data))]
    pieces = []
    for size in how:
        pieces.append(data[:size])
        data = data[size:]
    pieces.append(data)
    return [piece for piece in pieces if piece]


def send_cut(sock, data, how="whole"):
    """Sends `data` so that each piece is a TCP segment of its own (as long as it fits one)."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for piece in cut(data, how):
        sock.sendall(piece)
        if how not in (None, "whole"):
            wait_sent(sock)


def wait_sent(sock, timeout=10.0):
    """Until the kernel has sent everything once: bytes written later can't join a segment that has already left."""
    deadline = time.monotonic() + timeout
    word = bytearray(4)
    while time.monotonic() < deadline:
        try:
            fcntl.ioctl(sock.fileno(), SIOCOUTQNSD, word)
        except OSError:
            return  # the connection is over; the caller's next read says how
        if struct.unpack("i", word)[0] == 0:
            return
        time.sleep(0.0002)


def open_connection(address, port, timeout=3.0, source_port=0, source="0.0.0.0"):
    """A connected socket and "connected"; or None and "unreachable" (nothing answered, or ICMP) or "refused" (RST)."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(timeout)
    try:
        if source_port or source != "0.0.0.0":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((source, source_port))
        sock.connect((address, port))
    except OSError as error:
        sock.close()
        return None, "refused" if error.errno == errno.ECONNREFUSED else "unreachable"
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock, "connected"


def retransmits(sock):
    """Segments sent again since the connection began, its SYN included (tcpi_total_retrans of <linux/tcp.h>)."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return struct.unpack_from("=I", info, 100)[0]


def listen(port, address="0.0.0.0"):
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    sock.listen(512)
    return sock


def reset(sock):
    """Ends the connection with RST, at once: close() would wait for a thread that is reading from it, a connect() to
    no address does not."""
    libc.connect(sock.fileno(), struct.pack("=H14x", socket.AF_UNSPEC), 16)
    sock.close()


def stop_listening(sock):
    """close() alone would leave the port open for as long as a thread waits in accept()."""
    sock.shutdown(socket.SHUT_RDWR)
    sock.close()


class Ended(Exception):
    """The connection gave no (more) bytes: str() is "closed" (FIN), "reset" (RST) or "silent" (deadline passed)."""


class Reader:
    """Exact reads from a socket, each with a deadline. `total` counts every byte that ever arrived."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""
        self.total = 0

    def fill(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise Ended("silent")
        try:
            self.sock.settimeout(left)
            data = self.sock.recv(65536)
        except socket.timeout:
            raise Ended("silent") from None
        except OSError as error:
            # A socket closed by another thread of ours is "closed" too.
            raise Ended("closed" if error.errno == errno.EBADF else "reset") from None
        if not data:
            raise Ended("closed")
        self.total += len(data)
        self.buffer += data

    def take(self, count, deadline):
        while len(self.buffer) < count:
            self.fill(deadline)
        head, self.buffer = self.buffer[:count], self.buffer[count:]
        return head
