"""A node: one process, one event loop, its listeners, one snapshot. Starts and stops its parts.

Start: sockets, database, first load (from the disk copy while the database is away), data plane,
listeners, sync, heartbeat. Stop is the reverse: the node is no longer ready, balancers get time to
notice, listeners drain, the database goes last. A part that ends by itself takes the node down with
an error, so that whoever supervises the process starts it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Coroutine, Iterable
from datetime import UTC, datetime
from socket import socket
from ssl import SSLContext
from typing import Any
from uuid import uuid4

import structlog
from prometheus_client.core import Metric
from starlette.applications import Starlette

from gateway.access_log import WriterCounts
from gateway.admin.access.rules import exposed_hosts
from gateway.admin.app import create_app as create_admin_app
from gateway.admin.tls import admin_tls_context
from gateway.app_connection import AppLimits
from gateway.commands import Commands
from gateway.health_census import HealthCensus
from gateway.heartbeat import Pulse, Registry, alive_for_s
from gateway.hybrid.certificates import PairError
from gateway.hybrid.control_plane import ControlPlane
from gateway.hybrid.strategy import HybridStrategy
from gateway.listener import Listener, ListenError, address_of, open_socket
from gateway.logs import configure_logs
from gateway.marks import obey as obey_marks
from gateway.metrics.apply import ApplyMetrics
from gateway.metrics.exposition import Exposition
from gateway.metrics.traffic import TrafficMetrics
from gateway.open_files import allow_as_many_as_possible
from gateway.plugins import registry
from gateway.plugins.host import PluginHost
from gateway.probe_sharing import ProbeSharing, shares_probes
from gateway.proxy.arrival import connection_factory
from gateway.proxy.failures import FailureLog
from gateway.proxy.health.plan import EachNode
from gateway.proxy.health.view import HealthView
from gateway.proxy.proxy import Proxy
from gateway.settings import MissingPluginAction, NodeSettings, Role, SettingError, named
from gateway.snapshot import SnapshotApplier
from gateway.snapshot.disk import CopiedSource, DiskCopy, DiskCopyError
from gateway.stalls import StallMonitor
from gateway.status.app import create_app as create_status_app
from gateway.status.facts import BadEntity, ConnectionCounts, NodeIdentity
from gateway.status.health_counts import HealthCounts
from gateway.store import migrate
from gateway.store.admin_tokens import AdminTokens
from gateway.store.errors import StoreError, StoreUnavailable
from gateway.store.rate_limits import RateLimitCounters
from gateway.store.replica import ReplicaSource
from gateway.store.store import Store
from gateway.sync.loop import SyncLoop
from gateway.sync.registry import StrategyError, create_strategy
from gateway.sync.source import Source
from gateway.sync.status import SyncStatus

_PROXY_LISTENERS = ("proxy", "proxy_tls")
_ADMIN_LISTENERS = ("admin", "admin_tls")
_OTHER_BACKLOG = 128
_FAREWELL_S = 1.0
"""How long a stopping node tries to take itself out of the cluster's list."""

log = structlog.get_logger(__name__)


class StartError(Exception):
    """The node cannot start; the message is one line that says what to do."""


_REASONS = (StartError, SettingError, ListenError, StrategyError, StoreError, PairError)
"""Why a node may not start: each says in one line what to do."""


def run_node(settings: NodeSettings) -> int:
    """Run a node until SIGTERM or SIGINT; return the exit code."""
    configure_logs(settings)
    registry.configure(settings)
    sys.unraisablehook = FailureLog().note_unraisable
    allow_as_many_as_possible(settings)
    try:
        with asyncio.Runner(loop_factory=_new_event_loop) as runner:
            return runner.run(_run(settings))
    except _REASONS as error:
        print(f"gateway node: {error}", file=sys.stderr)  # noqa: T201 - the one line to be seen
        return 1
    except KeyboardInterrupt:  # Ctrl-C before the node took its signals
        return 128 + signal.SIGINT


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - not there on every platform
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def _run(settings: NodeSettings) -> int:
    node = Node(settings)
    try:
        await node.start()
        return await node.serve()
    finally:
        await node.stop()


class Node:
    """The running node, also as its Admin API and status listener see it (`NodeFacts`)."""

    def __init__(self, settings: NodeSettings) -> None:
        self.settings = settings
        self.starting = True
        self.draining = False
        self.traffic = TrafficMetrics()
        self.applies = ApplyMetrics()
        self.sync = SyncStatus(settings.strategy, observe_apply=self.applies.observe)
        self.proxy = Proxy(
            settings,
            asyncio.get_running_loop(),
            self.traffic,
            sync_now=self._sync_now,
            stale_s=self.sync.stale_s,
        )
        self.commands = Commands()
        obey_marks(self.commands, self.health)
        self._health_census = HealthCensus(self.health)
        self.store = Store(settings)
        self.plugins = PluginHost(
            settings, self.commands, self.traffic, counters=self._make_counters()
        )
        self._stall_monitor = StallMonitor(settings.loop_stall_s)
        self.applier = SnapshotApplier(
            self.proxy.use, settings.router_flavor, self.plugins.make, self.commands
        )
        self._admin_tokens = AdminTokens(self.store)
        strategy = create_strategy(settings)
        self._link = strategy.link if isinstance(strategy, HybridStrategy) else None
        self._control_plane = self._make_control_plane()
        self._admin_tls = self._make_admin_tls()
        self.disk_copy = DiskCopy.of(settings)
        self._source = self._make_source(strategy.source)
        applier = self._control_plane.hub if self._control_plane else self.applier
        self._sync_loop = SyncLoop(self._source, strategy, applier, settings, self.sync)
        self._registry: Registry = self._link or self.store
        self._pulse = Pulse(self._registry, self)
        self._sockets: dict[str, socket] = {}
        self._listeners: list[Listener] = []
        self._proxy_listeners: list[Listener] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._stop_asked = asyncio.Event()
        self._in_a_hurry = asyncio.Event()
        self._identity: NodeIdentity | None = None

    # -- life

    async def start(self) -> None:
        """Bring everything up.

        Raises StartError, ListenError or StoreError with one line when something is missing.
        """
        self._open_sockets()
        self._identity = self._introduce()
        await self._load()
        self._take_signals()  # before there is anything to drain, they end the process at once
        self._warn_of_open_doors()
        self._plan_probes()
        self.proxy.start()
        for listener in self._make_listeners():
            self._tasks.append(await listener.start())
            self._listeners.append(listener)
        self.starting = False
        if self._control_plane is not None:
            cluster = self._sockets["cluster"]
            self._tasks.append(self._control_plane.start(self.identity.id, cluster))
        self._begin("sync", self._sync_loop.run())
        self._begin("heartbeat", self._pulse.run())
        self._begin("health-census", self._health_census.run())
        if self.settings.loop_stall_s:
            self._begin("stall-monitor", self._stall_monitor.run())
        log.info("node is ready", **self._addresses())

    async def serve(self) -> int:
        """Wait until asked to stop, or until a part has ended by itself; return the exit code."""
        asked = asyncio.create_task(self._stop_asked.wait(), name="wait-for-stop")
        done, _ = await asyncio.wait({asked, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        if asked in done:
            log.info("node is stopping")
            return 0
        asked.cancel()
        for task in done:
            error = None if task.cancelled() else task.exception()
            log.error("a part of the node ended by itself", part=task.get_name(), exc_info=error)
        return 1

    async def stop(self) -> None:
        """Drain the listeners, then end everything else; safe after a failed start."""
        self.draining = True
        self.proxy.announce_end()
        status, working = self._listeners[:1], self._listeners[1:]
        if working:
            await self._let_balancers_notice()
        self.proxy.await_last_requests()
        for listeners in (working, status):  # the status listener tells of the draining
            await asyncio.gather(*(listener.stop() for listener in listeners))
        if self._control_plane is not None:
            await self._control_plane.stop()
        for opened in self._sockets.values():
            opened.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for step in (
            self.proxy.stop,
            self.applier.stop,
            self.plugins.stop,
            self._leave_cluster,
            self._source.close,
            self._close_disk_copy,
            self.store.stop,
        ):
            try:
                await step()
            except Exception:
                log.exception("a step of the stop failed", step=step.__qualname__)

    async def _let_balancers_notice(self) -> None:
        """Go on accepting while whoever sends clients here learns that it should not."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.drain_delay_s):
                await self._in_a_hurry.wait()

    async def _sync_now(self) -> None:
        await self._sync_loop.sync_now()

    # -- NodeFacts

    @property
    def identity(self) -> NodeIdentity:
        """Who this node is; known once its sockets are open."""
        if self._identity is None:
            raise RuntimeError("the node has no sockets yet")
        return self._identity

    def connections(self) -> ConnectionCounts:
        """Return the counts of client connections at this moment."""
        clients = [c for listener in self._proxy_listeners for c in listener.connections]
        busy = sum(1 for client in clients if client.busy)
        reading = sum(1 for client in clients if client.reading_head)
        counts = self.proxy.counts
        return ConnectionCounts(
            accepted=counts.accepted,
            handled=counts.handled,
            active=len(clients),
            reading=reading,
            writing=busy,
            waiting=len(clients) - busy - reading,
            total_requests=counts.total_requests,
        )

    @property
    def health(self) -> HealthView:
        """The health of upstream entities as this node sees it."""
        return self.proxy.health

    @property
    def health_counts(self) -> HealthCounts:
        """What its health checks have done, and how many addresses are unhealthy."""
        return self._health_census.counts

    @property
    def access_log_counts(self) -> WriterCounts | None:
        """What became of the access log's lines, None if there is no such log."""
        return None if self.proxy.access_log is None else self.proxy.access_log.counts

    @property
    def plugin_failures(self) -> dict[str, int]:
        """How often plugins have failed, by name."""
        return self.proxy.plugin_failures.counts

    @property
    def loop_stalls(self) -> dict[str, int]:
        """How often the event loop was held up, by what."""
        return self._stall_monitor.counts

    @property
    def spooled_bytes(self) -> int:
        """Bytes of bodies that are on disk at the moment."""
        return self.proxy.spool_room.used_bytes

    def shared_by_plugin(self, name: str) -> Any:
        """Return what the objects of a plugin share here, None as long as there are none."""
        return self.plugins.shared(name)

    def plugin_metrics(self) -> Iterable[Metric]:
        """Return what plugins measure, at this moment."""
        return self.plugins.metrics()

    def bad_entities(self) -> list[BadEntity]:
        """Return the rows that the current snapshot leaves out."""
        return self.applier.bad_entities()

    # -- steps of the start

    def _make_control_plane(self) -> ControlPlane | None:
        """Return what only a control plane has. Raises PairError."""
        if self.settings.role is not Role.CONTROL_PLANE:
            return None
        return ControlPlane(self.settings, self.store, self._sync_now)

    def _make_counters(self) -> RateLimitCounters | None:
        """Return the counters in the database, which a data plane does not have."""
        if self.settings.role is Role.DATA_PLANE:
            return None
        return RateLimitCounters(self.store.autocommit)

    def _make_admin_tls(self) -> SSLContext | None:
        """Return what the Admin API needs for TLS, if it has such a listener.

        Raises SettingError.
        """
        if "admin_tls" not in self.settings.listener_names():
            return None
        return admin_tls_context(self.settings)

    def _make_source(self, brought: Source | None) -> Source:
        """Return where versions come from: the database, or what the strategy has brought."""
        source = brought or ReplicaSource.of(self.settings, lambda: self.sync.applied)
        return source if self.disk_copy is None else CopiedSource(source, self.disk_copy)

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signal_number, self._on_stop_signal)
        if self.proxy.access_log is not None and self.settings.access_log_path:
            loop.add_signal_handler(signal.SIGHUP, self.proxy.access_log.reopen)

    def _on_stop_signal(self) -> None:
        """Stop; if the node is stopping already, wait for nobody."""
        if self.draining:
            log.warning("node is told again to stop: what is under way is cut")
            self._in_a_hurry.set()
            for listener in self._listeners:
                listener.hurry()
        self._stop_asked.set()

    def _open_sockets(self) -> None:
        settings = self.settings
        for name in settings.listener_names():
            is_proxy = name in _PROXY_LISTENERS
            self._sockets[name] = open_socket(
                name,
                getattr(settings, f"{name}_host"),
                getattr(settings, f"{name}_port"),
                shared=is_proxy and settings.shared_proxy_port,
                backlog=settings.listen_backlog if is_proxy else _OTHER_BACKLOG,
            )

    def _introduce(self) -> NodeIdentity:
        return NodeIdentity(
            id=uuid4() if self._link is None else self._link.node_id,
            name=self.settings.node_name,
            started_at=datetime.now(UTC),
            proxy_address=self._address("proxy"),
            admin_address=self._address("admin"),
            status_address=self._address("status"),
        )

    def _address(self, listener: str) -> str:
        """Return where a listener listens, nothing for one that this role does not have."""
        opened = self._sockets.get(listener)
        return "" if opened is None else address_of(opened)

    def _plan_probes(self) -> None:
        """Settle who probes: this node everything, or the nodes of the cluster together."""
        if not shares_probes(self.settings):
            self.health.share_probes(self._health_census.counted(EachNode()))
            return
        alive_s = alive_for_s(self.settings)
        sharing = ProbeSharing(
            self.identity.id, self.settings, self.store, self.health.take, alive_s
        )
        self.health.share_probes(self._health_census.counted(sharing))
        self._begin("probe-sharing", sharing.run())

    async def _load(self) -> None:
        """Load the whole configuration; with all that was imported, it is never garbage again."""
        if self.disk_copy is not None:
            await self.disk_copy.open()
        try:
            if self._link is None:
                await self._open_store()
                await self._check_access()
            await self._pulse.join()  # before the load: who waits for the cluster must know of us
            await self._sync_loop.first_load()
        except StoreError as error:
            await self._load_from_disk(error)
        gc.collect()
        gc.freeze()

    async def _open_store(self) -> None:
        """Make sure that the database answers and has the schema this software knows."""
        await self.store.start()
        url = self.settings.database_url.get_secret_value()
        timeout_s = self.settings.sync_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                found = await asyncio.to_thread(migrate.check, url)
        except migrate.MigrationError as error:
            raise StoreUnavailable(f"{named('database_url')}: {error}") from error
        except TimeoutError:
            problem = f"the database does not answer within {timeout_s:g} s"
            raise StoreUnavailable(f"{named('database_url')}: {problem}") from None
        if found.state is not migrate.SchemaState.UP_TO_DATE:
            raise StartError(found.message)

    async def _check_access(self) -> None:
        """Refuse to let everybody in by mistake. While the database is away, nobody gets in."""
        exposed, tokens_exist = exposed_hosts(self.settings), await self._admin_tokens.exist()
        if exposed and self.settings.admin_open:
            log.warning("whoever reaches the Admin API may change everything", listening=exposed)
        elif exposed and not tokens_exist:
            raise StartError(
                f"the Admin API would listen on {' and '.join(exposed)} with no token to ask for: "
                "make one with `gateway admin token create NAME --role admin`, or let everybody "
                f"in with {named('admin_open')}"
            )

    def _warn_of_open_doors(self) -> None:
        if self.settings.missing_plugin_action is MissingPluginAction.SKIP:
            log.warning(
                "requests are served without plugins that this node does not have, be it one that "
                "checks who comes in",
                setting=f"{named('missing_plugin_action')} skip",
            )

    async def _load_from_disk(self, problem: StoreError) -> None:
        """Start from the disk copy, as there is a problem with where versions come from."""
        if self.disk_copy is None:
            raise StartError(str(problem)) from problem
        try:
            async with self.disk_copy.load() as load:
                await self.applier.apply(load)
        except DiskCopyError as error:
            raise StartError(f"{problem}; nor is there a copy to start from: {error}") from error
        self.sync.note_loaded_from_disk(load.mark, str(problem))
        log.warning(
            "serving the configuration of the disk copy, which may be stale",
            version=load.mark.version,
            committed_at=load.mark.committed_at.isoformat(),
            path=str(self.disk_copy.path),
            problem=str(problem),
        )

    async def _close_disk_copy(self) -> None:
        if self.disk_copy is not None:
            await self.disk_copy.close()

    def _make_listeners(self) -> list[Listener]:
        """Return the HTTP listeners of this role, the status listener first."""
        listeners = [self._make_status_listener()]
        listeners += self._make_admin_listeners()
        self._proxy_listeners = [
            self._make_proxy_listener(name) for name in _PROXY_LISTENERS if name in self._sockets
        ]
        return listeners + self._proxy_listeners

    def _make_status_listener(self) -> Listener:
        data_planes = self._control_plane.data_planes if self._control_plane else None
        exposition = Exposition(
            self, self.traffic, self.applies, self.applier.has_route, data_planes
        )
        return self._make_app_listener("status", create_status_app(self, exposition), 1)

    def _make_admin_listeners(self) -> list[Listener]:
        """Return the listeners of the Admin API, none on a data plane; they share one app."""
        names = [name for name in _ADMIN_LISTENERS if name in self._sockets]
        if not names:
            return []
        app = create_admin_app(self.store, self, self._admin_tokens)
        drain_s = self.settings.shutdown_timeout_s
        return [self._make_app_listener(name, app, drain_s) for name in names]

    def _make_app_listener(self, name: str, app: Starlette, drain_s: float) -> Listener:
        settings = self.settings
        return Listener.of_app(
            name,
            self._sockets[name],
            app,
            AppLimits(
                settings.header_limit_bytes,
                settings.header_timeout_s,
                settings.admin_max_connections,
            ),
            drain_s=drain_s,
            backlog=_OTHER_BACKLOG,
            tls=self._admin_tls if name == "admin_tls" else None,
        )

    def _make_proxy_listener(self, name: str) -> Listener:
        return Listener.of_protocol(
            name,
            self._sockets[name],
            connection_factory(self.proxy, self.proxy.tls if name == "proxy_tls" else None),
            drain_s=self.settings.shutdown_timeout_s,
            backlog=self.settings.listen_backlog,
        )

    async def _leave_cluster(self) -> None:
        """Take our row with us; if the database is away, the others forget us in time."""
        if self._identity is not None:
            with contextlib.suppress(StoreError, TimeoutError):
                async with asyncio.timeout(_FAREWELL_S):
                    await self._registry.forget(self._identity.id)

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    def _addresses(self) -> dict[str, str]:
        listening = {name: address_of(opened) for name, opened in self._sockets.items()}
        return {"node": self.identity.name, **listening}
