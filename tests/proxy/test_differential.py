"""What travels through the proxy, against h11: it never passes on what h11 would have refused.

Well-formed messages, mutated in a place or two, through real sockets. Whatever reaches the other
side must be what h11 makes of the same bytes; once either of them has lost its way in a connection,
nothing more may come out of it.
"""

from __future__ import annotations

import re
from contextlib import suppress

import h11
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from .conftest import StartGateway
from .gateway import Gateway, one_route
from .peers import Client, CutError, Response, Upstream

SOON = 0.02
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

through_sockets = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

framings = st.one_of(
    st.binary(max_size=20).map(lambda body: b"Content-Length: %d\r\n\r\n%b" % (len(body), body)),
    st.lists(st.binary(min_size=1, max_size=9), max_size=3).map(
        lambda pieces: (
            b"Transfer-Encoding: chunked\r\n\r\n"
            + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
            + b"0\r\n\r\n"
        )
    ),
)
headers = st.lists(
    st.sampled_from(
        [
            b"X-A: b\r\n",
            b"X-A:\r\n",
            b"Content-Length: 3\r\n",
            b"Content-Length: 0\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: gzip\r\n",
            b"Transfer-Encoding: chunked, chunked\r\n",
            b"Connection: close\r\n",
            b"Connection: keep-alive, Transfer-Encoding\r\n",
        ]
    ),
    max_size=1,
).map(b"".join)
requests = st.builds(
    lambda method, lines, framed: method + b" /a HTTP/1.1\r\nHost: a\r\n" + lines + framed,
    st.sampled_from([b"POST", b"PUT", b"GET"]),
    headers,
    framings,
)
responses = st.builds(
    lambda status, lines, framed: b"HTTP/1.1 " + status + b"\r\n" + lines + framed,
    st.sampled_from([b"200 OK", b"404 No", b"200", b"103 Hints\r\n\r\nHTTP/1.1 200 OK"]),
    headers,
    st.one_of(framings, st.just(b"\r\nto the end")),
)
mutations = st.lists(
    st.tuples(
        st.integers(0, 10_000),
        st.integers(0, 2),
        st.sampled_from(
            [
                b"",
                b"\r",
                b"\n",
                b"\r\n",
                b"\0",
                b" ",
                b"\t",
                b":",
                b"0",
                b"1",
                b"a",
                b";",
                b",",
                b"\xff",
            ]
        ),
    ),
    max_size=2,
)


def mutated(message: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for place, removed, forged in changes:
        at = place % len(message)
        message = message[:at] + forged + message[at + removed :]
    return message


# -- requests


def read_by_h11(data: bytes) -> list[tuple[bytes, bytes]]:
    """Method and body of the requests that h11 finds in ``data``, up to the first bad one."""
    found: list[tuple[bytes, bytes]] = []
    server = h11.Connection(h11.SERVER)
    server.receive_data(data)
    with suppress(h11.RemoteProtocolError):
        while server.their_state is not h11.MUST_CLOSE:
            method, body = b"", b""
            while not isinstance(event := server.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Request):
                    method = event.method
                elif isinstance(event, h11.Data):
                    body += event.data
                else:  # it needs more, or there is nothing more
                    return found
            found.append((method, body))
            server.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            server.send(h11.EndOfMessage())
            if server.our_state is h11.MUST_CLOSE:
                break
            server.start_next_cycle()
    return found


@pytest.fixture
async def impatient(start_gateway: StartGateway, upstream: Upstream) -> Gateway:
    """A proxy that waits for no client long."""
    return await start_gateway(
        one_route(upstream),
        header_timeout_s=SOON,
        body_timeout_s=SOON,
        keepalive_timeout_s=SOON,
    )


@through_sockets
@given(st.lists(requests, min_size=1, max_size=2), mutations)
@example([b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"] * 2, [])
@example([b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"], [(40, 1, b"4")])
@example([b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc"], [])
@example([b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc"], [])
@example([b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"], [])
async def test_no_request_is_passed_on_that_h11_reads_otherwise(
    impatient: Gateway,
    upstream: Upstream,
    messages: list[bytes],
    changes: list[tuple[int, int, bytes]],
):
    # We skip empty lines before a request, as RFC 9112 section 2.2 has it, and blanks before an
    # extension of a chunk (7.1.1); h11 does neither, nor does it keep HTTP/1.0 open.
    data = re.sub(rb"[ \t]+(?=;)", b"", mutated(b"".join(messages), changes)).lstrip(b"\r\n") + LAST
    data = re.sub(rb"(?<=\r\n\r\n)(\r\n)+", b"", data).replace(b"HTTP/1.0", b"HTTP/1.1")
    upstream.requests.clear()
    client = await impatient.connect()
    client.send(data)
    answers = await all_answers(client)
    expected = read_by_h11(data)
    passed = [(request.method.encode(), request.body) for request in upstream.requests]
    assert passed == expected[: len(passed)]
    closing = [answer.status for answer in answers if answer.status != 200]
    assert len(closing) <= 1  # a refusal is the last answer, and the connection has been closed


async def all_answers(client: Client) -> list[Response]:
    """All responses until the proxy closes the connection."""
    answers = []
    with suppress(CutError):
        while True:
            answers.append(await client.response())
    return answers


# -- responses


def response_read_by_h11(data: bytes, *, ended: bool) -> tuple[int, bytes] | None:
    """Status and body of the response that is all of ``data``, None if h11 finds none."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    if ended:
        client.receive_data(b"")
    status, body = 0, b""
    try:
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except h11.RemoteProtocolError:
        return None
    return None if client.trailing_data[0] else (status, body)


@pytest.fixture
async def hasty(start_gateway: StartGateway, upstream: Upstream) -> Gateway:
    """A proxy that waits for no upstream long, and asks it once."""
    return await start_gateway(one_route(upstream, to={"retries": 0, "read_timeout": 50}))


@through_sockets
@given(responses, mutations, st.booleans())
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", [], False)
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", [], False)
@example(b"HTTP/1.1 200 OK\r\n\r\nto the end", [], True)
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", [], True)
async def test_no_response_is_passed_on_that_h11_reads_otherwise(
    hasty: Gateway,
    upstream: Upstream,
    message: bytes,
    changes: list[tuple[int, int, bytes]],
    ended: bool,
):
    data = re.sub(rb"[ \t]+(?=;)", b"", mutated(message, changes))
    upstream.scripted = True
    client = await hasty.connect()
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    peer = await upstream.accept()
    await peer.request()
    peer.send(data)
    if ended:
        peer.half_close()
    expected = response_read_by_h11(data, ended=ended)
    try:
        response = await client.response()
    except CutError:
        passed = None
    else:
        passed = response.status, response.body
        if response.status in (502, 504) and b"upstream server" in response.body:
            passed = None
    assert passed in (None, expected)
    if passed is None:
        with suppress(ConnectionError):
            assert await peer.rest() == b""  # closed, and nothing more was asked
    await client.reset()
    await peer.reset()
