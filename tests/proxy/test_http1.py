"""HTTP/1.x framing: what is refused and why, what is read, and that splits and mutations change
neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.proxy.http1 import (
    CHUNKED,
    NO_BODY,
    UNTIL_CLOSE,
    HeadLimits,
    MessageError,
    RequestHead,
    ResponseHead,
    parse_request_head,
    parse_response_head,
    place_for_charset,
)

LIMITS = HeadLimits(line_bytes=128, head_bytes=512, header_count=12)
WIDE = HeadLimits(line_bytes=8192, head_bytes=32_768, header_count=200)


def request(data: bytes, limits: HeadLimits = LIMITS) -> RequestHead | None:
    return parse_request_head(data, limits)


def complete_request(data: bytes, limits: HeadLimits = LIMITS) -> RequestHead:
    head = request(data, limits)
    assert head is not None
    return head


def complete_response(data: bytes, method: bytes = b"GET") -> ResponseHead:
    head = parse_response_head(data, WIDE, method)
    assert head is not None
    return head


def with_headers(*lines: bytes, version: bytes = b"1.1") -> bytes:
    return b"\r\n".join((b"POST / HTTP/" + version, *lines, b"", b""))


def splits(data: bytes) -> Iterator[bytes]:
    """Every proper beginning of ``data``."""
    return (data[:end] for end in range(len(data)))


def feed_in_pieces(parse: Callable[[bytes], object], data: bytes) -> None:
    """Let a parser see ``data`` grow byte by byte; raises what it raises, reads nothing else."""
    for beginning in (*splits(data), data):
        assert parse(beginning) is None


# -- requests that are read

PLAIN = b"GET /a?b=c HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\nX-Empty:\r\n\r\n"
BUSY = with_headers(
    b"hOST:\texample.org:8080 ",
    b"Cookie: a=1; b=\xe9",
    b"Connection: x-hop, keep-alive",
    b"X-Hop: 1",
    b"x-forwarded-for: 192.0.2.1",
    b"X-Forwarded-For: 192.0.2.2",
    b"Content-Length: 17",
    b"Expect: 100-Continue",
)


def target_of(head: RequestHead) -> bytes:
    return head.odd_target or head.path + head.query


def facts(head: RequestHead) -> tuple[object, ...]:
    return (
        head.method,
        target_of(head),
        head.fields.minor,
        head.fields.host,
        head.fields.rest,
        head.fields.special,
        head.fields.body_length,
        head.fields.keep_alive,
        head.fields.expect_continue,
        head.fields.headers(),
        head.size,
    )


def test_a_plain_request_is_read():
    head = complete_request(PLAIN + b"GET /next")
    assert facts(head) == (
        b"GET",
        b"/a?b=c",
        b"1",
        b"example.org",
        b"\r\nAccept: */*\r\nX-Empty:",
        {},
        0,
        True,
        False,
        [(b"host", b"example.org"), (b"accept", b"*/*"), (b"x-empty", b"")],
        len(PLAIN),
    )


def test_what_means_something_to_a_proxy_is_split_from_the_rest():
    head = complete_request(BUSY)
    assert head.fields.host == b"example.org:8080"
    assert head.fields.rest == b"\r\nCookie: a=1; b=\xe9"
    assert head.fields.special[b"x-forwarded-for"] == b"192.0.2.1, 192.0.2.2"
    assert (head.fields.body_length, head.fields.keep_alive, head.fields.expect_continue) == (
        17,
        True,
        True,
    )


@pytest.mark.parametrize("message", [PLAIN, BUSY])
def test_the_same_lines_under_another_request_line_are_not_read_again(message: bytes):
    _, lines = message.split(b"\r\n", 1)
    first = complete_request(message)
    second = parse_request_head(b"DELETE /o HTTP/1.1\r\n" + lines + b"GET", LIMITS, first.fields)
    assert second is not None
    assert second.fields is first.fields
    assert (second.method, second.path, second.query) == (b"DELETE", b"/o", b"")
    assert second.size == len(b"DELETE /o HTTP/1.1\r\n" + lines)


@pytest.mark.parametrize(
    "message",
    [
        b"GET / HTTP/1.0\r\nHost: a\r\nConnection: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nX-A: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_other_lines_than_before_are_read(message: bytes):
    before = complete_request(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\n\r\n").fields
    head = parse_request_head(message, LIMITS, before)
    assert head is not None
    assert facts(head) == facts(complete_request(message))


@pytest.mark.parametrize(("target", "status"), [(b"/" + b"a" * 200, 414), (b"/" + b"a" * 100, 431)])
def test_the_same_lines_as_before_are_within_the_limits_again(target: bytes, status: int):
    lines = b"Host: a\r\nX-A: " + b"a" * 430 + b"\r\n\r\n"
    before = complete_request(b"GET / HTTP/1.1\r\n" + lines).fields
    with pytest.raises(MessageError) as refusal:
        parse_request_head(b"GET " + target + b" HTTP/1.1\r\n" + lines, LIMITS, before)
    assert refusal.value.status == status


def test_the_beginning_of_lines_as_before_is_no_head_yet():
    before = complete_request(PLAIN).fields
    for beginning in splits(PLAIN):
        assert parse_request_head(beginning, LIMITS, before) is None


@pytest.mark.parametrize(
    ("target", "split"),
    [
        (b"/", (b"/", b"", b"")),
        (b"/a?b=c?d", (b"/a", b"?b=c?d", b"")),
        (b"/a?", (b"/a", b"?", b"")),
        (b"//a", (b"//a", b"", b"")),
        (b"*", (b"", b"", b"*")),
        (b"http://a/b?c", (b"", b"", b"http://a/b?c")),
        (b"?a", (b"", b"", b"?a")),
    ],
)
def test_the_parts_of_a_target(target: bytes, split: tuple[bytes, bytes, bytes]):
    head = complete_request(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (head.path, head.query, head.odd_target) == split


@pytest.mark.parametrize(
    ("line", "is_ordinary"),
    [
        (b"Accept: */*", True),
        (b"Connection: keep-alive", True),
        (b"Content-Length: 3", True),
        (b"Via: 1.1 a", False),
        (b"X-Forwarded-For: 192.0.2.1", False),
        (b"X-Gateway-Min-Version: 7", False),
        (b"Upgrade: websocket", False),
    ],
)
def test_which_requests_are_ordinary(line: bytes, is_ordinary: bool):
    assert complete_request(with_headers(b"Host: a", line)).fields.is_ordinary is is_ordinary


@pytest.mark.parametrize("message", [PLAIN, BUSY])
def test_a_head_that_comes_in_pieces_is_the_head_that_comes_whole(message: bytes):
    for beginning in splits(message):
        assert request(beginning) is None
    assert facts(complete_request(message)) == facts(complete_request(message + b"more"))


@pytest.mark.parametrize(
    ("version", "lines", "keep_alive"),
    [
        (b"1.1", [], True),
        (b"1.1", [b"Connection: close"], False),
        (b"1.1", [b"Connection: Keep-Alive, CLOSE"], False),
        (b"1.1", [b"Connection: keep-alive", b"Connection: close"], False),
        (b"1.1", [b"Connection: x-close"], True),
        (b"1.0", [], False),
        (b"1.0", [b"Connection: keep-alive"], True),
        (b"1.0", [b"Connection: Keep-Alive"], True),
        (b"1.0", [b"Connection: keep-alive, close"], False),
    ],
)
def test_who_keeps_a_connection_open(version: bytes, lines: list[bytes], keep_alive: bool):
    head = complete_request(with_headers(b"Host: a", *lines, version=version))
    assert head.fields.keep_alive is keep_alive


@pytest.mark.parametrize(
    ("lines", "body_length"),
    [
        ([], 0),
        ([b"Content-Length: 0"], 0),
        ([b"content-length:42"], 42),
        ([b"Content-Length: 0042 \t"], 42),
        ([b"Transfer-Encoding: chunked"], CHUNKED),
        ([b"transfer-encoding:CHUNKED "], CHUNKED),
    ],
)
def test_the_length_of_a_request_body(lines: list[bytes], body_length: int):
    assert complete_request(with_headers(b"Host: a", *lines)).fields.body_length == body_length


@pytest.mark.parametrize(
    "host",
    [b"example.org", b"EXAMPLE.org:80", b"[::1]", b"[2001:db8::1]:8080", b"a_b.c", b"", b"a:"],
)
def test_hosts_that_are_taken(host: bytes):
    assert complete_request(with_headers(b"Host: " + host)).fields.host == host


@pytest.mark.parametrize("empty_lines", [1, 4])
def test_empty_lines_before_a_request_are_skipped(empty_lines: int):
    message = b"\r\n" * empty_lines + PLAIN
    feed_in_pieces_until_read(message)
    head = complete_request(message + b"more")
    assert (head.method, head.path, head.size) == (b"GET", b"/a", len(message))


def feed_in_pieces_until_read(message: bytes) -> None:
    for beginning in splits(message):
        assert request(beginning) is None


def test_http_1_0_may_do_without_a_host():
    assert complete_request(with_headers(version=b"1.0")).fields.host == b""


@pytest.mark.parametrize(
    ("connection", "rest"),
    [
        (b"close", b"\r\nX-One: 1\r\nX-Two: 2"),
        (b"x-one", b"\r\nX-Two: 2"),
        (b" X-TWO , close,,x-one", b""),
    ],
)
def test_headers_named_in_connection_are_dropped(connection: bytes, rest: bytes):
    lines = (b"Host: a", b"X-One: 1", b"Connection: " + connection, b"X-Two: 2")
    assert complete_request(with_headers(*lines)).fields.rest == rest


def test_headers_of_one_hop_or_written_anew_are_no_part_of_the_rest():
    lines = (
        b"Keep-Alive: 5",
        b"Proxy-Connection: close",
        b"Proxy: evil",
        b"TE: trailers",
        b"Trailer: X",
        b"Upgrade: h2c",
        b"Expect: 100-continue",
        b"X-Real-IP: 192.0.2.1",
    )
    for line in lines:
        assert complete_request(with_headers(b"Host: a", line)).fields.rest == b""


def test_headers_that_only_look_like_special_ones_stay():
    lines = b"\r\nX-Host: 1\r\nHost-X: 2\r\nContent-Length-X: 3\r\nTransfer_Encoding: 4\r\nTea: 5"
    head = complete_request(b"GET / HTTP/1.1\r\nHost: a" + lines + b"\r\n\r\n")
    assert head.fields.rest == lines
    assert head.fields.body_length == 0


# -- requests that are refused

REFUSED = {
    "length and chunked": (
        with_headers(b"Host: a", b"Content-Length: 1", b"Transfer-Encoding: chunked"),
        400,
    ),
    "chunked and length": (
        with_headers(b"Host: a", b"Transfer-Encoding: chunked", b"Content-Length: 0"),
        400,
    ),
    "two lengths": (with_headers(b"Host: a", b"Content-Length: 1", b"Content-Length: 2"), 400),
    "same length twice": (
        with_headers(b"Host: a", b"Content-Length: 1", b"CONTENT-LENGTH: 1"),
        400,
    ),
    "list of lengths": (with_headers(b"Host: a", b"Content-Length: 1, 1"), 400),
    "signed length": (with_headers(b"Host: a", b"Content-Length: +1"), 400),
    "negative length": (with_headers(b"Host: a", b"Content-Length: -1"), 400),
    "hexadecimal length": (with_headers(b"Host: a", b"Content-Length: 0x1"), 400),
    "fractional length": (with_headers(b"Host: a", b"Content-Length: 1.0"), 400),
    "spaced length": (with_headers(b"Host: a", b"Content-Length: 1 0"), 400),
    "empty length": (with_headers(b"Host: a", b"Content-Length:"), 400),
    "superscript length": (with_headers(b"Host: a", b"Content-Length: \xb2"), 400),
    "endless length": (with_headers(b"Host: a", b"Content-Length: " + b"9" * 19), 400),
    "coding besides chunked": (with_headers(b"Host: a", b"Transfer-Encoding: gzip, chunked"), 501),
    "coding after chunked": (with_headers(b"Host: a", b"Transfer-Encoding: chunked, gzip"), 501),
    "identity coding": (with_headers(b"Host: a", b"Transfer-Encoding: identity"), 501),
    "quoted coding": (with_headers(b"Host: a", b'Transfer-Encoding: "chunked"'), 501),
    "coding with parameter": (with_headers(b"Host: a", b"Transfer-Encoding: chunked;q=1"), 501),
    "vertical tab in coding": (with_headers(b"Host: a", b"Transfer-Encoding: \x0bchunked"), 400),
    "empty coding": (with_headers(b"Host: a", b"Transfer-Encoding:"), 501),
    "two codings": (
        with_headers(b"Host: a", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        400,
    ),
    "chunked in 1.0": (
        with_headers(b"Host: a", b"Transfer-Encoding: chunked", version=b"1.0"),
        400,
    ),
    "folded header": (with_headers(b"Host: a", b"X-A: 1", b" 2"), 400),
    "folded first header": (with_headers(b" Host: a", b"X-A: 1"), 400),
    "tab-folded header": (with_headers(b"Host: a", b"X-A: 1", b"\t2"), 400),
    "space before colon": (with_headers(b"Host: a", b"X-A : 1"), 400),
    "tab before colon": (with_headers(b"Host: a", b"Content-Length\t: 1"), 400),
    "no colon": (with_headers(b"Host: a", b"X-A"), 400),
    "no name": (with_headers(b"Host: a", b": 1"), 400),
    "bad byte in name": (with_headers(b"Host: a", b"X(A): 1"), 400),
    "non-ASCII name": (with_headers(b"Host: a", b"X-\xe9: 1"), 400),
    "NUL in value": (with_headers(b"Host: a", b"X-A: \x00"), 400),
    "control byte in value": (with_headers(b"Host: a", b"X-A: \x1b[31m"), 400),
    "DEL in value": (with_headers(b"Host: a", b"X-A: \x7f"), 400),
    "bare LF in value": (with_headers(b"Host: a", b"X-A: 1\nX-B: 2"), 400),
    "bare CR in value": (with_headers(b"Host: a", b"X-A: 1\rX-B: 2"), 400),
    "bare LF after the line": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    "bare LF throughout": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "bare LF at the end": (b"GET / HTTP/1.1\r\nHost: a\n\n", 400),
    "bare CR at the end": (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", 400),
    "many empty lines first": (b"\r\n" * 5 + PLAIN, 400),
    "bare LF first": (b"\n" + PLAIN, 400),
    "bare CR first": (b"\r" + PLAIN, 400),
    "space first": (b" " + PLAIN, 400),
    "no host": (with_headers(b"X-A: 1"), 400),
    "two hosts": (with_headers(b"Host: a", b"Host: a"), 400),
    "two hosts in 1.0": (with_headers(b"Host: a", b"Host: b", version=b"1.0"), 400),
    "host with path": (with_headers(b"Host: a/b"), 400),
    "host with user": (with_headers(b"Host: user@a"), 400),
    "host with space": (with_headers(b"Host: a b"), 400),
    "host with odd port": (with_headers(b"Host: a:port"), 400),
    "host with long port": (with_headers(b"Host: a:123456"), 400),
    "host with two ports": (with_headers(b"Host: a:1:2"), 400),
    "open bracket": (with_headers(b"Host: [::1"), 400),
    "empty brackets": (with_headers(b"Host: []"), 400),
    "non-ASCII host": (with_headers(b"Host: \xe9"), 400),
    "no version": (b"GET /\r\n\r\n", 400),
    "no target": (b"GET HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "two spaces": (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "tab for space": (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "space in target": (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "space after version": (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    "control byte in target": (b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "non-ASCII target": (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "fragment in target": (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "bad byte in method": (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "no method": (b" / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "lower-case version": (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    "version without dot": (b"GET / HTTP/1\r\nHost: a\r\n\r\n", 400),
    "long minor version": (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 505),
    "version 1.2": (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    "version 2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "version 0.9": (b"GET / HTTP/0.9\r\n\r\n", 505),
    "TLS handshake": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", 400),
    "unknown expectation": (with_headers(b"Host: a", b"Expect: 200-ok"), 417),
    "long target": (b"GET /" + b"a" * 200 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "endless line": (b"G" * 200, 414),
    "big head": (with_headers(b"Host: a", b"X-A: " + b"a" * 500), 431),
    "endless head": (b"GET / HTTP/1.1\r\nX-A: " + b"a" * 500, 431),
    "many headers": (with_headers(b"Host: a", *[b"a: b"] * 12), 431),
}


@pytest.mark.parametrize(("message", "status"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(message: bytes, status: int):
    with pytest.raises(MessageError) as refusal:
        request(message)
    assert refusal.value.status == status


@pytest.mark.parametrize(("message", "status"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_refused_in_pieces_too(message: bytes, status: int):
    """Possibly sooner, but for the same reason and never read as something else."""
    with pytest.raises(MessageError) as refusal:
        feed_in_pieces(request, message)
    assert refusal.value.status == status


def test_a_limit_smaller_than_that_of_the_request_line_holds_too():
    limits = HeadLimits(line_bytes=1000, head_bytes=100, header_count=10)
    message = with_headers(b"Host: a", b"X-A: " + b"a" * 100)
    with pytest.raises(MessageError) as refusal:
        request(message, limits)
    assert refusal.value.status == 431


def test_limits_are_the_last_that_is_accepted():
    target = b"/" + b"a" * (128 - len("GET / HTTP/1.1"))
    assert request(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n") is not None
    with pytest.raises(MessageError):
        request(b"GET " + target + b"a HTTP/1.1\r\nHost: a\r\n\r\n")
    assert request(with_headers(b"Host: a", *[b"a: b"] * 11)) is not None
    filler = 512 - len(with_headers(b"Host: a", b"X: "))
    assert request(with_headers(b"Host: a", b"X: " + b"a" * filler)) is not None
    with pytest.raises(MessageError):
        request(with_headers(b"Host: a", b"X: " + b"a" * (filler + 1)))


# -- responses


def response(*lines: bytes, status: bytes = b"200 OK", version: bytes = b"1.1") -> bytes:
    return b"\r\n".join((b"HTTP/" + version + b" " + status, *lines, b"", b""))


@pytest.mark.parametrize(
    ("message", "method", "body_length", "keep_alive"),
    [
        (response(b"Content-Length: 5"), b"GET", 5, True),
        (response(b"Content-Length: 5", b"Connection: keep-alive"), b"GET", 5, True),
        (response(b"Content-Length: 5", b"Connection: Keep-Alive"), b"GET", 5, True),
        (response(b"Content-Length: 5", b"Connection: close"), b"GET", 5, False),
        (response(b"Content-Length: 5", version=b"1.0"), b"GET", 5, False),
        (
            response(b"Content-Length: 5", b"Connection: keep-alive", version=b"1.0"),
            b"GET",
            5,
            True,
        ),
        (response(b"Transfer-Encoding: Chunked"), b"GET", CHUNKED, True),
        (response(), b"GET", UNTIL_CLOSE, False),
        (response(b"Connection: keep-alive"), b"GET", UNTIL_CLOSE, False),
        (response(b"Content-Length: 5"), b"HEAD", NO_BODY, True),
        (response(b"Transfer-Encoding: chunked"), b"HEAD", NO_BODY, True),
        (response(), b"HEAD", NO_BODY, True),
        (response(status=b"204 No Content"), b"GET", NO_BODY, True),
        (response(b"Content-Length: 5", status=b"304 Not Modified"), b"GET", NO_BODY, True),
        (response(status=b"100 Continue"), b"POST", NO_BODY, True),
        (response(b"Content-Length: 0", status=b"404"), b"GET", 0, True),
    ],
)
def test_the_framing_of_a_response(
    message: bytes, method: bytes, body_length: int, keep_alive: bool
):
    head = complete_response(message, method)
    assert (head.body_length, head.keep_alive) == (body_length, keep_alive)
    assert head.size == len(message)
    for beginning in splits(message):
        assert parse_response_head(beginning, WIDE, method) is None


@pytest.mark.parametrize("status", [b"200 OK", b"200", b"200 ", b"299 \xe9t\xe9", b"999 Odd"])
def test_the_status_line_of_a_response(status: bytes):
    head = complete_response(response(status=status))
    assert head.status == int(status[:3])
    assert head.status_text == status


def test_what_a_response_says_for_one_hop_is_no_part_of_the_rest():
    head = complete_response(
        response(
            b"Server: nginx",
            b"Connection: x-hop, upgrade",
            b"X-Hop: 1",
            b"Keep-Alive: timeout=5",
            b"Proxy-Connection: close",
            b"Upgrade: h2c",
            b"Trailer: X",
            b"Content-Length: 0",
            b"X-Kong-Request-Id: 1",
            b"X-Gateway-Proxy-Latency: 1",
            b"Set-Cookie: a=1",
            b"Set-Cookie: b=2",
            b"via: 1.0 fred",
        )
    )
    assert head.rest == b"\r\nServer: nginx\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2"
    assert head.special[b"via"] == b"1.0 fred"


def test_what_is_meant_for_a_server_in_front_of_the_upstream_is_no_part_of_the_rest():
    head = complete_response(
        response(
            b"X-Accel-Redirect: /secret",
            b"x-accel-expires: 0",
            b"X-Accel-Limit-Rate: 1",
            b"X-Accel-Buffering: yes",
            b"X-Accel-Charset: x",
            b"X-Pad: avoid browser bug",
            b"X-Accelerated: 1",
            b"X-Padding: 1",
        )
    )
    assert head.rest == b"\r\nX-Accelerated: 1\r\nX-Padding: 1"


@pytest.mark.parametrize(
    ("line", "may_be_kept"),
    [
        (b"X-None: 1", True),
        (b"X-Accel-Buffering: yes", True),
        (b"X-Accel-Buffering: no", False),
        (b"x-accel-buffering:NO ", False),
    ],
)
def test_an_upstream_may_forbid_to_keep_its_response(line: bytes, may_be_kept: bool):
    assert complete_response(response(line)).may_be_kept is may_be_kept


@pytest.mark.parametrize(
    ("content_type", "with_charset"),
    [
        (b"text/html", b"text/html!"),
        (b"TEXT/Plain ", b"TEXT/Plain! "),
        (b"text/xml", b"text/xml!"),
        (b"application/javascript", b"application/javascript!"),
        (b"application/rss+xml", b"application/rss+xml!"),
        (b"text/html;level=1", b"text/html;level=1!"),
        (b"text/html; charset=latin-1", b"text/html; charset=latin-1"),
        (b"text/html; level=1; Charset = x", b"text/html; level=1; Charset = x"),
        (b"text/css", b"text/css"),
        (b"text/htmlx", b"text/htmlx"),
        (b"application/json", b"application/json"),
        (b"", b""),
    ],
)
def test_where_a_charset_belongs(content_type: bytes, with_charset: bytes):
    head = complete_response(response(b"A: b", b"Content-Type: " + content_type, b"C: d"))
    rest, at = head.rest, place_for_charset(head.rest)
    if at:
        rest = rest[:at] + b"!" + rest[at:]
    assert rest == b"\r\nA: b\r\nContent-Type: " + with_charset + b"\r\nC: d"


def test_the_same_response_head_is_read_once_but_anew_for_head():
    message = response(b"Content-Length: 5", b"Date: now")
    first = complete_response(message)
    assert parse_response_head(message + b"hello", WIDE, b"GET", first) is first
    answer_to_head = parse_response_head(message, WIDE, b"HEAD", first)
    assert answer_to_head is not None
    assert answer_to_head.body_length == NO_BODY
    other = parse_response_head(response(b"Content-Length: 6"), WIDE, b"GET", first)
    assert other is not None
    assert other.body_length == 6


@pytest.mark.parametrize(
    ("line", "has_date", "has_server"),
    [
        (b"dAte: now", True, False),
        (b"SERVER: a", False, True),
        (b"X-Date: 1", False, False),
        (b"X-A: server:", False, False),
    ],
)
def test_what_a_response_has_already(line: bytes, has_date: bool, has_server: bool):
    head = complete_response(response(line))
    assert (head.has_date, head.has_server) == (has_date, has_server)


BAD_RESPONSES = {
    "length and chunked": response(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    "chunked and length": response(b"Transfer-Encoding: chunked", b"Content-Length: 5"),
    "length, keep-alive and chunked": response(
        b"Content-Length: 5", b"Connection: keep-alive", b"Transfer-Encoding: chunked"
    ),
    "two lengths": response(b"Content-Length: 5", b"Content-Length: 6"),
    "two lengths around keep-alive": response(
        b"Content-Length: 5", b"Connection: keep-alive", b"Content-Length: 6"
    ),
    "same length twice": response(b"Content-Length: 5", b"Content-Length: 5"),
    "odd length": response(b"Content-Length: 5,5"),
    "odd length in 304": response(b"Content-Length: x", status=b"304 Not Modified"),
    "other coding": response(b"Transfer-Encoding: gzip"),
    "coding besides chunked": response(b"Transfer-Encoding: gzip, chunked"),
    "chunked in 1.0": response(b"Transfer-Encoding: chunked", version=b"1.0"),
    "folded header": response(b"X-A: 1", b" 2"),
    "space before colon": response(b"Content-Length : 5"),
    "NUL in value": response(b"X-A: \x00"),
    "bare LF in value": response(b"X-A: 1\nContent-Length: 5"),
    "bare LF throughout": b"HTTP/1.1 200 OK\nContent-Length: 5\n\n",
    "bare LF at the end": b"HTTP/1.1 200 OK\r\nContent-Length: 5\n\n",
    "bare CR": b"HTTP/1.1 200 OK\rContent-Length: 5\r\n\r\n",
    "control byte in reason": response(status=b"200 O\x07K"),
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "short status": response(status=b"20 OK"),
    "long status": response(status=b"2000 OK"),
    "status below 100": response(status=b"099 OK"),
    "version 2": b"HTTP/2 200\r\n\r\n",
    "version 1.2": response(version=b"1.2"),
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "space first": b" HTTP/1.1 200 OK\r\n\r\n",
    "empty line first": b"\r\nHTTP/1.1 200 OK\r\n\r\n",
    "big head": response(b"X-A: " + b"a" * 40_000),
    "endless head": b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 40_000,
    "many headers": response(*[b"a: b"] * 201),
}


@pytest.mark.parametrize("message", BAD_RESPONSES.values(), ids=BAD_RESPONSES)
def test_what_is_no_response(message: bytes):
    with pytest.raises(MessageError):
        parse_response_head(message, WIDE, b"GET")


@pytest.mark.parametrize(
    "message", [m for m in BAD_RESPONSES.values() if len(m) < 1000], ids=lambda m: m[:40]
)
def test_what_is_no_response_is_none_in_pieces_either(message: bytes):
    with pytest.raises(MessageError):
        feed_in_pieces(lambda beginning: parse_response_head(beginning, WIDE, b"GET"), message)


# -- h11 as the oracle of heads

TOKEN = st.text("abcdefXYZ019-_.!#$%&'*+^`|~", min_size=1, max_size=8).map(str.encode)
SPECIAL_NAME = st.sampled_from(
    [
        b"Host",
        b"host",
        b"Content-Length",
        b"content-length",
        b"Transfer-Encoding",
        b"transfer-encoding",
        b"Connection",
        b"Expect",
        b"Via",
        b"TE",
        b"Keep-Alive",
    ]
)
VALUE = st.one_of(
    st.sampled_from(
        [
            b"a",
            b"0",
            b"5",
            b"5, 5",
            b"chunked",
            b"gzip, chunked",
            b"close",
            b"keep-alive",
            b"100-continue",
            b"",
        ]
    ),
    st.binary(max_size=12),
    st.text("abc xyz,;=\t", max_size=12).map(str.encode),
)
HEADER = st.tuples(
    st.one_of(TOKEN, SPECIAL_NAME), st.sampled_from([b":", b": ", b":\t", b" : "]), VALUE
).map(b"".join)
SENSIBLE = st.sampled_from(
    [
        b"Host: a",
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
        b"Connection: keep-alive",
        b"Expect: 100-continue",
        b"X-A: b",
        b"X-A:  c d \t",
    ]
)
MUTATION = st.tuples(
    st.integers(0, 150),
    st.integers(0, 2),
    st.sampled_from(
        [b"", b" ", b"\n", b"\r", b"\r\n", b"\x00", b"\t", b":", b"\x0b", b"\x85", b"#", b"/"]
    ),
)


def mutated(message: bytes, mutations: list[tuple[int, int, bytes]]) -> bytes:
    for where, removed, inserted in mutations:
        message = message[:where] + inserted + message[where + removed :]
    return message


requests = st.builds(
    lambda method, target, version, headers, mutations: mutated(
        b"\r\n".join((b" ".join((method, target, version)), *headers, b"", b"")), mutations
    ),
    st.one_of(st.sampled_from([b"GET", b"POST", b"HEAD"]), TOKEN),
    st.one_of(st.just(b"/"), st.text("/abc?=%._~*:@\x80 ", min_size=1, max_size=10)).map(
        lambda text: text if isinstance(text, bytes) else text.encode("latin-1")
    ),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"http/1.1"]),
    st.lists(st.one_of(SENSIBLE, HEADER), max_size=4).flatmap(
        lambda headers: st.permutations([b"Host: a", *headers])
    ),
    st.lists(MUTATION, max_size=1),
)
responses = st.builds(
    lambda version, status, headers, mutations: mutated(
        b"\r\n".join((version + b" " + status, *headers, b"", b"")), mutations
    ),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2"]),
    st.sampled_from([b"200 OK", b"200", b"204 No Content", b"304 X", b"404 \xe9", b"500 ", b"99"]),
    st.lists(st.one_of(SENSIBLE, HEADER), max_size=6),
    st.lists(MUTATION, max_size=2),
)

BODY = b"5\r\nabcde\r\n0\r\n\r\n"
"""As chunks: five bytes of payload; as plain bytes: fifteen."""


def pairs(headers: h11._headers.Headers) -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(value)) for name, value in headers]


def body_h11_reads(connection: h11.Connection) -> int:
    """Bytes of payload that h11 finds in BODY, given the framing it chose."""
    connection.receive_data(BODY)
    size = 0
    while isinstance(event := connection.next_event(), h11.Data):
        size += len(event.data)
    return size


def body_we_read(length: int) -> int:
    if length == CHUNKED:
        return 5
    if length == UNTIL_CLOSE:
        return len(BODY)
    return min(max(length, 0), len(BODY))


@settings(max_examples=300)
@given(requests)
@example(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
@example(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
def test_a_request_that_we_accept_h11_accepts_as_the_same(message: bytes):
    try:
        head = request(message, WIDE)
    except MessageError:
        return
    if head is None:
        return
    server = h11.Connection(h11.SERVER)
    # The few empty lines that RFC 9112 section 2.2 has a server skip are too many for h11.
    empty_lines = re.match(rb"(?:\r\n){0,4}", message)
    assert empty_lines is not None
    server.receive_data(message[empty_lines.end() : head.size])
    event = server.next_event()
    assert isinstance(event, h11.Request)
    assert (head.method, target_of(head)) == (event.method, event.target)
    assert b"1." + head.fields.minor == event.http_version
    assert head.fields.headers() == pairs(event.headers)
    if head.fields.minor == b"1":  # h11 keeps no 1.0 connection open, whatever the client asks
        assert head.fields.keep_alive == (
            server.their_state is not h11.MUST_CLOSE and stays_open(event)
        )
        assert head.fields.expect_continue == server.they_are_waiting_for_100_continue or not (
            head.fields.body_length
        )
    assert body_we_read(head.fields.body_length) == body_h11_reads(server)


def stays_open(event: h11.Request | h11.Response) -> bool:
    return not any(
        b"close" in re.split(rb"[ \t]*,[ \t]*", value.lower())
        for name, value in event.headers
        if name == b"connection"
    )


@settings(max_examples=300)
@given(responses, st.sampled_from([b"GET", b"HEAD"]))
def test_a_response_that_we_accept_h11_accepts_as_the_same(message: bytes, method: bytes):
    try:
        head = parse_response_head(message, WIDE, method)
    except MessageError:
        return
    if head is None:
        return
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(message[: head.size])
    event = client.next_event()
    assert isinstance(event, h11.Response)
    assert head.status == event.status_code
    kept = {name.lower() for name in re.findall(rb"\r\n([^:]+):", head.rest)}
    assert kept <= {name for name, _ in pairs(event.headers)}
    if event.http_version == b"1.1" and head.body_length != UNTIL_CLOSE:
        assert head.keep_alive == stays_open(event)
    assert body_we_read(head.body_length) == body_h11_reads(client)
