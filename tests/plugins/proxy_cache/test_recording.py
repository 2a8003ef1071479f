"""Which head is kept, and when nothing is."""

from __future__ import annotations

from uuid import UUID

import pytest

from gateway.plugins.proxy_cache.recording import Place, Recording
from gateway.plugins.proxy_cache.store import ResponseStore
from gateway.plugins.proxy_cache.terms import Terms
from gateway.proxy.http1 import NO_BODY, read_response_head

KEY = b"k"
PLACE = Place(KEY, UUID(int=1), purges=0)
TERMS = Terms(age_s=0, fresh_s=60, kept_s=60)


@pytest.fixture
def store() -> ResponseStore:
    return ResponseStore(1_000_000)


def kept(
    store: ResponseStore, status: bytes, lines: bytes, *pieces: bytes, method: bytes = b"GET"
) -> bytes:
    """Record a response; return the head that is kept."""
    head = read_response_head(b"HTTP/1.1 " + status + lines + b"\r\n\r\n", method)
    recording = Recording(store, PLACE, head, TERMS)
    assert recording.has_room
    for piece in pieces:
        recording.take(piece, False)
    recording.take(b"", True)
    entry = store.look_at(KEY)
    assert entry is not None
    assert entry.body == b"".join(pieces)
    assert (entry.head.body_length == NO_BODY) is (method == b"HEAD" or status[:3] == b"204")
    return entry.head.text


def test_the_head_is_about_this_body_and_no_connection(store: ResponseStore):
    lines = (
        b"\r\nDate: D\r\nA: 1\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nTransfer-Encoding: chunked"
        b"\r\nTrailer: T\r\nVia: 1.1 x\r\nX-Kong-Upstream-Latency: 3\r\nAge: 3"
        b"\r\nx-cache-status: Hit\r\nProxy-Authenticate: Basic\r\nKeep-Alive: 5"
        b"\r\nX-RateLimit-Remaining-Minute: 1"
        b"\r\nRateLimit-Remaining: 1\r\nRateLimit-Limit: 2\r\nA: 2"
    )
    assert kept(store, b"200 Fine", lines, b"abc", b"de") == (
        b"HTTP/1.1 200 Fine\r\nDate: D\r\nA: 1\r\nRateLimit-Limit: 2\r\nA: 2"
        b"\r\nVia: 1.1 x\r\nContent-Length: 5\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("status", "method", "lines", "expected"),
    [
        (b"200 OK", b"HEAD", b"\r\nContent-Length: 7", b"\r\nContent-Length: 7"),
        (b"200 OK", b"HEAD", b"", b""),
        (b"204 No Content", b"GET", b"", b""),
        (b"200 OK", b"GET", b"\r\nContent-Length: 0", b"\r\nContent-Length: 0"),
    ],
)
def test_lengths(store: ResponseStore, status: bytes, method: bytes, lines: bytes, expected: bytes):
    text = kept(store, status, b"\r\nDate: D" + lines, method=method)
    assert text == b"HTTP/1.1 " + status + b"\r\nDate: D" + expected + b"\r\n\r\n"


def test_a_service_without_a_clock_is_given_a_date(store: ResponseStore):
    assert b"\r\nDate: " in kept(store, b"200 OK", b"\r\nContent-Length: 0")


@pytest.mark.parametrize("lines", [b"", b"\r\nContent-Length: 20000"])
def test_what_has_no_end_or_no_room_is_not_recorded(store: ResponseStore, lines: bytes):
    head = read_response_head(b"HTTP/1.1 200 OK" + lines + b"\r\n\r\n", b"GET")
    assert not Recording(store, PLACE, head, TERMS).has_room


def test_what_ends_early_leaves_nothing(store: ResponseStore):
    head = read_response_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"GET")
    recording = Recording(store, PLACE, head, TERMS)
    recording.take(b"x" * 1000, False)
    recording.drop()
    recording.take(b"", True)
    assert len(store) == 0
    assert store.reserve(250_000)


def test_no_more_is_recorded_at_once_than_there_is_room_for(store: ResponseStore):
    head = read_response_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"GET")
    recordings = [Recording(store, PLACE, head, TERMS) for _ in range(30)]
    for recording in recordings:
        recording.take(b"x" * 10_000, False)
    assert [it.has_room for it in recordings] == [True] * 25 + [False] * 5
    for recording in recordings:
        recording.take(b"", True)
    assert store.reserve(250_000)
