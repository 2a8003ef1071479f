"""What is still to come of a request body, and how long that is waited for."""

from __future__ import annotations

import pytest

from gateway.proxy.http1 import HeadLimits, parse_request_head
from gateway.proxy.incoming_body import IncomingBody


def body_of(*lines: bytes) -> IncomingBody:
    message = b"\r\n".join((b"POST / HTTP/1.1", b"Host: a", *lines, b"", b""))
    head = parse_request_head(message, HeadLimits(8192, 32_768, 200))
    assert head is not None
    return IncomingBody(head.fields)


def test_a_body_of_known_length_ends_there():
    body = body_of(b"Content-Length: 5")
    assert body.take(b"abc") == (b"abc", b"")
    assert not body.ended
    assert body.take(b"deGET /") == (b"de", b"GET /")
    assert (body.ended, body.trailers) == (True, b"")


def test_a_chunked_body_ends_behind_its_trailers():
    body = body_of(b"Transfer-Encoding: chunked")
    assert body.take(b"3\r\nabc\r\n1\r\nd\r\n0\r\n") == (b"abcd", b"")
    assert not body.ended
    assert body.take(b"X-Sum: 1\r\n\r\nGET /") == (b"", b"GET /")
    assert (body.ended, body.trailers) == (True, b"\r\nX-Sum: 1")


@pytest.mark.parametrize(
    ("lines", "may_be_drained"),
    [
        ([b"Content-Length: 65536"], True),
        ([b"Content-Length: 65537"], False),
        ([b"Content-Length: 5", b"Expect: 100-continue"], False),
        ([b"Transfer-Encoding: chunked"], False),
    ],
)
def test_what_is_cheaper_to_read_than_to_connect_anew(lines: list[bytes], may_be_drained: bool):
    assert body_of(*lines).may_be_drained is may_be_drained


def test_once_the_client_was_told_to_send_its_body_can_be_drained():
    body = body_of(b"Content-Length: 5", b"Expect: 100-continue")
    body.begin(0, 0)
    assert body.may_be_drained


def test_a_gap_may_be_as_long_as_the_timeout():
    body = body_of(b"Content-Length: 5000")
    body.begin(now=100, min_bytes_s=0)
    assert body.patience_s(now=10_000, timeout_s=60) == 60


def test_a_body_with_a_least_rate_earns_its_time():
    body = body_of(b"Content-Length: 5000")
    body.begin(now=100, min_bytes_s=100)
    assert body.patience_s(now=100, timeout_s=60) == 60
    assert body.patience_s(now=150, timeout_s=60) == 10
    body.take(bytes(2000))
    assert body.patience_s(now=150, timeout_s=60) == 30
    body.take(bytes(2999))
    assert body.patience_s(now=110, timeout_s=60) == 60
