"""Responses that plugins send again, and bodies that they watch."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from gateway.plugins.contract import Plugin, Use
from gateway.plugins.reply import Replay
from gateway.plugins.request import Request
from gateway.plugins.response import Response
from gateway.proxy.http1 import read_response_head
from gateway.testing import Serving

EARLIER = b"HTTP/1.1 203 As Before\r\nX-A: 1\r\nVia: 1.0 old\r\nContent-Length: 3\r\n\r\n"


class Watch:
    """A watcher that tells what it sees, and fails where that is asked for."""

    def __init__(self, seen: list[Any], fails_at: bytes = b"never") -> None:
        self._seen = seen
        self._fails_at = fails_at

    def take(self, data: bytes, ended: bool) -> None:
        if self._fails_at in data:
            raise RuntimeError
        self._seen.append((data, ended))

    def drop(self) -> None:
        self._seen.append("dropped")


class Watching(Plugin):
    """Watches, and changes the body afterwards."""

    name = "watching"
    priority = 10

    seen: list[Any]
    fails_at = b"never"

    def __init__(self, config: Any, use: Use, shared: Any = None) -> None:
        super().__init__(config, use, shared)
        type(self).seen = []

    def header_filter(self, request: Request, response: Response) -> None:
        del request
        head = response.original
        self.seen.append(head and (head.status, b"content-type: text/plain" in head.rest))
        response.watch(Watch(self.seen, self.fails_at))


class Shouting(Plugin):
    """Changes bodies before others could see them, if they filtered them."""

    name = "shouting"
    priority = 20

    def body_filter(self, request: Request, data: bytes, ended: bool) -> bytes:
        del request, ended
        return data.upper()


class Failing(Watching):
    """Watches in a way that fails."""

    name = "failing"
    fails_at = b"hello"


class Repeating(Plugin):
    """Replays a response, and has filters of its own, which are not asked then."""

    name = "repeating"
    priority = 30

    def access(self, request: Request) -> Replay:
        body = b"" if request.method == "HEAD" else b"old"
        head = read_response_head(EARLIER, request.asked.method)
        return Replay(head, body, b"\r\nX-Repeated: yes")

    def header_filter(self, request: Request, response: Response) -> None:
        raise NotImplementedError

    def body_filter(self, request: Request, data: bytes, ended: bool) -> bytes:
        raise NotImplementedError


async def test_a_watcher_sees_what_the_service_sends():
    gateway = Serving(Watching)
    gateway.use(Shouting)
    async with gateway:
        gateway.service.answer = PlainTextResponse("hello", media_type="text/plain")
        answer = await gateway.ask("GET", "/")
    assert answer.text == "HELLO"
    assert Watching.seen[0] == (200, True)
    pieces = [it for it in Watching.seen[1:] if isinstance(it, tuple)]
    assert b"".join(data for data, _ in pieces) == b"hello"
    assert [ended for _, ended in pieces] == [False] * (len(pieces) - 1) + [True]
    assert Watching.seen[-1] == "dropped"


async def test_to_watch_changes_no_framing():
    async with Serving(Watching) as gateway:
        answer = await gateway.ask("GET", "/")
    assert "Content-Length" in answer.headers


async def test_a_watcher_that_fails_harms_nobody():
    async with Serving(Failing) as gateway:
        gateway.service.answer = PlainTextResponse("hello")
        answer = await gateway.ask("GET", "/")
        assert gateway.proxy.plugin_failures.counts == {"failing": 1}
    assert (answer.status_code, answer.text) == (200, "hello")
    assert Failing.seen == [(200, True), "dropped"]


@pytest.mark.parametrize("others", [[], [Shouting], [Watching, Shouting]])
async def test_a_replay_passes_for_a_response_that_has_just_come(others: list[type[Plugin]]):
    gateway = Serving(Repeating)
    for other in others:
        gateway.use(other)
    async with gateway:
        answer = await gateway.ask("GET", "/")
    assert gateway.received == []
    assert (answer.status_code, answer.reason_phrase) == (203, "As Before")
    assert answer.text == ("OLD" if others else "old")
    assert (answer.headers["X-A"], answer.headers["X-Repeated"]) == ("1", "yes")
    assert answer.headers["Via"].startswith("1.0 old, 1.1 gateway")
    assert answer.headers["X-Gateway-Upstream-Latency"] == "0"
    if Watching in others:
        assert Watching.seen == [(203, False), (b"old", True), "dropped"]


async def test_a_replay_to_head_has_no_body():
    async with Serving(Repeating) as gateway:
        answer = await gateway.ask("HEAD", "/")
    assert (answer.content, answer.headers["Content-Length"]) == (b"", "3")


async def test_a_replay_is_logged_as_the_gateways():
    records = []

    class Noting(Plugin):
        name = "noting"
        priority = 1

        def log(self, request: Request, record: Any) -> None:
            del request
            records.append(record)

    gateway = Serving(Repeating)
    gateway.use(Noting)
    async with gateway:
        await gateway.ask("GET", "/a")
    (record,) = records
    assert (record.status, record.upstream_ms, record.upstream_uri) == (203, 0, b"/a")
    assert (record.from_upstream, list(record.tries)) == (False, [])
