"""One HTTP/1.1 connection with precise times: when a request left, when its answer was complete.

A client library would do, but for its cost: a millisecond of its own is what is measured here.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, Self, cast
from urllib.parse import urlsplit

import httptools

TIMEOUT_S = 10.0
"""Deadline for connecting, and for one answer."""


class WireError(Exception):
    """No answer came; the message says from where and why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer; times are those of the event loop, in seconds."""

    status: int
    body: bytes
    sent_s: float
    received_s: float


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection leads, and the token that is asked for there."""

    host: str
    port: int
    token: str = field(default="", repr=False)

    @classmethod
    def of(cls, url: str, token: str = "") -> Origin:
        """Take it from a URL. Raises ValueError for anything but plain HTTP."""
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/"):
            raise ValueError(f"{url} is not of the form http://host:port")
        return cls(parts.hostname, parts.port or 80, token)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Connection:
    """A kept-alive connection for one request at a time; opened anew whenever it was closed."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self._protocol: _Protocol | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._protocol is not None:
            self._protocol.transport.abort()
            self._protocol = None

    async def request(self, method: str, path: str, document: Any = None) -> Answer:
        """Send a request, with a JSON body if there is a document. Raises `WireError`.

        A kept-alive connection that the server had closed in the meantime is not an error: the
        request is sent once more, on a new one.
        """
        message = self._message(method, path, document)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._exchange(message)
        except TimeoutError:
            reason = f"no answer within {TIMEOUT_S:g} s"
        except (OSError, httptools.HttpParserError) as error:
            reason = str(error) or type(error).__name__
        except asyncio.CancelledError:
            self.close()  # or the answer under way would be taken for the next request's
            raise
        self.close()
        raise WireError(f"{self.origin}: {reason}")

    async def _exchange(self, message: bytes) -> Answer:
        if self._protocol is not None:
            try:
                return await self._protocol.exchange(message)
            except ConnectionError:
                self.close()
        self._protocol = await self._connect()
        return await self._protocol.exchange(message)

    async def _connect(self) -> _Protocol:
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(
            lambda: _Protocol(loop), self.origin.host, self.origin.port
        )
        return protocol

    def _message(self, method: str, path: str, document: Any) -> bytes:
        body = b"" if document is None else json.dumps(document).encode()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.origin}"]
        if self.origin.token:
            lines.append(f"Kong-Admin-Token: {self.origin.token}")
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + body


class _Protocol(asyncio.Protocol):
    """Reads answers; the names of its last methods are httptools'."""

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._answer: asyncio.Future[Answer] | None = None
        self._sent_s = 0.0
        self._is_open = True
        self._begin()

    async def exchange(self, message: bytes) -> Answer:
        """Send a request and wait for its answer. Raises ConnectionError if none comes."""
        if not self._is_open:
            raise ConnectionResetError("the connection was closed")
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._answer = answer
        self._sent_s = self._loop.time()
        self.transport.write(message)
        return await answer

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []

    def _fail(self, error: Exception) -> None:
        self._is_open = False
        if self._answer and not self._answer.done():
            self._answer.set_exception(error)

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(error)
            self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or ConnectionResetError("the connection was closed"))

    # -- httptools

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return
        self._is_open = self._parser.should_keep_alive()
        if self._answer and not self._answer.done():
            body = b"".join(self._body)
            self._answer.set_result(Answer(status, body, self._sent_s, self._loop.time()))
        self._begin()
