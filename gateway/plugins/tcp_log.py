"""tcp-log: writes a line for each request to a TCP server (plugins.md section 5.19).

What waits is bounded, and nothing is sent twice: what cannot be written is dropped and counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from gateway.access_log.record import Record as Told
from gateway.entities.entity import Record
from gateway.entities.rules import Between
from gateway.entities.types import HostText, PortNumber, ServerName, WholeNumber
from gateway.plugins.contract import NodeServices, Plugin, Use
from gateway.plugins.delivery import NO_RETRY, DeliveryError, DeliveryQueue, DeliveryQueues, Terms
from gateway.plugins.log_record import LogRecords
from gateway.plugins.lua_fields import NoLuaFields
from gateway.plugins.request import Request
from gateway.plugins.unverified import unverified_tls

_TERMS = Terms(max_batch_size=1000, max_coalescing_delay=0, max_retry_time=NO_RETRY)

Timeout = Annotated[WholeNumber, Between(0, 2**31 - 2)]


class TcpLog(Plugin):
    """Writes log objects to a server."""

    name = "tcp-log"
    priority = 7

    class Config(Record):
        """Where to."""

        host: HostText = Field(description="Host name or address of the server.")
        port: PortNumber = Field(description="Its port.")
        timeout: Timeout = Field(
            default=10_000,
            description="How long it may take to connect, and to write, in milliseconds.",
        )
        keepalive: Timeout = Field(
            default=60_000, description="How long an unused connection is kept, in milliseconds."
        )
        tls: bool = Field(default=False, description="Whether to connect over TLS.")
        tls_sni: ServerName | None = Field(
            default=None, description="The server name in TLS; null: the host."
        )
        custom_fields_by_lua: NoLuaFields = None

    config: Config
    shared: TcpLogs

    def __init__(self, config: Config, use: Use, shared: TcpLogs) -> None:
        super().__init__(config, use, shared)
        self._queue = shared.queue_for(config)

    @classmethod
    def share(cls, node: NodeServices) -> TcpLogs:
        """Return the queues of the node."""
        return TcpLogs(node)

    def log(self, request: Request, record: Told) -> None:
        """Queue the log object."""
        self._queue.put(self.shared.records.entry(request, record))


class TcpLogs(DeliveryQueues):
    """The queues of a node."""

    def __init__(self, node: NodeServices) -> None:
        super().__init__(node, TcpLog.name)
        self.records = LogRecords(node.settings)

    def queue_for(self, config: TcpLog.Config) -> DeliveryQueue:
        """Return the queue for these parameters."""
        return self.queue(
            config.model_dump_json(),
            f"{config.host}:{config.port}",
            _TERMS,
            lambda: TcpSender(config),
            config.keepalive / 1000,
        )


class TcpSender:
    """Writes lines to a connection that is kept open in between."""

    def __init__(self, config: TcpLog.Config) -> None:
        self._config = config
        self._timeout_s = config.timeout / 1000
        self._tls = unverified_tls() if config.tls else None
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, entries: Sequence[bytes]) -> None:
        """Write a line for each. Raises DeliveryError."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._write(b"".join([entry + b"\n" for entry in entries]))
        except TimeoutError:
            self._abort()
            raise DeliveryError(f"not written within {self._timeout_s:g} s") from None
        except (OSError, UnicodeError) as error:  # the latter for names that cannot be one
            self._abort()
            raise DeliveryError(str(error) or type(error).__name__) from None

    async def close(self) -> None:
        """Close the connection, with what was written on its way."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _write(self, lines: bytes) -> None:
        if self._streams is not None and self._streams[0].at_eof():
            self._abort()  # the other side has closed it
        if self._streams is None:
            self._streams = await self._connect()
        writer = self._streams[1]
        writer.write(lines)
        await writer.drain()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        config = self._config
        name = (config.tls_sni or config.host) if config.tls else None
        return await asyncio.open_connection(
            config.host.strip("[]"), config.port, ssl=self._tls, server_hostname=name
        )

    def _abort(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None
