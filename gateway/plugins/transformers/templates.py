"""Texts with values of the request in them: ``$(headers['x-a'])``, ``$(uri_captures.name)``.

There is nothing but names in them, so that whoever may write a configuration cannot run code. What
a request has not is rendered as nothing. Texts are UTF-8; other bytes are kept as surrogates.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from gateway.entities.errors import violation
from gateway.plugins.lines import values_of

if TYPE_CHECKING:
    from gateway.plugins.request import Request

_EXPRESSION = re.compile(
    r"\$\(\s*(?P<source>headers|query_params|uri_captures|shared)\s*"
    r"(?:\.\s*(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|\[\s*(?:'(?P<single>[^'\\]*)'|\"(?P<double>[^\"\\]*)\"|(?P<number>[0-9]{1,3}))\s*\])\s*\)"
)
_FORMS = (
    "$(headers['name']), $(query_params.name), $(uri_captures.name), $(uri_captures[1]) "
    "and $(shared.name)"
)


class Inputs:
    """What the values of a template come from: a request as it is at this moment."""

    __slots__ = ("_arguments", "_lines", "_query", "_request")

    def __init__(self, request: Request) -> None:
        changes = request.changes
        query = None if changes is None else changes.query
        self._request = request
        self._lines = request.asked.client_lines if changes is None else changes.lines
        self._query = request.asked.query if query is None else query
        self._arguments: dict[str, str] | None = None

    def header(self, name: str) -> str:
        """Return the first value of a header; an underscore may stand for a hyphen."""
        found = values_of(self._lines, name)
        if not found and name.lower() in _ASIDE:
            found = values_of(self._request.asked.client_lines, name)
        if found:
            return from_bytes(found[0].encode("latin-1"))
        return self.header(name.replace("_", "-")) if "_" in name else ""

    def argument(self, name: str) -> str:
        """Return the first value of an argument of the query."""
        if self._arguments is None:
            self._arguments = {}
            for part in from_bytes(self._query[1:]).split("&"):
                found, _, value = part.partition("=")
                self._arguments.setdefault(decoded(found), decoded(value))
        return self._arguments.get(name, "")

    def capture(self, name: str) -> str:
        """Return what a group of the route's regex matched."""
        captures = self._request.captures
        value = None if captures is None else captures.named.get(name)
        return "" if value is None else from_bytes(value)

    def numbered_capture(self, number: int) -> str:
        """Return what a group without a name matched; the first has number 1."""
        captures = self._request.captures
        if captures is None or number >= len(captures.numbered):
            return ""
        return from_bytes(captures.numbered[number] or b"")

    def note(self, name: str) -> str:
        """Return what another plugin has left under this name, if it is a text or a number."""
        value = self._request.context.get(name)
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value) if isinstance(value, str | int | float) else ""


_ASIDE = frozenset({"host", "via", "x-real-ip"}) | {
    f"x-forwarded-{what}" for what in ("for", "proto", "host", "port", "path", "prefix")
}
"""Headers that do not pass on as they came."""

_Part = Callable[[Inputs], str]


class Template:
    """A text that is rendered for each request."""

    __slots__ = ("_parts",)

    def __init__(self, parts: list[str | _Part]) -> None:
        self._parts = parts

    def render(self, inputs: Inputs, inserted: Callable[[str], str] = str) -> str:
        """Return the text. ``inserted`` is what is made of each value before it is put in."""
        return "".join(
            [part if isinstance(part, str) else inserted(part(inputs)) for part in self._parts]
        )


def compiled(text: str) -> str | Template:
    """Return a text that is always the same, or a template. Raises a violation."""
    parts: list[str | _Part] = []
    end = 0
    while (start := text.find("$(", end)) >= 0:
        found = _EXPRESSION.match(text, start)
        if found is None:
            raise violation(
                f"value '{text}' is not in supported format, error: in $(…) may stand only {_FORMS}"
            )
        parts += [text[end:start], _read(found)]
        end = found.end()
    return Template([*parts, text[end:]]) if parts else text


def check_template(text: str) -> str:
    """Return the text if it can be compiled. Raises a violation."""
    compiled(text)
    return text


def _read(found: re.Match[str]) -> _Part:
    source, number = found["source"], found["number"]
    if number is not None:
        return _numbered(source, int(number))
    name = next(n for n in (found["name"], found["single"], found["double"]) if n is not None)
    return lambda inputs: _READERS[source](inputs, name)


def _numbered(source: str, number: int) -> _Part:
    if source != "uri_captures":
        raise violation(f"{source} have names, not numbers: in $(…) may stand only {_FORMS}")
    return lambda inputs: inputs.numbered_capture(number)


_READERS: dict[str, Callable[[Any, str], str]] = {
    "headers": Inputs.header,
    "query_params": Inputs.argument,
    "uri_captures": Inputs.capture,
    "shared": Inputs.note,
}


def from_bytes(raw: bytes) -> str:
    """Return bytes as text; those that are not UTF-8 become surrogates."""
    return raw.decode(errors="surrogateescape")


def decoded(part: str) -> str:
    """Return a name or value of a query without its escapes."""
    return unquote_plus(part, errors="surrogateescape")
