"""Query parameters of lists: page size, offset and tag filter, and the link to the next page.

Sheet: admin-api.md, section 4.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from gateway.admin.errors import invalid_offset, invalid_option, invalid_size, plain
from gateway.entities import ENTITIES
from gateway.entities.types import Tag
from gateway.store.overview import TagPlace

DEFAULT_SIZE = 100
LARGEST_SIZE = 1000
_SIZE_RANGE = f"size must be an integer between 1 and {LARGEST_SIZE}"
MOST_ARGUMENTS = 1000
MOST_TAGS = 5

_POSITIONS = 2**31

Place = TypeVar("Place")

_NUMBER = re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]*)?")
_TAG: TypeAdapter[str] = TypeAdapter(Tag)


@dataclass(frozen=True, slots=True)
class TagFilter:
    """Tags an entity must all have, and tags it must have one of."""

    all: tuple[str, ...] = ()
    any: tuple[str, ...] = ()


EVERY_TAG = TagFilter()
"""Selects entities whatever their tags."""


def parse_query(raw: bytes) -> dict[str, str]:
    """Return the parameters of a query string, the first of each name."""
    return dict(reversed(parse_pairs(raw)))


def parse_pairs(raw: bytes) -> list[tuple[str, str]]:
    """Return the parameters of a query string, each as a name and a value."""
    try:
        return parse_qsl(
            raw.decode(errors="replace"), keep_blank_values=True, max_num_fields=MOST_ARGUMENTS
        )
    except ValueError:
        raise plain(400, "Too many arguments") from None


def page_size(query: Mapping[str, str]) -> int:
    """Return how many rows a page may have."""
    size = _asked_size(query)
    if size > LARGEST_SIZE:
        raise invalid_size(_SIZE_RANGE)
    return size


def capped_page_size(query: Mapping[str, str]) -> int:
    """Return how many rows a page may have, where too many is no error."""
    return min(_asked_size(query), LARGEST_SIZE)


def _asked_size(query: Mapping[str, str]) -> int:
    text = query.get("size", str(DEFAULT_SIZE))
    if not _NUMBER.fullmatch(text):
        raise invalid_size("size must be a number")
    if not float(text).is_integer() or float(text) < 1:
        raise invalid_size(_SIZE_RANGE)
    return int(float(text))


def page_start(query: Mapping[str, str]) -> UUID | None:
    """Return the id after which the page begins."""
    return _read_offset(query, _last_id)


def tag_page_start(query: Mapping[str, str]) -> TagPlace | None:
    """Return the place of the tag after which the page begins."""
    return _read_offset(query, _last_place)


def offset_after(last_id: UUID) -> str:
    """Return the ``offset`` of the page after the one that ends with ``last_id``."""
    return _offset([str(last_id)])


def offset_after_tag(last: TagPlace) -> str:
    """Return the ``offset`` of the page after the one that ends with the tag at this place."""
    return _offset([str(last.entity_id), last.position, last.table])


def _offset(values: list[str | int]) -> str:
    return base64.b64encode(json.dumps(values).encode()).decode().rstrip("=")


def _read_offset(query: Mapping[str, str], read: Callable[[Any], Place]) -> Place | None:
    offset = query.get("offset")
    if offset is None:
        return None
    try:
        content = base64.b64decode(offset + "=" * (-len(offset) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid_offset(offset, "bad base64 encoding") from None
    try:
        return read(json.loads(content))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise invalid_offset(offset, "bad json encoding") from None


def _last_id(values: Any) -> UUID:
    (last_id,) = values
    return UUID(last_id)


def _last_place(values: Any) -> TagPlace:
    entity_id, position, table = values
    if type(position) is not int or not 0 <= position < _POSITIONS or table not in ENTITIES:
        raise ValueError("no place of a tag")
    return TagPlace(UUID(entity_id), position, table)


def next_link(path: str, offset: str, query: Mapping[str, str], kept: tuple[str, ...]) -> str:
    """Return the host-relative URL of the next page, with those parameters that are ``kept``."""
    parameters = {"offset": offset, **{name: query[name] for name in kept if name in query}}
    encoded = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items())
    return f"{path}?{encoded}"


def tag_filter(query: Mapping[str, str]) -> TagFilter:
    """Return what ``tags`` asks for: ``a,b`` all of them, ``a/b`` one of them."""
    text = query.get("tags")
    if text is None:
        return EVERY_TAG
    if not text:
        raise invalid_option("tags", "cannot be null")
    tags = _split(text, "/" if "/" in text else ",")
    if len(tags) > MOST_TAGS:
        raise invalid_option("tags", f"cannot query more than {MOST_TAGS} tags")
    return TagFilter(any=tags) if "/" in text else TagFilter(all=tags)


def _split(text: str, separator: str) -> tuple[str, ...]:
    tags = tuple(text.removesuffix(separator).split(separator))
    try:
        return tuple(_TAG.validate_python(tag, strict=True) for tag in tags)
    except ValidationError:
        raise invalid_option("tags", "invalid filter syntax") from None
