# SPDX-License-Identifier: GPL-2.0-or-later
"""What `emit` prints beside rulesets: guides to the clients' settings, and the configurations of proxies."""

from pathlib import Path

HERE = Path(__file__).resolve().parent
LAN = ["--client", "192.168.1.0/24"]
PROXY = ["--proxy", "192.168.1.2"]
TEXTS = {  # file -> arguments
    "guide-dynamic.txt": ["dynamic", "--client-guide"],
    "guide-dynamic-masquerade.txt": ["dynamic", "--client-guide", "--masquerade", "--login-host", "192.0.2.5:443"],
    "guide-direct.txt": ["direct", "--client-guide"],
    "guide-range.txt": ["range", "--client-guide", "--port-range", "24000-24009", "--login-port", "5190,443"],
    "guide-range-clients.txt": ["range", "--client-guide", "--per-client", "4", "--client", "192.168.1.8/30,192.168.7.9",
                                "--login-host", "login.example.org,192.0.2.5:5191"],
    "guide-outbound.txt": ["outbound", "--client-guide"],
    "guide-masquerade.txt": ["masquerade", "--client-guide", "--map",
                             "192.168.1.10=20000-20009,192.168.1.11=20010-20019"],
    "guide-socks.txt": ["socks", "--client-guide", "--per-client", "3", *PROXY, "--client", "192.168.1.8,192.168.1.9"],
    "guide-https.txt": ["https", "--client-guide", *PROXY, "--proxy-port", "8080"],
    "danted.conf": ["socks", "--proxy-config", "dante", *PROXY, *LAN],
    "danted-gateway.conf": ["socks", "--proxy-config", "dante", "--proxy", "192.168.1.1,203.0.113.1", "--proxy-port",
                            "1081", "--client", "192.168.1.0/24,10.9.9.9", "--port-range", "24000-24009",
                            "--login-port", "5190,443"],
    "squid.conf": ["https", "--proxy-config", "squid", *PROXY, *LAN, "--login-host", "login.example.org,192.0.2.5:443"],
}


def texts(golden):
    for name, arguments in TEXTS.items():
        status, text, errors = golden.run("emit", *arguments)
        golden.expect(f"emit {name}: exit status {status}", status == 0, errors)
        golden.expect(f"emit {name}: says something beside it", errors == "", errors)
        golden.file(HERE / "emit" / name, text)
        golden.same(f"emit {name} again", text, golden.run("emit", *arguments)[1])
        output = golden.folder / name
        silent = golden.run("emit", *arguments, "--output", str(output))
        golden.same(f"emit {name} --output", text, output.read_text())
        golden.expect(f"emit {name} --output prints", silent[1] == "")
    kept = {path.name for pattern in ("*.txt", "*.conf") for path in (HERE / "emit").glob(pattern)}
    golden.expect("a text that no options stand for", kept == set(TEXTS), f"{kept ^ set(TEXTS)}")


def wrong_ways(golden):
    def wrong(says, *arguments):
        golden.exits(2, "emit", *arguments, says=says)
        lines = golden.run("emit", *arguments)[2].splitlines()
        golden.expect(f"{' '.join(arguments)}: more than one line", len(lines) == 1, "\n".join(lines))

    guide = ["--client-guide", "--per-client"]
    wrong("--per-client: '2': expected a number of ports, 3 or more", "range", *guide, "2", *LAN)
    wrong("--per-client: 'many': expected a number of ports, 3 or more", "range", *guide, "many", *LAN)
    wrong("--per-client: '-3': expected a number", "range", *guide, "-3", *LAN)
    wrong("--per-client: 254 clients with 3 ports each need a port-range of 762 ports; 20000-20099 has 100: expected "
          "20000-20761", "range", *guide, "3", *LAN)
    wrong("--per-client: no client has an IPv4 address", "range", *guide, "3")
    wrong("--per-client: profile outbound has no port-range to share out", "outbound", *guide, "3", *LAN)
    wrong("--per-client: profile masquerade gives out ports by --map", "masquerade", *guide, "3", *LAN)
    wrong("--per-client: expected together with --client-guide", "range", "--per-client", "3", *LAN)
    wrong("--resolve: has no effect with --client-guide", "range", "--client-guide", "--resolve")
    wrong("--format: has no effect with --client-guide", "range", "--client-guide", "--format", "json")
    wrong("--check: has no effect with --proxy-config", "socks", *PROXY, *LAN, "--proxy-config", "dante", "--check")
    wrong("--client-guide: has no effect with --proxy-config", "socks", *PROXY, *LAN, "--proxy-config", "dante",
          "--client-guide")
    wrong("--proxy-config: 'privoxy': no proxy that is known; expected dante (profile socks) or squid", "socks", *PROXY,
          *LAN, "--proxy-config", "privoxy")
    wrong("--proxy-config: 'squid': an HTTPS proxy; expected --profile https", "socks", *PROXY, *LAN, "--proxy-config",
          "squid")
    wrong("--proxy-config: 'dante': a SOCKS server; expected --profile socks", "range", "--proxy-config", "dante")
    wrong("--proxy-config: 'dante': the IPv4 address it listens on is not said; expected --proxy ADDRESS", "socks",
          "--proxy", "gateway", *LAN, "--proxy-config", "dante")
    wrong("--proxy-config: 'squid': who may use it is not said; expected --client NETWORK", "https", *PROXY,
          "--proxy-config", "squid")


PARTS = (texts, wrong_ways)
