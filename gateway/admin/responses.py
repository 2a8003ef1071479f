"""JSON answers as the Admin API writes them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse, Response

MEDIA_TYPE = "application/json; charset=utf-8"

VERSION_HEADER = "X-Gateway-Config-Version"
"""On the answer to each write: the version of the config that the write made."""

SLICE_S = 0.001
"""How long rows are rendered before the event loop gets its turn."""


class JsonResponse(JSONResponse):
    """A JSON answer with Kong's content type."""

    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        """Return the content as JSON."""
        return _rendered(content)


async def page_response(
    rows: Sequence[Any], to_api: Callable[[Any], Any], further: Mapping[str, Any]
) -> Response:
    """Return ``{"data": [rows], **further}``, rendered in slices that let the proxy go on."""
    data: list[bytes] = []
    began = time.perf_counter()
    for row in rows:
        data.append(_rendered(to_api(row)))
        if time.perf_counter() - began > SLICE_S:
            await asyncio.sleep(0)
            began = time.perf_counter()
    rest = b"".join(b",%b:%b" % (_rendered(k), _rendered(v)) for k, v in further.items())
    return Response(b'{"data":[%b]%b}' % (b",".join(data), rest), media_type=MEDIA_TYPE)


def _rendered(value: Any) -> bytes:
    """Return JSON in UTF-8; a lone surrogate, which that has no bytes for, stays escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode(errors="backslashreplace")
