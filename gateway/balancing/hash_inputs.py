"""What of a request is hashed to choose an endpoint.

Source: ``balancer.md`` section 4. Texts are the bytes that came; nothing here can fail on them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
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
    def memory(self) -> dict[object, Any]:
        """What is kept from one request to the next as long as the client sends the same lines."""
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


MOST_KEPT = 8
"""Values are kept with a client's lines only while there is no more than that."""

Reader = Callable[[Facts], bytes | None]
"""Returns a value, None if the request has none."""


class HashInput(NamedTuple):
    """A kind of input (``hash_on``), and which header, cookie, argument or capture it means."""

    kind: str
    name: str = ""


class MadeUpCookie(NamedTuple):
    """A value for a request that lacks the cookie, and the header line that gives it to the client.

    The line is led by CRLF.
    """

    value: bytes
    line: bytes


@dataclass(frozen=True, slots=True)
class HashOn:
    """The inputs in their order: the first that yields a value counts; a cookie comes last.

    ``read`` returns the value of a request. ``makes_up_cookies``: what it lacks is made up for it.
    """

    inputs: tuple[HashInput, ...]
    cookie_path: str = "/"
    read: Reader = field(init=False, repr=False, compare=False)
    makes_up_cookies: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "read", _first_of([_reader(*each) for each in self.inputs]))
        object.__setattr__(self, "makes_up_cookies", self.inputs[-1].kind == "cookie")

    def make_up_cookie(self) -> MadeUpCookie:
        """Return a cookie that no other client has."""
        value = str(uuid4())
        line = f"\r\nSet-Cookie: {self.inputs[-1].name}={value}; Path={self.cookie_path}"
        return MadeUpCookie(value.encode(), f"{line}; Same-Site=Lax; HttpOnly".encode())


def with_cookie(lines: bytes, cookie: MadeUpCookie) -> bytes:
    """Add a cookie to the header lines of a response; it replaces those of the same name."""
    name = cookie.line[len("\r\nSet-Cookie: ") :].partition(b"=")[0]
    same = rb"\r\n(?i:set-cookie):[ \t]*" + re.escape(name) + rb"=[^\r]*+"
    return re.sub(same, b"", lines) + cookie.line


def _header(name: str) -> Reader:
    find_all = _lines_of(name)

    def read(lines: bytes) -> bytes | None:
        values = find_all(lines)
        return b", ".join([value.rstrip() for value in values]) or None

    return _remembered(read)


def _cookie(name: str) -> Reader:
    find_all = _lines_of("cookie")
    wanted = name.encode()

    def read(lines: bytes) -> bytes | None:
        for line in find_all(lines):
            for pair in line.split(b";"):
                found, _, value = pair.partition(b"=")
                if found.strip() == wanted:
                    return value.strip() or None
        return None

    return _remembered(read)


def _remembered(read_lines: Callable[[bytes], bytes | None]) -> Reader:
    """Return what reads a value from header lines, and from the same lines once."""

    def read(facts: Facts) -> bytes | None:
        memory = facts.memory
        value: bytes | None = memory.get(read)
        if value is None:
            value = read_lines(facts.client_lines)
            if len(memory) < MOST_KEPT:
                memory[read] = value
        return value

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
    "consumer": attrgetter("identity"),
    "ip": attrgetter("client_address"),
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


def _first_of(readers: Sequence[Reader]) -> Reader:
    if len(readers) == 1:
        return readers[0]

    def read(facts: Facts) -> bytes | None:
        return next(filter(None, (each(facts) for each in readers)), None)

    return read
