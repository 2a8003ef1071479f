"""Builds the next snapshot from the one before and batches of rows: a full load or a change.

A row that cannot be compiled disables itself: it is left out, with the reason, and named; all else
is built. Nothing here is visible to requests until `finish`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from gateway.routing import CompiledRule, compile_rule
from gateway.snapshot.compiled import (
    Upstream,
    compile_route,
    compile_service,
    compile_upstream,
    nameless_upstream,
    parse_target,
)
from gateway.snapshot.snapshot import Snapshot
from gateway.status.facts import BadEntity
from gateway.store.source import Batch, VersionMark

Row = Mapping[str, Any]
Compiled = TypeVar("Compiled")


class SnapshotBuilder:
    """Takes batches, parents before children; `settle` and `finish` make the snapshot."""

    def __init__(self, base: Snapshot) -> None:
        self._router = base.router
        self._services = base.services.mutate()
        self._upstreams = base.upstreams.mutate()
        self._upstream_ids = base.upstream_ids.mutate()
        self._target_owners = base.target_owners.mutate()
        self._bad = base.bad.mutate()
        # Upstream id → target id → what it has become, None for gone.
        self._target_changes: dict[UUID, dict[UUID, tuple[str, int] | None]] = {}

    def add(self, batch: Batch) -> None:
        """Take what changed in one table."""
        match batch.table:
            case "services":
                self._add_services(batch)
            case "routes":
                self._add_routes(batch)
            case "upstreams":
                self._add_upstreams(batch)
            case "targets":
                self._add_targets(batch)
        for id_ in batch.deleted:
            self._bad.pop((batch.table, id_), None)

    def unsettled(self) -> list[UUID]:
        """Return the upstreams whose targets changed; each needs a `settle` before `finish`."""
        return list(self._target_changes)

    def settle(self, upstream_id: UUID) -> None:
        """Give one upstream its new set of targets."""
        changes = self._target_changes.pop(upstream_id)
        upstream = self._upstreams.get(upstream_id)
        if upstream is None:
            return
        targets = {**upstream.targets, **changes}
        kept = {id_: target for id_, target in sorted(targets.items()) if target is not None}
        self._upstreams[upstream_id] = upstream.with_targets(kept)

    def finish(self, mark: VersionMark) -> Snapshot:
        """Return the snapshot of version ``mark``."""
        return Snapshot(
            mark=mark,
            router=self._router,
            services=self._services.finish(),
            upstreams=self._upstreams.finish(),
            upstream_ids=self._upstream_ids.finish(),
            target_owners=self._target_owners.finish(),
            bad=self._bad.finish(),
        )

    def _add_services(self, batch: Batch) -> None:
        for id_ in batch.deleted:
            self._services.pop(id_, None)
        for row in batch.rows:
            service = self._compile("services", row, compile_service)
            if service is None:
                self._services.pop(row["id"], None)
            else:
                self._services[row["id"]] = service

    def _add_routes(self, batch: Batch) -> None:
        compiled: list[CompiledRule] = []
        removed = list(batch.deleted)
        for row in batch.rows:
            rule = self._compile("routes", row, lambda row: compile_rule(compile_route(row)))
            if rule is None:
                removed.append(row["id"])
            else:
                compiled.append(rule)
        self._router = self._router.with_changes(compiled, removed)

    def _add_upstreams(self, batch: Batch) -> None:
        for id_ in batch.deleted:
            self._remove_upstream(id_)
        for row in batch.rows:
            before = self._upstreams.get(row["id"])
            targets = {} if before is None else before.targets
            self._remove_upstream(row["id"])
            upstream = self._compile("upstreams", row, partial(compile_upstream, targets=targets))
            if upstream is None:
                self._upstreams[row["id"]] = nameless_upstream(row["id"], targets)
            else:
                self._upstreams[upstream.id] = upstream
                self._upstream_ids[upstream.name] = upstream.id

    def _remove_upstream(self, id_: UUID) -> None:
        before: Upstream | None = self._upstreams.pop(id_, None)
        if before is not None and self._upstream_ids.get(before.name) == id_:
            del self._upstream_ids[before.name]

    def _add_targets(self, batch: Batch) -> None:
        for id_ in batch.deleted:
            self._change_target(id_, None, None)
        for row in batch.rows:
            target = self._compile("targets", row, parse_target)
            self._change_target(row["id"], row["upstream_id"], target)

    def _change_target(
        self, id_: UUID, upstream_id: UUID | None, target: tuple[str, int] | None
    ) -> None:
        before = self._target_owners.pop(id_, None)
        if before is not None:
            self._target_changes.setdefault(before, {})[id_] = None
        if upstream_id is not None and target is not None:
            self._target_owners[id_] = upstream_id
            self._target_changes.setdefault(upstream_id, {})[id_] = target

    def _compile(
        self, table: str, row: Row, compile_row: Callable[[Row], Compiled]
    ) -> Compiled | None:
        """Compile a row, or name it as bad and return None."""
        try:
            compiled = compile_row(row)
        except Exception as error:  # noqa: BLE001 - hand-made SQL can put anything into a row
            reason = str(error) or type(error).__name__
            self._bad[(table, row["id"])] = BadEntity(table, str(row["id"]), reason)
            return None
        self._bad.pop((table, row["id"]), None)
        return compiled


def chunks(batch: Batch, size: int) -> Iterable[Batch]:
    """Split a batch into smaller ones, so that each is a short piece of work."""
    for start in range(0, len(batch.rows), size):
        yield Batch(batch.table, batch.rows[start : start + size], [])
    if batch.deleted:
        yield Batch(batch.table, [], batch.deleted)
