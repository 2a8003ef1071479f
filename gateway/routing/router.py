"""The router: all rules, found by host and path. Immutable, so a request may keep it for good.

The answer is the first full match in the order of ``router.md`` section 3. What scheme, method,
host and path decide is worked out by `Router.candidates` and may be remembered; what is left, the
headers and the SNI, by `select`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from uuid import UUID

from immutables import Map

from gateway.routing.conditions import by_name
from gateway.routing.hosts import ANY_HOST, is_wildcard, plain_texts, wildcard_texts
from gateway.routing.rules import Candidate, CompiledRule, Entry
from gateway.routing.table import PathTable, Serves, by_rank

Rules = Map[UUID, CompiledRule]
Hosts = Map[bytes, PathTable]

_NO_RULES: Rules = Map()
_NO_HOSTS: Hosts = Map()
_NO_ENTRIES = PathTable()


@dataclass(frozen=True, slots=True)
class Tables:
    """The entries by host: the simple ones of plain hosts, their others, those of wildcards."""

    simple: Hosts = _NO_HOSTS
    others: Hosts = _NO_HOSTS
    wildcards: Hosts = _NO_HOSTS


class Router:
    """Rules by id, and their entries by configured host and path text."""

    __slots__ = ("_any_others", "_any_simple", "_others", "_rules", "_simple", "_wildcards")

    def __init__(self, rules: Rules = _NO_RULES, tables: Tables = Tables()) -> None:
        self._rules = rules
        self._simple = tables.simple
        self._others = tables.others
        self._wildcards = tables.wildcards
        self._any_simple = tables.simple.get(ANY_HOST)
        self._any_others = tables.others.get(ANY_HOST)

    def __len__(self) -> int:
        return len(self._rules)

    def __contains__(self, rule_id: object) -> bool:
        return rule_id in self._rules

    def ids(self) -> Iterator[UUID]:
        """Yield the ids of all rules."""
        return iter(self._rules)

    def with_changes(self, upserts: Iterable[CompiledRule], removed: Iterable[UUID]) -> Router:
        """Return the router with ``removed`` taken out, then ``upserts`` put in, by their ids.

        Costs what the change costs, whatever the size of the router. This one stays as it is.
        """
        change = _Change()
        rules = self._rules.mutate()
        for rule_id in removed:
            change.take_out(rules.pop(rule_id, None))
        for compiled in upserts:
            change.take_out(rules.pop(compiled.id, None))
            if compiled.placements:
                rules[compiled.id] = compiled
                change.put_in(compiled)
        return Router(
            rules.finish(),
            Tables(
                change.of_simple.applied_to(self._simple),
                change.of_others.applied_to(self._others),
                change.of_wildcards.applied_to(self._wildcards),
            ),
        )

    def candidates(
        self,
        tls: bool,
        method: bytes,
        host: bytes,
        path: bytes,
        serves: Serves | None = None,
    ) -> tuple[Candidate, ...]:
        """Return, in order, the routes that may take a request; nothing follows a certain one.

        ``host`` is the Host header as received (empty if there is none), ``path`` is normalised.
        A route whose payload ``serves`` refuses is passed over as if it were not there.
        """
        found: list[tuple[Entry, ...]] = []
        if self._any_simple is not None:
            entry = self._any_simple.first(path, serves)
            if entry is not None:
                found.append((entry,))
        if self._any_others is not None:
            self._any_others.collect(path, found)
        if host:
            self._find_by_host(host, path, serves, found)
            if self._wildcards:
                self._find_by_wildcard(tls, host, path, found)
        if len(found) == 1:
            (entries,) = found
            return entries if entries[0].simple else _matching(entries, tls, method, path, serves)
        return _matching_of_groups(found, tls, method, path, serves) if found else ()

    def _find_by_host(
        self, host: bytes, path: bytes, serves: Serves | None, found: list[tuple[Entry, ...]]
    ) -> None:
        for text in plain_texts(host):
            table = self._simple.get(text)
            if table is not None:
                entry = table.first(path, serves)
                if entry is not None:
                    found.append((entry,))
            if self._others:
                table = self._others.get(text)
                if table is not None:
                    table.collect(path, found)

    def _find_by_wildcard(
        self, tls: bool, host: bytes, path: bytes, found: list[tuple[Entry, ...]]
    ) -> None:
        for text in wildcard_texts(host, tls=tls):
            table = self._wildcards.get(text)
            if table is not None:
                table.collect(path, found)


def select(
    candidates: Sequence[Candidate],
    headers: Iterable[tuple[bytes, bytes]],
    sni: bytes | None,
) -> Candidate | None:
    """Return the first candidate whose conditions hold, None if there is none.

    ``headers`` are (lower-case name, value) pairs; ``sni`` is None on plain HTTP. Only looked at
    while a candidate has conditions.
    """
    values: dict[bytes, list[bytes]] | None = None
    for candidate in candidates:
        if candidate.conditions is None:
            return candidate
        if values is None:
            values = by_name(headers)
        if candidate.conditions.accepts(values, sni):
            return candidate
    return None


def _matching(
    entries: Iterable[Entry],
    tls: bool,
    method: bytes,
    path: bytes,
    serves: Serves | None,
) -> tuple[Candidate, ...]:
    matching: list[Candidate] = []
    for entry in entries:
        if entry.methods is not None and method not in entry.methods:
            continue
        if entry.tls is not None and entry.tls is not tls:
            continue
        if serves is not None and not serves(entry.payload):
            continue
        candidate: Candidate = entry
        if entry.regex is not None:
            match = entry.regex.match(path)
            if match is None:
                continue
            candidate = entry.with_match(match)
        if candidate.conditions is None:
            return (*matching, candidate)
        matching.append(candidate)
    return tuple(matching)


def _matching_of_groups(
    found: list[tuple[Entry, ...]],
    tls: bool,
    method: bytes,
    path: bytes,
    serves: Serves | None,
) -> tuple[Candidate, ...]:
    """Do as `_matching` does, over groups of which each is sorted.

    Mostly the first of all entries takes the request, and nothing need be sorted.
    """
    first = found[0]
    for group in found:
        if group[0].rank < first[0].rank:
            first = group
    matching = _matching(first[:1], tls, method, path, serves)
    if matching and matching[0].conditions is None:
        return matching
    return _matching(sorted(chain(*found), key=by_rank), tls, method, path, serves)


class _Change:
    """What a change set takes out of the tables and puts in."""

    def __init__(self) -> None:
        gone: set[Entry] = set()
        self.of_simple = _HostsChange(gone)
        self.of_others = _HostsChange(gone)
        self.of_wildcards = _HostsChange(gone)
        self._gone = gone

    def take_out(self, compiled: CompiledRule | None) -> None:
        for host, entries in compiled.placements if compiled else ():
            for entry in entries:
                self._gone.add(entry)
                self._of(host, entry).additions[host].setdefault(entry.text, [])

    def put_in(self, compiled: CompiledRule) -> None:
        for host, entries in compiled.placements:
            for entry in entries:
                self._of(host, entry).additions[host][entry.text].append(entry)

    def _of(self, host: bytes, entry: Entry) -> _HostsChange:
        if is_wildcard(host):
            return self.of_wildcards
        return self.of_simple if entry.simple else self.of_others


class _HostsChange:
    """What is put into the tables of one kind, by host and path text, and what is gone."""

    def __init__(self, gone: set[Entry]) -> None:
        self.additions: dict[bytes, dict[bytes, list[Entry]]] = defaultdict(
            lambda: defaultdict(list)
        )
        self._gone = gone

    def applied_to(self, hosts: Hosts) -> Hosts:
        changed = hosts.mutate()
        for host, additions in self.additions.items():
            table = changed.get(host, _NO_ENTRIES).with_changes(additions, self._gone)
            if table:
                changed[host] = table
            else:
                changed.pop(host, None)
        return changed.finish()
