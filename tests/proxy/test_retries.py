"""Which failures of an upstream are tried again, for which requests, and what the client is told.

Every cell of proxying.md section 5: kind of failure, method, and whether the body is kept.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from .conftest import StartGateway
from .gateway import one_route
from .peers import OK, Client, CutError, Upstream, UpstreamPeer, drink
from .test_failures import balanced, nobody, unresponsive

__all__ = ["nobody", "unresponsive"]  # fixtures

RETRIES = 2

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
BODY = b"Host: a\r\nContent-Length: 4\r\n\r\nbody"
LARGE = 8 << 20  # more than kernel and connection take of it

# Method → whether a request that may have arrived can be sent once more.
REPEATABLE = {
    **dict.fromkeys([b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PROPFIND"], True),
    **dict.fromkeys([b"POST", b"PATCH", b"LOCK"], False),
}

Fail = Callable[[UpstreamPeer], Awaitable[None]]


async def close(peer: UpstreamPeer) -> None:
    await peer.close()


async def reset(peer: UpstreamPeer) -> None:
    await peer.reset()


async def be_silent(peer: UpstreamPeer) -> None:
    with suppress(ConnectionError):
        await peer.reader.read()
    await peer.close()


def after(said: bytes, then: Fail) -> Fail:
    async def fail(peer: UpstreamPeer) -> None:
        peer.send(said)
        await peer.drained()
        await then(peer)

    return fail


HALF_A_HEAD = b"HTTP/1.1 200 OK\r\nContent-Le"

# Before a whole response head → the status in the end.
LOST = {
    "closed": (close, 502),
    "reset": (reset, 502),
    "closed within the head": (after(HALF_A_HEAD, close), 502),
    "reset within the head": (after(HALF_A_HEAD, reset), 502),
    "silent": (be_silent, 504),
    "silent within the head": (after(HALF_A_HEAD, be_silent), 504),
    "closed after a 103": (after(b"HTTP/1.1 103 Hints\r\n\r\n", close), 502),
}

# A whole head, or what will never be one → the status at once.
DECIDED = {
    "unparsable": (after(b"HTTP/1.1 200 OK\nA: b\n\n", close), 502),
    "no HTTP": (after(b"SSH-2.0-OpenSSH_9.2\r\n", close), 502),
    "too large": (after(b"HTTP/1.1 200 OK\r\nA: " + b"a" * 40_000, close), 502),
    "ambiguous": (after(OK[:-6] + b"Transfer-Encoding: chunked\r\n\r\n", close), 502),
    **{
        f"a {status}": (
            after(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status, close),
            status,
        )
        for status in (408, 429, 500, 502, 503, 504)
    },
}


@asynccontextmanager
async def failing(upstream: Upstream, fail: Fail) -> AsyncIterator[None]:
    """Every connection of the upstream fails in the same way, once it has got its request."""
    upstream.scripted = True

    async def fail_always() -> None:
        while True:
            peer = await upstream.accept(deadline_s=None)
            with suppress(CutError):
                await peer.request()
                await fail(peer)

    task = asyncio.create_task(fail_always())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def message(method: bytes) -> bytes:
    return GET if method == b"GET" else method + b" / HTTP/1.1\r\n" + BODY


async def status_of(client: Client, method: bytes) -> int:
    return (await client.ask(message(method), method.decode())).status


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "streamed"])
@pytest.mark.parametrize("method", REPEATABLE)
@pytest.mark.parametrize("failure", LOST)
async def test_a_request_that_got_no_response(
    start_gateway: StartGateway, upstream: Upstream, failure: str, method: bytes, kept: bool
):
    """It is sent again if that does no harm and all of it is still here."""
    fail, status = LOST[failure]
    to = {"retries": RETRIES, "read_timeout": 20}
    gateway = await start_gateway(one_route(upstream, to=to, request_buffering=kept))
    client = await gateway.connect()
    async with failing(upstream, fail):
        assert await status_of(client, method) == status
    repeated = REPEATABLE[method] and (kept or method == b"GET")
    assert len(upstream.connections) == (1 + RETRIES if repeated else 1)
    assert gateway.codes() == {("all", status, False): 1}


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"POST"])
@pytest.mark.parametrize("failure", DECIDED)
async def test_a_response_of_any_kind_is_the_last_word(
    start_gateway: StartGateway, upstream: Upstream, failure: str, method: bytes
):
    fail, status = DECIDED[failure]
    gateway = await start_gateway(one_route(upstream))
    client = await gateway.connect()
    async with failing(upstream, fail):
        assert await status_of(client, method) == status
    assert len(upstream.connections) == 1


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"POST"])
async def test_a_response_that_breaks_off_is_not_asked_for_again(
    start_gateway: StartGateway, upstream: Upstream, method: bytes
):
    gateway = await start_gateway(one_route(upstream))
    client = await gateway.connect()
    async with failing(upstream, after(OK[:-1], close)):
        with pytest.raises(CutError):
            await client.ask(message(method))
    assert len(upstream.connections) == 1


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "streamed"])
@pytest.mark.parametrize("method", REPEATABLE)
@pytest.mark.parametrize("first", ["nobody", "unresponsive"])
async def test_what_never_connected_is_tried_again_whatever_it_is(
    start_gateway: StartGateway,
    upstream: Upstream,
    request: pytest.FixtureRequest,
    first: str,
    method: bytes,
    kept: bool,
):
    port = request.getfixturevalue(first)
    addresses = (f"127.0.0.1:{port}", f"127.0.0.1:{upstream.port}")
    tables = balanced(*addresses, retries=1, connect_timeout=100)
    upstream.answer = b"HTTP/1.1 204 No Content\r\n\r\n"
    tables["routes"] = [row | {"request_buffering": kept} for row in tables["routes"]]
    gateway = await start_gateway(tables)
    client = await gateway.connect()
    for _ in range(2):  # one of them goes to the other port first
        assert await status_of(client, method) == 204
    assert len(upstream.requests) == 2


@pytest.mark.parametrize(("retries", "tries"), [(0, 1), (1, 2), (3, 4)])
async def test_as_often_as_the_service_says(
    start_gateway: StartGateway, upstream: Upstream, retries: int, tries: int
):
    gateway = await start_gateway(one_route(upstream, to={"retries": retries}))
    client = await gateway.connect()
    async with failing(upstream, close):
        assert await status_of(client, b"GET") == 502
    assert len(upstream.connections) == tries


async def test_the_last_failure_decides(start_gateway: StartGateway, upstream: Upstream):
    gateway = await start_gateway(one_route(upstream, to={"retries": 1, "read_timeout": 20}))
    failures = itertools.cycle([be_silent, close])

    async def fail(peer: UpstreamPeer) -> None:
        await next(failures)(peer)

    client = await gateway.connect()
    async with failing(upstream, fail):
        assert await status_of(client, b"GET") == 502
        next(failures)
        assert await status_of(client, b"GET") == 504


async def test_the_next_try_goes_to_another_target(start_gateway: StartGateway, upstream: Upstream):
    good = Upstream()
    await good.start()
    gateway = await start_gateway(
        balanced(f"127.0.0.1:{upstream.port}", f"127.0.0.1:{good.port}", retries=1)
    )
    client = await gateway.connect()
    async with failing(upstream, close):
        for _ in range(4):
            assert await status_of(client, b"PUT") == 200
    assert len(good.requests) == 4
    await good.stop()


@pytest.fixture
async def narrow_upstream() -> AsyncIterator[Upstream]:
    """An upstream whose kernel takes next to nothing before it is read."""
    upstream = Upstream()
    upstream.scripted = True
    await upstream.start(receive_buffer=4096)
    yield upstream
    await upstream.stop()


@pytest.mark.parametrize(("method", "tries"), [(b"PUT", 1 + RETRIES), (b"POST", 1)])
async def test_an_upstream_that_takes_no_more_of_a_body(
    start_gateway: StartGateway, narrow_upstream: Upstream, method: bytes, tries: int
):
    to = {"retries": RETRIES, "write_timeout": 50}
    gateway = await start_gateway(one_route(narrow_upstream, to=to))
    client = await gateway.connect()
    client.send(b"%b / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (method, LARGE))
    client.send(bytes(LARGE))
    assert (await client.response()).status == 504
    assert len(narrow_upstream.connections) == tries
    assert gateway.proxy.spool_room.used_bytes == 0


async def test_an_upstream_that_takes_a_body_slowly_is_waited_for(
    start_gateway: StartGateway, narrow_upstream: Upstream
):
    gateway = await start_gateway(one_route(narrow_upstream))
    client = await gateway.connect()
    client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % LARGE)
    client.send(bytes(LARGE))
    peer = await narrow_upstream.accept()
    await peer.reader.readuntil(b"\r\n\r\n")
    await drink(peer, LARGE)
    peer.send(OK)
    assert (await client.response()).status == 200
