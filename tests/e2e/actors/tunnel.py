# SPDX-License-Identifier: GPL-2.0-or-later
"""Through a proxy: SOCKS4, SOCKS4a, SOCKS5 (RFC 1928), and CONNECT of an HTTP proxy. `via` says which and where:
{"kind": "socks4" | "socks5" | "connect", "address": .., "port": ..}. A host that is a name is left to the proxy to
resolve: SOCKS4 then is SOCKS4a."""

import socket
import struct

from wire import open_connection

CONNECT, BIND = 1, 2


def is_address(host):
    return host.replace(".", "").isdigit()


def take(sock, count):
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise ConnectionError("the proxy hung up")
        data += more
    return data


def socks4(sock, command, host, port):
    address, name = (host, b"") if is_address(host) else ("0.0.0.1", host.encode() + b"\0")
    sock.sendall(struct.pack(">BBH", 4, command, port) + socket.inet_aton(address) + b"icq\0" + name)
    return socks4_reply(sock)


def socks4_reply(sock):
    version, code, port, address = struct.unpack(">BBH4s", take(sock, 8))
    if version != 0:
        raise ValueError(f"a SOCKS4 reply of version {version}")
    # 91 is every failure: refused by the rules or by the host that was wanted.
    return ("connected" if code == 90 else "denied" if code == 91 else f"code {code}"), socket.inet_ntoa(address), port


def socks5(sock, command, host, port):
    sock.sendall(b"\5\1\0")  # one method: none
    if take(sock, 2) != b"\5\0":
        raise ValueError("the proxy wants a password")
    target = b"\1" + socket.inet_aton(host) if is_address(host) else b"\3" + bytes([len(host)]) + host.encode()
    sock.sendall(struct.pack(">BBB", 5, command, 0) + target + struct.pack(">H", port))
    return socks5_reply(sock)


def socks5_reply(sock):
    version, code, _, kind = take(sock, 4)
    if version != 5 or kind not in (1, 3):
        raise ValueError(f"a SOCKS5 reply of version {version} with address type {kind}")
    address = socket.inet_ntoa(take(sock, 4)) if kind == 1 else take(sock, take(sock, 1)[0]).decode()
    port = struct.unpack(">H", take(sock, 2))[0]
    # 2: not allowed by the ruleset. Others say what came of an attempt that was allowed.
    return ("connected" if code == 0 else "denied" if code == 2 else f"code {code}"), address, port


def http_connect(sock, command, host, port):
    if command != CONNECT:
        raise ValueError("an HTTP proxy binds nothing")
    sock.sendall(f"CONNECT {host}:{port} HTTP/1.0\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += take(sock, 1)  # what follows is the server's
    code = int(head.split()[1])
    return ("connected" if code == 200 else "denied" if code == 403 else f"code {code}"), None, None


REQUESTS = {"socks4": socks4, "socks5": socks5, "connect": http_connect}
REPLIES = {"socks4": socks4_reply, "socks5": socks5_reply}


def request(via, command, host, port, timeout):
    """-> (socket or None, outcome, address, port). "no proxy: .." if the proxy itself can't be reached; "denied" if it
    refuses; "code N" if it could not."""
    sock, outcome = open_connection(via["address"], via["port"], timeout)
    if not sock:
        return None, f"no proxy: {outcome}", None, None
    sock.settimeout(timeout)
    try:
        outcome, address, bound = REQUESTS[via["kind"]](sock, command, host, port)
    except TimeoutError:
        outcome = "silent"
    except ConnectionError:
        outcome = "hung up"
    if outcome == "connected":
        return sock, outcome, address, bound
    sock.close()
    return None, outcome, None, None


def open_through(via, address, port, timeout=3.0, source_port=0, source="0.0.0.0"):
    """As open_connection(); without `via` that is what it is."""
    if via is None:
        return open_connection(address, port, timeout, source_port, source)
    return request(via, CONNECT, address, port, timeout)[:2]


def bind_at(via, host, port, timeout=5.0):
    """Asks the SOCKS server to listen. `host`: who may come, 0.0.0.0 for anybody; `port`: which is wanted, 0 for any.
    -> (socket or None, outcome, address, port); await_peer() waits on that socket."""
    return request(via, BIND, host, port, timeout)


def await_peer(via, sock, timeout):
    """The second reply: somebody has come. -> (outcome, address, port of the peer)"""
    sock.settimeout(timeout)
    return REPLIES[via["kind"]](sock)
