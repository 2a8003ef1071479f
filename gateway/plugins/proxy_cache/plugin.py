"""The plugin itself: answers from what is kept, or keeps what the service answers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.plugins.contract import NodeServices, Plugin, Use
from gateway.plugins.lines import contains, removal, values_of
from gateway.plugins.proxy_cache.cache_control import (
    NOTHING,
    Directives,
    directives_of,
    forbids_storing,
    is_for_all,
    lifetime_s,
    may_be_stale,
    seconds,
)
from gateway.plugins.proxy_cache.config import Caching
from gateway.plugins.proxy_cache.keys import NOTHING_FURTHER, Further, KeyRules, headers_part
from gateway.plugins.proxy_cache.media_types import MediaType, MediaTypeError
from gateway.plugins.proxy_cache.recording import Recording, Terms
from gateway.plugins.proxy_cache.store import PURGE, Entry, ResponseStore
from gateway.plugins.reply import Replay, Reply
from gateway.plugins.request import BodyTooLarge, Request
from gateway.plugins.response import Response

if TYPE_CHECKING:
    from gateway.proxy.http1 import ResponseHead

_NOTE = "proxy-cache"

_REMEMBERED_KEYS = 4096
_REMEMBERED_LENGTH = 512
"""How long path, query and headers may be together for a key to be remembered."""

_KNOWN_TYPES = 256
_PARTIAL, _NOT_MODIFIED = 206, 304

_NAMES_OF_OURS = removal(("x-cache-status", "x-cache-key"))


class Said(NamedTuple):
    """What the header lines of a request say.

    ``passes_by``: they ask for no response of the cache. ``headers`` is the part of the key about
    them, ``authorization`` a digest of that header, where it tells apart whom nothing else does.
    """

    passes_by: bool
    directives: Directives
    headers: str
    is_authorized: bool
    authorization: bytes | None


@dataclass(frozen=True, slots=True)
class Lookup:
    """A request that was looked up in vain: under which key, with what outcome."""

    key: bytes
    outcome: str
    said: Said
    purges: int


class ProxyCache(Plugin):
    """Answers requests with what the service has answered to the same before."""

    name = "proxy-cache"
    priority = 100

    class Config(Caching):
        """Which responses are kept, for whom and for how long."""

    config: Config
    shared: ResponseStore

    def __init__(self, config: Config, use: Use, shared: Any = None) -> None:
        super().__init__(config, use, shared)
        self._methods = frozenset(method.encode() for method in config.request_method)
        self._statuses = frozenset(config.response_code) - {_PARTIAL, _NOT_MODIFIED}
        self._types = [MediaType.read(text) for text in config.content_type]
        self._is_kept_type = lru_cache(_KNOWN_TYPES)(_type_test(self._types))
        rules = KeyRules(config.ignore_uri_case, frozenset(config.vary_query_params or ()))
        self._make_key = rules.key
        self._remembered_key = lru_cache(_REMEMBERED_KEYS)(rules.key)
        self._tells_age = config.tells("age")
        self._tells_key = config.tells("X-Cache-Key")
        self._tells_status = config.tells("X-Cache-Status")

    @classmethod
    def share(cls, node: NodeServices) -> ResponseStore:
        """Return the store of the node."""
        store = ResponseStore(node.settings.cache_limit_bytes)
        node.begin("proxy-cache-sweep", store.sweep())
        node.on_command(PURGE, store.on_purge)
        return store

    # -- on the way there

    def access(
        self, request: Request
    ) -> Reply | Replay | Coroutine[Any, Any, Reply | Replay | None] | None:
        """Answer from the store, if that has what is asked for."""
        asked = request.asked
        if asked.method not in self._methods:
            self._pass_by(request)
            return None
        said: Said | None = request.recall(self)
        if said is None:
            said = self._read(asked.client_lines)
            request.remember(self, said)
        if said.passes_by:
            self._pass_by(request)
            return None
        if asked.has_body:
            return self._answer_with_body(request, said)
        return self._answer(request, said, NOTHING_FURTHER)

    async def _answer_with_body(self, request: Request, said: Said) -> Reply | Replay | None:
        """Answer a request whose body tells it apart from others, once that is there."""
        try:
            body = await request.body()
        except BodyTooLarge:
            self._pass_by(request)
            return None
        return self._answer(request, said, Further(body=sha256(body).digest()))

    def _pass_by(self, request: Request) -> None:
        request.context[_NOTE] = None
        self.shared.counts.bypass += 1

    def _answer(self, request: Request, said: Said, further: Further) -> Reply | Replay | None:
        asked, store, changes = request.asked, self.shared, request.changes
        route, consumer = asked.route, request.consumer
        if route is not None and route.preserve_host:
            further = further._replace(host=asked.host)
        if consumer is None and said.authorization is not None:
            further = further._replace(authorization=said.authorization)
        if changes is not None:
            if changes.method not in (None, asked.method):
                self._pass_by(request)
                return None
            if changes.path is not None or changes.query is not None or changes.host is not None:
                host = further.host if changes.host is None else changes.host
                further = further._replace(path=changes.path, query=changes.query, host=host)
        path, query, headers = asked.path, asked.query, said.headers
        is_short = len(path) + len(query) + len(headers) <= _REMEMBERED_LENGTH
        key = (self._remembered_key if is_short else self._make_key)(
            (0 if consumer is None else consumer.id.int, 0 if route is None else route.id.int),
            (asked.method, path, query, asked.version),
            headers,
            further,
        )
        now = store.clock()
        entry = store.find(key, now)
        if entry is None:
            return self._miss(request, Lookup(key, "Miss", said, store.purges))
        if said.is_authorized and self.config.cache_control and not entry.is_for_all:
            self._pass_by(request)
            return None
        age_s = now - entry.made_at
        if not self._is_fresh_enough(entry, age_s, said.directives):
            return self._miss(request, Lookup(key, "Refresh", said, store.purges))
        store.counts.hit += 1
        request.context[_NOTE] = self._lines("Hit", key, int(age_s))
        return entry.replay

    def _miss(self, request: Request, lookup: Lookup) -> Reply | None:
        """Let the request go on, unless it wants nothing but what is kept."""
        if "only-if-cached" in lookup.said.directives:
            self.shared.counts.miss += 1
            return Reply(504)
        request.context[_NOTE] = lookup
        return None

    def _is_fresh_enough(self, entry: Entry, age_s: float, directives: Directives) -> bool:
        """Whether a response of this age may be given to who asks so."""
        if not self.config.cache_control:
            return age_s < self.config.cache_ttl
        left_s = entry.lifetime_s - age_s
        if directives is not NOTHING:
            if "max-age" in directives and age_s > seconds(directives["max-age"]):
                return False
            if "min-fresh" in directives and left_s < seconds(directives["min-fresh"]):
                return False
            stale = directives.get("max-stale")
            if left_s <= 0 and stale is not None and entry.may_be_stale:
                return stale == "" or -left_s <= seconds(stale)
        return left_s > 0

    def _read(self, lines: bytes) -> Said:
        """Read the header lines of a request."""
        config = self.config
        directives = directives_of(lines) if config.cache_control else NOTHING
        refuses = "no-store" in directives or "no-cache" in directives
        authorization = values_of(lines, "authorization")
        tells_apart = bool(authorization) and not config.cache_control
        names = config.vary_headers or ()
        return Said(
            passes_by=refuses or contains(lines, "upgrade"),
            directives=directives,
            headers=headers_part((name.lower(), values_of(lines, name)) for name in names),
            is_authorized=bool(authorization),
            authorization=sha256(repr(authorization).encode()).digest() if tells_apart else None,
        )

    # -- on the way back

    def header_filter(self, request: Request, response: Response) -> None:
        """Tell what was done, and keep the response if it is one to be kept."""
        notes = request.context
        if _NOTE not in notes:
            return  # somebody has answered before it came here
        note = notes[_NOTE]
        if isinstance(note, bytes):
            response.lines += note
            return
        if isinstance(note, Lookup):
            lines = self._lines(self._try_to_keep(note, response), note.key)
        else:
            lines = self._lines("Bypass")
        response.lines = _NAMES_OF_OURS.sub(b"", response.lines) + lines

    def _try_to_keep(self, lookup: Lookup, response: Response) -> str:
        """Record the response if it may be kept; return the outcome."""
        head, counts = response.original, self.shared.counts
        terms = None if head is None else self._terms(head, lookup)
        if head is None or terms is None:
            counts.bypass += 1
            return "Bypass"
        recording = Recording(self.shared, head, terms)
        if not recording.has_room:
            counts.bypass += 1
            return "Bypass"
        response.watch(recording)
        if lookup.outcome == "Miss":
            counts.miss += 1
        else:
            counts.refresh += 1
        return lookup.outcome

    def _terms(self, head: ResponseHead, lookup: Lookup) -> Terms | None:
        """Return how a response is to be kept, None if it is not."""
        lines = head.rest
        if head.status not in self._statuses or contains(lines, "set-cookie"):
            return None
        content_types = values_of(lines, "content-type")
        if len(content_types) != 1 or not self._is_kept_type(content_types[0]):
            return None
        config, age_s, fresh_s = self.config, 0.0, float(self.config.cache_ttl)
        directives = NOTHING
        if config.cache_control:
            directives, now = directives_of(lines), time()
            age_s = max(map(seconds, values_of(lines, "age")), default=0)
            fresh_s = lifetime_s(directives, lines, now) - age_s
            needs_leave = lookup.said.is_authorized and not is_for_all(directives)
            if forbids_storing(directives) or needs_leave:
                return None
            if fresh_s <= 0:
                return None
        return Terms(
            key=lookup.key,
            plugin_id=self.use.id,
            purges=lookup.purges,
            age_s=age_s,
            fresh_s=fresh_s,
            kept_s=config.storage_ttl or fresh_s,
            is_for_all=is_for_all(directives),
            may_be_stale=may_be_stale(directives),
        )

    def _lines(self, outcome: str, key: bytes = b"", age_s: int = -1) -> bytes:
        """Return the header lines that tell a client of the cache."""
        lines = b""
        if age_s >= 0 and self._tells_age:
            lines = b"\r\nAge: %d" % age_s
        if self._tells_status:
            lines += b"\r\nX-Cache-Status: " + outcome.encode()
        if key and self._tells_key:
            lines += b"\r\nX-Cache-Key: " + key
        return lines


def _type_test(kept: list[MediaType]) -> Callable[[str], bool]:
    """Return what tells whether a ``Content-Type`` is one of those to be kept."""

    def is_kept(text: str) -> bool:
        try:
            found = MediaType.read(text)
        except MediaTypeError:
            return False
        return any(it.covers(found) for it in kept)

    return is_kept
