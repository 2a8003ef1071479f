"""Plugins that do what they should not, and clients that go while one waits."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.responses import Response as Answer

from gateway.access_log import Record
from gateway.plugins.contract import Plugin
from gateway.plugins.lines import LineError
from gateway.plugins.reply import Replay, Reply, refuse
from gateway.plugins.request import Request
from gateway.plugins.response import Response
from gateway.proxy.exchange import Exchange
from gateway.proxy.http1 import read_response_head
from gateway.proxy.plugin_run import PluginRun
from gateway.testing import DEADLINE_S, Serving


class Misbehaving(Plugin):
    name = "misbehaving"
    priority = 10


class Later(Plugin):
    """Hears how requests end."""

    name = "later"
    priority = 5

    heard: asyncio.Queue[int]

    def log(self, request: Request, record: Record) -> None:
        del request
        self.heard.put_nowait(record.status)


@pytest.fixture(autouse=True)
def heard() -> Iterator[asyncio.Queue[int]]:
    Later.heard = asyncio.Queue()
    yield Later.heard
    del Later.heard


async def talk(gateway: Serving, *sent: bytes) -> bytes:
    """Send bytes over a connection of their own, and return what comes until its end."""
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        try:
            for piece in sent:
                writer.write(piece)
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()


# -- in access


class AwaitsCancelled(Misbehaving):
    """Waits for something that somebody else cancels."""

    async def access(self, request: Request) -> None:
        del request
        other = asyncio.get_running_loop().create_future()
        other.cancel()
        await other


class ReturnsTrue(Misbehaving):
    async def access(self, request: Request) -> Any:
        del request
        return True


class BreaksLines(Misbehaving):
    def access(self, request: Request) -> Reply:
        del request
        return refuse(403, "no", {"X-Why": "one\r\ntwo"})


class BreaksLinesLate(Misbehaving):
    async def access(self, request: Request) -> Reply:
        del request
        return Reply(200, content_type="text/plain\r\nX-Evil: 1")


@pytest.mark.parametrize("kind", [AwaitsCancelled, ReturnsTrue, BreaksLines, BreaksLinesLate])
async def test_whatever_access_does_the_client_is_answered(kind: type[Plugin]):
    async with Serving(kind) as gateway:
        answer = await gateway.ask("GET", "/")
        again = await gateway.ask("GET", "/")
    assert (answer.status_code, again.status_code) == (500, 500)
    assert "X-Evil" not in answer.headers


def test_the_framing_of_a_reply_is_the_proxys():
    with pytest.raises(LineError):
        Reply(200, headers={"Content-Length": "5"})


# -- with the body


class GivesUp(Misbehaving):
    """Waits for the body, but not for long."""

    waits_again = False

    async def access(self, request: Request) -> None:
        body = asyncio.ensure_future(request.body())
        await asyncio.sleep(0)
        body.cancel()
        if self.waits_again:
            request.upstream.set_header("X-Length", str(len(await request.body())))


class GivesUpAndWaitsAgain(GivesUp):
    waits_again = True


@pytest.mark.parametrize("kind", [GivesUp, GivesUpAndWaitsAgain])
async def test_a_body_that_a_plugin_did_not_wait_for_is_sent_whole(kind: type[GivesUp]):
    async with Serving(kind) as gateway:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 10\r\n\r\n"
        async with asyncio.timeout(DEADLINE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(head + b"01234")
            await writer.drain()
            for _ in range(20):  # until the plugin has given up
                await asyncio.sleep(0.005)
            writer.write(b"56789")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 200")
    assert [got.body for got in gateway.received] == [b"0123456789"]
    assert gateway.received[0].headers.get("X-Length", "10") == "10"


class ReadsTooMuch(Misbehaving):
    """Sets a limit, then reads."""

    async def access(self, request: Request) -> None:
        request.limit_body(3, refuse(413, "too long"))
        await request.body()


async def test_who_waits_for_a_body_that_was_refused_waits_no_more():
    async with Serving(ReadsTooMuch) as gateway:
        head = (
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        answer = await talk(gateway, head + b"5\r\nhello\r\n0\r\n\r\n")
        waiting = [it for it in asyncio.all_tasks() if it.get_name() == "plugin-misbehaving"]
    assert answer.startswith(b"HTTP/1.1 413")
    assert not waiting


# -- on the way back


class ChangesStatus(Misbehaving):
    """Makes 204 of 200, and 200 of 304."""

    def header_filter(self, request: Request, response: Response) -> None:
        del request
        response.status = {200: 204, 304: 200}.get(response.status, response.status)


async def test_a_status_without_a_body_has_none():
    async with Serving(ChangesStatus) as gateway:
        ask = b"GET / HTTP/1.1\r\nHost: a\r\n"
        said = await talk(gateway, ask + b"\r\n", ask + b"Connection: close\r\n\r\n")
    assert said.count(b"HTTP/1.1 204") == 2
    assert said.count(b"\r\n\r\n") == 2
    assert said.endswith(b"\r\n\r\n")
    assert b"content-length" not in said.lower()


async def test_a_status_with_a_body_has_one_that_ends():
    async with Serving(ChangesStatus) as gateway:
        gateway.service.answer = Answer(status_code=304)
        answers = [await gateway.ask("GET", "/") for _ in range(2)]
    assert [(answer.status_code, answer.content) for answer in answers] == [(200, b"")] * 2


class Replays(Misbehaving):
    framing = b"Content-Length: 5"

    def access(self, request: Request) -> Replay:
        del request
        head = b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % self.framing
        return Replay(read_response_head(head, b"GET"), b"hello")


class ReplaysChunks(Replays):
    framing = b"Transfer-Encoding: chunked"


@pytest.mark.parametrize("kind", [Replays, ReplaysChunks])
async def test_a_replay_to_head_has_no_body(kind: type[Plugin]):
    async with Serving(kind) as gateway:
        said = await talk(gateway, b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200")
    assert said.endswith(b"\r\n\r\n")
    assert said.count(b"\r\n\r\n") == 1


class FailsInDrop(Misbehaving):
    def header_filter(self, request: Request, response: Response) -> None:
        del request
        response.watch(self)  # type: ignore[arg-type]

    def take(self, data: bytes, ended: bool) -> None:
        pass

    def drop(self) -> None:
        raise RuntimeError


async def test_a_watcher_that_fails_in_the_end_is_no_matter():
    async with Serving(FailsInDrop) as gateway:
        statuses = [(await gateway.ask("GET", "/")).status_code for _ in range(2)]
        failures = gateway.proxy.plugin_failures.counts
    assert statuses == [200, 200]
    assert failures == {"misbehaving": 2}


class FailsInFilter(Misbehaving):
    def header_filter(self, request: Request, response: Response) -> None:
        raise RuntimeError


async def test_others_hear_of_a_request_that_a_filter_has_failed(heard: asyncio.Queue[int]):
    async with Serving(FailsInFilter) as gateway:
        gateway.use(Later)
        await gateway.apply()
        answer = await gateway.ask("GET", "/")
    assert answer.status_code == 500
    assert heard.get_nowait() == 500


# -- clients that go


class Waits(Misbehaving):
    """Waits for ever, and says so."""

    waiting: asyncio.Event

    async def access(self, request: Request) -> None:
        del request
        self.waiting.set()
        await asyncio.Event().wait()


@pytest.mark.parametrize("asks_who", [False, True], ids=["for anybody", "for consumers"])
async def test_plugins_hear_of_a_client_that_goes_while_another_waits(
    heard: asyncio.Queue[int], asks_who: bool
):
    Waits.waiting = asyncio.Event()
    async with Serving(Waits) as gateway:
        gateway.use(Later)
        if asks_who:
            gateway.use(Later, {"consumer": gateway.consumer("bob")})
        await gateway.apply()
        gc.collect()
        gc.disable()
        try:
            async with asyncio.timeout(DEADLINE_S):
                _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await Waits.waiting.wait()
                writer.transport.abort()
                status = await heard.get()
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            left = [it for it in gc.get_objects() if isinstance(it, Exchange | PluginRun)]
        finally:
            gc.enable()
    assert status == 499
    assert not left, "work for the garbage collector"
