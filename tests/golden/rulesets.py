# SPDX-License-Identifier: GPL-2.0-or-later
"""What `emit` prints: emit/ beside this file with all kinds of options, ../../rules/ as they are shipped. As root each is
shown to the kernel, in a network namespace of its own."""

import os
import re
import shutil
import socket
import stat
import subprocess
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
RULES = HERE.parent.parent / "rules"
LAN = ["--client", "192.168.1.0/24"]
SHIPPED = {  # profile -> arguments; rules/README.md tells them
    "direct": [], "range": [], "outbound": [],
    "masquerade": [*LAN, "--map", "192.168.1.10=20000-20009,192.168.1.11=20010-20019"],
    "socks": ["--proxy", "192.168.1.2"],
    "https": ["--proxy", "192.168.1.2"],
    "dynamic": [],
}
GATEWAY = ["--policy", "gateway", "--also-allow", "udp/53,tcp/53,tcp/80", "--also-allow", "tcp/8000-8100"]
EMITTED = {  # file -> arguments
    "range-clients.nft": ["--profile", "range", "--port-range", "24000-24009", "--client", "192.168.1.0/24", "--client",
                          "192.168.7.9", "--login-host", "192.0.2.5", "--login-host", "[2001:db8::5]:5191"],
    "outbound-table.nft": ["--profile", "outbound", "--table", "icq", "--priority", "10", "--mark-mask", "0x30",
                           "--lan", "lan0,lan1", "--wan", "ppp*", "--login-host", "login.example.net,192.0.2.9:443"],
    "direct-clients.nft": ["--profile", "direct", "--client", "10.1.0.0/16,10.1.2.0/24,10.2.0.0/16", "--login-host", "192.0.2.5"],
    "direct-gateway.nft": ["--profile", "direct", "--client", "10.1.2.0/24,2001:db8:1::/64", *GATEWAY],
    "range-gateway.nft": ["--profile", "range", "--lan", "lan0,lan1", "--wan", "ppp*,eth0", *GATEWAY],
    "outbound-gateway.nft": ["--profile", "outbound", "--policy", "gateway"],
    "masquerade-gateway.nft": ["--profile", "masquerade", *LAN, "--map", "192.168.1.10=24000", *GATEWAY],
    "masquerade-no-map.nft": ["--profile", "masquerade", "--login-host", "192.0.2.5"],
    "socks-both.nft": ["--profile", "socks", *LAN, "--proxy", "192.168.1.2,2001:db8:1::2,gateway", "--proxy-port", "1081",
                       "--port-range", "24000-24009", "--login-host", "192.0.2.5,[2001:db8::5]"],
    "socks-here.nft": ["--profile", "socks", "--proxy", "gateway", *GATEWAY],
    "https-gateway.nft": ["--profile", "https", "--proxy", "10.0.0.2", "--login-port", "5190,443", *LAN, *GATEWAY],
    "https-here.nft": ["--profile", "https", "--proxy", "gateway", *LAN],
    "dynamic-masquerade.nft": ["--profile", "dynamic", "--masquerade", "--port-range", "24000", "--peer-check", "off"],
}


def kernel_here():
    return os.geteuid() == 0 and shutil.which("nft") and shutil.which("unshare")


def in_namespace(script, **options):
    return subprocess.run(["unshare", "-n", "sh", "-c", script], capture_output=True, check=False, **options)


def rulesets(golden):
    nft = kernel_here()
    texts = {RULES / f"{profile}.nft": ["--profile", profile, *arguments] for profile, arguments in SHIPPED.items()}
    texts.update({HERE / "emit" / name: arguments for name, arguments in EMITTED.items()})
    for path, arguments in texts.items():
        status, text, errors = golden.run("emit", *arguments)
        golden.expect(f"emit {path.name}: exit status {status}", status == 0, errors)
        golden.file(path, text)
        golden.same(f"emit {path.name} again", text, golden.run("emit", *arguments)[1])
        output = golden.folder / "output.nft"
        silent = golden.run("emit", *arguments, "--output", str(output))
        golden.same(f"emit {path.name} --output", text, output.read_text())
        golden.expect(f"emit {path.name} --output prints", silent[1] == "")
        explained(golden, path.name, text)
        if not nft:
            continue
        checked = in_namespace("nft --check -f -", input=text.encode())
        golden.expect(f"nft --check {path.name}", checked.returncode == 0, checked.stderr.decode())
        table = text.split("\ntable inet ", 1)[1].split()[0]
        loaded = in_namespace(f"nft -f {output} && nft -f {output} && nft delete table inet {table} &&"
                              " test -z \"$(nft list ruleset)\"")
        golden.expect(f"{path.name}: loads twice and goes away", loaded.returncode == 0, loaded.stderr.decode())
        if "dynamic" not in arguments:
            same_as_json(golden, path.name, arguments, output)
    kept = {path for folder in (RULES, HERE / "emit") for path in folder.glob("*.nft")}
    golden.expect("a ruleset that no options stand for", kept <= {*texts, HERE / "emit" / "outbound-resolved.nft"},
                  f"{kept - set(texts)}")
    if nft:
        asked = subprocess.run(["unshare", "-n", golden.program, "emit", *texts[RULES / "socks.nft"], "--check"],
                               capture_output=True, check=False)
        golden.same("emit --check prints what the kernel takes", (RULES / "socks.nft").read_text(),
                    asked.stdout.decode())
    else:
        print("not root or no nft: the rulesets were not shown to the kernel")


def same_as_json(golden, name, arguments, text_file):
    """--format json, which replaces its table too, makes of the kernel what the text makes of it."""
    json_file = golden.folder / "output.json"
    status, _, errors = golden.run("emit", *arguments, "--format", "json", "--output", str(json_file))
    golden.expect(f"emit {name} as json: exit status {status}", status == 0, errors)
    listings = [in_namespace(f"nft -f {text_file} && nft list ruleset"),
                in_namespace(f"nft -j -f {json_file} && nft -j -f {json_file} && nft list ruleset")]
    for listing in listings:
        golden.expect(f"{name} as text and as json: loads", listing.returncode == 0, listing.stderr.decode())
    golden.same(f"{name} as json", *(listing.stdout.decode() for listing in listings))


def explained(golden, name, text):
    """Each rule has a comment, or in the table of `run` (which compares rules and their comments message by message) a
    note above it or above the rules that it stands with."""
    bare, rules, noted = [], 0, False
    chains = text[text.index("\n\tchain "):]
    for line in chains.splitlines():
        if line.startswith("\tchain "):
            noted = False
        elif line.startswith("\t\t# "):
            noted = True
        elif line.startswith("\t\t") and not line.startswith("\t\ttype "):
            rules += 1
            commented = re.search(r' comment "[^"]{3,}"$', line)
            if not (noted if "profile dynamic" in text else commented):
                bare.append(line)
    golden.expect(f"{name}: rules without a word of what they are for", rules > 4 and not bare, "\n".join(bare))


def said(golden):
    """How much is opened, on standard error."""
    for arguments, words in ((["range", "--port-range", "20000-20999"], "1,000 ports (20000-20999)"),
                             (["range", "--port-range", "20000-21000", "--wide"], "1,001 ports"),
                             (["direct", "--client", "10.1.2.0/24"], "64,512 ports (1024-65535) for 256 clients"),
                             (["socks", "--proxy", "gateway"], "100 ports (20000-20099) for the proxy"),
                             (["masquerade", "--map", "10.0.0.1=2000-2009,10.0.0.2=3000"],
                              "11 ports of the outside address for 2 clients"),
                             (["masquerade"], "opens no port")):
        status, _, errors = golden.run("emit", *arguments)
        golden.expect(f"emit {' '.join(arguments)}: does not say '{words}'", status == 0 and words in errors, errors)
    # What a file says to `run` does not disturb a profile that has no use for it.
    config = golden.write("all.conf", b"port-range = 24000-24009\nmap = 10.0.0.1=2000-2009\nproxy = 10.0.0.2\n"
                                      b"also-allow = tcp/443\nmasquerade = yes\n")
    status, text, errors = golden.run("emit", "outbound", "--config", config)
    golden.same("emit outbound with a file of other keys", golden.run("emit", "outbound")[1], text)
    golden.expect("emit outbound with a file of other keys: says something", status == 0 and errors == "", errors)


def outputs(golden):
    """--output: a whole file or none, the mode it had, and nothing but files."""
    folder = golden.folder / "outputs"
    folder.mkdir()
    text = golden.run("emit", "outbound")[1]
    new, old, link = folder / "new", folder / "old", folder / "link"
    old.write_text("old")
    old.chmod(0o640)
    link.symlink_to(old)
    before = folder / "before"
    before.hardlink_to(old)
    for path in (new, old, link):
        status, _, errors = golden.run("emit", "outbound", "--output", str(path))
        golden.expect(f"emit --output {path.name}", status == 0 and path.read_text() == text, errors)
    mode = lambda path: stat.S_IMODE(path.stat().st_mode)
    umask = os.umask(0o022)
    os.umask(umask)
    golden.expect("emit --output: the mode of a new file", mode(new) == 0o666 & ~umask, oct(mode(new)))
    golden.expect("emit --output: the mode of one that was there", mode(old) == 0o640, oct(mode(old)))
    golden.expect("emit --output writes into the old file", before.read_text() == "old")
    before.unlink()
    golden.expect("emit --output replaces a link", link.is_symlink())
    pipe, nowhere = folder / "pipe", folder / "nowhere"
    os.mkfifo(pipe)
    nowhere.symlink_to(folder / "absent" / "file")
    for path, words in ((folder, "is a folder"), (pipe, "is not a regular file"),
                        (nowhere, "leads nowhere"), (folder / "absent" / "file", "No such file")):
        golden.exits(1, "emit", "outbound", "--output", str(path), says=words)
    golden.expect("emit --output of a wrong path leaves something",
                  sorted(path.name for path in folder.iterdir()) == ["link", "new", "nowhere", "old", "pipe"])
    golden.exits(2, "emit", "range", "--port-range", "1", "--output", str(old), says="--port-range")
    golden.expect("emit --output: a failure leaves the old file", old.read_text() == text)


WRONG = [  # exit 2, one line
    ([], "no --profile; expected direct, range,"),
    (["--profile", "masq"], "--profile: 'masq' is no profile; expected direct, range, outbound, masquerade, socks, https or"),
    (["range", "--port-range", "2000-3000"], "port-range: '2000-3000' opens 1,001 ports; expected at most 1,000, or --wide"),
    (["range", "--port-range", "3000-2000"], "--port-range: '3000-2000': the first port is above the last; expected"),
    (["range", "--port-range", "80-2000"], "--port-range: '80-2000': 80 is below 1024"),
    (["range", "--login-host", "no such"], "--login-host: 'no such'"),
    (["range", "--lan", "eth0"], "--lan: 'eth0'"),
    (["dynamic", "--resolve"], "--resolve: has no effect in profile dynamic; expected"),
    (["dynamic", "--format", "json"], "--format: json has no words for"),
    (["range", "--format", "xml"], "--format: 'xml' is no format; expected nft or json"),
    (["dynamic", "--policy", "gateway"], "--policy: has no effect in profile dynamic"),
    (["direct", "--port-range", "2000-2009"], "--port-range: has no effect in profile direct; expected profile range,"),
    (["outbound", "--wide"], "--wide: has no effect in profile outbound"),
    (["range", "--masquerade"], "--masquerade: has no effect in profile range"),
    (["range", "--map", "10.0.0.1=2000-2009"], "--map: has no effect in profile range; expected profile masquerade"),
    (["range", "--proxy=10.0.0.1"], "--proxy: has no effect in profile range; expected profile socks or https"),
    (["range", "--proxy-port", "1080"], "--proxy-port: has no effect"),
    (["range", "--also-allow", "tcp/443"], "--also-allow: has no effect with policy guard"),
    (["range", "--queue-peer", "7"], "--queue-peer: has no effect in profile range; expected profile dynamic"),
    (["outbound", "--hold-answers"], "--hold-answers: has no effect in profile outbound"),
    (["range", "--policy", "strict"], "--policy: 'strict': expected guard or gateway"),
    (["range", "--policy", "gateway", "--also-allow", "443"], "--also-allow: '443': no '/' in it; expected tcp/PORT"),
    (["range", "--policy", "gateway", "--also-allow", "sctp/443"], "--also-allow: 'sctp/443': neither tcp nor udp"),
    (["range", "--policy", "gateway", "--also-allow", "tcp/0"], "--also-allow: 'tcp/0': what stands behind '/' is no port"),
    (["socks"], "--proxy: missing"),
    (["https"], "--proxy: missing"),
    (["socks", "--proxy", "proxy.example"], "--proxy: 'proxy.example': not an IP address"),
    (["socks", "--proxy", "127.0.0.1"], "--proxy: '127.0.0.1': a loopback"),
    (["socks", "--proxy", "10.0.0.1", "--proxy-port", "0"], "--proxy-port: '0': expected a port"),
    (["socks", "--proxy", "10.0.0.1", "--port-range", "2000-3000"], "'2000-3000' opens 1,001 ports"),
    (["masquerade", "--map", "10.0.0.1"], "--map: '10.0.0.1': no '=' in it; expected CLIENT=FIRST-LAST"),
    (["masquerade", "--map", "host=2000-2009"], "--map: 'host=2000-2009': what stands before '=' is not an IP address"),
    (["masquerade", "--map", "::1=2000-2009"], "--map: '::1=2000-2009': an IPv6 address"),
    (["masquerade", "--map", "127.0.0.1=2000-2009"], "no client has such an address"),
    (["masquerade", "--map", "10.0.0.1=2009-2000"], "--map: '10.0.0.1=2009-2000': the first port is above the last"),
    (["masquerade", "--map", "10.0.0.1=80-2000"], "80 is below 1024"),
    (["masquerade", "--map", "10.0.0.1=2000-3000"], "map: '10.0.0.1=2000-3000' opens 1,001 ports"),
    (["masquerade", "--map", "10.0.0.1=2000-2009", "--map", "10.0.0.2=2009-2010"],
     "--map: '10.0.0.2=2009-2010': ports of it are also in '10.0.0.1=2000-2009'"),
    (["masquerade", "--map", "10.0.0.1=2000-2009", "--client", "192.168.1.0/24"],
     "--map: '10.0.0.1=2000-2009': 10.0.0.1 is in no network of client"),
]


def wrong_options(golden):
    for arguments, words in WRONG:
        golden.exits(2, "emit", *arguments, says=words)
        errors = golden.run("emit", *arguments)[2]
        golden.expect(f"emit {' '.join(arguments)}: more than one line", errors.count("\n") == 1, errors)
    golden.exits(1, "emit", "--profile", "range", "--config", "/nonexistent", says="/nonexistent: No such file")
    golden.exits(1, "emit", "--profile", "outbound", "--resolve", "--resolver", "127.0.0.1:9", says="login.icq.com")
    if os.geteuid() == 0 and shutil.which("unshare"):
        nobody = subprocess.run(["unshare", "--user", golden.program, "emit", "outbound",
                                 "--check"], capture_output=True, check=False)
        golden.expect("emit --check without root", nobody.returncode == 1 and not nobody.stdout
                      and b"root" in nobody.stderr, nobody.stderr.decode())


def resolved_names(golden):
    """`emit --resolve` with a DNS server of our own, which knows one name and answers in any order."""
    name, known = "login.example.net", ["203.0.113.9", "127.0.0.1", "203.0.113.5"]

    def answer(query):
        end = query.index(b"\0", 12)
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        good = ".".join(labels) == name
        records = b"".join(b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(address) for address in known
                           ) if good and query[end + 1:end + 3] == b"\0\1" else b""
        counts = b"\0\1" + (len(records) // 16).to_bytes(2, "big") + bytes(4)
        return query[:2] + (b"\x81\x80" if good else b"\x81\x83") + counts + query[12:end + 5] + records

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        resolver = ["--resolver", f"127.0.0.1:{server.getsockname()[1]}"]

        def serve():
            while True:
                query, client = server.recvfrom(512)
                if not query:
                    return
                server.sendto(answer(query), client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        arguments = ["emit", "outbound", "--resolve", *resolver, "--login-host", "192.0.2.7:443", "--login-host"]
        status, text, errors = golden.run(*arguments, name)
        json_status, json_text, json_errors = golden.run(*arguments, name, "--format", "json")
        golden.exits(1, *arguments, f"{name},nobody.example.net",
                     says="nobody.example.net did not resolve: A: no such name")
        server.sendto(b"", server.getsockname())
        thread.join(10)
    golden.expect("emit --resolve: exit status", status == 0, errors)
    golden.expect("emit --resolve --format json: exit status", json_status == 0, json_errors)
    if kernel_here():
        listings = [in_namespace(f"nft {option} -f - && nft list ruleset", input=ruleset.encode()).stdout.decode()
                    for option, ruleset in (("", text), ("-j", json_text))]
        golden.same("emit --resolve as json", *listings)
        golden.expect("emit --resolve: names the host", f'203.0.113.9 . 5190 comment "{name}"' in listings[0], listings[0])
    time = r"^# resolved    \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$"
    golden.expect("emit --resolve: no time", re.search(time, text, re.M), text)
    golden.file(HERE / "emit" / "outbound-resolved.nft", re.sub(r"^# resolved.*\n", "", text, flags=re.M))


PARTS = (rulesets, said, outputs, wrong_options, resolved_names)
