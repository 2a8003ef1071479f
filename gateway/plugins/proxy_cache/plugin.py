"""The plugin itself: answers from what is kept, or keeps what the service answers."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from typing import Any, NamedTuple

from gateway.plugins.contract import NodeServices, Plugin, Use
from gateway.plugins.lines import contains, removal, values_of
from gateway.plugins.proxy_cache.cache_control import (
    NOTHING,
    Directives,
    directives_of,
    is_fresh_enough,
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
from gateway.plugins.proxy_cache.recording import Place, Recording
from gateway.plugins.proxy_cache.store import PURGE, ResponseStore
from gateway.plugins.proxy_cache.terms import Judge
from gateway.plugins.reply import Replay, Reply
from gateway.plugins.request import MOST_ARGUMENTS, BodyTooLarge, Request, Upstream
from gateway.plugins.response import Response

_NOTE = "proxy-cache"

_KNOWN_LENGTH = 512
"""How long all that a key is made of may be for it to be remembered."""

_SHOWN_IN_AUTHORIZATION = frozenset({"basicauth_credentials", "hmacauth_credentials"})
"""Kinds of credentials. What ``Authorization`` says beside others is for the service; so is what a
token says of others than its issuer, which is all that the gateway knows by it."""

_TOKENS = "jwt_secrets"

_numbers = count()
"""Of objects, as keys are known by the object whose config they depend on."""

_NAMES_OF_OURS = removal(("x-cache-status", "x-cache-key"))


class Said(NamedTuple):
    """What the header lines of a request say.

    ``passes_by``: they ask for no response of the cache. ``headers`` is the part of the key about
    them, ``authorization`` a digest of that header, where it tells apart whom nothing else does,
    ``is_for_proxy`` whether there is ``Proxy-Authorization``, which the gateway reads before it.
    """

    passes_by: bool
    directives: Directives
    version: bytes
    headers: str
    is_authorized: bool
    is_for_proxy: bool
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
        self._judge = Judge(config)
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
        is_too_much = asked.query.count(b"&") >= MOST_ARGUMENTS  # to be sorted on the event loop
        if said.passes_by or is_too_much or asked.method not in self._methods:
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
        store = self.shared
        if _asks_otherwise(request):
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
            is_fresh = is_fresh_enough(
                said.directives, age_s, entry.lifetime_s, may_be_stale=entry.may_be_stale
            )
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
        if (told := _told_of_users(request, said)) is not None:
            further = further._replace(authorization=told)
        if changes is not None:
            further = _with_changes(further, changes)
        line = (asked.method, asked.path, asked.query, said.version)
        what = (self._number, owner, line, said.headers, further)
        return self._known_keys.find(what) or self._make_key(what)

    def _make_key(self, what: tuple[int, Owner, Line, str, Further]) -> Key:
        _, owner, line, headers, further = what
        digits = self._key_rules.key(owner, line, headers, further)
        key = Key(digits, self._lines("Hit", digits))
        length = sum(len(part) for part in (*line, headers, *further) if part is not None)
        if length <= _KNOWN_LENGTH:
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
        names = [name.lower() for name in config.vary_headers or ()]
        if "x-forwarded-host" in names:
            names.append("host")  # which is what the service is told there
        return Said(
            passes_by=refuses or contains(lines, "upgrade"),
            directives=directives,
            version=version,
            headers=headers_part((name, values_of(lines, name)) for name in names),
            is_authorized=bool(authorization),
            is_for_proxy=contains(lines, "proxy-authorization"),
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
            outcome = self._try_to_keep(request, lookup, response)
            lines = self._lines(outcome, lookup.key.digits)
        response.lines = _NAMES_OF_OURS.sub(b"", response.lines) + lines

    def _try_to_keep(self, request: Request, lookup: Lookup, response: Response) -> str:
        """Record the response if it may be kept; return the outcome."""
        recording = None if _asks_otherwise(request) else self._recording(lookup, response)
        counts = self.shared.counts
        if recording is None or not recording.has_room:
            counts.bypass += 1
            return "Bypass"
        response.watch(recording)
        if lookup.outcome == "Miss":
            counts.miss += 1
        else:
            counts.refresh += 1
        return lookup.outcome

    def _recording(self, lookup: Lookup, response: Response) -> Recording | None:
        head = response.original
        if head is None:
            return None
        terms = self._judge.terms(head, is_authorized=lookup.said.is_authorized)
        if terms is None:
            return None
        place = Place(lookup.key.digits, self.use.id, lookup.purges)
        return Recording(self.shared, place, head, terms)

    def _lines(self, outcome: str, digits: bytes = b"") -> bytes:
        """Return the header lines that tell a client of the cache, but for the age."""
        lines = b""
        if self._tells_status:
            lines = b"\r\nX-Cache-Status: " + outcome.encode()
        if digits and self._tells_key:
            lines += b"\r\nX-Cache-Key: " + digits
        return lines


def _asks_otherwise(request: Request) -> bool:
    """Whether plugins have the service asked with another method than the client's."""
    changes = request.changes
    return changes is not None and changes.method not in (None, request.asked.method)


def _told_of_users(request: Request, said: Said) -> bytes | None:
    """Return a digest of what may tell apart for whom a consumer asks, None for nothing."""
    credential = request.credential
    if credential is None:
        return said.authorization
    if credential.kind == _TOKENS and not said.is_authorized:
        return sha256(request.asked.client_lines).digest()  # in a cookie, or in any other header
    if credential.kind in _SHOWN_IN_AUTHORIZATION and not said.is_for_proxy:
        return None
    return said.authorization


def _with_changes(further: Further, changes: Upstream) -> Further:
    """Return what tells requests apart when plugins have changed what the service is asked for."""
    if changes.path is None and changes.query is None and changes.host is None:
        return further
    host = further.host if changes.host is None else changes.host
    return further._replace(path=changes.path, query=changes.query, host=host)
