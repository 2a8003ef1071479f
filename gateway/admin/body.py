"""Request bodies: which types are taken, how large they may be, how they become fields.

Sheet: admin-api.md, section 2.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import parse_qsl

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from gateway.admin.errors import ApiError, plain
from gateway.admin.forms import decode_form
from gateway.entities import EntityType, Given

MOST_ARGUMENTS = 1000

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"


def check_content_type(request: Request) -> None:
    """Raise the answer for a body of a type that no handler reads."""
    types = request.headers.getlist("content-type")
    if len(types) > 1:
        raise plain(400, "Multiple Content-Type headers not allowed")
    if types and not types[0].startswith((JSON, FORM, MULTIPART)):
        raise plain(415, f"Content-Type must be {JSON}, {FORM} or {MULTIPART}")
    if not types and _announces_a_body(request):
        raise plain(415, f"a body needs a Content-Type: {JSON}, {FORM} or {MULTIPART}")


async def read_fields(request: Request, entity_type: EntityType, limit_bytes: int) -> Given:
    """Return the fields that the body stands for, of whatever type it is."""
    body = await _read(request, limit_bytes)
    content_type = request.headers.get("content-type", "")
    if not body and (not content_type or request.headers.get("content-length") == "0"):
        return {}
    if content_type.startswith(JSON):
        return await asyncio.to_thread(_json_object, body)
    pairs = await _form_pairs(request, body, content_type)
    return decode_form(entity_type.model, pairs)


def _announces_a_body(request: Request) -> bool:
    length = request.headers.get("content-length", "0")
    return length != "0" or "transfer-encoding" in request.headers


async def _read(request: Request, limit_bytes: int) -> bytes:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and len(length) < 20 and int(length) > limit_bytes:
        raise _too_large(limit_bytes)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit_bytes:
            raise _too_large(limit_bytes)
    return bytes(body)


def _too_large(limit_bytes: int) -> ApiError:
    return plain(413, f"the body is larger than {limit_bytes} bytes (admin_body_limit_bytes)")


# -- JSON


def _json_object(body: bytes) -> Given:
    try:
        value = json.loads(
            body.decode(), object_pairs_hook=_without_duplicates, parse_constant=_no_constant
        )
    except UnicodeDecodeError as error:
        raise _bad_json(f"not UTF-8 at byte {error.start + 1}") from None
    except RecursionError:
        raise _bad_json("nested too deeply") from None
    except ValueError as error:
        raise _bad_json(str(error)) from None
    if not isinstance(value, dict):
        raise _bad_json("expected an object")
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        (twice, _), *_rest = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"key {json.dumps(twice)} appears twice")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _bad_json(reason: str) -> ApiError:
    return plain(400, "Cannot parse JSON body", reason=reason)


# -- forms


async def _form_pairs(request: Request, body: bytes, content_type: str) -> list[tuple[str, str]]:
    try:
        if content_type.startswith(MULTIPART):
            return await _multipart_pairs(request, body)
        return parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_ARGUMENTS
        )
    except UnicodeDecodeError:
        raise plain(400, "Cannot parse form body", reason="not UTF-8") from None
    except ValueError:
        raise plain(400, "Too many arguments") from None


async def _multipart_pairs(request: Request, body: bytes) -> list[tuple[str, str]]:
    parser = MultiPartParser(
        request.headers,
        _whole(body),
        max_files=MOST_ARGUMENTS,
        max_fields=MOST_ARGUMENTS,
        max_part_size=len(body),
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if "Too many" in error.message:
            raise ValueError(error.message) from None
        raise plain(400, "Cannot parse form body", reason=error.message) from None
    try:
        return [
            (name, value if isinstance(value, str) else (await value.read()).decode())
            for name, value in form.multi_items()
        ]
    finally:
        await form.close()


async def _whole(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body
