"""The three things that are done with a configuration as a whole: write, compare, export.

Each is for a process of its own: parsing, checking and planning take seconds of one core.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.declarative import passwords
from gateway.declarative.checking import Declaration
from gateway.declarative.differences import summary
from gateway.declarative.export import flat_document
from gateway.declarative.plan import Plan, make_plan
from gateway.declarative.state import State
from gateway.declarative.writing import write
from gateway.entities import ENTITIES, Row
from gateway.entities.credentials import BASICAUTH_CREDENTIALS
from gateway.settings import NodeSettings
from gateway.store.actor import Actor
from gateway.store.source import DatabaseSource
from gateway.store.store import Store

Tell = Callable[[str, int, int], None]
"""Is told which step is being done, and how much of how much of it is."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it, and the version of the configuration that it is about."""

    document: dict[str, Any]
    version: int


async def write_all(
    settings: NodeSettings, declaration: Declaration, actor: Actor, tell: Tell
) -> Result:
    """Make the database as declared, in one transaction. Raises InvalidConfigError, StoreError."""
    store = Store(settings)
    await store.start()
    try:
        await _settle_passwords(store, declaration, tell)
        async with store.write(actor) as transaction:
            tell("compare", 0, 0)
            # The state is read under the lock of the version: nobody changes it any more.
            state = State.of({table: await transaction.all(table) for table in ENTITIES})
            plan = make_plan(declaration, state)
            total = len(plan.changes)
            tell("write", 0, total)
            await write(plan, transaction, lambda written: tell("write", written, total))
            tell("commit", 0, 0)
        return _result(plan, state, transaction.version, dry_run=False)
    finally:
        await store.stop()


async def compare(settings: NodeSettings, declaration: Declaration, tell: Tell) -> Result:
    """Return what `write_all` would do. Raises InvalidConfigError, StoreError."""
    store = Store(settings)
    await store.start()
    try:
        await _settle_passwords(store, declaration, tell)
    finally:
        await store.stop()
    tell("compare", 0, 0)
    state, version = await _state(settings)
    return _result(make_plan(declaration, state), state, version, dry_run=True)


async def export(settings: NodeSettings, select_tags: Sequence[str], tell: Tell) -> Result:
    """Return all entities, or those with all of the tags, as a flat document. Raises StoreError."""
    tell("read", 0, 0)
    state, version = await _state(settings)
    return Result(flat_document(state, select_tags), version)


async def _settle_passwords(store: Store, declaration: Declaration, tell: Tell) -> None:
    """Hash clear passwords before anything is locked."""
    clear = [item for item in declaration.items if item.clear_password is not None]
    if not clear:
        return
    tell("passwords", 0, len(clear))
    async with store.read() as transaction:
        stored = await transaction.all(BASICAUTH_CREDENTIALS.table)
    passwords.settle(clear, {row["username"]: row for row in stored})


async def _state(settings: NodeSettings) -> tuple[State, int]:
    """Return all rows, as of one version."""
    source = DatabaseSource(settings)
    rows: dict[str, list[Row]] = {}
    try:
        async with source.load(None) as load:
            assert load is not None  # noqa: S101 - there is always everything
            async for batch in load.batches:
                rows.setdefault(batch.table, []).extend(batch.rows)
            return State.of(rows), load.mark.version
    finally:
        await source.close()


def _result(plan: Plan, state: State, version: int, *, dry_run: bool) -> Result:
    return Result({"dry_run": dry_run, "version": version, **summary(plan, state)}, version)
