# SPDX-License-Identifier: GPL-2.0-or-later
"""Who lives where in the laboratory (drawn in lab.py; the DNS servers' further addresses are zones.py's)."""

CLIENT, CLIENT2, GATEWAY = "192.168.77.10", "192.168.77.11", "192.168.77.1"
OUTSIDE = "198.51.100.1"  # the gateway's own outside address
LOGIN, LOGIN2, BOS, SERVICE, ROGUE = (f"198.51.100.{n}" for n in (5, 6, 7, 8, 9))
DNS, PEER, STRANGER = "198.51.100.53", "198.51.100.20", "198.51.100.66"
