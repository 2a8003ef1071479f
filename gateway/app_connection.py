"""A client connection of the admin and status listeners: uvicorn's, with the limits that it lacks.

uvicorn takes a head of any size and waits for it for ever; bodies are bounded by the apps.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class AppLimits(NamedTuple):
    """How large a request head may be, and how long it may take to come."""

    head_bytes: int
    head_timeout_s: float


class AppConnection(HttpToolsProtocol):
    """Closes when too many bytes come that are no body, or no complete head comes in time."""

    def __init__(self, limits: AppLimits, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._limits = limits
        self._bytes_without_body = 0
        self._head_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what a client sends, as long as it leads somewhere."""
        self._bytes_without_body += len(data)
        super().data_received(data)
        if self._bytes_without_body > self._limits.head_bytes:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """Count anew for each request."""
        self._bytes_without_body = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Have the request answered."""
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body; head, chunk extensions and trailers have no such excuse."""
        self._bytes_without_body = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Wait for the next head, unless it has come already."""
        super().on_response_complete()
        if self.cycle.response_complete:
            self._await_head()

    def cut(self) -> None:
        """Close at once, whatever is under way."""
        self.transport.abort()

    def _await_head(self) -> None:
        self._stop_waiting()
        self._head_deadline = self.loop.call_later(
            self._limits.head_timeout_s, self.transport.abort
        )

    def _stop_waiting(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None
