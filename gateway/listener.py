"""A listener: one socket served by uvicorn, started and stopped with its node.

uvicorn brings accepting and draining; what speaks on the connections is either a Starlette app or,
on the proxy listener, our own protocol. A stop loses nobody: who waits in the accept queue is still
served, every connection is told by `shutdown` to come to its end, and only those that have not when
the drain time is over are `cut`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

import structlog
import uvicorn
from starlette.applications import Starlette

from gateway.accept_queue import HANDSHAKE_S, accept_waiting, turn_away_newcomers
from gateway.app_connection import AppConnection, AppLimits, TlsArrival, Waiting
from gateway.settings import environment_variable, option_name

log = structlog.get_logger(__name__)


_CUT_S = 0.5
"""How long connections that were cut, and their tasks, may take to be gone before uvicorn tells."""


class ListenError(Exception):
    """A socket could not be opened; the message names address, setting and next step."""


def open_socket(
    name: str, host: str, port: int, *, shared: bool = False, backlog: int
) -> socket.socket:
    """Bind the socket of the listener ``name`` and start its queue.

    :param shared: let other nodes bind the same port (SO_REUSEPORT). The queue then starts with the
        listener only: until then the others are to have all clients.
    :raises ListenError: when the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listening.bind((host, port))
        if not shared:
            listening.listen(backlog)
    except OSError as error:
        listening.close()
        raise ListenError(_why(name, host, port, error)) from error
    listening.setblocking(False)
    return listening


def _why(name: str, host: str, port: int, error: OSError) -> str:
    setting = f"{option_name(f'{name}_port')} or {environment_variable(f'{name}_port')}"
    name = name.replace("_", " ")
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of the {name} listener is taken on {host}: choose another with {setting}"
        )
    if error.errno == errno.EACCES:
        return f"port {port} of the {name} listener needs privileges: choose another with {setting}"
    return f"the {name} listener cannot use {host}:{port}: {error.strerror}"


def address_of(listening: socket.socket) -> str:
    """Return a bound socket's address as ``host:port``."""
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Connection(Protocol):
    """What a stop asks of a connection: uvicorn calls `shutdown`, the listener `cut`."""

    def shutdown(self) -> None:
        """Come to an end as soon as nothing is lost by it."""
        ...

    def cut(self) -> None:
        """Close at once."""
        ...


class Listener:
    """Serves one socket until stopped."""

    def __init__(
        self, name: str, listening: socket.socket, config: uvicorn.Config, drain_s: float
    ) -> None:
        self.name = name
        self._socket = listening
        self._server = _Server(config, drain_s)
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def of_app(
        cls,
        name: str,
        listening: socket.socket,
        app: Starlette,
        limits: AppLimits,
        *,
        drain_s: float,
        backlog: int,
        tls: ssl.SSLContext | None = None,
    ) -> Listener:
        """Make a listener that serves a Starlette app, over TLS if it is given a context."""
        connection: Callable[..., asyncio.Protocol] = partial(AppConnection, limits, Waiting())
        if tls is not None:
            connection = partial(TlsArrival, limits, Waiting(), tls)
        config = _config(app, connection, drain_s, backlog)
        return cls(name, listening, config, drain_s)

    @classmethod
    def of_protocol(
        cls,
        name: str,
        listening: socket.socket,
        protocol: Callable[..., asyncio.Protocol],
        *,
        drain_s: float,
        backlog: int,
    ) -> Listener:
        """Make a listener whose connections are made by ``protocol``."""
        return cls(name, listening, _config(_no_app, protocol, drain_s, backlog), drain_s)

    @property
    def connections(self) -> set[Any]:
        """The open connections."""
        return self._server.server_state.connections

    async def start(self) -> asyncio.Task[None]:
        """Begin to accept; return the task that ends when the listener does."""
        self._task = asyncio.create_task(
            self._server.serve(sockets=[self._socket]), name=f"listener-{self.name}"
        )
        started = asyncio.create_task(self._server.accepting.wait())
        await asyncio.wait({started, self._task}, return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        return self._task

    async def stop(self) -> None:
        """Accept no more, and let what is under way finish within the drain time."""
        self._server.should_exit = True
        if self._task is not None:
            await asyncio.wait({self._task})
        self._socket.close()

    def hurry(self) -> None:
        """Let a stop, now or later, not wait for what is under way."""
        self._server.hurry()


class _Server(uvicorn.Server):
    """uvicorn's server, without its signal handlers: the node has its own.

    When it stops, it also serves those in the accept queues, and leaves no connection behind.
    """

    def __init__(self, config: uvicorn.Config, drain_s: float) -> None:
        super().__init__(config)
        self.accepting = asyncio.Event()
        self._drain_s = drain_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.accepting.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._close_sockets(sockets or [])
        loop = asyncio.get_running_loop()
        cut = loop.call_later(self._drain_s, self._cut_connections)
        await super().shutdown(sockets)
        cut.cancel()
        self._cut_connections()

    def hurry(self) -> None:
        self.force_exit = True
        if self.should_exit:
            self._cut_connections()

    async def _close_sockets(self, sockets: list[socket.socket]) -> None:
        """Close the sockets with nobody left in their queues."""
        turned_away = [turn_away_newcomers(listening) for listening in sockets]
        if any(turned_away):
            await asyncio.sleep(HANDSHAKE_S)
        waiting = [accepted for listening in sockets for accepted in accept_waiting(listening)]
        for server in self.servers:  # at once: nobody is to come in between
            server.close()
        loop = asyncio.get_running_loop()
        for accepted in waiting:
            try:
                await loop.connect_accepted_socket(self._new_connection, accepted)
            except OSError:  # the client has gone again
                accepted.close()

    def _new_connection(self) -> asyncio.Protocol:
        """Make what uvicorn makes for a connection that it has accepted."""
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )

    def _cut_connections(self) -> None:
        connections: list[Connection] = list(self.server_state.connections)  # type: ignore[arg-type]
        if connections:
            log.warning("connections are cut", number=len(connections))
        for connection in connections:
            connection.cut()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(app: Any, http: Any, drain_s: float, backlog: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=http,
        ws="none",
        interface="asgi3",
        lifespan="off",
        loop="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_graceful_shutdown=drain_s + _CUT_S,  # type: ignore[arg-type]  # may have parts
        backlog=backlog,  # uvicorn starts the queue again with this
    )


async def _no_app(scope: Any, receive: Any, send: Any) -> None:
    del scope, receive, send
    raise AssertionError("the proxy listener does not speak ASGI")
