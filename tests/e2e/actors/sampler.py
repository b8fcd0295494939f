# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads a set of the kernel again and again, some hundred times a second, and remembers what was in it when.

Through libnftables, which nft itself is made of, so that no program has to be started for every look.
"""

import ctypes
import json
import threading
import time

from process import Actor, spawn

actor = Actor()
library = ctypes.CDLL("libnftables.so.1")
library.nft_ctx_new.restype = ctypes.c_void_p
library.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error", "nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer",
             "nft_ctx_free"):
    getattr(library, name).argtypes = [ctypes.c_void_p]
library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
NFT_CTX_OUTPUT_JSON = 1 << 4
one_at_a_time = threading.Lock()  # the library keeps things in static memory, whatever its contexts are
watches = {}  # name -> Watch


class Sets:
    """One connection to the kernel's nftables; of one thread."""

    def __init__(self):
        self.context = library.nft_ctx_new(0)
        library.nft_ctx_output_set_flags(self.context, NFT_CTX_OUTPUT_JSON)
        library.nft_ctx_buffer_output(self.context)
        library.nft_ctx_buffer_error(self.context)

    def elements(self, table, one):
        """The set's elements as tuples without their timeouts; None: there is no such set now."""
        for _ in range(20):
            with one_at_a_time:
                status = library.nft_run_cmd_from_buffer(self.context, f"list set inet {table} {one}".encode())
            text = library.nft_ctx_get_output_buffer(self.context)
            library.nft_ctx_get_error_buffer(self.context)
            if status:
                return None
            try:
                items = json.loads(text)["nftables"]
            except ValueError:
                continue  # it changed while it was listed
            return {flat(element) for item in items for element in item.get("set", {}).get("elem", [])}
        return None


def flat(element):
    if isinstance(element, dict) and "elem" in element:
        element = element["elem"]["val"]
    if isinstance(element, dict) and "concat" in element:
        element = element["concat"]
    return tuple(element) if isinstance(element, list) else (element,)


class Watch:
    """`wanted`: tuples that must all be there; "any": at least one element."""

    def __init__(self, table, one, wanted, pause):
        self.table, self.one, self.pause = table, one, pause
        self.wanted = wanted if wanted == "any" else {tuple(each) for each in wanted}
        self.samples, self.gaps, self.seen, self.good = 0, [], {}, False
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.over = threading.Event()

    def run(self):
        sets, missing = Sets(), None
        while not self.ended.is_set():
            start = time.monotonic()
            found = sets.elements(self.table, self.one)
            now = time.monotonic()
            good = bool(found) if self.wanted == "any" else self.wanted <= (found or set())
            with self.lock:
                self.samples += 1
                self.good = good
                for element in found or ():
                    first, _ = self.seen.get(element, (start, now))
                    self.seen[element] = first, now
                if good and missing is not None:
                    self.gaps.append([missing, now])
                    missing = None
                elif not good and missing is None:
                    missing = start
            if self.pause:
                time.sleep(self.pause)
        if missing is not None:
            self.gaps.append([missing, time.monotonic()])
        self.over.set()

    def report(self):
        with self.lock:
            return {"samples": self.samples, "good": self.good, "gaps": list(self.gaps),
                    "seen": [[list(element), *times] for element, times in self.seen.items()]}


@actor.command
def watch(set, name="w", wanted="any", pause=0.002, table="icqgate"):
    watches[name] = Watch(table, set, wanted, pause)
    spawn(watches[name].run)


@actor.command
def report(name="w"):
    """`gaps`: [from, until] in which something wanted was missing; `good`: nothing is now; `seen`: [element, first,
    last]. Times are those of time.monotonic(), which all processes of a machine share."""
    return watches[name].report()


@actor.command
def unwatch(name="w"):
    ended = watches.pop(name)
    ended.ended.set()
    ended.over.wait(10)
    return ended.report()


if __name__ == "__main__":
    actor.serve()
