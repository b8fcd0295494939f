# SPDX-License-Identifier: GPL-2.0-or-later
"""An actor is a process in its namespace: commands come in, replies and events go out, a JSON object per line.

  in:  {"id": 7, "do": "connect", "address": "192.168.77.10", ...}
  out: {"reply": 7, "ok": true, ...}   or   {"reply": 7, "ok": false, "error": "..."}
  out: {"event": "peer", ...}
Every command runs in a thread of its own: a slow one (a silent peer) holds nobody up.
"""

import json
import os
import sys
import threading
import traceback


class Actor:
    def __init__(self):
        self.commands = {}
        self.lock = threading.Lock()

    def command(self, function):
        self.commands[function.__name__.rstrip("_")] = function
        return function

    def emit(self, **message):
        line = json.dumps(message)
        with self.lock:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def run(self, identity, name, arguments):
        try:
            result = self.commands[name](**arguments) or {}
            self.emit(reply=identity, ok=True, **result)
        except Exception as error:  # whatever it is, the test has to see it
            trace = traceback.format_exc() if os.environ.get("LAB_TRACE") else None
            self.emit(reply=identity, ok=False, error=f"{type(error).__name__}: {error}", trace=trace)

    def serve(self):
        """Until standard input ends; then the process ends, whatever its threads do."""
        self.emit(event="ready")
        for line in sys.stdin:
            arguments = json.loads(line)
            identity, name = arguments.pop("id"), arguments.pop("do")
            threading.Thread(target=self.run, args=(identity, name, arguments), daemon=True).start()
        os._exit(0)


def spawn(function, *arguments):
    threading.Thread(target=function, args=arguments, daemon=True).start()
