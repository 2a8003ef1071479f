"""Runs one process of `gateway up` so that it cannot outlive its parent.

`python -m gateway.up.child MODULE ARGUMENT…` runs MODULE as `python -m` would. Standard input is a
pipe whose other end only the parent holds: when it closes, however the parent ended (kill -9
included), this process gets SIGTERM, and is ended if it takes too long about it.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading

GRACE_S = 4.0


def main() -> None:
    """Watch the parent, then become the module that the arguments name."""
    threading.Thread(target=_end_with_parent, name="watch-parent", daemon=True).start()
    module = sys.argv[1]
    sys.argv = sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    killer = threading.Timer(GRACE_S, os._exit, args=(1,))
    killer.daemon = True
    killer.start()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
