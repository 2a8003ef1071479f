"""Keeps an embedded PostgreSQL running for as long as this process runs.

`python -m gateway.up.postgres DIR` prints the database's URL when it is ready. It is a process of
its own so that the server is stopped even when who started it is killed.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from gateway.logs import configure_logs
from gateway.settings import SharedSettings, read_settings
from gateway.store.embedded import MAX_CONNECTIONS, EmbeddedPostgres, EmbeddedPostgresError

LOOK_INTERVAL_S = 0.5
STOP_TIMEOUT_S = 0.8


def main() -> None:
    """Run the server until SIGTERM; exit with a message if it cannot start or ends by itself."""
    given = _arguments()
    configure_logs(read_settings(SharedSettings))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = EmbeddedPostgres(given.directory, max_connections=given.max_connections)
    try:
        print(server.start(), flush=True)  # noqa: T201  # the announcement that is waited for
        while server.is_running:
            time.sleep(LOOK_INTERVAL_S)
        sys.exit("PostgreSQL ended by itself")
    except EmbeddedPostgresError as error:
        sys.exit(str(error))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        server.stop(given.stop_timeout)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--max-connections", type=int, default=MAX_CONNECTIONS)
    # Per stage of the shutdown (fast, immediate, kill); what is cut short is recovered at next
    # start.
    parser.add_argument("--stop-timeout", type=float, default=STOP_TIMEOUT_S, help="in seconds")
    return parser.parse_args()


if __name__ == "__main__":
    main()
