"""The fields of a form, found and changed while all else keeps its bytes.

Bodies of three types are forms: urlencoded ones, multipart ones, and objects of JSON. Texts are
UTF-8; bytes that are not are surrogates in what is written, as ``surrogateescape`` makes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, ClassVar, NamedTuple
from urllib.parse import quote, unquote_plus

from python_multipart.multipart import parse_options_header

from gateway.plugins.lines import values_of, without

MOST_FIELDS = 1000

_SPACE = re.compile(r"[ \t\n\r]*+")
_DECODER = json.JSONDecoder()


class _Field(NamedTuple):
    """A field: its text, None for what is not text, its value, and all that it is written in."""

    name: str
    text: str | None
    value: bytes
    written: bytes


class Form:
    """A body, taken apart: what its fields are written between, and the fields."""

    renames_first: ClassVar[bool] = False

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
        return self._joined([field for field in self._fields if field.name != name])

    def whole(self) -> bytes:
        """Return the body as it is by now."""
        return self._joined(self._fields)

    def has(self, name: str) -> bool:
        """Tell whether there is such a field."""
        return any(field.name == name for field in self._fields)

    def remove(self, name: str) -> None:
        """Take a field out."""
        self._fields = [field for field in self._fields if field.name != name]

    def rename(self, old: str, new: str) -> None:
        """Give a field another name; one that had it is gone."""
        if old != new:
            self.remove(new)
        self._fields = [self._renamed(f, new) if f.name == old else f for f in self._fields]

    def put(self, name: str, text: str) -> None:
        """Give a field this text and no other."""
        self._put(self._new(name, text))

    def append(self, name: str, text: str) -> None:
        """Give a field one more value."""
        self._fields.append(self._new(name, text))

    def _put(self, new: _Field) -> None:
        places = [place for place, field in enumerate(self._fields) if field.name == new.name]
        if places:
            self._fields[places[0]] = new
            for place in reversed(places[1:]):
                del self._fields[place]
        else:
            self._fields.append(new)

    def _joined(self, fields: list[_Field]) -> bytes:
        return self._start + self._between.join([f.written for f in fields]) + self._end

    def _new(self, name: str, text: str) -> _Field:
        """Write a field."""
        raise NotImplementedError

    def _renamed(self, field: _Field, name: str) -> _Field:
        """Write a field under another name."""
        raise NotImplementedError


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


class _Urlencoded(Form):
    """``a=1&b=2``."""

    def _new(self, name: str, text: str) -> _Field:
        return self._of(name, text, quote(text, safe="", errors="surrogateescape").encode())

    def _renamed(self, field: _Field, name: str) -> _Field:
        return self._of(name, field.text, field.value)

    def _of(self, name: str, text: str | None, value: bytes) -> _Field:
        return _Field(name, text, value, quote(name, safe="").encode() + b"=" + value)


def _urlencoded(body: bytes) -> Form:
    pieces = _limited(body.split(b"&")) if body else []
    return _Urlencoded(b"", b"&", b"", [_urlencoded_field(piece) for piece in pieces])


def _urlencoded_field(written: bytes) -> _Field:
    name, _, text = written.decode().partition("=")
    return _Field(unquote_plus(name), unquote_plus(text), text.encode(), written)


class _Multipart(Form):
    """Parts between boundaries (RFC 7578); to have one more value is not for them."""

    renames_first = True

    def __init__(self, delimiter: bytes, start: bytes, end: bytes, fields: list[_Field]) -> None:
        super().__init__(start, b"", end, fields)
        self._delimiter = delimiter

    def append(self, name: str, text: str) -> None:
        """Leave everything as it is (plugins.md section 5.12)."""

    def _new(self, name: str, text: str) -> _Field:
        content = text.encode(errors="surrogateescape")
        if self._delimiter in content:
            content = b""  # or it would be two parts
        return self._of(name, text, _disposition(name) + b"\r\n\r\n" + content)

    def _renamed(self, field: _Field, name: str) -> _Field:
        lines, empty_line, content = field.value.partition(b"\r\n\r\n")
        _, options = parse_options_header(values_of(lines, "content-disposition")[0])
        disposition = _disposition(name, options.get(b"filename"))
        lines = disposition + without(lines, "content-disposition")
        return self._of(name, field.text, lines + empty_line + content)

    def _of(self, name: str, text: str | None, part: bytes) -> _Field:
        return _Field(name, text, part, part + self._delimiter)


def _disposition(name: str, filename: bytes | None = None) -> bytes:
    line = b'\r\nContent-Disposition: form-data; name="%b"' % _quotable(name.encode())
    return line if filename is None else line + b'; filename="%b"' % _quotable(filename)


def _quotable(text: bytes) -> bytes:
    return text.replace(b'"', b"%22").replace(b"\r", b"%0D").replace(b"\n", b"%0A")


def _multipart(body: bytes, boundary: bytes) -> Form:
    """Read it as RFC 2046 section 5.1.1 writes it."""
    delimiter = b"\r\n--" + boundary
    start, *parts, end = _limited((b"\r\n" + body).split(delimiter))
    if not boundary or not end.startswith(b"--"):
        raise ValueError("the last boundary is missing")
    fields = [_part(part, part + delimiter) for part in parts]
    return _Multipart(delimiter, (start + delimiter)[2:], end, fields)


def _part(part: bytes, written: bytes) -> _Field:
    lines, _, content = part.partition(b"\r\n\r\n")
    disposition = values_of(lines, "content-disposition")[0]
    _, options = parse_options_header(disposition)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = None
    return _Field(options[b"name"].decode(), text, part, written)


class JsonObject(Form):
    """An object of JSON; texts that are bytes are values as JSON writes them, of any type."""

    def put(self, name: str, text: str | bytes) -> None:
        """Give a field this value and no other."""
        self._put(self._new(name, text))

    def append(self, name: str, text: str | bytes) -> None:
        """Make an array of a field, with one more value."""
        old = next((f.value for f in reversed(self._fields) if f.name == name), b"[]")
        items = old[1:-1].strip() if old.startswith(b"[") else old
        written = [items, _dumped(text)] if items else [_dumped(text)]
        self._put(self._new(name, b"[" + b",".join(written) + b"]"))

    def _new(self, name: str, text: str | bytes) -> _Field:
        value = _dumped(text)
        known = text if isinstance(text, str) else None
        return _Field(name, known, value, _dumped(name) + b":" + value)

    def _renamed(self, field: _Field, name: str) -> _Field:
        return self._new(name, field.value)._replace(text=field.text)


def _dumped(text: str | bytes) -> bytes:
    if isinstance(text, bytes):
        return text
    storable = text.encode(errors="surrogateescape").decode(errors="replace")
    return json.dumps(storable, ensure_ascii=False).encode()


def read_object(body: bytes) -> JsonObject | None:
    """Return the object that a body is; None if it is none, or one that cannot be read."""
    try:
        return _json_object(body.decode())
    except (ValueError, LookupError, RecursionError):
        return None


def _json_object(text: str) -> JsonObject:
    members = list(islice(_members(text, _after("{", text, 0)), MOST_FIELDS + 1))
    _limited([member.written for member in members])
    return JsonObject(b"{", b",", b"}", members)


def _members(text: str, at: int) -> Iterator[_Field]:
    """Yield the members of the object that begins before ``at``, which is all there is."""
    closed = text[at] == "}"
    while not closed:
        name, end = _DECODER.raw_decode(text, at)
        begin = _after(":", text, end)
        value, end = _DECODER.raw_decode(text, begin)
        content = value if isinstance(value, str) else None
        yield _Field(_string(name), content, text[begin:end].encode(), text[at:end].encode())
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
    if text[at : at + 1] > " ":
        return at
    found = _SPACE.match(text, at)
    assert found is not None  # noqa: S101 - it matches nothing as well
    return found.end()
