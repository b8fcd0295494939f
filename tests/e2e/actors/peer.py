# SPDX-License-Identifier: GPL-2.0-or-later
"""An outside host: connects to pinholes, listens for clients that connect out, and does both badly when told to."""

from direct import Direct
from process import Actor

if __name__ == "__main__":
    actor = Actor()
    Direct(actor)
    actor.serve()
