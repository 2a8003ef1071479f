"""What happens to every request and answer: the path is settled, common headers are added."""

from __future__ import annotations

import time
from urllib.parse import unquote
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.admin.access.browsers import Browsers
from gateway.admin.actor import ACTOR
from gateway.admin.barrier import BEHIND_HEADER, PROPAGATION_HEADER, UNSEEN_HEADER
from gateway.admin.errors import answer, plain
from gateway.admin.responses import VERSION_HEADER
from gateway.store.actor import Actor

REQUEST_ID_HEADER = "X-Gateway-Admin-Request-Id"

_EXPOSED = ", ".join(
    (
        "ETag",
        "Retry-After",
        VERSION_HEADER,
        REQUEST_ID_HEADER,
        PROPAGATION_HEADER,
        BEHIND_HEADER,
        UNSEEN_HEADER,
    )
)
"""What scripts in a browser may read besides what they always may."""


class SettledPath:
    """Gives Starlette a path whose segments stay apart.

    Percent triplets are decoded except ``%2F`` (and ``%25``), which are part of a segment, and one
    trailing slash is dropped.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its path settled."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            path = settled(scope["raw_path"].decode("latin-1"))
        except UnicodeDecodeError:
            refusal = answer(plain(400, "the path is not UTF-8"))
            await refusal(scope, receive, send)
            return
        await self._app({**scope, "path": path}, receive, send)


def settled(raw_path: str) -> str:
    """Return the path decoded segment by segment. Raises UnicodeDecodeError."""
    segments = raw_path.split("/")
    if len(segments) > 2 and segments[-1] == "":
        segments.pop()
    return "/".join(map(_settled_segment, segments))


def _settled_segment(segment: str) -> str:
    raw = unquote(segment, "latin-1").encode("latin-1")
    return raw.decode().replace("%", "%25").replace("/", "%2F")


class Introduction:
    """Notes who asks, for the audit log, and tells the client by which id it can be found there."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its actor."""
        client, request_id = scope.get("client"), uuid4().hex
        scope = {**scope, ACTOR: Actor(None, client[0] if client else "", request_id)}

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        await self._app(scope, receive, send_with_id)


class CommonHeaders:
    """Adds to each answer who gave it, how long that took, and that browsers may read it."""

    def __init__(self, app: ASGIApp, server: str, latency_header: str, browsers: Browsers) -> None:
        self._app = app
        self._server = server
        self._latency_header = latency_header
        self._browsers = browsers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and add the headers to its answer."""
        started = time.monotonic()
        asking = Headers(scope=scope).get("origin") if scope["type"] == "http" else None

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Server"] = self._server
                headers[self._latency_header] = str(round((time.monotonic() - started) * 1000))
                headers["Access-Control-Allow-Origin"] = self._browsers.allowed_origin(asking)
                headers["Access-Control-Allow-Credentials"] = "true"
                headers["Access-Control-Expose-Headers"] = _EXPOSED
            await send(message)

        await self._app(scope, receive, send_with_headers)
