"""What of a request is hashed to choose an endpoint.

Source: ``balancer.md`` section 4. Texts are the bytes that came; nothing here can fail on them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import unquote_to_bytes
from uuid import uuid4

from gateway.routing.paths import normalize

if TYPE_CHECKING:
    from gateway.routing import Captures


class Facts(Protocol):
    """What is looked at of a request."""

    @property
    def client_address(self) -> bytes:
        """Who asks, after what trusted proxies say."""
        ...

    @property
    def client_lines(self) -> bytes:
        """All header lines of the client, each led by CRLF."""
        ...

    @property
    def path(self) -> bytes:
        """The raw path."""
        ...

    @property
    def query(self) -> bytes:
        """The raw query with its ``?``, empty if there is none."""
        ...

    @property
    def captures(self) -> Captures | None:
        """What the groups of the route's path regex matched."""
        ...

    @property
    def identity(self) -> bytes | None:
        """The id of the consumer that plugins found, else of its credential."""
        ...


Reader = Callable[[Facts], bytes | None]
"""Returns a value, None if the request has none."""


class HashInput(NamedTuple):
    """A kind of input (``hash_on``), and which header, cookie, argument or capture it means."""

    kind: str
    name: str = ""


class Hashed(NamedTuple):
    """What a request is hashed by, None if it has no such value.

    ``set_cookie`` is the header line that lets the client bring the value the next time, led by
    CRLF, empty if there is none.
    """

    value: bytes | None
    set_cookie: bytes = b""


@dataclass(frozen=True, slots=True)
class HashOn:
    """The inputs in their order: the first that yields a value counts."""

    inputs: tuple[HashInput, ...]
    cookie_path: str = "/"
    _readers: tuple[Reader, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_readers", tuple(_reader(*each) for each in self.inputs))

    def read(self, facts: Facts) -> Hashed:
        """Return what a request is hashed by; a cookie that it lacks is made up for it."""
        for (kind, name), read in zip(self.inputs, self._readers, strict=True):
            value = read(facts)
            if value is not None:
                return Hashed(value)
            if kind == "cookie":
                made_up = str(uuid4())
                line = f"\r\nSet-Cookie: {name}={made_up}; Path={self.cookie_path}"
                return Hashed(made_up.encode(), f"{line}; Same-Site=Lax; HttpOnly".encode())
        return Hashed(None)


def with_cookie(lines: bytes, set_cookie: bytes) -> bytes:
    """Add a Set-Cookie line to header lines; it replaces those for the same cookie."""
    name = set_cookie[len("\r\nSet-Cookie: ") :].partition(b"=")[0]
    same = rb"\r\n(?i:set-cookie):[ \t]*" + re.escape(name) + rb"=[^\r]*+"
    return re.sub(same, b"", lines) + set_cookie


def _header(name: str) -> Reader:
    find_all = _lines_of(name)

    def read(facts: Facts) -> bytes | None:
        return b", ".join(map(bytes.rstrip, find_all(facts.client_lines))) or None

    return read


def _cookie(name: str) -> Reader:
    find_all = _lines_of("cookie")
    wanted = name.encode()

    def read(facts: Facts) -> bytes | None:
        for line in find_all(facts.client_lines):
            for pair in line.split(b";"):
                found, _, value = pair.partition(b"=")
                if found.strip() == wanted:
                    return value.strip() or None
        return None

    return read


def _argument(name: str) -> Reader:
    wanted = name.encode()

    def read(facts: Facts) -> bytes | None:
        values = sorted(_values(facts.query[1:], wanted))
        return b",".join(values) or None

    return read


def _values(query: bytes, wanted: bytes) -> Iterable[bytes]:
    """Yield the values of an argument; without a ``=`` it is ``true``."""
    for pair in query.split(b"&"):
        name, equals, value = pair.partition(b"=")
        if _decoded(name) == wanted:
            yield _decoded(value) if equals else b"true"


def _decoded(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))


def _capture(name: str) -> Reader:
    number = int(name) if name.isdecimal() and name.isascii() else None

    def read(facts: Facts) -> bytes | None:
        captures = facts.captures
        if captures is None:
            return None
        if number is None:
            return captures.named.get(name) or None
        return captures.numbered[number] or None if number < len(captures.numbered) else None

    return read


def _lines_of(name: str) -> Callable[[bytes], list[bytes]]:
    """Return what finds the values of a header."""
    pattern = rb"\r\n(?i:" + re.escape(name.encode()) + rb"):[ \t]*+([^\r]*+)"
    return re.compile(pattern).findall


_UNNAMED: Mapping[str, Reader] = {
    "consumer": lambda facts: facts.identity,
    "ip": lambda facts: facts.client_address,
    "path": lambda facts: normalize(facts.path),
}

_NAMED: Mapping[str, Callable[[str], Reader]] = {
    "header": _header,
    "cookie": _cookie,
    "query_arg": _argument,
    "uri_capture": _capture,
}


def _reader(kind: str, name: str) -> Reader:
    return _UNNAMED[kind] if kind in _UNNAMED else _NAMED[kind](name)
