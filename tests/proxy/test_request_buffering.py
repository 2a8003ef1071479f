"""Request bodies that are kept until they are whole: where, how long, and what becomes of them."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator

import pytest

from .conftest import StartGateway
from .gateway import Gateway, one_route
from .peers import OK, Client, Pouring, Upstream, drink, eventually, unchanging
from .slow_disk import SlowDisk
from .test_failures import balanced

MEGABYTE = 1 << 20
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED_POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def post(size: int, method: bytes = b"POST", lines: bytes = b"") -> bytes:
    head = b"%b / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%b\r\n"
    return head % (method, size, lines)


def numbered(size: int) -> bytes:
    """A body in which no piece is like another."""
    return b"".join(b"%07d\n" % number for number in range(size // 8))


# -- whole, and with its length


@pytest.mark.both_loops
@pytest.mark.parametrize("size", [16, 100_000, 3 * MEGABYTE])
@pytest.mark.parametrize("chunk_size", [None, 5000])
async def test_the_upstream_is_sent_the_whole_body_with_its_length(
    gateway: Gateway, upstream: Upstream, size: int, chunk_size: int | None
):
    body = numbered(size)
    client = await gateway.connect()
    if chunk_size is None:
        client.send(post(len(body)) + body)
    else:
        pieces = [body[at : at + chunk_size] for at in range(0, len(body), chunk_size)]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        client.send(CHUNKED_POST + chunks + b"0\r\n\r\n")
    assert (await client.response()).status == 200
    (request,) = upstream.requests
    assert request.body == body
    assert request["Content-Length"] == str(len(body))
    assert "Transfer-Encoding" not in request
    assert (await client.ask(GET)).status == 200
    assert gateway.proxy.spool_room.used_bytes == 0


async def test_an_empty_chunked_body_has_the_length_zero(gateway: Gateway, upstream: Upstream):
    assert (await gateway.ask(CHUNKED_POST + b"0\r\n\r\n")).status == 200
    (request,) = upstream.requests
    assert (request.body, request["Content-Length"]) == (b"", "0")


@pytest.mark.parametrize("size", [6, 3 * MEGABYTE])
async def test_no_target_is_picked_before_the_body_is_whole(
    gateway: Gateway, upstream: Upstream, size: int
):
    client = await gateway.connect()
    client.send(post(size) + bytes(size - 1))
    await eventually(lambda: gateway.proxy.counts.total_requests)
    await unchanging(lambda: (gateway.proxy.spool_room.used_bytes, len(upstream.connections)))
    assert upstream.connections == []
    client.send(b"!")
    assert (await client.response()).status == 200


async def test_trailers_of_a_body_that_is_kept_go_no_further(gateway: Gateway, upstream: Upstream):
    message = CHUNKED_POST[:-2] + b"Trailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"
    assert (await gateway.ask(message)).status == 200
    (request,) = upstream.requests
    assert request.body == b"abc"
    assert "Trailer" not in request
    assert "X-Sum" not in request


# -- tried again


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port that refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


async def test_a_large_post_is_tried_again_when_it_did_not_connect(
    start_gateway: StartGateway, upstream: Upstream, nobody: int
):
    gateway = await start_gateway(balanced(f"127.0.0.1:{nobody}", f"127.0.0.1:{upstream.port}"))
    body = numbered(2 * MEGABYTE)
    for _ in range(2):  # one of them is sent to the closed port first
        assert (await gateway.ask(post(len(body)) + body)).status == 200
    assert [request.body == body for request in upstream.requests] == [True, True]


@pytest.mark.both_loops
@pytest.mark.parametrize("read", [0, MEGABYTE, 2 * MEGABYTE])
async def test_a_large_put_is_sent_from_its_first_byte_again(
    gateway: Gateway, upstream: Upstream, read: int
):
    """However much of it the first connection took: also while it waits for more of the file."""
    body = numbered(2 * MEGABYTE)
    upstream.scripted = True
    client = await gateway.connect()
    client.send(post(len(body), b"PUT") + body)
    first = await upstream.accept()
    await first.reader.readuntil(b"\r\n\r\n")
    await drink(first, read)
    await first.reset()
    second = await upstream.accept()
    assert (await second.request()).body == body
    second.send(OK)
    assert (await client.response()).status == 200


async def test_a_response_may_come_before_the_body_is_sent(gateway: Gateway, upstream: Upstream):
    """The client has sent all of it, so its connection goes on; the upstream's does not."""
    size = 32 * MEGABYTE
    upstream.scripted = True
    client = await gateway.connect()
    client.send(post(size))
    pouring = Pouring(client, bytes(1 << 16), size >> 16)
    peer = await upstream.accept()
    await peer.until(b"\r\n\r\n")
    await pouring.end()
    peer.send(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
    response = await client.response()
    assert (response.status, response.body) == (403, b"no")
    assert "Connection" not in response
    with contextlib.suppress(ConnectionError):
        while await peer.reader.read(1 << 16):
            continue
    upstream.scripted = False
    assert (await client.ask(GET)).status == 200
    await eventually(lambda: not gateway.proxy.spool_room.used_bytes)


# -- bounds


async def test_memory_is_bounded_by_a_disk_that_is_slow(
    start_gateway: StartGateway, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    """While a piece is being written, the client is read no further than as much again."""
    gateway = await start_gateway(one_route(upstream), buffer_limit_bytes=65_536)
    upstream.scripted = True
    disk = SlowDisk(monkeypatch, "pwrite")
    size = 32 * MEGABYTE
    client = await gateway.connect()
    client.send(post(size))
    pouring = Pouring(client, bytes(1 << 16), size >> 16)
    await pouring.stalled()
    assert not pouring.done()
    assert 0 < gateway.proxy.spool_room.used_bytes < MEGABYTE
    disk.go_on()
    peer = await upstream.accept()
    await pouring.end()
    await peer.reader.readuntil(b"\r\n\r\n")
    await drink(peer, size)
    peer.send(OK)
    assert (await client.response()).status == 200


async def test_a_body_that_breaks_while_it_is_being_written_leaves_nothing(
    start_gateway: StartGateway, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    gateway = await start_gateway(one_route(upstream), buffer_limit_bytes=65_536)
    disk = SlowDisk(monkeypatch, "pwrite")
    client = await gateway.connect()
    client.send(CHUNKED_POST + b"%x\r\n%b\r\n" % (MEGABYTE, bytes(MEGABYTE)) + b"x\r\n")
    await eventually(disk.asked.is_set)
    disk.go_on()
    response = await client.response()
    assert (response.status, response["Connection"]) == (400, "close")
    assert await client.closed()
    await eventually(lambda: not gateway.proxy.spool_room.used_bytes)
    assert upstream.connections == []


async def test_a_body_that_there_is_no_room_for_is_a_503(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(
        one_route(upstream), buffer_limit_bytes=4096, body_spool_limit_bytes=MEGABYTE
    )
    client = await gateway.connect()
    client.send(post(8 * MEGABYTE) + bytes(MEGABYTE + 200_000))
    response = await client.response()
    assert (response.status, response["Connection"]) == (503, "close")
    assert b"no room for the request body" in response.body
    assert gateway.proxy.spool_room.used_bytes == 0
    assert upstream.connections == []
    assert (await gateway.ask(post(MEGABYTE) + bytes(MEGABYTE))).status == 200


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 503), (errno.EIO, 500)])
@pytest.mark.parametrize("call", ["os.pwrite", "os.pread"])
async def test_a_disk_that_fails_fails_the_request(
    gateway: Gateway,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    status: int,
    call: str,
):
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as broken:
        broken.setattr(call, fail)
        response = await gateway.ask(post(MEGABYTE) + bytes(MEGABYTE))
    assert response.status == status
    assert upstream.requests == []
    assert gateway.proxy.spool_room.used_bytes == 0
    assert (await gateway.ask(post(MEGABYTE) + bytes(MEGABYTE))).status == 200


async def half_sent(gateway: Gateway) -> Client:
    """A client that has sent half of a body which needs a file."""
    client = await gateway.connect()
    client.send(post(2 * MEGABYTE) + bytes(MEGABYTE))
    await eventually(lambda: gateway.proxy.spool_room.used_bytes > MEGABYTE // 2)
    return client


async def test_a_client_that_leaves_frees_its_file(gateway: Gateway, upstream: Upstream):
    client = await half_sent(gateway)
    await client.close()
    await eventually(lambda: not gateway.proxy.spool_room.used_bytes)
    assert gateway.codes() == {("all", 499, False): 1}
    assert upstream.connections == []


async def test_a_body_that_stops_coming_frees_its_file(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), body_timeout_s=0.05)
    client = await half_sent(gateway)
    response = await client.response()
    assert (response.status, response["Connection"]) == (408, "close")
    assert gateway.proxy.spool_room.used_bytes == 0
    assert upstream.connections == []


# -- whether to send the body at all

WAITING = b"Expect: 100-continue\r\n"


async def test_a_client_that_waits_is_told_to_send_once_there_is_a_service(
    gateway: Gateway, upstream: Upstream
):
    client = await gateway.connect()
    client.send(post(4, lines=WAITING))
    assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert upstream.connections == []
    client.send(b"body")
    assert (await client.response()).status == 200
    assert upstream.requests[0].body == b"body"


async def test_it_is_not_told_before_it_is_clear_where_to(gateway: Gateway, upstream: Upstream):
    """It asks for a version that comes late."""
    gateway.newer = [one_route(upstream)]
    client = await gateway.connect()
    client.send(post(4, lines=WAITING + b"X-Gateway-Min-Version: 2\r\n"))
    assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    assert gateway.version == 2
    client.send(b"body")
    assert (await client.response()).status == 200


@pytest.mark.parametrize(
    ("tables", "lines", "status"),
    [("none", b"", 404), ("no service", b"", 503), ("all", b"X-Gateway-Min-Version: x\r\n", 400)],
)
@pytest.mark.parametrize("waits", [True, False])
async def test_a_refusal_costs_the_connection_only_if_nobody_knows_what_comes_next(
    start_gateway: StartGateway,
    upstream: Upstream,
    tables: str,
    lines: bytes,
    status: int,
    waits: bool,
):
    """A client that waits for a 100 may send its body or not."""
    rows = one_route(upstream)
    if tables == "no service":
        rows["routes"] = [row | {"service_id": None} for row in rows["routes"]]
    gateway = await start_gateway({} if tables == "none" else rows)
    client = await gateway.connect()
    client.send(post(4, lines=lines + (WAITING if waits else b"")))
    response = await client.response()
    assert (response.status, response.interim) == (status, [])
    if waits:
        assert response["Connection"] == "close"
        assert await client.closed()
    else:
        assert "Connection" not in response
        client.send(b"body" + GET)
        assert (await client.response()).status in (200, 404, 503)


@pytest.mark.parametrize(
    "message",
    [post(100_000), CHUNKED_POST, post(100_000) + bytes(1000)],
    ids=["large", "chunked", "large and begun"],
)
async def test_a_refusal_closes_where_much_may_follow(start_gateway: StartGateway, message: bytes):
    gateway = await start_gateway({})
    client = await gateway.connect()
    response = await client.ask(message)
    assert (response.status, response["Connection"]) == (404, "close")
    assert await client.closed()


async def test_a_body_that_nobody_wants_is_waited_for_only_so_long(start_gateway: StartGateway):
    gateway = await start_gateway({}, body_timeout_s=0.05)
    client = await gateway.connect()
    assert (await client.ask(post(4))).status == 404
    assert await client.closed()


async def test_pipelined_requests_follow_a_body_that_nobody_wanted(start_gateway: StartGateway):
    gateway = await start_gateway({})
    client = await gateway.connect()
    client.send((post(4) + b"body") * 2 + post(3) + b"bo")
    for _ in range(3):
        assert (await client.response()).status == 404
    client.send(b"d" + GET)
    assert (await client.response()).status == 404
    assert gateway.proxy.counts.total_requests == 4
