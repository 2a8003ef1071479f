"""The request as plugins see it, and what they may change of it; nothing of sockets.

Texts are decoded as Latin-1, so that every byte has its character.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import parse_qsl

from gateway.plugins.identity import Consumer, Credential, Directory
from gateway.plugins.lines import HeaderLines, line, removal, values_of

if TYPE_CHECKING:
    from gateway.plugins.reply import Reply
    from gateway.routing import Captures
    from gateway.snapshot import Route, Service

MOST_ARGUMENTS = 1000
"""Arguments of a query that are read."""

MOST_MEMORIES = 8
"""Conclusions that are kept with the header lines of a connection."""

_OF_IDENTITY = removal(
    (
        "x-consumer-id",
        "x-consumer-custom-id",
        "x-consumer-username",
        "x-credential-identifier",
        "x-anonymous-consumer",
    )
)
"""What only the gateway may say of a consumer (plugins.md section 4)."""

_ANONYMOUS = b"\r\nX-Anonymous-Consumer: true"


class Told(NamedTuple):
    """Header lines for the client, each led by CRLF, and what of a service's they stand in for."""

    lines: bytes
    instead_of: re.Pattern[bytes]


class Connection(NamedTuple):
    """What a request came by: the node's end, and numbers of connection and request.

    Connections are counted for the process, requests for their connection. A Unix socket has no
    port.
    """

    address: str
    port: int
    number: int
    request_number: int


class Asked(Protocol):
    """What the proxy knows of a request; all bytes are as they came."""

    @property
    def request_id(self) -> bytes:
        """The id that logs and answers tell."""
        ...

    @property
    def method(self) -> bytes:
        """The method."""
        ...

    @property
    def host(self) -> bytes:
        """The Host header, or what the request target says in its place."""
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
    def is_https(self) -> bool:
        """Whether it came over TLS, after what trusted proxies say."""
        ...

    @property
    def client_address(self) -> bytes:
        """Who asks, after what trusted proxies say."""
        ...

    @property
    def connection(self) -> Connection:
        """What it came by."""
        ...

    @property
    def client_lines(self) -> bytes:
        """All header lines, each led by CRLF."""
        ...

    @property
    def passing_lines(self) -> bytes:
        """Those of them that pass on unchanged: none about host, framing or forwarding."""
        ...

    @property
    def memory(self) -> dict[object, Any]:
        """What is kept from one request to the next as long as the client sends the same lines."""
        ...

    @property
    def version(self) -> bytes:
        """The version of HTTP, as the request line has it."""
        ...

    @property
    def route(self) -> Route | None:
        """The route that was chosen; None while a request without one is answered."""
        ...

    @property
    def service(self) -> Service | None:
        """Its service."""
        ...

    @property
    def captures(self) -> Captures | None:
        """What the groups of the route's path regex matched."""
        ...

    @property
    def has_body(self) -> bool:
        """Whether a body follows the head."""
        ...

    @property
    def body_length(self) -> int | None:
        """How long the body is said to be, None if only its end will tell."""
        ...

    def limit_body(self, limit_bytes: int, refusal: Reply) -> Reply | None:
        """Answer so once more of the body than this has come; return it if that is so by now."""
        ...

    def read_body(self) -> Awaitable[bytes]:
        """Return the whole body, once it is there."""
        ...


class Upstream(HeaderLines):
    """What the service is sent; None means: what the client sent.

    ``lines`` are the header lines that pass on, each led by CRLF. ``path`` and ``query`` (with its
    ``?``) are raw, ``host`` is the Host header.
    """

    __slots__ = ("body", "host", "method", "path", "query")

    def __init__(self, lines: bytes) -> None:
        self.lines = lines
        self.method: bytes | None = None
        self.path: bytes | None = None
        self.query: bytes | None = None
        self.host: bytes | None = None
        self.body: bytes | None = None

    def set_header(self, name: str, value: str) -> None:
        """Give a header this value and no other. Raises LineError for one that cannot be set."""
        if name.lower() == "host":
            self.host = line(name, value)[len("\r\nHost: ") :]
        else:
            super().set_header(name, value)


class Request:
    """One request on its way to its service.

    ``consumer`` and ``credential`` are who it is from, once a plugin has found out. ``context`` is
    for plugins to leave each other notes. ``directory`` has the consumers and credentials of the
    snapshot that the request is served from. ``asked`` has what came as bytes, ``changes`` what the
    service is sent, None if that is just what came; ``told`` what the client is.
    """

    __slots__ = (
        "_context",
        "_has_read_body",
        "asked",
        "changes",
        "consumer",
        "credential",
        "directory",
        "told",
    )

    def __init__(self, asked: Asked, directory: Directory) -> None:
        self.asked = asked
        self.directory = directory
        self.consumer: Consumer | None = None
        self.credential: Credential | None = None
        self.changes: Upstream | None = None
        self._context: dict[str, Any] | None = None
        self._has_read_body = False
        self.told: tuple[Told, ...] = ()

    # -- what came

    @property
    def id(self) -> str:
        """The request id."""
        return self.asked.request_id.decode("latin-1")

    @property
    def method(self) -> str:
        """The method."""
        return self.asked.method.decode("latin-1")

    @property
    def host(self) -> str:
        """The host that was asked for, with its port if it was given."""
        return self.asked.host.decode("latin-1")

    @property
    def path(self) -> str:
        """The raw path."""
        return self.asked.path.decode("latin-1")

    @property
    def query(self) -> str:
        """The raw query without its ``?``."""
        return self.asked.query[1:].decode("latin-1")

    @property
    def scheme(self) -> str:
        """``http`` or ``https``, after what trusted proxies say."""
        return "https" if self.asked.is_https else "http"

    @property
    def client_address(self) -> str:
        """Who asks, after what trusted proxies say."""
        return self.asked.client_address.decode("latin-1")

    @property
    def route(self) -> Route | None:
        """The route that was chosen; None while a request without one is answered."""
        return self.asked.route

    @property
    def service(self) -> Service | None:
        """The route's service."""
        return self.asked.service

    @property
    def captures(self) -> Captures | None:
        """What the groups of the route's path regex matched, None if it has none."""
        return self.asked.captures

    def header(self, name: str) -> str | None:
        """Return the first value of a header of the client's."""
        values = values_of(self.asked.client_lines, name)
        return values[0] if values else None

    def headers(self, name: str) -> list[str]:
        """Return all values of a header of the client's."""
        return values_of(self.asked.client_lines, name)

    def arguments(self) -> Mapping[str, Sequence[str]]:
        """Return the arguments of the query; those beyond a thousand are not read."""
        found: dict[str, list[str]] = {}
        pairs = parse_qsl(self.query, keep_blank_values=True)[:MOST_ARGUMENTS]
        for name, value in pairs:
            found.setdefault(name, []).append(value)
        return found

    async def body(self) -> bytes:
        """Return the whole body. It then is kept, whatever the route says of buffering.

        Raises BodyTooLarge for one that is not held in memory.
        """
        content = await self.asked.read_body()
        self._has_read_body = True
        return content

    def limit_body(self, limit_bytes: int, refusal: Reply) -> Reply | None:
        """Refuse a body that is longer, at the latest when that much of it has come.

        Returns the refusal if that is known by now, else None.
        """
        length = self.asked.body_length
        if length is None:
            return self.asked.limit_body(limit_bytes, refusal)
        return refusal if length > limit_bytes else None

    # -- what plugins make of it

    @property
    def context(self) -> dict[str, Any]:
        """Notes of plugins to each other."""
        if self._context is None:
            self._context = {}
        return self._context

    @property
    def upstream(self) -> Upstream:
        """What the service is sent; to ask for it is to change something."""
        if self.changes is None:
            self.changes = Upstream(self.asked.passing_lines)
        return self.changes

    def tell(self, lines: bytes, instead_of: re.Pattern[bytes]) -> None:
        """Have header lines in the response, whoever gives it.

        They are there before any ``header_filter``, and stand in for what matches of a service's.
        This is how to tell what is known in ``access``: it spares the plugin that other phase.
        """
        self.told += (Told(lines, instead_of),)

    def recall(self, who: object) -> Any:
        """Return what was remembered of a request with the same header lines; else None."""
        kept = self.asked.memory.get(who)
        return None if kept is None or kept[0] is not self.directory.generation else kept[1]

    def remember(self, who: object, what: Any) -> None:
        """Keep what follows from the client's header lines and the directory, and nothing else.

        Most clients send the lines of their last request again. ``who`` is a plugin's object, as
        its config has a say as well. Forgotten when the lines or the directory change.
        """
        memory = self.asked.memory
        if len(memory) >= MOST_MEMORIES:
            memory.clear()
        memory[who] = self.directory.generation, what

    def replace_body(self, content: bytes) -> None:
        """Send this in place of the body. Raises RuntimeError unless that has been read."""
        if self.asked.has_body and not self._has_read_body:
            raise RuntimeError("read the body before you replace it")
        self.upstream.body = content

    def authenticate(self, consumer: Consumer, credential: Credential) -> None:
        """Tell who the request is from, also the service (plugins.md section 4)."""
        self.consumer = consumer
        self.credential = credential
        self._tell(consumer.lines + credential.line)

    def admit_as_anonymous(self, consumer: Consumer) -> None:
        """Let nobody in particular in, as this consumer."""
        self.consumer = consumer
        self.credential = None
        self._tell(consumer.lines + _ANONYMOUS)

    def _tell(self, identity: bytes) -> None:
        upstream = self.upstream
        upstream.lines = _OF_IDENTITY.sub(b"", upstream.lines) + identity


class BodyTooLarge(Exception):  # noqa: N818 - an answer rather than an error
    """The body is larger than what is held in memory (``buffer_limit_bytes``)."""
