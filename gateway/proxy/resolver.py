"""What host names lead to: looked up, remembered for a while, kept when name servers fail.

An answer is fresh for its TTL, within the bounds of the settings. An outdated one is used while it
is asked for again, by the first who meets it; and goes on being used for ``dns_stale_s`` if nobody
can say. That a name is gone has to be said twice before what it led to is dropped: name servers
that have just started, or have lost their data for a moment, say so of all names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter

import structlog

from gateway.proxy.name_lookup import Address, Found, NameLookup, NoSuchNameError
from gateway.settings import NodeSettings

_NAMES_LIMIT = 10_000
"""Names that are remembered, beyond those in use."""

_LOOKUPS_LIMIT = 64
"""Lookups going on at once."""

_FAILURE_TTL_S = 1.0
"""How long name servers that failed are not asked again for the same name."""

_GRACE_S = 30.0
"""How long an outdated answer is used at first sight. One that nobody has needed for longer is
asked for again first: addresses may have new owners by now."""

log = structlog.get_logger(__name__)


class Name:
    """A host name and what is known of it. Times are readings of ``perf_counter``."""

    __slots__ = (
        "_addresses",
        "_denials",
        "_stale_until",
        "_usable_until",
        "failure",
        "fresh_until",
        "host",
        "is_denied",
        "lookup",
        "record_type",
        "waiting",
    )

    def __init__(self, host: str) -> None:
        self.host = host
        self.record_type = ""
        self.failure = ""  # what became of the last lookup, if it failed
        self.is_denied = False  # by that lookup: there is no such name
        self.fresh_until = 0.0
        self.lookup: asyncio.Task[None] | None = None
        self.waiting: set[Callable[[], None]] = set()
        self._addresses: Sequence[Address] = ()
        self._usable_until = 0.0
        self._stale_until = 0.0
        self._denials = 0

    def addresses(self, now: float) -> Sequence[Address]:
        """Return where the name leads, as far as is known."""
        return self._addresses if now < self._usable_until else ()

    def take(self, found: Found, ttl_s: float, stale_s: float) -> None:
        """Remember an answer."""
        self._addresses = found.addresses
        self.record_type = found.record_type
        self.failure, self.is_denied, self._denials = "", False, 0
        self._be_fresh_for(ttl_s)
        self._stale_until = self.fresh_until + stale_s

    def fail(self, reason: str, ttl_s: float) -> None:
        """Remember that nobody could say."""
        self.failure, self.is_denied, self._denials = reason, False, 0
        self._be_fresh_for(ttl_s)
        self._usable_until = min(self._usable_until, self._stale_until)

    def deny(self, reason: str, ttl_s: float) -> None:
        """Remember that the name leads nowhere; what it led to is dropped the second time."""
        self.failure, self.is_denied = reason, True
        self._denials += 1
        if self._denials > 1:
            self._addresses = ()
        self._be_fresh_for(ttl_s)

    def _be_fresh_for(self, ttl_s: float) -> None:
        self.fresh_until = perf_counter() + ttl_s
        self._usable_until = self.fresh_until + _GRACE_S


class Resolver:
    """Remembers names; each is looked up once at a time, whoever asks."""

    def __init__(self, settings: NodeSettings) -> None:
        self._lookup = NameLookup(settings)
        self._least_ttl_s = settings.dns_ttl_min_s
        self._greatest_ttl_s = max(settings.dns_ttl_min_s, settings.dns_ttl_max_s)
        self._stale_s = settings.dns_stale_s
        self._not_found_ttl_s = settings.dns_not_found_ttl_s
        self._names: dict[str, Name] = {}
        self._room = asyncio.Semaphore(_LOOKUPS_LIMIT)
        self._lookups: set[asyncio.Task[None]] = set()

    def name(self, host: str) -> Name:
        """Return what is kept for a name; nobody is asked yet."""
        name = self._names.get(host)
        if name is None:
            if len(self._names) >= _NAMES_LIMIT:
                del self._names[next(iter(self._names))]
            name = self._names[host] = Name(host)
        return name

    def look_up(self, name: Name, then: Callable[[], None]) -> asyncio.Task[None]:
        """Ask for a name, unless that is going on already, and call ``then`` when it has ended."""
        name.waiting.add(then)
        if name.lookup is None:
            task = asyncio.get_running_loop().create_task(
                self._refresh(name), name=f"resolve-{name.host}"
            )
            name.lookup = task
            self._lookups.add(task)
            task.add_done_callback(self._lookups.discard)
        return name.lookup

    async def stop(self) -> None:
        """Give up what is being looked up."""
        for task in list(self._lookups):
            task.cancel()
        await asyncio.gather(*self._lookups, return_exceptions=True)

    async def _refresh(self, name: Name) -> None:
        before = name.failure
        try:
            async with self._room:
                found = await self._lookup.look_up(name.host, name.record_type)
        except NoSuchNameError as error:
            name.deny(str(error), self._not_found_ttl_s)
        except Exception as error:  # noqa: BLE001 - whatever it is, the name is asked for again
            name.fail(str(error) or type(error).__name__, _FAILURE_TTL_S)
        else:
            ttl_s = min(max(found.ttl_s, self._least_ttl_s), self._greatest_ttl_s)
            name.take(found, ttl_s, self._stale_s)
        _tell(name, before)
        name.lookup = None
        waiting, name.waiting = name.waiting, set()
        for then in waiting:
            then()


def _tell(name: Name, failure_before: str) -> None:
    """Log that a name does not resolve any more, or again."""
    if name.failure and not failure_before:
        log.warning("name not resolved", host=name.host, reason=name.failure)
    elif failure_before and not name.failure:
        log.info("name resolved again", host=name.host)
