"""Apply: builds the next snapshot beside the current one, then makes it current.

A failing apply leaves the current snapshot in place. The work is done in slices so that requests go
on being served while ten thousand rows are compiled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Literal
from uuid import UUID

import structlog

from gateway.commands import Commands
from gateway.plugins.chain import RunningPlugin
from gateway.settings import RouterFlavor
from gateway.snapshot.builder import Row, SnapshotBuilder, chunks, no_plugin
from gateway.snapshot.dismantling import dismantle
from gateway.snapshot.heap import SnapshotHeap
from gateway.snapshot.slices import Slices
from gateway.snapshot.snapshot import Snapshot
from gateway.status.facts import BadEntity
from gateway.store.source import Load

_ROWS_PER_PIECE = 10
_CERTIFICATES_PER_PIECE = 8
"""Their PEM texts are read: 0.06 ms for two pairs, twice that with long chains and keys."""

log = structlog.get_logger(__name__)


class SnapshotApplier:
    """Keeps the current snapshot; ``use`` is called with each new one.

    ``flavor`` is whose order of routes counts in all of them. ``make_plugin`` makes plugins of
    rows. ``commands`` are carried out once the snapshot that they come with is current.
    """

    def __init__(
        self,
        use: Callable[[Snapshot], None],
        flavor: RouterFlavor = RouterFlavor.TRADITIONAL,
        make_plugin: Callable[[Row], RunningPlugin] = no_plugin,
        commands: Commands | None = None,
    ) -> None:
        self.current = Snapshot.empty()
        self._commands = commands or Commands()
        self._use = use
        self._flavor = flavor
        self._make_plugin = make_plugin
        self._heap = SnapshotHeap()
        self._dismantling: set[asyncio.Task[None]] = set()

    def bad_entities(self) -> list[BadEntity]:
        """Return the rows that the current snapshot leaves out."""
        return sorted(self.current.bad.values(), key=lambda bad: (bad.kind, bad.id))

    def has_route(self, id_: UUID) -> bool:
        """Tell whether the current snapshot has this route."""
        return id_ in self.current.router

    async def apply(self, load: Load) -> None:
        """Build the snapshot that ``load`` leads to and make it current.

        Raises whatever reading the load raises; the current snapshot then stays.
        """
        before = self.current
        base = Snapshot.empty() if load.kind == "full" else before
        builder = SnapshotBuilder(base, self._flavor, self._make_plugin)
        slices = Slices()
        async for batch in load.batches:
            for piece in chunks(batch, _rows_per_piece(batch.table)):
                builder.add(piece)
                self._heap.note_slice(len(piece.rows))
                await slices.pause()
        for upstream_id in builder.unsettled():
            builder.settle(upstream_id)
            await slices.pause()
        self.current = builder.finish(load.mark)
        _each(builder.plugins.made, "set_up")
        self._use(self.current)
        all_before = before.plugins.uses.values() if load.kind == "full" else ()
        _each([*builder.plugins.dropped, *all_before], "clean_up")
        await self._carry_out_commands(builder, slices, is_all=load.kind == "full")
        self._heap.note_apply()
        self._name_bad_rows(before)
        if load.kind == "full":
            self._retire(before)

    async def stop(self) -> None:
        """End what is going on in the background."""
        for task in self._dismantling:
            task.cancel()
        await asyncio.gather(*self._dismantling, return_exceptions=True)

    async def _carry_out_commands(
        self, builder: SnapshotBuilder, slices: Slices, *, is_all: bool
    ) -> None:
        """Carry out what came, one by one: there may be those of an hour."""
        if is_all:
            self._commands.forget_all_but({command.id for command in builder.commands})
        self._commands.forget(builder.withdrawn)
        for command in sorted(builder.commands, key=attrgetter("version")):
            self._commands.carry_out(command)
            await slices.pause()

    def _retire(self, snapshot: Snapshot) -> None:
        task = asyncio.create_task(dismantle(snapshot), name="dismantle-snapshot")
        self._dismantling.add(task)
        task.add_done_callback(self._dismantling.discard)

    def _name_bad_rows(self, before: Snapshot) -> None:
        """Log each row that has become bad, or good again, once."""
        for key, bad in self.current.bad.items():
            if before.bad.get(key) != bad:
                facts = {"entity": bad.kind, "id": bad.id, "name": bad.name, "reason": bad.reason}
                log.warning("bad entity left out", **facts)
        for key, bad in before.bad.items():
            if key not in self.current.bad:
                log.info("bad entity is gone", entity=bad.kind, id=bad.id)


def _rows_per_piece(table: str) -> int:
    return _CERTIFICATES_PER_PIECE if table == "certificates" else _ROWS_PER_PIECE


def _each(uses: Iterable[RunningPlugin], step: Literal["set_up", "clean_up"]) -> None:
    """Let plugins begin or cease to be used."""
    for use in uses:
        try:
            getattr(use.plugin, step)()
        except Exception:
            log.exception("a plugin failed", phase=step, plugin=use.plugin.name)
