"""The gateway under test: one node on its core, its database with the load on the other."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psycopg

from benchmarks.processes import Pinned, free_port
from gateway.store.embedded import EmbeddedPostgres

CHURN_INTERVAL_S = 0.5
APPLY_TIMEOUT_S = 60.0
# One statement, one version: copies of the route `plain`, each with its own name and path.
_FILL = """
    INSERT INTO routes
    SELECT (jsonb_populate_record(plain, jsonb_build_object(
        'id', gen_random_uuid(), 'name', 'r-' || n, 'paths', jsonb_build_array('/r/' || n)))).*
    FROM routes plain, generate_series(0, %s - 1) n WHERE plain.name = 'plain'
"""


class Gateway:
    """A node, its database, one service, and the route `/`."""

    def __init__(self, core: int, home: Path) -> None:
        self.port, self._admin_port, self._status_port = free_port(), free_port(), free_port()
        self._core = core
        self._log = home / "node.log"
        self._snapshots = home / "snapshots"
        self._postgres = EmbeddedPostgres(home / "postgres")
        admin_url = f"http://127.0.0.1:{self._admin_port}"
        self._admin = httpx.Client(base_url=admin_url, timeout=10, trust_env=False)
        self._servers = ExitStack()

    def start(self, upstream: int) -> Pinned:
        """Start everything with the route `/` to the upstream's port; return the node."""
        self._servers.callback(self._postgres.stop)
        environment = self._environment(self._postgres.start())
        self._run("migrations", environment, "db", "upgrade").wait()
        node = self._run("gateway", environment, "node")
        self._servers.callback(node.stop)
        node.wait_for_port(self._admin_port)
        self._create_plain_route(upstream)
        return node

    def stop(self) -> None:
        """Stop the node, then its database."""
        self._admin.close()
        self._servers.close()

    def fill(self, count: int) -> None:
        """Add `count` routes with the paths /r/0, /r/1, … and wait until they are served."""
        with psycopg.connect(self._postgres.url()) as connection:
            connection.execute(_FILL, [count])
        self._wait_for_apply()

    @contextmanager
    def churn(self, count: int) -> Iterator[None]:
        """Change one of the `count` routes through the Admin API every half second."""
        done = threading.Event()
        failures: list[str] = []

        def change() -> None:
            for n in itertools.cycle(range(count)):
                answer = self._admin.patch(
                    f"/routes/r-{n}", json={"paths": [f"/r/{n}", f"/changed/{time.time_ns()}"]}
                )
                if answer.status_code != 200:
                    failures.append(answer.text)
                if done.wait(CHURN_INTERVAL_S):
                    return

        churning = threading.Thread(target=change, name="churn")
        churning.start()
        try:
            yield
        finally:
            done.set()
            churning.join()
        if failures:
            raise RuntimeError(f"{len(failures)} changes failed, the first: {failures[0]}")

    def _run(self, name: str, environment: dict[str, str], *command: str) -> Pinned:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        gateway = [sys.executable, "-m", "gateway", *command]
        return Pinned(name, self._core, gateway, self._log, environment)

    def _environment(self, database_url: str) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
        return inherited | {
            "GATEWAY_DATABASE_URL": database_url,
            "GATEWAY_PROXY_PORT": str(self.port),
            "GATEWAY_ADMIN_PORT": str(self._admin_port),
            "GATEWAY_STATUS_PORT": str(self._status_port),
            "GATEWAY_SNAPSHOT_DIR": str(self._snapshots),
            "GATEWAY_LOG_LEVEL": "warning",
        }

    def _create_plain_route(self, upstream: int) -> None:
        service = {"host": "127.0.0.1", "port": upstream}
        self._admin.put("/services/bench", json=service).raise_for_status()
        route = {"paths": ["/"], "strip_path": False}
        self._admin.put("/services/bench/routes/plain", json=route).raise_for_status()
        self._wait_for_apply()

    def _wait_for_apply(self) -> None:
        with psycopg.connect(self._postgres.url()) as connection:
            found = connection.execute("SELECT version FROM config_version").fetchone()
        version = found[0] if found else 0
        status_url = f"http://127.0.0.1:{self._status_port}/status"
        deadline = time.monotonic() + APPLY_TIMEOUT_S
        while httpx.get(status_url, trust_env=False).json()["sync"]["applied_version"] < version:
            if time.monotonic() > deadline:
                raise RuntimeError(f"version {version} is not applied after {APPLY_TIMEOUT_S:g} s")
            time.sleep(0.1)
