# SPDX-License-Identifier: GPL-2.0-or-later
"""The gateway's own firewall: what an administrator has before icqgate comes, and the one line added for it."""

MARK_LINE = "meta mark & 0x06000000 != 0 accept"

FILTER = """
table inet admin {{
  chain forward {{
    type filter hook forward priority filter; policy drop;
    {established}
    {mark}
    iifname "lan0" oifname "wan0" meta l4proto {{ tcp, udp }} th dport 53 accept
    {replies}
    counter
  }}
}}
"""

DNS_REPLIES = 'iifname "wan0" oifname "lan0" meta l4proto { tcp, udp } th sport 53 accept'

HIDE = """
table ip admin_nat {
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname "wan0" ip saddr 192.168.77.0/24 masquerade
  }
}
"""


def firewall(admin, masquerade):
    """Ruleset text. "deny-strict" lets nothing of a TCP connection pass by its state: icqgate's mark has to do all."""
    text = ""
    if admin in ("deny", "deny-strict"):
        text += FILTER.format(
            established="ct state established,related accept" if admin == "deny" else "",
            mark=MARK_LINE,
            replies=DNS_REPLIES if admin == "deny-strict" else "")
    elif admin != "open":
        raise ValueError(f"no such firewall: {admin}")
    return text + (HIDE if masquerade else "")
