"""One path of the Admin API: which methods it has, and how any outcome becomes an answer.

Sheet: admin-api.md, section 1. That a write may wait for the cluster is ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gateway.admin.barrier import Barrier, asked_timeout_s
from gateway.admin.body import check_content_type
from gateway.admin.errors import answer, method_not_allowed
from gateway.admin.query import parse_query
from gateway.admin.responses import VERSION_HEADER

Handler = Callable[[Request], Awaitable[Response]]

_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_WRITES = _METHODS_WITH_BODY | {"DELETE"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An ASGI app for one path, with a handler per method."""

    handlers: Mapping[str, Handler]
    timeout_s: float
    barrier: Barrier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        scope["path_params"] = {k: unquote(v) for k, v in scope["path_params"].items()}
        request = Request(scope, receive)
        response = await self._respond(request)
        await response(scope, receive, _without_body(send) if request.method == "HEAD" else send)

    async def _respond(self, request: Request) -> Response:
        try:
            if request.method == "OPTIONS":
                return self._options(request)
            if request.method in _METHODS_WITH_BODY:
                check_content_type(request)
            if request.method in _WRITES:
                return await self._write(request)
            return await self._handle(request)
        except Exception as error:  # noqa: BLE001 - `answer` logs what is not expected
            return answer(error)

    async def _handle(self, request: Request) -> Response:
        async with asyncio.timeout(self.timeout_s):
            return await self._handler(request.method)(request)

    async def _write(self, request: Request) -> Response:
        """Answer a write, and wait for the cluster where that is asked: it is done by then."""
        wait_s = asked_timeout_s(parse_query(request.scope["query_string"]))
        response = await self._handle(request)
        version = response.headers.get(VERSION_HEADER)
        if wait_s is not None and version is not None:
            response.headers.update(await self.barrier.wait(int(version), wait_s))
        return response

    def _handler(self, method: str) -> Handler:
        handler = self.handlers.get("GET" if method == "HEAD" else method)
        if handler is None:
            raise method_not_allowed()
        return handler

    def _options(self, request: Request) -> Response:
        methods = {*self.handlers, "OPTIONS"} | ({"HEAD"} if "GET" in self.handlers else set())
        allowed = ", ".join(sorted(methods))
        asked_headers = request.headers.get("access-control-request-headers", "Content-Type")
        return Response(
            status_code=204,
            headers={
                "Allow": allowed,
                "Access-Control-Allow-Methods": allowed,
                "Access-Control-Allow-Headers": asked_headers,
            },
        )


def _without_body(send: Send) -> Send:
    async def send_head_only(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {"type": "http.response.body", "body": b""}
        await send(message)

    return send_head_only
