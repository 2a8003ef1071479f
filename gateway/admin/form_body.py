"""Form bodies as pairs of a name and a text: urlencoded and multipart.

Sheet: admin-api.md, section 2.1. The charset is UTF-8, whatever a form says of it.
"""

from __future__ import annotations

from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from gateway.admin.errors import ApiError, plain

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

MOST_ARGUMENTS = 1000

MOST_ESCAPES = 100_000
"""Percent triplets of a body: to resolve so many holds the interpreter for some milliseconds."""

Pairs = list[tuple[str, str]]


class _TooManyError(FormParserError):
    """There are more than ``MOST_ARGUMENTS`` pairs."""


def form_pairs(body: bytes, content_type: str) -> Pairs:
    """Return what was sent, file parts by their content. Raises an answer if it cannot be read."""
    try:
        if content_type.startswith(MULTIPART):
            return _Multipart(body, content_type).pairs
        return _urlencoded(body)
    except UnicodeDecodeError:
        raise _refusal("not UTF-8") from None
    except _TooManyError:
        raise plain(400, "Too many arguments") from None
    except FormParserError as error:
        raise _refusal(str(error)) from None


def _urlencoded(body: bytes) -> Pairs:
    text = body.decode()
    if text.count("&") >= MOST_ARGUMENTS:
        raise _TooManyError
    if text.count("%") > MOST_ESCAPES:
        raise FormParserError(f"more than {MOST_ESCAPES} percent escapes: send JSON")
    return parse_qsl(text, keep_blank_values=True, errors="strict")


class _Multipart:
    """Collects the parts of a body. Raises FormParserError or UnicodeDecodeError."""

    def __init__(self, body: bytes, content_type: str) -> None:
        self.pairs: Pairs = []
        self._is_complete = False
        _, options = parse_options_header(content_type)
        parser = FormParser(
            MULTIPART,
            on_field=self._add_field,
            on_file=self._add_file,
            on_end=self._end,
            boundary=options.get(b"boundary"),
            config={"MAX_MEMORY_FILE_SIZE": len(body)},
        )
        parser.write(body)
        parser.finalize()
        if not self._is_complete:
            raise FormParserError("the final boundary is missing")

    def _add_field(self, field: Field) -> None:
        self._add(field.field_name, field.value)

    def _add_file(self, file: File) -> None:
        file.file_object.seek(0)
        self._add(file.field_name, file.file_object.read())
        file.close()

    def _add(self, name: bytes | None, content: bytes | None) -> None:
        if len(self.pairs) == MOST_ARGUMENTS:
            raise _TooManyError
        self.pairs.append(((name or b"").decode(), (content or b"").decode()))

    def _end(self) -> None:
        self._is_complete = True


def _refusal(reason: str) -> ApiError:
    return plain(400, "Cannot parse form body", reason=reason)
