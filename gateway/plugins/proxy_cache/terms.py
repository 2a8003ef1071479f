"""Whether a response is kept, and on which terms (plugins.md 5.16, RFC 9111 section 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from time import time
from typing import TYPE_CHECKING, NamedTuple

from gateway.plugins.lines import contains, values_of
from gateway.plugins.proxy_cache.cache_control import (
    directives_of,
    forbids_storing,
    is_for_all,
    lifetime_s,
    may_be_stale,
    seconds,
)
from gateway.plugins.proxy_cache.config import Caching
from gateway.plugins.proxy_cache.media_types import MediaType, MediaTypeError

if TYPE_CHECKING:
    from gateway.proxy.http1 import ResponseHead

_OF_CONDITIONS = frozenset({206, 304, 412, 416})
"""Statuses that follow from ``Range`` and conditions, which do not tell requests apart."""

_KNOWN_TYPES = 256


class Terms(NamedTuple):
    """How a response is kept.

    ``age_s`` is how old it came, ``fresh_s`` how long it is fresh from now on, ``kept_s`` how long
    it is kept. It ``is_for_all``, also those with ``Authorization``; whoever asks for that may get
    it when it is fresh no more, if it ``may_be_stale``.
    """

    age_s: float
    fresh_s: float
    kept_s: float
    is_for_all: bool = False
    may_be_stale: bool = True


class Judge:
    """Judges responses by the config of a plugin."""

    def __init__(self, config: Caching) -> None:
        self._config = config
        self._statuses = frozenset(config.response_code) - _OF_CONDITIONS
        types = [MediaType.read(text) for text in config.content_type]
        self._is_kept_type = lru_cache(_KNOWN_TYPES)(_type_test(types))

    def terms(self, head: ResponseHead, *, is_authorized: bool) -> Terms | None:
        """Return how a response is kept, None if it is not.

        :param is_authorized: whether its request had ``Authorization``.
        """
        lines, config = head.rest, self._config
        if head.status not in self._statuses or contains(lines, "set-cookie"):
            return None
        types = values_of(lines, "content-type")
        if len(types) != 1 or not self._is_kept_type(types[0]):
            return None
        if config.cache_control:
            return self._terms_of_its_own(lines, is_authorized=is_authorized)
        return Terms(0, config.cache_ttl, config.storage_ttl or config.cache_ttl)

    def _terms_of_its_own(self, lines: bytes, *, is_authorized: bool) -> Terms | None:
        """Return how a response itself wants to be kept."""
        directives = directives_of(lines)
        age_s = max(map(seconds, values_of(lines, "age")), default=0)
        fresh_s = lifetime_s(directives, lines, time()) - age_s
        is_for_others = not is_authorized or is_for_all(directives)
        if fresh_s <= 0 or forbids_storing(directives) or not is_for_others:
            return None
        return Terms(
            age_s,
            fresh_s,
            self._config.storage_ttl or fresh_s,
            is_for_all(directives),
            may_be_stale(directives),
        )


def _type_test(kept: Sequence[MediaType]) -> Callable[[str], bool]:
    """Return what tells whether a ``Content-Type`` is one of those to be kept."""

    def is_kept(text: str) -> bool:
        try:
            found = MediaType.read(text)
        except MediaTypeError:
            return False
        return any(it.covers(found) for it in kept)

    return is_kept
