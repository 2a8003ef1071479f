"""Sends bodies to an HTTP server that collects them, over a connection kept open in between."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import unquote_to_bytes

import httpx

from gateway.entities.errors import violation
from gateway.entities.rules import Between, Satisfies
from gateway.entities.types import Text, WholeNumber
from gateway.plugins.delivery import DeliveryError
from gateway.plugins.lines import LineError, line
from gateway.plugins.unverified import unverified_tls

_READ_BYTES = 65_536
"""What is read of an answer; a server that says more loses the connection."""

_FRAMING_HEADERS = ("Host", "Content-Length")


def _check_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise violation(f"invalid url: {error}") from None
    if parsed.scheme not in ("http", "https"):
        raise violation("scheme must be http or https")
    if not parsed.host:
        raise violation("missing host in url")
    return url


def _check_header(name: str) -> str:
    for own in _FRAMING_HEADERS:
        if name.lower() == own.lower():
            raise violation(f"cannot contain '{own}' header")
    return name


def _check_header_value(value: str) -> str:
    try:
        line("x", value)
    except LineError:
        raise violation("must not contain control characters") from None
    return value


EndpointUrl = Annotated[Text, Satisfies(_check_url)]
"""URL of a server; ``user:password@`` logs in."""

NotFraming = Satisfies(_check_header)
"""A header's name that may be set."""

SentValue = Annotated[Text, Satisfies(_check_header_value)]
"""A header's value."""

TimeoutMs = Annotated[WholeNumber, Between(0, 2**31 - 2)]


class HttpPost:
    """The way to one URL; ``timeout_s`` is for a whole try, ``timeouts`` for its parts."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        method: str = "POST",
        timeout_s: float,
        timeouts: httpx.Timeout | None = None,
        keepalive_s: float,
    ) -> None:
        self._timeout_s = timeout_s
        self._method = method
        self._url = httpx.URL(url).copy_with(userinfo=b"", fragment=None)
        self._headers = _authorization(url) | dict(headers)
        self._client = httpx.AsyncClient(
            verify=unverified_tls(),
            trust_env=False,
            timeout=timeouts or timeout_s,
            limits=httpx.Limits(max_connections=1, keepalive_expiry=keepalive_s),
        )

    async def send(self, body: bytes) -> None:
        """Send a body. Raises DeliveryError unless the answer says that it was taken."""
        try:
            async with asyncio.timeout(self._timeout_s):
                status = await self._ask(body)
        except TimeoutError:
            raise DeliveryError(f"no answer within {self._timeout_s:g} s") from None
        except (httpx.HTTPError, OSError, UnicodeError) as error:
            raise DeliveryError(str(error) or type(error).__name__) from None
        if status >= 300:
            raise DeliveryError(f"the answer was {status}")

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()

    async def _ask(self, body: bytes) -> int:
        asking = self._client.stream(self._method, self._url, content=body, headers=self._headers)
        async with asking as answer:
            read_bytes = 0
            async for piece in answer.aiter_raw():
                read_bytes += len(piece)
                if read_bytes > _READ_BYTES:
                    break
            return answer.status_code


def place_of(url: str) -> str:
    """Return a URL as a log may tell it: without what may be secret."""
    return str(httpx.URL(url).copy_with(userinfo=b"", query=None, fragment=None))


def _authorization(url: str) -> dict[str, str]:
    userinfo = httpx.URL(url).userinfo
    if not userinfo:
        return {}
    return {"Authorization": "Basic " + b64encode(unquote_to_bytes(userinfo)).decode()}
