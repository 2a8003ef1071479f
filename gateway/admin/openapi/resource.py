"""``/openapi.json`` and ``/docs``: rendered once, when first asked for."""

from __future__ import annotations

import asyncio
import json
from functools import cached_property

from starlette.requests import Request
from starlette.responses import Response

from gateway.admin.docs_page.page import CONTENT_SECURITY_POLICY, page
from gateway.admin.openapi.document import described, document
from gateway.admin.resource import Paths
from gateway.admin.responses import MEDIA_TYPE


class OpenApiResource:
    """Tells what ``paths``, the table of the whole API, has."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def paths(self) -> Paths:
        """Return the handlers by path and method."""
        return {"/openapi.json": {"GET": self.openapi}, "/docs": {"GET": self.docs}}

    async def openapi(self, request: Request) -> Response:
        """Return the OpenAPI document."""
        del request
        body = await asyncio.to_thread(lambda: self._document)
        return Response(body, media_type=MEDIA_TYPE)

    async def docs(self, request: Request) -> Response:
        """Return the page."""
        del request
        body = await asyncio.to_thread(lambda: self._page)
        headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
        return Response(body, headers=headers, media_type="text/html")

    @cached_property
    def _document(self) -> bytes:
        # Piece by piece: as one call, it would hold the event loop, though in another thread.
        encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
        return "".join(encoder.iterencode(document(described(self._paths)))).encode()

    @cached_property
    def _page(self) -> bytes:
        return page(described(self._paths)).encode()
