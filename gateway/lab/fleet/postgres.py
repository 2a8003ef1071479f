"""Keeps a fleet's PostgreSQL running for as long as this process runs.

`python -m gateway.lab.fleet.postgres DIR MAX_CONNECTIONS` prints the database's URL when it is
ready. It is a process of its own so that the server is stopped even when the lab is killed.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

from gateway.logs import configure_logs
from gateway.settings import SharedSettings, read_settings
from gateway.store.embedded import EmbeddedPostgres, EmbeddedPostgresError

LOOK_INTERVAL_S = 0.5
STOP_TIMEOUT_S = 30.0
"""Thousands of sessions take a while to end; what is cut short is not what is measured."""


def main() -> None:
    """Run the server until SIGTERM; exit with a message if it cannot start or ends by itself."""
    configure_logs(read_settings(SharedSettings))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = EmbeddedPostgres(Path(sys.argv[1]), max_connections=int(sys.argv[2]))
    try:
        print(server.start(), flush=True)  # noqa: T201 - the announcement that the lab waits for
        while server.is_running:
            time.sleep(LOOK_INTERVAL_S)
        sys.exit("PostgreSQL ended by itself")
    except EmbeddedPostgresError as error:
        sys.exit(str(error))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        server.stop(STOP_TIMEOUT_S)


if __name__ == "__main__":
    main()
