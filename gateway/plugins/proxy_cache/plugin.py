"""The plugin itself: answers from what is kept, or keeps what the service answers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import count
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
from gateway.plugins.proxy_cache.keys import (
    NOTHING_FURTHER,
    Further,
    Key,
    KeyRules,
    Line,
    Owner,
    headers_part,
)
from gateway.plugins.proxy_cache.media_types import MediaType, MediaTypeError
from gateway.plugins.proxy_cache.recording import Recording, Terms
from gateway.plugins.proxy_cache.store import PURGE, Entry, ResponseStore
from gateway.plugins.reply import Replay, Reply
from gateway.plugins.request import BodyTooLarge, Request, Upstream
from gateway.plugins.response import Response

if TYPE_CHECKING:
    from gateway.proxy.http1 import ResponseHead

_NOTE = "proxy-cache"

_KNOWN_LENGTH = 512
"""How long path, query and headers may be together for a key to be remembered."""

_KNOWN_TYPES = 256
_PARTIAL, _NOT_MODIFIED = 206, 304

_numbers = count()
"""Of objects, as keys are known by the object whose config they depend on."""

_NAMES_OF_OURS = removal(("x-cache-status", "x-cache-key"))


class Said(NamedTuple):
    """What the header lines of a request say.

    ``passes_by``: they ask for no response of the cache. ``headers`` is the part of the key about
    them, ``authorization`` a digest of that header, where it tells apart whom nothing else does.
    """

    passes_by: bool
    directives: Directives
    version: bytes
    headers: str
    is_authorized: bool
    authorization: bytes | None


@dataclass(frozen=True, slots=True)
class Lookup:
    """A request that was looked up in vain: under which key, with what outcome."""

    key: Key
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
        arguments = frozenset(config.vary_query_params or ())
        self._key_rules = KeyRules(config.ignore_uri_case, arguments)
        self._known_keys = self.shared.known_keys
        self._number = next(_numbers)
        self._heeds = config.cache_control
        self._fresh_s = config.cache_ttl
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
        said: Said | None = request.recall(self)
        if said is None:
            said = self._read(asked.client_lines, asked.version)
            request.remember(self, said)
        if said.passes_by or asked.method not in self._methods:
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
        changes, store = request.changes, self.shared
        if changes is not None and changes.method not in (None, request.asked.method):
            self._pass_by(request)
            return None
        key = self._key(request, said, further)
        now = store.clock()
        entry = store.find(key.digits, now)
        if entry is None:
            return self._miss(request, Lookup(key, "Miss", said, store.purges))
        age_s = now - entry.made_at
        if self._heeds:
            if said.is_authorized and not entry.is_for_all:
                self._pass_by(request)
                return None
            is_fresh = _is_fresh_enough(entry, age_s, said.directives)
        else:
            is_fresh = age_s < self._fresh_s
        if not is_fresh:
            return self._miss(request, Lookup(key, "Refresh", said, store.purges))
        store.counts.hit += 1
        lines = b"\r\nAge: %d%b" % (age_s, key.hit_lines) if self._tells_age else key.hit_lines
        return Replay(entry.head, entry.body, lines)

    def _key(self, request: Request, said: Said, further: Further) -> Key:
        """Return the key of a request, in most cases from memory."""
        asked, consumer, changes = request.asked, request.consumer, request.changes
        route = asked.route
        owner = (0 if consumer is None else consumer.id.int, 0 if route is None else route.id.int)
        if route is not None and route.preserve_host:
            further = further._replace(host=asked.host)
        if said.authorization is not None and consumer is None:
            further = further._replace(authorization=said.authorization)
        if changes is not None:
            further = _with_changes(further, changes)
        line = (asked.method, asked.path, asked.query, said.version)
        what = (self._number, owner, line, said.headers, further)
        return self._known_keys.find(what) or self._make_key(what)

    def _make_key(self, what: tuple[int, Owner, Line, str, Further]) -> Key:
        _, owner, line, headers, further = what
        digits = self._key_rules.key(owner, line, headers, further)
        key = Key(digits, self._lines("Hit", digits))
        if sum(map(len, line)) + len(headers) <= _KNOWN_LENGTH:
            self._known_keys.keep(what, key)
        return key

    def _miss(self, request: Request, lookup: Lookup) -> Reply | None:
        """Let the request go on, unless it wants nothing but what is kept."""
        if "only-if-cached" in lookup.said.directives:
            self.shared.counts.miss += 1
            return Reply(504)
        request.context[_NOTE] = lookup
        return None

    def _read(self, lines: bytes, version: bytes) -> Said:
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
            version=version,
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
        lookup: Lookup | None = notes[_NOTE]
        if lookup is None:
            lines = self._lines("Bypass")
        else:
            lines = self._lines(self._try_to_keep(lookup, response), lookup.key.digits)
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
            key=lookup.key.digits,
            plugin_id=self.use.id,
            purges=lookup.purges,
            age_s=age_s,
            fresh_s=fresh_s,
            kept_s=config.storage_ttl or fresh_s,
            is_for_all=is_for_all(directives),
            may_be_stale=may_be_stale(directives),
        )

    def _lines(self, outcome: str, digits: bytes = b"") -> bytes:
        """Return the header lines that tell a client of the cache, but for the age."""
        lines = b""
        if self._tells_status:
            lines = b"\r\nX-Cache-Status: " + outcome.encode()
        if digits and self._tells_key:
            lines += b"\r\nX-Cache-Key: " + digits
        return lines


def _is_fresh_enough(entry: Entry, age_s: float, directives: Directives) -> bool:
    """Whether a response of this age may be given to who asks so."""
    left_s = entry.lifetime_s - age_s
    if directives is NOTHING:
        return left_s > 0
    if "max-age" in directives and age_s > seconds(directives["max-age"]):
        return False
    if "min-fresh" in directives and left_s < seconds(directives["min-fresh"]):
        return False
    stale = directives.get("max-stale")
    if left_s <= 0 and stale is not None and entry.may_be_stale:
        return stale == "" or -left_s <= seconds(stale)
    return left_s > 0


def _with_changes(further: Further, changes: Upstream) -> Further:
    """Return what tells requests apart when plugins have changed what the service is asked for."""
    if changes.path is None and changes.query is None and changes.host is None:
        return further
    host = further.host if changes.host is None else changes.host
    return further._replace(path=changes.path, query=changes.query, host=host)


def _type_test(kept: list[MediaType]) -> Callable[[str], bool]:
    """Return what tells whether a ``Content-Type`` is one of those to be kept."""

    def is_kept(text: str) -> bool:
        try:
            found = MediaType.read(text)
        except MediaTypeError:
            return False
        return any(it.covers(found) for it in kept)

    return is_kept
