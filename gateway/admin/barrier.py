"""Barrier writes: ``?wait=cluster&timeout=5s`` answers once every live node serves the write.

By then it is committed, so the answer stays what it was whether or not all are there in time; its
headers tell. A node enters the cluster's list before it loads, and reports only what it serves: so
when all live ones have reported the version, a request to any of them meets it.

Not counted is who has not been heard of for some heartbeats: killed, or cut off. One that is only
cut off may still serve what is old; `max_stale_s` with `stale_action=refuse` keeps it from that. A
node that has itself been out of touch counts all for a while: the others may have been as well.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import structlog

from gateway.admin.errors import invalid_option
from gateway.store.errors import StoreError
from gateway.store.propagation import Member
from gateway.store.store import Store

DEFAULT_TIMEOUT_S = 5.0
LONGEST_TIMEOUT_S = 300.0

PROPAGATION_HEADER = "X-Gateway-Propagation"
"""How many of the live nodes serve the write, as ``2/3``; ``unknown`` if the database is gone."""
BEHIND_HEADER = "X-Gateway-Propagation-Behind"
"""The live nodes that do not serve it yet."""
UNSEEN_HEADER = "X-Gateway-Propagation-Unseen"
"""The nodes that were not counted as they have not been heard of."""

FIRST_PAUSE_S = 0.002
LONGEST_PAUSE_S = 0.1

_DURATION = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(ms|s|)")

_log = structlog.get_logger(__name__)


def asked_timeout_s(query: Mapping[str, str]) -> float | None:
    """Return how long a write shall wait for the cluster, None if it shall not.

    Raises an answer for options that mean nothing.
    """
    wait = query.get("wait")
    if wait is None:
        return None
    if wait != "cluster":
        raise invalid_option("wait", "expected 'cluster'")
    duration = _DURATION.fullmatch(query.get("timeout", f"{DEFAULT_TIMEOUT_S:g}s"))
    timeout_s = float(duration[1]) / (1000 if duration[2] == "ms" else 1) if duration else -1
    if not 0 <= timeout_s <= LONGEST_TIMEOUT_S:
        limit = f"expected a time up to {LONGEST_TIMEOUT_S:g}s, such as 5s or 500ms"
        raise invalid_option("timeout", limit)
    return timeout_s


@dataclass(frozen=True, slots=True)
class Propagation:
    """How far a version has got: names of live members that serve it, that do not, and the rest."""

    there: Sequence[str]
    behind: Sequence[str]
    unseen: Sequence[str]

    @classmethod
    def of(cls, members: Sequence[Member], version: int, alive_s: float) -> Propagation:
        """Judge each member; who was heard of within ``alive_s`` counts."""
        live = [member for member in members if member.age_s <= alive_s]
        return cls(
            there=[member.name for member in live if member.serves(version)],
            behind=[member.name for member in live if not member.serves(version)],
            unseen=[member.name for member in members if member.age_s > alive_s],
        )

    def headers(self) -> dict[str, str]:
        """Return what an answer tells of it."""
        total = len(self.there) + len(self.behind)
        headers = {PROPAGATION_HEADER: f"{len(self.there)}/{total}"}
        if self.behind:
            headers[BEHIND_HEADER] = _listed(self.behind)
        if self.unseen:
            headers[UNSEEN_HEADER] = _listed(self.unseen)
        return headers


class Barrier:
    """Waits for the cluster; all who wait at the same time share the questions to the database.

    :param alive_s: how long after its last heartbeat a node counts.
    :param in_touch_s: for how long this node has been in touch itself.
    """

    def __init__(self, store: Store, alive_s: float, in_touch_s: Callable[[], float]) -> None:
        self._store = store
        self._alive_s = alive_s
        self._in_touch_s = in_touch_s
        self._look: asyncio.Task[list[Member]] | None = None
        self._next_look: asyncio.Task[list[Member]] | None = None

    async def wait(self, version: int, timeout_s: float) -> Mapping[str, str]:
        """Return, as headers, how far the version has got: when all have it, or in time."""
        loop = asyncio.get_running_loop()
        deadline, pause_s = loop.time() + timeout_s, FIRST_PAUSE_S
        try:
            while True:
                members = await self._members()
                propagation = Propagation.of(members, version, self._counted_s())
                left_s = deadline - loop.time()
                if not propagation.behind or left_s <= 0:
                    return propagation.headers()
                await asyncio.sleep(min(pause_s, left_s))
                pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)
        except StoreError as error:
            _log.warning("no telling how far a write has got", version=version, error=str(error))
            return {PROPAGATION_HEADER: "unknown"}

    def _counted_s(self) -> float:
        """Return how long ago a node may have been heard of to count."""
        return self._alive_s if self._in_touch_s() > self._alive_s else math.inf

    async def _members(self) -> list[Member]:
        """Return the members as the database shows them, asked after this call.

        An answer to an older question could lack a node that has joined since with an older
        version.
        """
        if self._next_look is None:
            self._next_look = asyncio.create_task(self._look_after(self._look), name="barrier-look")
            self._next_look.add_done_callback(_forget_error)
        return await asyncio.shield(self._next_look)

    async def _look_after(self, previous: asyncio.Task[list[Member]] | None) -> list[Member]:
        if previous is not None:
            await asyncio.wait({previous})
        self._look, self._next_look = self._next_look, None
        return await self._store.members()


def _forget_error(look: asyncio.Task[list[Member]]) -> None:
    """Those who waited have got it; if none is left, nobody needs it."""
    if not look.cancelled():
        look.exception()


def _listed(names: Sequence[str]) -> str:
    """Return names as a header's value: what would break it is percent-encoded."""
    return ", ".join(quote(name, safe=" !#$&'()*+-./:;=?@[]^_`{|}~") for name in names)
