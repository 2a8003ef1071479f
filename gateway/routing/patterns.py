"""Regular expressions of routes, on bytes and in linear time (RE2).

Latin-1 mode makes one byte one character, so that patterns see the path as it is matched, offsets
are byte offsets, and no path is ever invalid. Look-around, back-references and the like have no
linear-time form: such a pattern does not compile.

Linear is not quick by itself: for each byte of a path, every step of the compiled pattern may be
looked at. Counted repetitions multiply steps (``(a?){500}`` has a thousand), so their number is
limited; then the worst pattern and the longest path take some 40 ms. So is what one may remember.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import re2

from gateway.routing.paths import common_start

_PREFIX_LIMIT_BYTES = 64
_STEPS_LIMIT = 2_000

_OPTIONS = re2.Options()
_OPTIONS.encoding = re2.Options.Encoding.LATIN1
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 1 << 20


@dataclass(frozen=True, slots=True)
class Captures:
    """What the groups of a path regex matched; a group that took no part is None.

    ``numbered[0]`` is the whole normalised path, as plugins expect (router.md section 4).
    """

    numbered: tuple[bytes | None, ...]
    named: Mapping[str, bytes | None]


class PathRegex:
    """The regex of a ``~`` path, anchored at the start of the path."""

    __slots__ = ("_pattern", "literal_prefix")

    def __init__(self, text: str) -> None:
        self._pattern = _compile(text)
        self.literal_prefix = _literal_prefix(self._pattern)
        """Every path that the regex matches starts with these bytes."""

    def match(self, path: bytes) -> PathMatch | None:
        """Return what the regex matches at the start of ``path``, None if it does not."""
        found = self._pattern.match(path)
        return None if found is None else PathMatch(found)


class PathMatch:
    """A regex met a path. ``text`` is the matched start of the path."""

    __slots__ = ("_found", "text")

    def __init__(self, found: Any) -> None:
        self._found = found
        self.text: bytes = found[0]

    def captures(self) -> Captures | None:
        """Return what the groups matched, None if the regex has none."""
        found = self._found
        if not found.re.groups:
            return None
        named = {name.decode(): value for name, value in found.groupdict().items()}
        return Captures((found.string, *found.groups()), named)


class ValueRegex:
    """The regex of a ``~*`` header value, tested anywhere in the lower-cased value."""

    __slots__ = ("_pattern",)

    def __init__(self, text: str) -> None:
        self._pattern = _compile(text)

    def found_in(self, value: bytes) -> bool:
        """Tell whether any part of ``value`` matches."""
        return self._pattern.search(value) is not None


def check_pattern(text: str) -> None:
    """Raise ValueError with the reason if ``text`` is no regex for a path or a header value."""
    _compile(text)


def _compile(text: str) -> Any:
    """Compile a pattern; raises ValueError with the engine's reason."""
    try:
        pattern = re2.compile(text.encode(), _OPTIONS)
    except re2.error as error:
        reason = error.args[0]
        if isinstance(reason, bytes):
            reason = reason.decode(errors="replace")
        raise ValueError(reason) from error
    if pattern.programsize > _STEPS_LIMIT:
        steps = f"{pattern.programsize} steps, the limit is {_STEPS_LIMIT}"
        raise ValueError(f"pattern too large: {steps}")
    return pattern


def _literal_prefix(pattern: Any) -> bytes:
    """Return what the least and the greatest possible match have in common at their start."""
    try:
        least, greatest = pattern.possiblematchrange(_PREFIX_LIMIT_BYTES)
    except re2.error:  # nothing is known of the start, as with "~.*"
        return b""
    return common_start(least, greatest)
