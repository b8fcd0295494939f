#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Holds the shape of the repository: its top level, the size of files, their names, and that nothing in it points to
one developer's machine.

In a git checkout the files are those git knows or would add (what .gitignore names is left out); elsewhere, all of them.

usage: tree.py ROOT        the self-test, then the tree below ROOT
       tree.py --self-test
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOP_LEVEL = {"CMakeLists.txt", "CMakePresets.json", "LICENSE", "README.md", "src", "rules", "tests", "packaging"}
SOURCES = {".cpp", ".hpp", ".c", ".h", ".py", ".sh"}
LONGEST = 500
# Names that say nothing: the file fills with whatever had no better place.
EMPTY_NAMES = {"util", "utils", "common", "helper", "helpers", "manager", "managers", "misc"}
# Paths of one machine. Put together from pieces, so that this file does not find itself.
MACHINE_PATHS = [r"(?<![\w.])/" + name + r"/" for name in ("work", "home", "root/[.a-z]+", "tmp/build-[a-z]+")]
MACHINE_PATHS.append(r"\bshared" + r"/(captures|hooks|\w+\.md)")


def files_of(root):
    listing = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (root / ".git").exists() and shutil.which("git"):
        done = subprocess.run(listing, capture_output=True, check=False)
        if done.returncode == 0:
            names = {name for name in done.stdout.decode().split("\0") if name}
            return sorted(root / name for name in names if (root / name).is_file())
    ignored = {".git", "build", ".cache", "__pycache__"}
    return sorted(
        path for path in root.rglob("*") if path.is_file() and not ignored & set(path.relative_to(root).parts)
    )


def words(part):
    return set(re.split(r"[^a-z]+", part.lower()))


def text_of(path):
    data = path.read_bytes()
    if b"\0" in data:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def check(root):
    """Every fault below root, as 'file: what'."""
    files = files_of(root)
    for top in sorted({path.relative_to(root).parts[0] for path in files}):
        if top not in TOP_LEVEL and not top.startswith("."):
            yield f"{top}: not one of the agreed top-level entries"
    for path in files:
        name = path.relative_to(root)
        for part in name.parts:
            for word in sorted(words(part) & EMPTY_NAMES):
                yield f"{name}: '{word}' says nothing: name the thing"
        if path.suffix == ".pcap" or "seeds" in name.parts:
            continue
        text = text_of(path)
        if text is None:
            continue
        length = len(text.splitlines())
        if path.suffix in SOURCES and length > LONGEST:
            yield f"{name}: {length} lines, more than {LONGEST}: split it"
        for number, line in enumerate(text.splitlines(), 1):
            for pattern in MACHINE_PATHS:
                found = re.search(pattern, line)
                if found:
                    yield f"{name}:{number}: '{found.group()}' exists on one machine only"


GOOD = {
    "README.md": "a mutex is shared between two; see /usr/share/doc and https://example.org/work/a\n",
    ".ci/run": "exec\n",
    "src/net/address.cpp": "int a;\n" * LONGEST,
    "tests/golden/long.nft": "element\n" * (LONGEST + 1),
    "build/dev/util.cpp": "",
}
BAD = {  # file -> (text, what the report must say)
    "notes.txt": ("", "not one of the agreed top-level entries"),
    "lib/a.cpp": ("", "not one of the agreed top-level entries"),
    "src/net/long.cpp": ("int a;\n" * (LONGEST + 1), "split it"),
    "src/net/string_util.hpp": ("", "'util' says nothing"),
    "src/common/a.hpp": ("", "'common' says nothing"),
    "tests/e2e/helpers.py": ("", "'helpers' says nothing"),
    "src/engine/session-manager.cpp": ("", "'manager' says nothing"),
    "src/net/a.cpp": ('auto a = "/wo' 'rk/main/a";\n', "exists on one machine only"),
    "tests/e2e/a.py": ('a = "shar' 'ed/captures/a.pcap"\n', "exists on one machine only"),
}


def write(root, name, text):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, encoding="utf-8")


def self_test():
    """Good samples pass, and every bad one is found alone."""
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        for name, text in GOOD.items():
            write(Path(folder), name, text)
        wrong += [f"self-test: a good sample was refused: {fault}" for fault in check(Path(folder))]
    for name, (text, expected) in BAD.items():
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), name, text)
            found = list(check(Path(folder)))
            if len(found) != 1 or expected not in found[0]:
                wrong.append(f"self-test: {name} must give one fault with '{expected}', gave {found}")
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
