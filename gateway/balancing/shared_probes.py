"""Which addresses a node probes itself, where the nodes of a cluster share the probes.

For each address a few nodes are chosen, by rendezvous hashing among those that live: they probe it
and report. The others follow the reports of one of them. Who hears nothing for too long, as the
prober has died or the database is away, probes for itself until it hears again.

Times are in seconds, by a clock of the caller's.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

from gateway.balancing.endpoint import Identity
from gateway.balancing.health import Report
from gateway.balancing.rendezvous import Rendezvous

Address = tuple[UUID, Identity]
"""An upstream entity, and an endpoint of it."""

MISSED_BEFORE_ALONE = 3
MISSED_BEFORE_ANOTHER = 1
"""Probes that would have been due since the last report, when to probe alone, and when to follow
another prober if there is one."""

MOST_ADDRESSES = 20_000
"""Known at once; the ones that were not due for longest are forgotten, and begin anew."""

LONGEST_STREAK = 255
"""No limit of a health check asks for more."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the last probe of an address by a node has found; None: nothing that counts.

    ``number`` counts the node's probes of the address, ``streak`` those in a row that found this.
    """

    address: Address
    node_id: UUID
    report: Report | None
    reason: str
    number: int
    streak: int


class _Known:
    """An address that is due now and then.

    ``missed`` is how often it was due since somebody was heard of it, at ``heard_at``.
    ``followed`` is whose reports count, ``number`` that of the last one.
    """

    __slots__ = ("followed", "found", "found_at", "heard_at", "missed", "number", "probers")

    def __init__(self, now: float) -> None:
        self.probers: frozenset[UUID] | None = None
        self.followed: UUID | None = None
        self.number = 0
        self.missed = 0
        self.heard_at = now
        self.found: Finding | None = None
        self.found_at = now


class SharedProbes:
    """The share of one node. ``probers`` is how many nodes probe an address.

    Nobody is given up before ``patience_s``.
    """

    def __init__(self, node_id: UUID, probers: int, patience_s: float) -> None:
        self._node_id = node_id
        self._probers = probers
        self._patience_s = patience_s
        self._live: frozenset[UUID] = frozenset()
        self._rendezvous = Rendezvous(())
        self._known: dict[Address, _Known] = {}
        self._unreported: dict[Address, _Known] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nothing was ever due."""
        return not self._known

    def meet(self, live: Collection[UUID]) -> None:
        """Hear who lives."""
        found = frozenset(live)
        if found != self._live:
            self._live = found
            self._rendezvous = Rendezvous(found)
            for known in self._known.values():
                known.probers = None

    def is_ours(self, address: Address, now: float) -> bool:
        """Tell whether to probe an address that is due."""
        known = self._known.pop(address, None) or _Known(now)
        self._known[address] = known  # the last in order
        if len(self._known) > MOST_ADDRESSES:
            del self._known[next(iter(self._known))]
        if self._is_prober(address, known):
            return True
        known.missed += 1
        return self._is_overdue(known, MISSED_BEFORE_ALONE, self._patience_s, now)

    # -- telling

    def note(self, address: Address, report: Report | None, reason: str, now: float) -> None:
        """Keep what a probe of this node has found, for the others if they rely on it."""
        known = self._known.get(address)
        if known is None or not self._is_prober(address, known):
            return
        before = known.found
        goes_on = before is not None and before.report is report
        known.found = Finding(
            address,
            self._node_id,
            report,
            reason,
            number=1 if before is None else before.number + 1,
            streak=min(before.streak + 1, LONGEST_STREAK) if before and goes_on else 1,
        )
        known.found_at = now
        self._unreported[address] = known

    def take_unreported(self, most: int, now: float) -> list[Finding]:
        """Return some of what is to be reported, and regard it as told. What is old is not."""
        taken = list(islice(self._unreported.items(), most))
        for address, _ in taken:
            del self._unreported[address]
        since = now - self._patience_s
        return [known.found for _, known in taken if known.found and known.found_at >= since]

    # -- hearing

    def hear(self, finding: Finding, now: float) -> int:
        """Hear what a node has found; return how many reports this is worth to us."""
        known = self._known.get(finding.address)
        if known is None or self._is_prober(finding.address, known):
            return 0
        if not self._follows(finding, known, now):
            return 0
        unheard, known.number = finding.number - known.number, finding.number
        if not unheard:
            return 0
        known.missed, known.heard_at = 0, now
        return min(unheard, finding.streak, LONGEST_STREAK) if unheard > 0 else 1

    def _follows(self, finding: Finding, known: _Known, now: float) -> bool:
        """Tell whether the reports of this node count; from now on, if need be."""
        sender, probers = finding.node_id, self._probers_of(finding.address, known)
        if sender == known.followed or sender not in probers:
            return sender in probers
        patience_s = self._patience_s / 2
        if known.followed not in probers or self._is_overdue(
            known, MISSED_BEFORE_ANOTHER, patience_s, now
        ):
            known.followed, known.number = sender, finding.number - 1
            return True
        return False

    # -- who probes

    def _is_overdue(self, known: _Known, missed: int, patience_s: float, now: float) -> bool:
        return known.missed > missed and now - known.heard_at > patience_s

    def _is_prober(self, address: Address, known: _Known) -> bool:
        """Tell whether this node is chosen; as long as it knows nobody, it is."""
        return not self._live or self._node_id in self._probers_of(address, known)

    def _probers_of(self, address: Address, known: _Known) -> frozenset[UUID]:
        if known.probers is None:
            known.probers = self._rendezvous.chosen(_key(address), self._probers)
        return known.probers


def _key(address: Address) -> bytes:
    upstream_id, (host, ip, port) = address
    return b"%b %b %b %d" % (upstream_id.bytes, host.encode(), ip.encode(), port)
