"""Nodes as production runs them: processes of their own, on free ports, known by their log."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Self, TypeVar

import httpx
from prometheus_client.parser import text_string_to_metric_families

from gateway.settings import environment_variable
from tests.forked import Forked, start_process

DEADLINE_S = 30
"""Nothing here takes long: a test that waits longer has failed."""

T = TypeVar("T")


def http_client(**options: Any) -> httpx.AsyncClient:
    """Return a client that no proxy stands before and that spares itself TLS."""
    return httpx.AsyncClient(timeout=DEADLINE_S, trust_env=False, verify=False, **options)


class NodeProcess:
    """A `gateway node`; settings are given by their names.

    ``log`` collects its log lines, ``noise`` whatever else it says, which is nothing as long as no
    error got past its handlers.
    """

    process: Process | Forked
    _reading: asyncio.Task[None]

    def __init__(self, name: str, http: httpx.AsyncClient, **settings: object) -> None:
        self.name = name
        self.log: list[dict[str, Any]] = []
        self.noise: list[str] = []
        self.addresses: dict[str, str] = {}
        self._http = http
        self._has_said_more = asyncio.Condition()
        self._settings: dict[str, object] = {
            "node_name": name,
            "log_format": "json",
            "proxy_port": 0,
            "admin_port": 0,
            "status_port": 0,
            "snapshot_dir": "",
            **settings,
        }

    # -- life

    async def begin(self) -> Self:
        """Start the process without waiting for anything."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
        environment |= {environment_variable(k): str(v) for k, v in self._settings.items()}
        self.process = await start_process(["node"], environment)
        self._reading = asyncio.create_task(self._read(), name=f"read-log-of-{self.name}")
        return self

    async def start(self) -> Self:
        """Start the process and wait until it serves."""
        await self.begin()
        self.addresses = await self.logged("node is ready")
        return self

    async def ends(self) -> int:
        """Wait for the process to end; return its exit code."""
        async with asyncio.timeout(DEADLINE_S):
            code = await self.process.wait()
            await self._reading
        return code

    async def stop(self) -> int:
        """Ask the process to end as a supervisor does; return its exit code."""
        if self.is_running:
            self.process.send_signal(signal.SIGTERM)
        return await self.ends()

    async def kill(self) -> None:
        """End the process as a power cut does."""
        self.process.kill()
        await self.ends()

    @property
    def is_running(self) -> bool:
        return self.process.returncode is None

    # -- what it says

    async def logged(self, event: str, **facts: object) -> dict[str, Any]:
        """Wait for a log line of this event and with these facts; return the first one."""
        async with asyncio.timeout(DEADLINE_S), self._has_said_more:
            while not (lines := self.lines_of(event, **facts)):
                assert not self._reading.done(), f"{self.name} has ended: {self.log} {self.noise}"
                await self._has_said_more.wait()
        return lines[0]

    def lines_of(self, event: str, **facts: object) -> list[dict[str, Any]]:
        """Return the log lines so far of this event and with these facts."""
        wanted = {"event": event, **facts}
        return [line for line in self.log if wanted.items() <= line.items()]

    def stumbles(self) -> list[Any]:
        """Return everything it said that tells of an error nobody foresaw."""
        return [*self.noise, *(line for line in self.log if "exception" in line)]

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            async with self._has_said_more:
                self._take(line.decode())
                self._has_said_more.notify_all()
        async with self._has_said_more:
            self._has_said_more.notify_all()

    def _take(self, line: str) -> None:
        try:
            self.log.append(json.loads(line))
        except ValueError:
            self.noise.append(line)

    # -- what it answers

    def port(self, listener: str) -> int:
        """Return the port of ``proxy``, ``admin`` or ``status``."""
        return int(self.addresses[listener].rpartition(":")[2])

    async def proxy(self, path: str, method: str = "GET", **options: Any) -> httpx.Response:
        """Send a client's request."""
        return await self._ask("proxy", method, path, **options)

    async def admin(
        self, method: str, path: str, body: Any = None, token: str = ""
    ) -> httpx.Response:
        """Send a request to the Admin API."""
        headers = {"Kong-Admin-Token": token} if token else {}
        return await self._ask("admin", method, path, json=body, headers=headers)

    async def write(self, method: str, path: str, body: Any = None) -> int:
        """Change the configuration; return the version that this made."""
        response = await self.admin(method, path, body)
        assert response.is_success, f"{method} {path}: {response.status_code} {response.text}"
        return int(response.headers["X-Gateway-Config-Version"])

    async def report(self) -> dict[str, Any]:
        """Return what `/status` says."""
        report: dict[str, Any] = (await self._ask("status", "GET", "/status")).json()
        return report

    async def ready(self) -> int:
        """Return the status code of `/status/ready`."""
        return (await self._ask("status", "GET", "/status/ready")).status_code

    async def metrics(self) -> Metrics:
        return Metrics((await self._ask("status", "GET", "/metrics")).text)

    async def cluster(self) -> dict[str, dict[str, Any]]:
        """Return the nodes in `/cluster` by name."""
        nodes = (await self.admin("GET", "/cluster")).json()["nodes"]
        return {node["name"]: node for node in nodes}

    async def reaches(self, version: int) -> None:
        """Wait until this version, or a later one, is applied."""

        async def has_reached() -> bool:
            return bool((await self.report())["sync"]["applied_version"] >= version)

        await until(has_reached)

    async def copies(self, version: int) -> None:
        """Wait until the disk copy has this version."""

        async def is_on_disk() -> bool:
            return bool((await self.report())["disk_copy"]["version"] == version)

        await until(is_on_disk)

    async def becomes(self, state: str) -> None:
        """Wait for this state of sync."""

        async def has_become() -> bool:
            return bool((await self.report())["sync"]["state"] == state)

        await until(has_become)

    async def _ask(self, listener: str, method: str, path: str, **options: Any) -> httpx.Response:
        return await self._http.request(
            method, f"http://{self.addresses[listener]}{path}", **options
        )


class Metrics:
    """One scrape."""

    def __init__(self, text: str) -> None:
        families = text_string_to_metric_families(text)
        self._samples = [sample for family in families for sample in family.samples]

    def values(self, name: str, **labels: str) -> Iterator[float]:
        """Yield the values of all series with these labels."""
        return (
            sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def value(self, name: str, **labels: str) -> float:
        """Return the value of the one series with these labels."""
        (value,) = self.values(name, **labels)
        return value

    def __contains__(self, label_value: str) -> bool:
        return any(label_value in sample.labels.values() for sample in self._samples)


async def all_reach(nodes: list[NodeProcess], version: int) -> None:
    """Wait until every node has applied this version."""
    await asyncio.gather(*(node.reaches(version) for node in nodes))


async def until(ask: Callable[[], Awaitable[T | None]]) -> T:
    """Ask again and again until the answer is true; return it."""
    answer = None
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not (answer := await ask()):  # noqa: ASYNC110 - what is far away sends no event
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{ask} still answers {answer!r}") from None
    return answer
