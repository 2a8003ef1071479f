"""request-size-limiting: which bodies are too large, and when that is noticed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.plugins.contract import Plugin
from gateway.plugins.request import Request
from gateway.plugins.request_size_limiting import RequestSizeLimiting
from gateway.testing import Serving
from tests.plugins.configs import problems

TOO_LARGE = "Request size limit exceeded"
NO_LENGTH = "A valid Content-Length header is required"


async def chunks(*pieces: bytes) -> AsyncIterator[bytes]:
    """Send a body in chunks."""
    for piece in pieces:
        yield piece


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, {}),
        ({"size_unit": "gigabytes"}, {"size_unit": "expected one of: megabytes, kilobytes, bytes"}),
        ({"allowed_payload_size": "1"}, {"allowed_payload_size": "expected an integer"}),
    ],
)
def test_what_is_refused(config: dict[str, Any], expected: dict[str, Any]):
    assert problems(RequestSizeLimiting, config) == expected


@pytest.mark.parametrize(
    ("size", "unit", "limit_bytes"),
    [(100, "bytes", 100), (1, "kilobytes", 1024), (1, "megabytes", 1_048_576)],
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_exactly_the_limit_is_allowed(
    size: int, unit: str, limit_bytes: int, *, chunked: bool
):
    async with Serving(RequestSizeLimiting, allowed_payload_size=size, size_unit=unit) as gateway:
        for length, status in ((0, 200), (limit_bytes, 200), (limit_bytes + 1, 413)):
            body = b"x" * length
            answer = await gateway.ask("POST", "/", content=chunks(body) if chunked else body)
            assert answer.status_code == status
    assert answer.json()["message"] == TOO_LARGE
    assert [len(got.body) for got in gateway.received] == [0, limit_bytes]


async def test_who_asks_first_is_told_otherwise():
    async with Serving(RequestSizeLimiting, allowed_payload_size=1, size_unit="bytes") as gateway:
        headers = {"Expect": "100-Continue"}
        answer = await gateway.ask("POST", "/", content=b"xx", headers=headers)
    assert (answer.status_code, answer.json()["message"]) == (417, TOO_LARGE)


@pytest.mark.parametrize(
    ("method", "content", "status"),
    [("GET", None, 411), ("POST", b"", 200), ("POST", b"x", 200), ("POST", chunks(b"x"), 200)],
)
async def test_a_length_can_be_required(method: str, content: Any, status: int):
    async with Serving(RequestSizeLimiting, require_content_length=True) as gateway:
        answer = await gateway.ask(method, "/", content=content)
    assert answer.status_code == status
    if status == 411:
        assert answer.json()["message"] == NO_LENGTH


async def test_without_such_a_rule_no_length_is_fine():
    async with Serving(RequestSizeLimiting) as gateway:
        assert (await gateway.ask("GET", "/")).status_code == 200


@pytest.mark.parametrize("buffering", [True, False])
async def test_a_body_in_chunks_is_cut_off_where_it_becomes_too_large(*, buffering: bool):
    gateway = Serving(RequestSizeLimiting, allowed_payload_size=5, size_unit="kilobytes")
    gateway.route["request_buffering"] = buffering
    async with gateway:
        answer = await gateway.ask("POST", "/", content=chunks(*[b"x" * 1000] * 50))
    assert answer.status_code == 413
    assert answer.headers["Connection"] == "close"
    assert gateway.received == []


class Reading(Plugin):
    """Reads the body before its size is looked at."""

    name = "reading"
    priority = 1000

    async def access(self, request: Request) -> None:
        await request.body()


class ReadingLater(Reading):
    name = "reading-later"
    priority = 1


@pytest.mark.parametrize("reader", [Reading, ReadingLater])
async def test_other_plugins_may_read_it_too(reader: type[Plugin]):
    gateway = Serving(RequestSizeLimiting, allowed_payload_size=5, size_unit="bytes")
    gateway.use(reader)
    async with gateway:
        fits = await gateway.ask("POST", "/", content=chunks(b"abc", b"de"))
        does_not = await gateway.ask("POST", "/", content=chunks(b"abc", b"def"))
    assert (fits.status_code, does_not.status_code) == (200, 413)
    assert [got.body for got in gateway.received] == [b"abcde"]
