"""JSON answers as the Admin API writes them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse, Response

MEDIA_TYPE = "application/json; charset=utf-8"

VERSION_HEADER = "X-Gateway-Config-Version"
"""On the answer to each write: the version of the config that the write made."""

ROWS_AT_ONCE = 50
"""Rows rendered before the event loop gets its turn: well below 2 ms of work."""


class JsonResponse(JSONResponse):
    """A JSON answer with Kong's content type."""

    media_type = MEDIA_TYPE


async def page_response(
    rows: Sequence[Any], to_api: Callable[[Any], Any], further: Mapping[str, Any]
) -> Response:
    """Return ``{"data": [rows], **further}``, rendered in slices that let the proxy go on."""
    data: list[str] = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        data += (_text(to_api(row)) for row in rows[start : start + ROWS_AT_ONCE])
        await asyncio.sleep(0)
    rest = "".join(f",{_text(key)}:{_text(value)}" for key, value in further.items())
    return Response(f'{{"data":[{",".join(data)}]{rest}}}', media_type=MEDIA_TYPE)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
