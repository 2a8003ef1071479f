"""Media types as ``Content-Type`` has them, and patterns of such (RFC 9110 section 8.3.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

_NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_TYPE = re.compile(rf"[ \t]*+({_NAME})/({_NAME})[ \t]*+(?=;|$)")
_PARAMETER = re.compile(
    rf'[ \t]*+;[ \t]*+(?:({_NAME})=(?:({_NAME})|"((?:[^"\\]|\\.)*+)")[ \t]*+)?(?=;|$)'
)


class MediaTypeError(ValueError):
    """A text that is no media type."""


@dataclass(frozen=True, slots=True)
class MediaType:
    """A type, a subtype and parameters by name; ``*`` stands for any type or subtype."""

    type: str
    subtype: str
    parameters: frozenset[tuple[str, str]]

    @classmethod
    def read(cls, text: str) -> Self:
        """Read a header's value. Raises MediaTypeError."""
        found = _TYPE.match(text)
        if found is None:
            raise MediaTypeError(text)
        at, parameters = found.end(), set()
        while at < len(text):
            parameter = _PARAMETER.match(text, at)
            if parameter is None:
                raise MediaTypeError(text)
            name, token, quoted = parameter.groups()
            if name is not None:
                value = token or re.sub(r"\\(.)", r"\1", quoted or "")
                parameters.add((name.lower(), value))
            at = parameter.end()
        return cls(found[1].lower(), found[2].lower(), frozenset(parameters))

    def covers(self, other: MediaType) -> bool:
        """Tell whether another one is of this kind, with just these parameters."""
        return (
            self.type in ("*", other.type)
            and self.subtype in ("*", other.subtype)
            and self.parameters == other.parameters
        )
