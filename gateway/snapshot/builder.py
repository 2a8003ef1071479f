"""Builds the next snapshot from the one before and batches of rows: a full load or a change.

A row that cannot be compiled disables itself: it is left out, with the reason, and named; all else
is built. Nothing here is visible to requests until `finish`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from immutables import Map, MapMutation

from gateway.commands import Command
from gateway.plugins.chain import RunningPlugin
from gateway.routing import CompiledRule, compile_rule
from gateway.settings import RouterFlavor
from gateway.snapshot.certificates import (
    compile_ca_certificate,
    compile_certificate,
    compile_sni,
)
from gateway.snapshot.compiled import (
    Target,
    Upstream,
    compile_route,
    compile_service,
    compile_upstream,
    nameless_upstream,
    parse_target,
)
from gateway.snapshot.consumers import NAME_COLUMNS, DirectoryBuilder
from gateway.snapshot.plugins import PluginsBuilder
from gateway.snapshot.snapshot import Snapshot
from gateway.status.facts import BadEntity
from gateway.store.source import Batch, VersionMark

Row = Mapping[str, Any]
Compiled = TypeVar("Compiled")


def no_plugin(row: Row) -> RunningPlugin:
    """Stand in where plugins do not run. Raises ValueError."""
    raise ValueError(f"plugin {row['name']!r} is not present on this node")


class SnapshotBuilder:
    """Takes batches, parents before children; `settle` and `finish` make the snapshot.

    ``flavor`` is whose order of routes counts; it has to be that of ``base``. ``make_plugin`` makes
    plugins of rows. ``commands`` are those that came, ``withdrawn`` the ids of those that are gone.
    """

    def __init__(
        self,
        base: Snapshot,
        flavor: RouterFlavor = RouterFlavor.TRADITIONAL,
        make_plugin: Callable[[Row], RunningPlugin] = no_plugin,
    ) -> None:
        self._base = base
        self._compatible = flavor is RouterFlavor.TRADITIONAL_COMPATIBLE
        self._router = base.router
        self._services = base.services.mutate()
        self._upstreams = base.upstreams.mutate()
        self._upstream_ids = base.upstream_ids.mutate()
        self._target_owners = base.target_owners.mutate()
        self._certificates = base.certificates.mutate()
        self._snis = base.snis.mutate()
        self._sni_ids = base.sni_ids.mutate()
        self._sni_names = base.sni_names.mutate()
        self._ca_certificates = base.ca_certificates.mutate()
        self._directory = DirectoryBuilder(base.directory)
        self.plugins = PluginsBuilder(base.plugins, make_plugin)
        self.commands: list[Command] = []
        self.withdrawn: list[UUID] = []
        self._bad = base.bad.mutate()
        self._tables: set[str] = set()  # with anything new
        # Upstream id → target id → what it has become, None for gone.
        self._target_changes: dict[UUID, dict[UUID, Target | None]] = {}

    def add(self, batch: Batch) -> None:
        """Take what changed in one table."""
        self._tables.add(batch.table)
        match batch.table:
            case "certificates":
                self._put_each(self._certificates, batch, compile_certificate)
            case "snis":
                self._add_snis(batch)
            case "ca_certificates":
                self._put_each(self._ca_certificates, batch, compile_ca_certificate)
            case "services":
                self._put_each(self._services, batch, compile_service)
            case "routes":
                self._add_routes(batch)
            case "upstreams":
                self._add_upstreams(batch)
            case "targets":
                self._add_targets(batch)
            case "commands":
                self._add_commands(batch)
            case table:
                self._take(batch, *self._others(table))
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

    def finish(self, mark: VersionMark | None) -> Snapshot:
        """Return the snapshot of version ``mark``."""
        return Snapshot(
            mark=mark,
            router=self._router,
            services=self._services.finish(),
            upstreams=self._finished_upstreams(),
            upstream_ids=self._upstream_ids.finish(),
            target_owners=self._target_owners.finish(),
            certificates=self._certificates.finish(),
            snis=self._snis.finish(),
            sni_ids=self._sni_ids.finish(),
            sni_names=self._sni_names.finish(),
            ca_certificates=self._ca_certificates.finish(),
            directory=self._directory.finish(),
            plugins=self.plugins.finish(),
            bad=self._bad.finish(),
        )

    def _finished_upstreams(self) -> Map[UUID, Upstream]:
        """Return the upstreams: the same map as before if none has changed, as some look at it."""
        if self._tables.isdisjoint(("upstreams", "targets")):
            return self._base.upstreams
        return self._upstreams.finish()

    def _put_each(
        self,
        compiled: MapMutation[UUID, Compiled],
        batch: Batch,
        compile_row: Callable[[Row], Compiled],
    ) -> None:
        """Take the rows of a table that is simply a map by id."""
        for id_ in batch.deleted:
            compiled.pop(id_, None)
        for row in batch.rows:
            entity = self._compile(batch.table, row, compile_row)
            if entity is None:
                compiled.pop(row["id"], None)
            else:
                compiled[row["id"]] = entity

    def _add_snis(self, batch: Batch) -> None:
        for id_ in batch.deleted:
            self._remove_sni(id_)
        for row in batch.rows:
            self._remove_sni(row["id"])
            sni = self._compile("snis", row, compile_sni)
            if sni is not None:
                name, certificate_id = sni
                self._snis[name] = certificate_id
                self._sni_ids[name] = row["id"]
                self._sni_names[row["id"]] = name

    def _remove_sni(self, id_: UUID) -> None:
        """Remove a name, unless another row has taken it over: its row may have come first."""
        name = self._sni_names.pop(id_, None)
        if name is not None and self._sni_ids.get(name) == id_:
            del self._sni_ids[name], self._snis[name]

    def _add_routes(self, batch: Batch) -> None:
        compiled: list[CompiledRule] = []
        removed = list(batch.deleted)
        for row in batch.rows:
            rule = self._compile("routes", row, self._compile_rule)
            if rule is None:
                removed.append(row["id"])
            else:
                compiled.append(rule)
        self._router = self._router.with_changes(compiled, removed)

    def _compile_rule(self, row: Row) -> CompiledRule:
        rule = compile_route(row, compatible=self._compatible)
        return compile_rule(rule, compatible=self._compatible)

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

    def _change_target(self, id_: UUID, upstream_id: UUID | None, target: Target | None) -> None:
        before = self._target_owners.pop(id_, None)
        if before is not None:
            self._target_changes.setdefault(before, {})[id_] = None
        if upstream_id is not None and target is not None:
            self._target_owners[id_] = upstream_id
            self._target_changes.setdefault(upstream_id, {})[id_] = target

    def _add_commands(self, batch: Batch) -> None:
        self.withdrawn += batch.deleted
        for row in batch.rows:
            command = self._compile("commands", row, Command.of)
            if command is not None:
                self.commands.append(command)

    def _others(self, table: str) -> tuple[Callable[[Row], None], Callable[[UUID], None]]:
        """Return who takes the rows of a table that is no business of the proxy's own."""
        directory, plugins = self._directory, self.plugins
        match table:
            case "consumers":
                return directory.put_consumer, directory.remove_consumer
            case "acls":
                return directory.put_group, directory.remove_group
            case "plugins":
                return plugins.put, plugins.remove
            case _ if table in NAME_COLUMNS:
                return partial(directory.put_credential, table), directory.remove_credential
        raise KeyError(table)

    def _take(
        self, batch: Batch, put: Callable[[Row], None], remove: Callable[[UUID], None]
    ) -> None:
        """Let others take the rows of a table, and name those that they refuse."""
        for id_ in batch.deleted:
            remove(id_)
        for row in batch.rows:
            remove(row["id"])
            self._compile(batch.table, row, put)

    def _compile(
        self, table: str, row: Row, compile_row: Callable[[Row], Compiled]
    ) -> Compiled | None:
        """Compile a row, or name it as bad and return None."""
        try:
            compiled = compile_row(row)
        except Exception as error:  # noqa: BLE001 - hand-made SQL can put anything into a row
            reason = str(error) or type(error).__name__
            bad = BadEntity(table, str(row["id"]), reason, row.get("name"))
            self._bad[(table, row["id"])] = bad
            return None
        self._bad.pop((table, row["id"]), None)
        return compiled


def chunks(batch: Batch, size: int) -> Iterable[Batch]:
    """Split a batch into smaller ones, so that each is a short piece of work."""
    for start in range(0, len(batch.rows), size):
        yield Batch(batch.table, batch.rows[start : start + size], [])
    if batch.deleted:
        yield Batch(batch.table, [], batch.deleted)
