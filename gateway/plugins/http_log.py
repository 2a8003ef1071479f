"""http-log: sends what there is to tell of requests to an HTTP server (plugins.md section 5.17)."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

import httpx
from pydantic import Field, model_validator

from gateway.access_log.record import Record as Told
from gateway.entities.entity import Record, Secret
from gateway.entities.errors import violation
from gateway.entities.rules import Between, OneOf, Satisfies
from gateway.entities.types import HeaderName, Text, WholeNumber
from gateway.plugins.contract import NodeServices, Plugin, Use
from gateway.plugins.delivery import DeliveryError, DeliveryQueue, DeliveryQueues, Terms
from gateway.plugins.lines import LineError, line
from gateway.plugins.log_record import LogRecords
from gateway.plugins.lua_fields import NoLuaFields
from gateway.plugins.request import Request
from gateway.plugins.unverified import unverified_tls

_READ_BYTES = 65_536
"""What is read of an answer; a server that says more loses the connection."""

_OLD_NAMES = {
    "queue_size": "max_batch_size",
    "flush_timeout": "max_coalescing_delay",
    "retry_count": None,
}
"""What older clients send, and the field of the queue that it became, if any."""

_OWN_HEADERS = ("Host", "Content-Length", "Content-Type")

Timeout = Annotated[WholeNumber, Between(0, 2**31 - 2)]


def _check_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise violation(f"invalid url: {error}") from None
    if parsed.scheme not in ("http", "https"):
        raise violation("scheme must be http or https")
    if not parsed.host:
        raise violation("missing host in url")
    return url


def _check_header(name: str) -> str:
    for own in _OWN_HEADERS:
        if name.lower() == own.lower():
            raise violation(f"cannot contain '{own}' header")
    return name


def _check_header_value(value: str) -> str:
    try:
        line("x", value)
    except LineError:
        raise violation("must not contain control characters") from None
    return value


class HttpLog(Plugin):
    """Sends log objects to a server."""

    name = "http-log"
    priority = 12

    class Config(Record):
        """Where to, and how."""

        http_endpoint: Annotated[Text, Satisfies(_check_url), Secret()] = Field(
            description="URL of the server; with `user:password@` it logs in. A query is not sent."
        )
        method: Annotated[Text, OneOf("POST", "PUT", "PATCH")] = Field(
            default="POST", description="The method it is asked with."
        )
        content_type: Annotated[
            Text, OneOf("application/json", "application/json; charset=utf-8")
        ] = Field(default="application/json", description="What the body is said to be.")
        timeout: Timeout = Field(
            default=10_000, description="How long one try may take, in milliseconds."
        )
        keepalive: Timeout = Field(
            default=60_000, description="How long an unused connection is kept, in milliseconds."
        )
        headers: Annotated[
            dict[
                Annotated[HeaderName, Satisfies(_check_header)],
                Annotated[Text, Satisfies(_check_header_value)],
            ]
            | None,
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
            str(_without_secrets(config)),
            config.queue,
            lambda: HttpSender(config),
            config.keepalive / 1000,
        )


class HttpSender:
    """Sends batches over a connection that is kept open in between."""

    def __init__(self, config: HttpLog.Config) -> None:
        self._timeout_s = config.timeout / 1000
        self._method = config.method
        self._url = _without_secrets(config)
        self._headers = {"Content-Type": config.content_type, **_authorization(config)}
        self._headers.update(config.headers or {})
        self._is_single = config.queue.max_batch_size == 1
        self._client = httpx.AsyncClient(
            verify=unverified_tls(),
            trust_env=False,
            timeout=self._timeout_s,
            limits=httpx.Limits(max_connections=1, keepalive_expiry=config.keepalive / 1000),
        )

    async def send(self, entries: Sequence[bytes]) -> None:
        """Send one log object, or an array of them. Raises DeliveryError."""
        body = entries[0] if self._is_single else b"[" + b",".join(entries) + b"]"
        try:
            async with asyncio.timeout(self._timeout_s):
                status = await self._ask(body)
        except TimeoutError:
            raise DeliveryError(f"no answer within {self._timeout_s:g} s") from None
        except (httpx.HTTPError, OSError, UnicodeError) as error:
            raise DeliveryError(str(error) or type(error).__name__) from None
        if status >= 300:
            raise DeliveryError(f"the answer was {status}")

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()

    async def _ask(self, body: bytes) -> int:
        asking = self._client.stream(self._method, self._url, content=body, headers=self._headers)
        async with asking as answer:
            read_bytes = 0
            async for piece in answer.aiter_raw():
                read_bytes += len(piece)
                if read_bytes > _READ_BYTES:
                    break
            return answer.status_code


def _without_secrets(config: HttpLog.Config) -> httpx.URL:
    return httpx.URL(config.http_endpoint).copy_with(userinfo=b"", query=None, fragment=None)


def _authorization(config: HttpLog.Config) -> dict[str, str]:
    userinfo = httpx.URL(config.http_endpoint).userinfo
    if not userinfo:
        return {}
    return {"Authorization": "Basic " + b64encode(unquote_to_bytes(userinfo)).decode()}
