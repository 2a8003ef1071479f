"""Takes a response down as it passes, and keeps it when it has come to its end."""

from __future__ import annotations

import re
from email.utils import formatdate
from time import time
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from gateway.plugins.lines import removal
from gateway.plugins.proxy_cache.store import Entry, ResponseStore, size_of
from gateway.plugins.proxy_cache.terms import Terms
from gateway.proxy.http1 import NO_BODY, UNTIL_CLOSE, read_response_head

if TYPE_CHECKING:
    from gateway.proxy.http1 import ResponseHead

_NOT_KEPT = removal(
    (
        *("age", "x-cache-status", "x-cache-key"),
        *("proxy-authenticate", "proxy-authentication-info", "te", "trailers"),
    )
)
_REMAINING = re.compile(rb"(?i)\r\n[^:\r]*?ratelimit-remaining[^:\r]*+:[^\r]*+")
_KEPT_SPECIAL = ((b"via", b"Via"), (b"x-accel-buffering", b"X-Accel-Buffering"))


class Place(NamedTuple):
    """Where a response is kept: key and plugin; ``purges`` of the store when it was asked for."""

    key: bytes
    plugin_id: UUID
    purges: int


class Recording:
    """A response on its way to the client and, if it all comes, into the store."""

    __slots__ = ("_head", "_pieces", "_place", "_reserved", "_store", "_terms", "has_room")

    def __init__(
        self, store: ResponseStore, place: Place, head: ResponseHead, terms: Terms
    ) -> None:
        self._store = store
        self._place = place
        self._head = head
        self._terms = terms
        self._pieces: list[bytes] = []
        self._reserved = 0
        self.has_room = head.body_length != UNTIL_CLOSE and self._has_room_for(head.body_length)

    def _has_room_for(self, length: int) -> bool:
        """Whether a response with a body of this many bytes may be kept."""
        size = size_of(self._head.text, b"") + max(0, length)
        return size <= self._store.entry_limit_bytes

    def take(self, data: bytes, ended: bool) -> None:
        """Take more of the body down, and keep it all at its end."""
        if not self.has_room:
            return
        if data and not self._grow(data):
            self.has_room = False
            self.drop()
        elif ended:
            self._keep()
            self.drop()

    def drop(self) -> None:
        """Forget what was taken down."""
        self._store.release(self._reserved)
        self._pieces, self._reserved = [], 0
        self.has_room = False

    def _grow(self, data: bytes) -> bool:
        """Take data down, as far as there is room."""
        if not self._has_room_for(self._reserved + len(data)) or not self._store.reserve(len(data)):
            return False
        self._reserved += len(data)
        self._pieces.append(data)
        return True

    def _keep(self) -> None:
        store, place, terms = self._store, self._place, self._terms
        if store.purges != place.purges:
            return  # it may be what was to be forgotten
        now, body = store.clock(), b"".join(self._pieces)
        head = _kept_head(self._head, len(body))
        entry = Entry(
            head=head,
            body=body,
            plugin_id=place.plugin_id,
            made_at=now - terms.age_s,
            lifetime_s=terms.age_s + terms.fresh_s,
            gone_at=now + terms.kept_s,
            is_for_all=terms.is_for_all,
            may_be_stale=terms.may_be_stale,
            timestamp=int(time()),
            size=size_of(head.text, body),
        )
        store.keep(place.key, entry)


def _kept_head(head: ResponseHead, body_length: int) -> ResponseHead:
    """Return a head as it is to be sent again: about this service and body, no connection."""
    lines = _REMAINING.sub(b"", _NOT_KEPT.sub(b"", head.rest))
    if not head.has_date:  # by which caches behind this one count (RFC 9110 section 6.6.1)
        lines += b"\r\nDate: " + formatdate(usegmt=True).encode()
    for name, written in _KEPT_SPECIAL:
        if name in head.special:
            lines += b"\r\n" + written + b": " + head.special[name]
    method = b"GET"
    if head.body_length != NO_BODY:
        lines += b"\r\nContent-Length: %d" % body_length
    elif head.status != 204:
        method = b"HEAD"
        if b"content-length" in head.special:
            lines += b"\r\nContent-Length: " + head.special[b"content-length"]
    return read_response_head(b"HTTP/1.1 %b%b\r\n\r\n" % (head.status_text, lines), method)
