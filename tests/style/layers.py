#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Holds the layering of src/: who may include whom, and that the pure folders stay pure.

    base <- net <- {tcp, oscar, peer, dns, nft} <- config <- engine <- daemon

Those in braces do not know each other; sys sees base and net; daemon and cli see everything but each other. doctor sees
config and what is before it, and is seen by cli alone. A file
called main.cpp is where the parts meet and may see all of them. The pure folders (all but sys, daemon and cli) hold no
descriptor, clock, log call, environment read or thread, so that a test can replay a day in a blink.

usage: layers.py ROOT        the self-test, then the tree below ROOT
       layers.py --self-test
"""

import re
import sys
import tempfile
from pathlib import Path

MIDDLE = {"tcp", "oscar", "peer", "dns", "nft"}
CORE = {"base", "net", "config", "engine"} | MIDDLE
DOCTOR = {"doctor"}  # knows the configuration and nothing of what runs; only cli asks it
MAY_INCLUDE = {
    "base": set(),
    "net": {"base"},
    **{folder: {"base", "net"} for folder in MIDDLE},
    "config": {"base", "net", "dns", "nft"},
    "engine": CORE - {"engine"},
    "doctor": {"base", "net", "dns", "nft", "config"},
    "sys": {"base", "net"},
    "daemon": CORE | {"sys"},
    "cli": CORE | DOCTOR | {"sys"},
}
PURE = CORE | DOCTOR

# What a pure folder may not include: pattern of the header's name -> folders that may all the same.
IMPURE_HEADERS = {
    r"(unistd|fcntl|poll|netdb|syslog|pthread|signal|ifaddrs)\.h": set(),
    r"sys/.*": set(),
    r"net/if\.h": set(),
    r"(arpa|netinet)/.*": {"net"},
    r"linux/.*": {"nft"},
    r"(libmnl|libnftnl)/.*": {"nft"},
    r"(libnetfilter_.*|nftables|systemd|pcap)/.*": set(),
    r"(ares|pcap)\.h": set(),
    r"boost/asio.*": set(),
    r"(fstream|iostream|filesystem|print|csignal)": set(),
    r"(thread|mutex|shared_mutex|condition_variable|future|stop_token)": set(),
}
IMPURE_CODE = {
    r"::now\s*\(": "reads a clock",
    r"\b(clock_gettime|gettimeofday|std::time)\s*\(": "reads a clock",
    r"\bgetenv\s*\(": "reads the environment",
    r"\bstd::(cout|cerr|clog)\b|\bf?printf\s*\(\s*std(out|err)|\bfmt::print\s*\(": "writes to a stream",
    r"\bstd::random_device\b": "reads the system's entropy",
}

SPDX = "SPDX-License-Identifier: GPL-2.0-or-later"
CODE = {".cpp", ".hpp", ".h", ".c"}
SCRIPTS = {".py", ".sh", ".bash"}


def without_comments(text):
    """The text with comments blanked, strings and line numbers kept."""
    token = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)

    def blank(match):
        found = match.group()
        return found if found.startswith('"') else "\n" * found.count("\n")

    return token.sub(blank, text)


def lines_matching(pattern, text):
    for match in re.finditer(pattern, text, re.MULTILINE):
        yield text.count("\n", 0, match.start()) + 1, match


def check_includes(folder, name, text):
    for line, match in lines_matching(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)', text):
        own, system = match.groups()
        if own is not None:
            target = own.split("/")[0]
            if "/" not in own or target not in MAY_INCLUDE:
                yield f'{name}:{line}: "{own}": write the path from src/, as in "net/address.hpp"'
            elif target != folder and target not in MAY_INCLUDE[folder]:
                yield f"{name}:{line}: {folder} may not include {target} ({own})"
        elif folder in PURE:
            for pattern, exempt in IMPURE_HEADERS.items():
                if re.fullmatch(pattern, system) and folder not in exempt:
                    yield f"{name}:{line}: <{system}> in the pure folder {folder}"


def check_code(folder, name, text):
    for pattern, what in IMPURE_CODE.items():
        for line, match in lines_matching(pattern, text):
            yield f"{name}:{line}: '{match.group().strip()}' {what}, in the pure folder {folder}"


def check_source(root, path):
    name = path.relative_to(root)
    parts = path.relative_to(root / "src").parts
    text = without_comments(path.read_text(encoding="utf-8"))
    if len(parts) == 1 or path.name == "main.cpp":
        return
    folder = parts[0]
    if folder not in MAY_INCLUDE:
        yield f"{name}: unknown folder src/{folder}: give it a place in the arrows first"
        return
    yield from check_includes(folder, name, text)
    if folder in PURE:
        yield from check_code(folder, name, text)


def is_script(path):
    if path.suffix in SCRIPTS:
        return True
    if path.suffix:
        return False
    with path.open("rb") as file:
        return file.read(2) == b"#!"


def check(root):
    """Every fault below root, as 'file:line: what'."""
    for top in ("src", "tests", "packaging"):
        for path in sorted((root / top).rglob("*")):
            relative = path.relative_to(root)
            if not path.is_file() or path.is_symlink() or {"__pycache__", "seeds", "debian"} & set(relative.parts):
                continue
            if path.suffix in CODE or is_script(path):
                head = path.read_text(encoding="utf-8").splitlines()[:3]
                if head and not any(SPDX in line for line in head):  # an empty __init__.py has no author
                    yield f"{relative}:1: no '{SPDX}' in the first three lines"
            if top == "src" and path.suffix in CODE:
                yield from check_source(root, path)


GOOD = {
    "src/base/bytes.hpp": "#include <span>\n",
    "src/net/address.cpp": '#include <arpa/inet.h>\n#include "base/bytes.hpp"\n',
    "src/nft/batch.cpp": '#include <libnftnl/set.h>\n#include <libmnl/libmnl.h>\n#include "net/address.hpp"\n',
    "src/config/config.hpp": '#include "dns/message.hpp"\n#include "nft/model.hpp"\n',
    "src/engine/engine.hpp": '#include "oscar/flap.hpp"\n// Clock::now() is the caller\'s\n/* getenv("A") */\n',
    "src/doctor/examine.cpp": '#include "config/config.hpp"\n#include "nft/ruleset.hpp"\n',
    "src/sys/clock.cpp": '#include <unistd.h>\n#include "net/address.hpp"\nauto t = std::chrono::steady_clock::now();\n',
    "src/daemon/service.cpp": '#include "engine/engine.hpp"\n#include "sys/clock.hpp"\n#include <iostream>\n',
    "src/daemon/main.cpp": '#include "cli/status.hpp"\n#include "daemon/service.hpp"\n',
    "src/cli/emit.cpp": '#include "nft/ruleset.hpp"\n#include "sys/clock.hpp"\n',
    "tests/e2e/actor.py": "import os\n",
}
BAD = {  # file -> (text, what the report must say)
    "src/base/a.hpp": ('#include "net/address.hpp"\n', "base may not include net"),
    "src/net/a.hpp": ('#include "tcp/stream.hpp"\n', "net may not include tcp"),
    "src/tcp/a.cpp": ('  #  include "oscar/flap.hpp"\n', "tcp may not include oscar"),
    "src/nft/a.hpp": ('#include "dns/message.hpp"\n', "nft may not include dns"),
    "src/config/a.hpp": ('#include "oscar/flap.hpp"\n', "config may not include oscar"),
    "src/dns/a.hpp": ('#include "config/config.hpp"\n', "dns may not include config"),
    "src/engine/a.hpp": ('#include "sys/clock.hpp"\n', "engine may not include sys"),
    "src/engine/b.hpp": ('#include "daemon/service.hpp"\n', "engine may not include daemon"),
    "src/doctor/a.hpp": ('#include "sys/clock.hpp"\n', "doctor may not include sys"),
    "src/doctor/b.hpp": ('#include "engine/engine.hpp"\n', "doctor may not include engine"),
    "src/daemon/b.hpp": ('#include "doctor/examine.hpp"\n', "daemon may not include doctor"),
    "src/sys/a.hpp": ('#include "engine/engine.hpp"\n', "sys may not include engine"),
    "src/sys/b.hpp": ('#include "dns/message.hpp"\n', "sys may not include dns"),
    "src/daemon/a.hpp": ('#include "cli/status.hpp"\n', "daemon may not include cli"),
    "src/cli/a.hpp": ('#include "daemon/service.hpp"\n', "cli may not include daemon"),
    "src/oscar/a.hpp": ('#include "flap.hpp"\n', "write the path from src/"),
    "src/stuff/a.hpp": ("int a;\n", "unknown folder src/stuff"),
    "src/peer/a.cpp": ("#include <unistd.h>\n", "<unistd.h> in the pure folder peer"),
    "src/peer/b.cpp": ("#include <sys/socket.h>\n", "<sys/socket.h> in the pure folder peer"),
    "src/dns/b.cpp": ("#include <ares.h>\n", "<ares.h> in the pure folder dns"),
    "src/dns/c.cpp": ("#include <arpa/inet.h>\n", "<arpa/inet.h> in the pure folder dns"),
    "src/tcp/b.cpp": ("#include <libmnl/libmnl.h>\n", "<libmnl/libmnl.h> in the pure folder tcp"),
    "src/config/b.cpp": ("#include <fstream>\n", "<fstream> in the pure folder config"),
    "src/config/c.cpp": ("#include <iostream>\n", "<iostream> in the pure folder config"),
    "src/engine/c.cpp": ("#include <thread>\n", "<thread> in the pure folder engine"),
    "src/engine/d.cpp": ("#include <mutex>\n", "<mutex> in the pure folder engine"),
    "src/engine/e.cpp": ("/* why\n */ auto t = std::chrono::steady_clock::now();\n", "e.cpp:3: '::now(' reads a clock"),
    "src/config/d.cpp": ('auto a = std::getenv("A"); // fine?\n', "reads the environment"),
    "src/nft/b.cpp": ('auto url = "http://a"; std::cerr << url;\n', "writes to a stream"),
}


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        comment = "#" if path.suffix == ".py" else "//"
        path.write_text(f"{comment} {SPDX}\n{text}", encoding="utf-8")


def self_test():
    """Good samples pass, and every bad one is found alone: a check that cannot fail holds nothing."""
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, GOOD)
        wrong += [f"self-test: a good sample was refused: {fault}" for fault in check(root)]
    for name, (text, expected) in BAD.items():
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            write(root, {name: text})
            found = list(check(root))
            if len(found) != 1 or expected not in found[0]:
                wrong.append(f"self-test: {name} must give one fault with '{expected}', gave {found}")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, text in (("src/net/a.hpp", "int a;\n"), ("tests/run", "#!/bin/sh\n"), ("tests/e2e/a.py", "import os\n")):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        if len([fault for fault in check(root) if SPDX in fault]) != 3:
            wrong.append("self-test: a file without its SPDX line was not found")
    return wrong


def main(arguments):
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    faults = self_test()
    if arguments[0] != "--self-test" and not faults:
        faults = list(check(Path(arguments[0]).resolve()))
    for fault in faults:
        print(fault)
    print(f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
