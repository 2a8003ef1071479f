"""Upstream connections: kept open per address, opened when none is idle, closed in the end."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Protocol

from gateway.balancing import Endpoint
from gateway.proxy.deadlines import DeadlineWheel
from gateway.proxy.http1 import HeadLimits
from gateway.proxy.upstream import UpstreamConnection
from gateway.proxy.upstream_tls import TlsPeer, UntrustedError, UpstreamTls, check_depth, check_name
from gateway.settings import NodeSettings
from gateway.snapshot import Service


class ConnectError(Exception):
    """No connection to an endpoint. ``timed_out`` tells a 504 from a 502."""

    def __init__(self, reason: str, *, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.timed_out = timed_out


class Opener(Protocol):
    """Who waits for a connection to be opened."""

    def on_connected(self, connection: UpstreamConnection) -> None:
        """Take the new connection."""
        ...

    def on_connect_failed(self, failure: ConnectError) -> None:
        """Hear why there is none."""
        ...


PoolKey = tuple[str, int, TlsPeer | None]
"""Address, port, and with TLS who is expected on which terms: what makes two connections alike."""


_POOLS_LIMIT = 4096
"""How many pools may keep connections: with ``preserve_host``, clients choose the names in keys."""


class Pool:
    """The connections to one address; the idle one used last is taken first, so the rest age.

    ``size`` is how many may be idle.
    """

    __slots__ = ("idle", "opened", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.idle: dict[UpstreamConnection, None] = {}
        self.opened = 0


class UpstreamPools:
    """All pools of a node. They outlive snapshots: an address stays the same address."""

    def __init__(
        self,
        settings: NodeSettings,
        *,
        wheel: DeadlineWheel,
        tls: UpstreamTls,
        limits: HeadLimits,
    ) -> None:
        self._wheel = wheel
        self._tls = tls
        self._limits = limits
        self._size = settings.upstream_keepalive_pool_size
        self._buffer_limit_bytes = settings.buffer_limit_bytes
        self.idle_timeout_s = settings.upstream_keepalive_timeout_s
        self.requests_limit = settings.upstream_keepalive_requests
        self._pools: dict[PoolKey, Pool] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._open_connections: set[UpstreamConnection] = set()

    def take_idle(self, endpoint: Endpoint, peer: TlsPeer | None) -> UpstreamConnection | None:
        """Return an idle connection to ``endpoint``, None when one has to be opened.

        ``peer`` is None for a connection without TLS.
        """
        pool = self._pools.get((endpoint.address, endpoint.port, peer))
        if pool is None or not pool.idle:
            return None
        connection, _ = pool.idle.popitem()
        return connection

    def open_for(
        self, opener: Opener, service: Service, endpoint: Endpoint, peer: TlsPeer | None
    ) -> None:
        """Open a connection to ``endpoint`` in a task of its own; tell ``opener`` the outcome."""
        task = asyncio.get_running_loop().create_task(
            self._open(opener, service, endpoint, peer),
            name=f"connect-{endpoint.host}:{endpoint.port}",
        )
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    def release(self, connection: UpstreamConnection) -> None:
        """Keep a connection for the next request, or close it when there are enough."""
        pool = connection.pool
        if len(pool.idle) >= pool.size:
            connection.close()
        else:
            pool.idle[connection] = None

    def opened(self, connection: UpstreamConnection) -> None:
        """Enter a connection that has just been made."""
        connection.transport.set_write_buffer_limits(high=self._buffer_limit_bytes)
        pool = self._pools.get(connection.pool_key)
        if pool is None:
            size = self._size if len(self._pools) < _POOLS_LIMIT else 0
            pool = self._pools[connection.pool_key] = Pool(size)
        pool.opened += 1
        connection.pool = pool
        self._open_connections.add(connection)

    def closed(self, connection: UpstreamConnection) -> None:
        """Strike out a connection that is gone, and its pool with the last one."""
        pool = connection.pool
        pool.idle.pop(connection, None)
        pool.opened -= 1
        if not pool.opened:
            del self._pools[connection.pool_key]
        self._open_connections.discard(connection)

    async def stop(self) -> None:
        """Close every connection and give up those being opened."""
        for task in list(self._opening):
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for connection in list(self._open_connections):
            connection.close()

    async def _open(
        self, opener: Opener, service: Service, endpoint: Endpoint, peer: TlsPeer | None
    ) -> None:
        try:
            async with asyncio.timeout(service.connect_timeout_s):
                connection = await self._connect(service, endpoint, peer)
        except TimeoutError:
            opener.on_connect_failed(ConnectError("connect timed out", timed_out=True))
        except ConnectError as failure:
            opener.on_connect_failed(failure)
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for an answer
            opener.on_connect_failed(ConnectError(str(error) or type(error).__name__))
        else:
            opener.on_connected(connection)

    async def _connect(
        self, service: Service, endpoint: Endpoint, peer: TlsPeer | None
    ) -> UpstreamConnection:
        address, port = endpoint.address, endpoint.port
        options: dict[str, Any] = {}
        if peer is not None:
            check_name(peer.name)
            options = {
                "ssl": await self._tls.context_of(peer.terms),
                "server_hostname": peer.name,
                "ssl_handshake_timeout": service.connect_timeout_s + 1,  # ours ends first
            }
        _, connection = await asyncio.get_running_loop().create_connection(
            partial(
                UpstreamConnection,
                self,
                (address, port, peer),
                self._wheel,
                self._limits,
            ),
            address,
            port,
            **options,
        )
        if peer is not None:
            _check(connection, peer)
        return connection


def _check(connection: UpstreamConnection, peer: TlsPeer) -> None:
    """Close a connection whose certificate is not to be trusted, and raise UntrustedError."""
    try:
        check_depth(connection.transport.get_extra_info("ssl_object"), peer.terms)
    except UntrustedError:
        connection.close()
        raise
