"""A real cluster to measure and to hurt: PostgreSQL, and nodes that can be killed and come back.

    async with LabCluster(strategy="notify") as cluster:
        writing, serving = await cluster.start_nodes(2)
        serving.pause()

Every node is a `gateway node` of its own, on ports that stay its own over restarts. Leaving the
block ends all processes and removes all files; if the lab itself is killed, its processes end with
it.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import structlog
from pydantic import SecretStr

from gateway.lab.tasks import task_group
from gateway.settings import NodeSettings, Role, read_settings
from gateway.store import migrate
from gateway.up import crew
from gateway.up.plan import NODE_SHUTDOWN_TIMEOUT_S, environment
from gateway.up.process import Child
from gateway.up.watch import base_url

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
"""A node is ready within two seconds, unless the machine has much else to do."""

NODE_STOP_TIMEOUT_S = 5.0
POSTGRES_STOP_TIMEOUT_S = 30.0
"""More than its keeper takes to end the server by force; killed earlier, it would leave it."""

READY_LOOK_INTERVAL_S = 0.02
READY_TIMEOUT_S = 1.0
LAST_WORDS_BYTES = 4096
_LISTENERS = ("proxy", "admin", "status", "cluster")

_log = structlog.get_logger(__name__)


class LabError(Exception):
    """The lab cannot go on; the message is one line that says why."""


class LabNode:
    """A node of the lab: a process that can be started, paused, killed and started again.

    ``addresses`` has the ``host:port`` of each listener that a node of its role has, by name:
    proxy, admin, status, cluster.
    """

    def __init__(self, settings: NodeSettings, log_path: Path, http: httpx.AsyncClient) -> None:
        self.name = settings.node_name
        self.settings = settings
        self.log_path = log_path
        self.addresses = {
            name: f"{getattr(settings, f'{name}_host')}:{getattr(settings, f'{name}_port')}"
            for name in settings.listener_names()
        }
        self._http = http
        self._process: Process | None = None

    def url(self, listener: str) -> str:
        """Return the base URL of a listener. Raises `LabError` if its role has none of that."""
        if listener not in self.addresses:
            raise LabError(f"{self.name} is a {self.settings.role}: it has no {listener} listener")
        host = getattr(self.settings, f"{listener}_host")
        return base_url(host, getattr(self.settings, f"{listener}_port"))

    @property
    def pid(self) -> int | None:
        """The process id while the process runs."""
        return self._process.pid if self.is_running and self._process else None

    @property
    def is_running(self) -> bool:
        """Whether the process is there, be it paused."""
        return self._process is not None and self._process.returncode is None

    async def start(self, timeout_s: float = START_TIMEOUT_S) -> Self:
        """Start the process and wait until it is ready, which a node says of itself.

        Raises `LabError`, with the last line of its log, if it ends or is not ready in time.
        """
        if self.is_running:
            raise LabError(f"{self.name} runs already, as process {self.pid}")
        self._process = await self._spawn()
        try:
            async with asyncio.timeout(timeout_s):
                while not await self._is_ready():
                    self._check_alive()
                    await asyncio.sleep(READY_LOOK_INTERVAL_S)
        except TimeoutError:
            raise LabError(
                f"{self.name} was not ready within {timeout_s:g} s: {self.last_words()}"
            ) from None
        return self

    async def stop(self) -> None:
        """Ask the process to end as a supervisor does; kill it if it takes too long."""
        if self._process is None or self._process.returncode is not None:
            return
        self.resume()
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), NODE_STOP_TIMEOUT_S)
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """End the process as a power cut does."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            await self._process.wait()

    def pause(self) -> None:
        """Freeze the process: its connections stay, and nothing answers on them."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        self._signal(signal.SIGCONT)

    def last_words(self) -> str:
        """Return the last line of the log and where it is."""
        with self.log_path.open("rb") as log:
            log.seek(max(0, self.log_path.stat().st_size - LAST_WORDS_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()
        return f"{lines[-1].strip() if lines else 'it said nothing'} (see {self.log_path})"

    def _signal(self, number: signal.Signals) -> None:
        if self.is_running and self._process:
            self._process.send_signal(number)

    async def _spawn(self) -> Process:
        # A process group in our session, unlike a session of its own, does not outlive us when it
        # is paused: the kernel hangs up on a stopped group whose parent has gone.
        with self.log_path.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway.up.child", "gateway", "node"),
                stdin=PIPE,
                stdout=log,
                stderr=log,
                env=environment(self.settings),
                process_group=0,
            )

    async def _is_ready(self) -> bool:
        try:
            url = f"{self.url('status')}/status/ready"
            return (await self._http.get(url, timeout=READY_TIMEOUT_S)).is_success
        except httpx.HTTPError:
            return False

    def _check_alive(self) -> None:
        if not self.is_running and self._process:
            code = self._process.returncode
            raise LabError(f"{self.name} ended with exit code {code}: {self.last_words()}")


class LabCluster:
    """Nodes on one PostgreSQL: an embedded one, or that of ``database_url``.

    ``settings`` are those of `gateway node`, by their names, for all nodes; a node's own come on
    top. What nobody gives comes from the environment, as for a single node.
    """

    def __init__(self, *, database_url: str = "", **settings: Any) -> None:
        self.database_url = database_url
        self.postgres: Child | None = None
        self.nodes: list[LabNode] = []
        self._settings = settings
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Bring PostgreSQL up and its schema up to date. Raises `StartError` or `LabError`."""
        async with contextlib.AsyncExitStack() as stack:
            self.directory = stack.enter_context(_temporary_directory())
            self._http = await stack.enter_async_context(
                httpx.AsyncClient(trust_env=False, verify=False)  # noqa: S501 - plain HTTP only
            )
            if not self.database_url:
                self.postgres = crew.postgres(self.directory, _log.warning)
                stack.push_async_callback(self.postgres.stop, POSTGRES_STOP_TIMEOUT_S)
                self.database_url = await self.postgres.start()
            await self._migrate()
            stack.push_async_callback(self._stop_nodes)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def add_node(self, name: str = "", **settings: Any) -> LabNode:
        """Give the cluster a node, which is yet to be started; its ports are its own from now on.

        Raises `SettingError`.
        """
        name = name or f"node-{len(self.nodes) + 1}"
        ports = self._stack.enter_context(_reserved_ports(len(_LISTENERS)))
        given = {
            "node_name": name,
            "database_url": self.database_url,
            "log_format": "json",
            "shutdown_timeout_s": NODE_SHUTDOWN_TIMEOUT_S,
            "snapshot_dir": str(self.directory / "snapshots"),
            **{f"{listener}_host": HOST for listener in _LISTENERS},
            **{f"{listener}_port": port for listener, port in zip(_LISTENERS, ports, strict=True)},
            **self._settings,
            **settings,
        }
        node = LabNode(_read(given), self.directory / "logs" / f"{name}.log", self._http)
        self.nodes.append(node)
        return node

    async def start_node(self, name: str = "", **settings: Any) -> LabNode:
        """Add a node and start it. Raises `LabError`."""
        return await self.add_node(name, **settings).start()

    async def start_nodes(self, number: int, **settings: Any) -> list[LabNode]:
        """Add several nodes and start them at the same time. Raises `LabError`."""
        nodes = [self.add_node(**settings) for _ in range(number)]
        async with task_group() as tasks:
            for node in nodes:
                tasks.create_task(node.start())
        return nodes

    async def stop_postgres(self) -> None:
        """Stop the embedded PostgreSQL; what was committed stays."""
        await self._embedded().stop(POSTGRES_STOP_TIMEOUT_S)

    async def start_postgres(self) -> None:
        """Start the embedded PostgreSQL again, under the same URL."""
        await self._embedded().start()

    def _embedded(self) -> Child:
        if self.postgres is None:
            raise LabError("the database is not the lab's own: stop and start it yourself")
        return self.postgres

    async def _migrate(self) -> None:
        try:
            await asyncio.to_thread(migrate.upgrade, self.database_url)
        except migrate.MigrationError as error:
            raise LabError(f"the lab's database: {error}") from None

    async def _stop_nodes(self) -> None:
        await asyncio.gather(*(node.stop() for node in self.nodes))


def _read(given: Mapping[str, Any]) -> NodeSettings:
    """Return a node's settings; a data plane is not told where the database is."""
    database_url = "" if given.get("role") == Role.DATA_PLANE else given["database_url"]
    return read_settings(NodeSettings, **{**given, "database_url": SecretStr(database_url)})


@contextlib.contextmanager
def _temporary_directory() -> Iterator[Path]:
    """Make a directory that PostgreSQL, when we are root, may pass through as another account."""
    directory = Path(tempfile.mkdtemp(prefix="gateway-lab-"))
    try:
        directory.chmod(0o711)
        (directory / "logs").mkdir()
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _reserved_ports(number: int) -> Iterator[list[int]]:
    """Find free ports and, on Linux, keep them from others while their listener is away.

    There a socket that is bound but does not listen stands in nobody's way who also asks for
    SO_REUSEADDR, as the nodes do; elsewhere the ports are only likely to stay free.
    """
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for reserved in sockets:
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserved.bind((HOST, 0))
        ports = [reserved.getsockname()[1] for reserved in sockets]
        if sys.platform != "linux":
            stack.close()
        yield ports
