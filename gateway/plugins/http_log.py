"""http-log: sends what there is to tell of requests to an HTTP server (plugins.md section 5.17)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import httpx
from pydantic import Field, model_validator

from gateway.access_log.record import Record as Told
from gateway.entities.entity import Record, Secret
from gateway.entities.errors import violation
from gateway.entities.rules import OneOf, Satisfies
from gateway.entities.types import HeaderName, Text
from gateway.plugins.contract import NodeServices, Plugin, Use
from gateway.plugins.delivery import DeliveryQueue, DeliveryQueues, Terms
from gateway.plugins.http_post import (
    EndpointUrl,
    HttpPost,
    NotFraming,
    SentValue,
    TimeoutMs,
    place_of,
)
from gateway.plugins.log_record import LogRecords
from gateway.plugins.lua_fields import NoLuaFields
from gateway.plugins.request import Request

_OLD_NAMES = {
    "queue_size": "max_batch_size",
    "flush_timeout": "max_coalescing_delay",
    "retry_count": None,
}
"""What older clients send, and the field of the queue that it became, if any."""


def _check_header(name: str) -> str:
    if name.lower() == "content-type":
        raise violation("cannot contain 'Content-Type' header")
    return name


class HttpLog(Plugin):
    """Sends log objects to a server."""

    name = "http-log"
    priority = 12

    class Config(Record):
        """Where to, and how."""

        http_endpoint: Annotated[EndpointUrl, Secret()] = Field(
            description="URL of the server; with `user:password@` it logs in. A query is not sent."
        )
        method: Annotated[Text, OneOf("POST", "PUT", "PATCH")] = Field(
            default="POST", description="The method it is asked with."
        )
        content_type: Annotated[
            Text, OneOf("application/json", "application/json; charset=utf-8")
        ] = Field(default="application/json", description="What the body is said to be.")
        timeout: TimeoutMs = Field(
            default=10_000, description="How long one try may take, in milliseconds."
        )
        keepalive: TimeoutMs = Field(
            default=60_000, description="How long an unused connection is kept, in milliseconds."
        )
        headers: Annotated[
            dict[Annotated[HeaderName, NotFraming, Satisfies(_check_header)], SentValue] | None,
            Secret(),
        ] = Field(default=None, description="Further headers.")
        queue: Terms = Field(default_factory=Terms, description="How log objects are queued.")
        custom_fields_by_lua: NoLuaFields = None

        @model_validator(mode="before")
        @classmethod
        def _take_old_names(cls, given: Any) -> Any:
            """Take what older clients say of the queue beside it."""
            if not isinstance(given, dict) or not isinstance(given.get("queue") or {}, dict):
                return given
            old = {new: given[name] for name, new in _OLD_NAMES.items() if given.get(name)}
            old.pop(None, None)
            kept = {name: value for name, value in given.items() if name not in _OLD_NAMES}
            return kept | {"queue": (given.get("queue") or {}) | old} if old else kept

    config: Config
    shared: HttpLogs

    def __init__(self, config: Config, use: Use, shared: HttpLogs) -> None:
        super().__init__(config, use, shared)
        self._queue = shared.queue_for(config)

    @classmethod
    def share(cls, node: NodeServices) -> HttpLogs:
        """Return the queues of the node."""
        return HttpLogs(node)

    def log(self, request: Request, record: Told) -> None:
        """Queue the log object."""
        self._queue.put(self.shared.records.entry(request, record))


class HttpLogs(DeliveryQueues):
    """The queues of a node."""

    def __init__(self, node: NodeServices) -> None:
        super().__init__(node, HttpLog.name)
        self.records = LogRecords(node.settings)

    def queue_for(self, config: HttpLog.Config) -> DeliveryQueue:
        """Return the queue for these parameters."""
        return self.queue(
            config.model_dump_json(),
            place_of(config.http_endpoint),
            config.queue,
            lambda: HttpSender(config),
            config.keepalive / 1000,
        )


class HttpSender:
    """Sends batches."""

    def __init__(self, config: HttpLog.Config) -> None:
        self._is_single = config.queue.max_batch_size == 1
        self._post = HttpPost(
            str(httpx.URL(config.http_endpoint).copy_with(query=None)),
            {"Content-Type": config.content_type} | (config.headers or {}),
            method=config.method,
            timeout_s=config.timeout / 1000,
            keepalive_s=config.keepalive / 1000,
        )

    async def send(self, entries: Sequence[bytes]) -> None:
        """Send one log object, or an array of them. Raises DeliveryError."""
        await self._post.send(entries[0] if self._is_single else b"[" + b",".join(entries) + b"]")

    async def close(self) -> None:
        """Close the connection."""
        await self._post.close()
