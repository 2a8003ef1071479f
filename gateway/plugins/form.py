"""The fields of a form, found and taken out while all else keeps its bytes.

Bodies of three types are forms: urlencoded ones, multipart ones, and objects of JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from python_multipart.multipart import parse_options_header

from gateway.plugins.lines import values_of

MOST_FIELDS = 1000

_SPACE = re.compile(r"[ \t\n\r]*+")
_DECODER = json.JSONDecoder()


class _Field(NamedTuple):
    """A field: its text, None for what is not text, and the bytes it is written in."""

    name: str
    text: str | None
    written: bytes


class Form:
    """A body, taken apart: what its fields are written between, and the fields."""

    def __init__(self, start: bytes, between: bytes, end: bytes, fields: list[_Field]) -> None:
        self._start = start
        self._between = between
        self._end = end
        self._fields = fields

    def values(self, name: str) -> list[str]:
        """Return the texts of a field."""
        return [f.text for f in self._fields if f.name == name and f.text is not None]

    def without(self, name: str) -> bytes:
        """Return the body without a field."""
        kept = (field.written for field in self._fields if field.name != name)
        return self._start + self._between.join(kept) + self._end


def read_form(body: bytes, content_type: str) -> Form | None:
    """Return the form that a body is; None if it is none, or one that cannot be read."""
    media_type, options = parse_options_header(content_type)
    try:
        match media_type:
            case b"application/x-www-form-urlencoded":
                form = _urlencoded(body)
            case b"application/json":
                form = _json_object(body.decode())
            case b"multipart/form-data":
                form = _multipart(body, options[b"boundary"])
            case _:
                return None
    except (ValueError, LookupError, RecursionError):
        return None
    return form


def _limited(fields: list[bytes]) -> list[bytes]:
    if len(fields) > MOST_FIELDS:
        raise ValueError(f"more than {MOST_FIELDS} fields")
    return fields


def _urlencoded(body: bytes) -> Form:
    pieces = _limited(body.split(b"&"))
    return Form(b"", b"&", b"", [_urlencoded_field(piece) for piece in pieces])


def _urlencoded_field(written: bytes) -> _Field:
    name, _, text = written.decode().partition("=")
    return _Field(unquote_plus(name), unquote_plus(text), written)


def _multipart(body: bytes, boundary: bytes) -> Form:
    """Read it as RFC 2046 section 5.1.1 writes it."""
    delimiter = b"\r\n--" + boundary
    start, *parts, end = _limited((b"\r\n" + body).split(delimiter))
    if not boundary or not end.startswith(b"--"):
        raise ValueError("the last boundary is missing")
    fields = [_part(part, part + delimiter) for part in parts]
    return Form((start + delimiter)[2:], b"", end, fields)


def _part(part: bytes, written: bytes) -> _Field:
    lines, _, content = part.partition(b"\r\n\r\n")
    disposition = values_of(lines, "content-disposition")[0]
    _, options = parse_options_header(disposition)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return _Field(options[b"name"].decode(), None, written)
    return _Field(options[b"name"].decode(), text, written)


def _json_object(text: str) -> Form:
    members = list(islice(_members(text, _after("{", text, 0)), MOST_FIELDS + 1))
    _limited([member.written for member in members])
    return Form(b"{", b",", b"}", members)


def _members(text: str, at: int) -> Iterator[_Field]:
    """Yield the members of the object that begins before ``at``, which is all there is."""
    closed = text[at] == "}"
    while not closed:
        name, end = _DECODER.raw_decode(text, at)
        value, end = _DECODER.raw_decode(text, _after(":", text, end))
        content = value if isinstance(value, str) else None
        yield _Field(_string(name), content, text[at:end].encode())
        at = _space(text, end)
        closed = text[at] == "}"
        if not closed:
            at = _after(",", text, at)
    if _space(text, at + 1) != len(text):
        raise ValueError("there is something behind the object")


def _string(name: Any) -> str:
    if not isinstance(name, str):
        raise ValueError("the name of a member is no string")  # noqa: TRY004 - what is caught
    return name


def _after(sign: str, text: str, at: int) -> int:
    """Return where something begins behind a sign with space around it."""
    at = _space(text, at)
    if text[at] != sign:
        raise ValueError(f"{sign} expected")
    return _space(text, at + 1)


def _space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None  # noqa: S101 - it matches nothing as well
    return found.end()
