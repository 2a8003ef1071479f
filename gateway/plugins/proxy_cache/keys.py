"""What a response is kept by: a digest of all that tells requests apart (plugins.md 5.16).

As in Kong it is made of ``<prefix>|<method>|<request line without query>|<arguments>|<headers>``.
What comes from a client is percent-encoded where it could be taken for what stands between, so no
two requests that differ have the same key. Behind that comes what Kong leaves out, where there is
any: see `Further`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import parse_qsl, quote
from uuid import UUID

_AS_IT_IS = "!\"#$&'()*+-./;<>?@[\\]^_`{}~ "
"""What needs no encoding: all of ASCII that can be seen but ``%``, ``,``, ``:``, ``=``, ``|``."""


MOST_KNOWN = 8192
"""Keys that a node remembers."""


class Further(NamedTuple):
    """What tells requests apart besides what is in Kong's key; None where there is no such thing.

    ``authorization``: a digest of it, unless the gateway knows the consumer by it. ``body``: the
    same.
    ``host``, ``path``, ``query``: what the service is asked for, if that is not just what the
    client asks for, or, for the host, is.
    """

    authorization: bytes | None = None
    body: bytes | None = None
    host: bytes | None = None
    path: bytes | None = None
    query: bytes | None = None


NOTHING_FURTHER = Further()

Owner = tuple[int, int]
"""Consumer and route: their UUIDs as numbers, which is faster to look up, or 0."""

Line = tuple[bytes, bytes, bytes, bytes]
"""Method, path, query with its ``?``, and version of HTTP."""


class Key(NamedTuple):
    """A key, and the header lines that tell of a hit, but for its age."""

    digits: bytes
    hit_lines: bytes


class KnownKeys:
    """The keys of the last requests, by all that they are made of: to make one is slow."""

    __slots__ = ("_keys", "find")

    def __init__(self) -> None:
        self._keys: dict[object, Key] = {}
        self.find = self._keys.get

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._keys)

    def keep(self, what: object, key: Key) -> None:
        """Know a key the next time; all are forgotten where there are too many."""
        if len(self._keys) >= MOST_KNOWN:
            self._keys.clear()
        self._keys[what] = key


@dataclass(frozen=True, slots=True)
class KeyRules:
    """What of a plugin's config keys depend on; no ``arguments`` means that all do."""

    ignores_case: bool
    arguments: frozenset[str]

    def key(self, owner: Owner, asked: Line, headers: str, further: Further) -> bytes:
        """Return the key, 64 hex digits; ``headers`` is what `headers_part` returns."""
        method, path, query, version = asked
        line = b"%b %b %b" % (method, path, version)
        if self.ignores_case:
            line = line.lower()
        parts = (
            _prefix(*owner),
            method.decode("latin-1"),
            line.decode("latin-1"),
            self._arguments_part(query[1:].decode("latin-1")),
            headers,
        )
        whole = "|".join(parts)
        if further != NOTHING_FURTHER:
            whole += f"|{further}"
        return hashlib.sha256(whole.encode()).hexdigest().encode()

    def _arguments_part(self, query: str) -> str:
        """Return the part about the query: arguments by name, each with its values in order."""
        found: dict[str, list[str]] = {}
        for name, value in parse_qsl(query, keep_blank_values=True, encoding="latin-1"):
            if not self.arguments or name in self.arguments:
                found.setdefault(_encoded(name), []).append(_encoded(value))
        return _joined(sorted(found.items()))


def headers_part(values: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Return the part about headers: names, each with its values; those without are left out."""
    return _joined((_encoded(name), list(map(_encoded, of_it))) for name, of_it in values if of_it)


def _prefix(consumer_id: int, route_id: int) -> str:
    if not route_id:
        return "default"
    route = str(UUID(int=route_id))
    return f"{UUID(int=consumer_id)}:{route}" if consumer_id else route


def _joined(pairs: Iterable[tuple[str, Sequence[str]]]) -> str:
    return ":".join(f"{name}={','.join(values)}" for name, values in pairs)


def _encoded(text: str) -> str:
    return quote(text, safe=_AS_IT_IS, encoding="latin-1", errors="xmlcharrefreplace")
