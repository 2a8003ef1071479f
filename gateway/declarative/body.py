"""The declarative file in the body of a request.

It is the body, or the field ``config`` of a body that is JSON or a form. Reference sheet
admin-api.md, section 8.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import parse_qs

from gateway.declarative.bounds import ReadError
from gateway.declarative.reading import read

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

_FIELD = "config"
_MOST_FIELDS = 100


def read_body(body: bytes, content_type: str) -> Any:
    """Return the value of the file that a body has. Raises ReadError."""
    try:
        if content_type.startswith(MULTIPART):
            return read(asyncio.run(_multipart_field(body, content_type)))
        text = body.decode()
        if content_type.startswith(FORM):
            return read(_form_field(text))
    except UnicodeDecodeError as error:
        raise ReadError(f"not UTF-8 at byte {error.start + 1}") from None
    value = read(text)
    if isinstance(value, dict) and isinstance(value.get(_FIELD), str):
        return read(value[_FIELD])
    return value


def _form_field(text: str) -> str:
    try:
        fields = parse_qs(text, strict_parsing=True, errors="strict", max_num_fields=_MOST_FIELDS)
        return fields[_FIELD][0]
    except (ValueError, KeyError):
        raise _no_field() from None


async def _multipart_field(body: bytes, content_type: str) -> str:
    from starlette.datastructures import Headers, UploadFile  # noqa: PLC0415 - rare, and 0.1 s
    from starlette.formparsers import MultiPartException, MultiPartParser  # noqa: PLC0415

    async def whole() -> AsyncGenerator[bytes]:
        yield body

    headers = Headers({"content-type": content_type})
    parser = MultiPartParser(
        headers, whole(), max_files=1, max_fields=_MOST_FIELDS, max_part_size=len(body)
    )
    try:
        value = (await parser.parse()).get(_FIELD)
    except (MultiPartException, KeyError):
        raise _no_field() from None
    if isinstance(value, UploadFile):
        return (await value.read()).decode()
    if value is None:
        raise _no_field()
    return value


def _no_field() -> ReadError:
    return ReadError(f"the form has no field '{_FIELD}'")
