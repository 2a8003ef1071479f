"""Request bodies: which types are taken, how large they may be, how they become fields.

Sheet: admin-api.md, section 2.
"""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from gateway.admin.errors import ApiError, plain
from gateway.admin.form_body import FORM, MULTIPART, form_pairs
from gateway.admin.forms import decode_form
from gateway.admin.json_body import json_object
from gateway.entities import EntityType, Given

LARGEST_ENTITY_BYTES = 1_048_576
"""A body that stands for one entity, whatever larger ones the settings allow elsewhere.

It is parsed, validated, stored, read back and answered, all in one piece.
"""

JSON = "application/json"
YAML = ("application/yaml", "text/yaml")

_TYPES = (JSON, FORM, MULTIPART)
_FURTHER_TYPES = {"/config": YAML}


def check_content_type(request: Request) -> None:
    """Raise the answer for a body of a type that no handler reads."""
    types = request.headers.getlist("content-type")
    if len(types) > 1:
        raise plain(400, "Multiple Content-Type headers not allowed")
    taken = _TYPES + _FURTHER_TYPES.get(request.scope["path"], ())
    *first, last = taken
    if types and not types[0].startswith(taken):
        raise plain(415, f"Content-Type must be {', '.join(first)} or {last}")
    if not types and _announces_a_body(request):
        raise plain(415, f"a body needs a Content-Type: {', '.join(first)} or {last}")
    if _is_compressed(request):
        message = "compressed bodies are not read: send it without Content-Encoding"
        raise ApiError(415, {"message": message}, {"Accept-Encoding": "identity"})


async def read_fields(
    request: Request, entity_type: EntityType, limit_bytes: int, stored: Given | None = None
) -> Given:
    """Return the fields that the body stands for, of whatever type it is.

    A form is read by the model for what it has, and has not but ``stored`` has. It may have
    ``limit_bytes`` (of `admin_body_limit_bytes`), and never more than an entity may.
    """
    if limit_bytes <= LARGEST_ENTITY_BYTES:
        body = await read_body(request, limit_bytes, "admin_body_limit_bytes")
    else:
        body = await read_body(request, LARGEST_ENTITY_BYTES, "the most for one entity")
    content_type = request.headers.get("content-type", "")
    if not body and (not content_type or request.headers.get("content-length") == "0"):
        return {}
    # Beside the event loop: what takes long must not stop the proxy.
    return await asyncio.to_thread(_fields, body, content_type, entity_type, stored or {})


def is_form(request: Request) -> bool:
    """Tell whether the body of a request is texts, of which fields have yet to be made."""
    return request.headers.get("content-type", "").startswith((FORM, MULTIPART))


async def read_body(request: Request, limit_bytes: int, limited_by: str) -> bytes:
    """Return the body. Raises the answer to one that is larger, as soon as that is known."""
    too_large = plain(413, f"the body is larger than {limit_bytes} bytes ({limited_by})")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and len(length) < 20 and int(length) > limit_bytes:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit_bytes:
            raise too_large
    return bytes(body)


def _announces_a_body(request: Request) -> bool:
    length = request.headers.get("content-length", "0")
    return length != "0" or "transfer-encoding" in request.headers


def _is_compressed(request: Request) -> bool:
    coding = request.headers.get("content-encoding", "identity").lower()
    transfer_coding = request.headers.get("transfer-encoding", "chunked").lower()
    return coding != "identity" or transfer_coding != "chunked"


def _fields(body: bytes, content_type: str, entity_type: EntityType, stored: Given) -> Given:
    if content_type.startswith(JSON):
        return json_object(body)
    pairs = form_pairs(body, content_type)
    return decode_form(entity_type.model_of(stored | dict(pairs)), pairs)
