"""The gateway under test: one node on its core, its database with the load on the other."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg

from benchmarks.processes import Pinned, free_port
from benchmarks.tls import Identity
from gateway.balancing.group import ALGORITHMS
from gateway.store.embedded import EmbeddedPostgres

KEY = "a-key-of-the-load"
"""What key-auth asks for on the route /guarded."""
ISSUER, SECRET = "load", "a-secret-of-the-load-and-nobody-else"
"""Who signs the tokens that jwt asks for on the route /jwt, and what with."""
MOST_REQUESTS = 1_000_000_000
"""The limit there, which no load reaches."""
KEPT_S = 3600
"""How long proxy-cache keeps a response on the route /cached."""

_PLUGINS: dict[str, dict[str, dict[str, Any]]] = {
    "guarded": {"key-auth": {}, "rate-limiting": {"minute": MOST_REQUESTS}},
    "jwt": {"jwt": {"claims_to_verify": ["exp"]}},
    "transformed": {
        "request-transformer": {
            "remove": {"headers": ["X-Internal"]},
            "replace": {"headers": ["User-Agent:gateway"]},
            "add": {"headers": ["X-Tenant:load"], "querystring": ["source:bench"]},
        }
    },
    "cached": {"proxy-cache": {"strategy": "memory", "cache_ttl": KEPT_S}},
}
"""The plugins on the routes with these names."""

CHURN_INTERVAL_S = 0.5
APPLY_TIMEOUT_S = 300.0
# One statement, one version: copies of the route `plain`, each with its own name and path. The
# triggers log each of them, so that a node gets them as it gets any other change.
_FILL = """
    INSERT INTO routes
    SELECT (jsonb_populate_record(plain, jsonb_build_object(
        'id', gen_random_uuid(), 'name', 'r-' || n, 'paths', jsonb_build_array('/r/' || n)))).*
    FROM routes plain, generate_series(%s, %s - 1) n WHERE plain.name = 'plain'
"""


class Gateway:
    """A node, its database, the route `/` and the route `/ws`, over HTTP and over TLS."""

    def __init__(self, core: int, home: Path, identity: Identity) -> None:
        self.port, self.tls_port = free_port(), free_port()
        self._admin_port, self._status_port = free_port(), free_port()
        self._route_count = 0
        self._identity = identity
        self._core = core
        self._log = home / "node.log"
        self._snapshots = home / "snapshots"
        self._postgres = EmbeddedPostgres(home / "postgres")
        admin_url = f"http://127.0.0.1:{self._admin_port}"
        self._admin = httpx.Client(base_url=admin_url, timeout=10, trust_env=False)
        self._servers = ExitStack()

    def start(self, upstreams: Sequence[int], echo: int) -> Pinned:
        """Start everything with routes to the ports of the upstreams; return the node.

        The first one is that of all routes but those to /ws and to the algorithms' names.
        """
        self._servers.callback(self._postgres.stop)
        environment = self._environment(self._postgres.start())
        self._run("migrations", environment, "db", "upgrade").wait()
        node = self._run("gateway", environment, "node")
        self._servers.callback(node.stop)
        node.wait_for_port(self._admin_port)
        self._create_route("plain", "/", upstreams[0])
        self._create_route("websocket", "/ws", echo)
        self._let_in("load")
        for name, plugins in _PLUGINS.items():
            self._create_route(name, f"/{name}", upstreams[0])
            self._put(name, plugins)
        for algorithm in ALGORITHMS:
            self._balance(algorithm, upstreams)
        self._wait_for_apply()
        return node

    def stop(self) -> None:
        """Stop the node, then its database."""
        self._admin.close()
        self._servers.close()

    def fill(self, count: int) -> None:
        """Have `count` routes with the paths /r/0, /r/1, …; wait until they are served."""
        with psycopg.connect(self._postgres.url()) as connection:
            connection.execute(_FILL, [self._route_count, count])
        self._route_count = max(self._route_count, count)
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
            "GATEWAY_PROXY_TLS_PORT": str(self.tls_port),
            "GATEWAY_PROXY_TLS_CERT": str(self._identity.certificate),
            "GATEWAY_PROXY_TLS_CERT_KEY": str(self._identity.key),
            "GATEWAY_ADMIN_PORT": str(self._admin_port),
            "GATEWAY_STATUS_PORT": str(self._status_port),
            "GATEWAY_SNAPSHOT_DIR": str(self._snapshots),
            "GATEWAY_LOG_LEVEL": "warning",
        }

    def _balance(self, algorithm: str, upstreams: Sequence[int]) -> None:
        """Spread the requests for a path with the name of an algorithm by that over all ports."""
        hash_on = {"hash_on": "ip"} if algorithm == "consistent-hashing" else {}
        upstream = {"algorithm": algorithm, **hash_on}
        self._admin.put(f"/upstreams/{algorithm}", json=upstream).raise_for_status()
        for port in upstreams:
            target = {"target": f"127.0.0.1:{port}"}
            self._admin.post(f"/upstreams/{algorithm}/targets", json=target).raise_for_status()
        self._create_route(algorithm, f"/{algorithm}", upstreams[0], algorithm)

    def _create_route(self, name: str, path: str, upstream: int, host: str = "127.0.0.1") -> None:
        service = {"host": host, "port": upstream}
        self._admin.put(f"/services/{name}", json=service).raise_for_status()
        route = {"paths": [path], "strip_path": False}
        self._admin.put(f"/services/{name}/routes/{name}", json=route).raise_for_status()

    def _let_in(self, consumer: str) -> None:
        """Give the key and the secret to a consumer."""
        self._admin.put(f"/consumers/{consumer}").raise_for_status()
        self._admin.post(f"/consumers/{consumer}/key-auth", json={"key": KEY}).raise_for_status()
        signs = {"key": ISSUER, "secret": SECRET}
        self._admin.post(f"/consumers/{consumer}/jwt", json=signs).raise_for_status()

    def _put(self, route: str, plugins: Mapping[str, object]) -> None:
        """Put plugins on a route."""
        for name, config in plugins.items():
            body = {"name": name, "config": config}
            self._admin.post(f"/routes/{route}/plugins", json=body).raise_for_status()

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
