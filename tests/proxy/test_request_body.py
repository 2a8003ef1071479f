"""How a request body waits, apart from the exchange that it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.proxy.request_body import KeptBody, RequestBody, StreamedBody
from gateway.proxy.spool import SpoolRoom

LIMIT_BYTES = 131_072


class Exchange:
    """An exchange, and the connection that it has got."""

    request_sent = False
    writing_paused = False

    def __init__(self) -> None:
        self.upstream: Any = None
        self.writes: list[bytes] = []

    def send_body(self, data: bytes, *, chunked: bool) -> None:
        del chunked
        self.writes.append(data)

    def end_body(self, **_: Any) -> None:
        """Nothing."""

    def hold_body(self) -> None:
        raise AssertionError("within the limit")

    def resume_body(self) -> None:
        """Nothing."""

    def on_body_whole(self) -> None:
        """Nothing."""

    def on_body_lost(self, error: Exception) -> None:
        raise AssertionError(error)


@pytest.mark.parametrize("kept", [False, True])
def test_a_body_that_came_byte_by_byte_is_sent_at_once(kept: bool, tmp_path: Path) -> None:
    """A hundred thousand writes would take a hundred milliseconds, in which nobody is served."""
    exchange = Exchange()
    body: RequestBody = (
        KeptBody(exchange, SpoolRoom(str(tmp_path), 0), LIMIT_BYTES)
        if kept
        else StreamedBody(exchange, LIMIT_BYTES, LIMIT_BYTES)
    )
    sent = bytes(byte % 251 for byte in range(LIMIT_BYTES))
    for at in range(LIMIT_BYTES):
        body.take(sent[at : at + 1])
    body.end(b"")
    exchange.upstream = exchange
    body.send()
    assert exchange.writes == [sent]
