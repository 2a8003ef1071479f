"""Commands: from a transaction through a load to whoever carries them out, once and in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from time import perf_counter
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from gateway.admin.commands import give
from gateway.admin.errors import ApiError
from gateway.commands import Command, Commands
from gateway.entities import VERSIONED, Row
from gateway.entities.command import Command as Given
from gateway.settings import NodeSettings
from gateway.snapshot import SnapshotApplier
from gateway.snapshot.slices import SLICE_S
from gateway.snapshot.wire import decode_row, encode_row, from_text, to_text
from gateway.store.source import Batch, DatabaseSource, Load, VersionMark
from gateway.store.store import Store


def command(name: str = "cache.purge", version: int = 1, **arguments: Any) -> Command:
    return Command(uuid4(), name, None, arguments, version)


class Follower:
    """A node that applies what is in the database, and what it was told to do."""

    def __init__(self, settings: NodeSettings) -> None:
        self.done: list[tuple[str, UUID | None, dict[str, Any]]] = []
        self.source = DatabaseSource(settings)
        commands = Commands()
        for name in ("target.healthy", "target.unhealthy"):
            commands.handle(name, self._note)
        self.applier = SnapshotApplier(lambda _: None, commands=commands)

    def _note(self, command: Command) -> None:
        self.done.append((command.name, command.subject, dict(command.arguments)))

    async def follow(self, *, anew: bool = False) -> None:
        since = None if anew else self.applier.current.mark
        async with self.source.load(since) as load:
            if load is not None:
                await self.applier.apply(load)


@pytest.fixture
async def follower(settings: NodeSettings) -> AsyncIterator[Follower]:
    follower = Follower(settings)
    yield follower
    await follower.source.close()


TARGET = uuid4()


async def give_alone(store: Store, name: str, **arguments: Any) -> int:
    async with store.write() as transaction:
        await give(transaction, name, TARGET, **arguments)
    return transaction.version


async def test_a_command_comes_with_the_version_that_it_made(
    store: Store, follower: Follower
) -> None:
    await follower.follow()
    version = await give_alone(store, "target.unhealthy", address="10.0.0.1:80")
    await follower.follow()
    assert follower.applier.current.mark is not None
    assert follower.applier.current.mark.version == version
    assert follower.done == [("target.unhealthy", TARGET, {"address": "10.0.0.1:80"})]


async def test_each_is_carried_out_once_and_in_the_order_given(
    store: Store, follower: Follower
) -> None:
    for name in ("target.unhealthy", "target.healthy", "target.unhealthy"):
        await give_alone(store, name)
    await follower.follow()  # all of them come in one load, in no order
    assert [name for name, *_ in follower.done] == [
        "target.unhealthy",
        "target.healthy",
        "target.unhealthy",
    ]
    await follower.follow(anew=True)
    assert len(follower.done) == 3


async def test_a_command_that_is_rolled_back_was_never_given(
    store: Store, follower: Follower
) -> None:
    async def give_in_vain() -> None:
        async with store.write() as transaction:
            await give(transaction, "target.healthy", TARGET)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await give_in_vain()
    await follower.follow()
    assert follower.done == []


async def test_those_of_more_than_an_hour_ago_are_tidied_away(
    store: Store, follower: Follower
) -> None:
    async with store.write() as transaction:
        await give(transaction, "target.healthy", TARGET)
    async with store.write() as transaction:
        (given,) = await transaction.all("commands")
        old = given["created_at"]
        await transaction.update("commands", given["id"], {"expires_at": old})
    await store.tidy()
    await follower.follow()
    assert follower.done == []


async def test_the_audit_log_has_it(store: Store) -> None:
    await give_alone(store, "target.healthy")
    async with store.autocommit() as session:
        found = (await session.execute(text("SELECT kind, after FROM audit"))).one()
    assert found.kind == "commands"
    assert found.after["name"] == "target.healthy"


async def test_many_that_come_at_once_leave_others_their_turn() -> None:
    turns = 0
    seen: list[int] = []

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def take_long(given: Command) -> None:
        del given
        until = perf_counter() + SLICE_S
        while perf_counter() <= until:
            pass
        seen.append(turns)

    commands = Commands()
    commands.handle("x", take_long)
    now = datetime.now(UTC)
    rows = [_row(version) for version in range(5)]
    batches = _only(Batch("commands", rows, []))
    other = asyncio.create_task(take_turns())
    applier = SnapshotApplier(lambda _: None, commands=commands)
    await applier.apply(Load("full", VersionMark(uuid4(), 5, now), now, now, batches))
    other.cancel()
    assert seen == sorted(set(seen))
    assert len(seen) == 5


def _row(version: int) -> Row:
    given = Given(name="x", subject=None, arguments={}, version=version, ttl=60)
    return VERSIONED["commands"].to_row(given)


async def _only(batch: Batch) -> AsyncIterator[Batch]:
    yield batch


async def test_there_is_no_end_of_an_hour_without_a_bound(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.admin.commands.MOST_KEPT", 2)
    for _ in range(2):
        await give_alone(store, "target.healthy")
    with pytest.raises(ApiError) as refused:
        await give_alone(store, "target.healthy")
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "60"})
    async with store.write() as transaction:
        given = await transaction.all("commands")
        await transaction.update("commands", given[0]["id"], {"expires_at": given[0]["created_at"]})
    await give_alone(store, "target.healthy")  # what is over makes room


# -- on the node


def test_one_that_fails_keeps_no_other_from_being_carried_out() -> None:
    done: list[int] = []

    def carry_out(given: Command) -> None:
        done.append(given.arguments["number"])

    commands = Commands()
    commands.handle("count", carry_out)
    with capture_logs() as logs:
        commands.carry_out(command("count", 1))
        commands.carry_out(command("count", 2, number=2))
    assert done == [2]
    assert [log["event"] for log in logs] == ["a command failed"]


def test_what_nobody_here_can_do_is_told() -> None:
    with capture_logs() as logs:
        Commands().carry_out(command("dance"))
    assert logs == [
        {
            "event": "nobody here carries out a command",
            "command": "dance",
            "log_level": "info",
        }
    ]


def test_ids_are_remembered_for_as_long_as_there_are_commands() -> None:
    done: list[Command] = []
    commands = Commands()
    commands.handle("cache.purge", done.append)
    first, second = command(version=1), command(version=2)

    def carry_both_out() -> None:
        commands.carry_out(first)
        commands.carry_out(second)

    carry_both_out()
    commands.forget([first.id])
    carry_both_out()
    commands.forget_all_but({first.id})
    carry_both_out()
    assert done == [first, second, first, second]


@pytest.mark.parametrize("arguments", [3, None, "a text", [], [["key", 1]]])
def test_arguments_that_are_no_record_are_named(arguments: Any) -> None:
    row: Row = {"id": uuid4(), "name": "x", "subject": None, "arguments": arguments, "version": 1}
    with pytest.raises(TypeError):
        Command.of(row)


def test_the_wire_form_keeps_it() -> None:
    kind = VERSIONED["commands"]
    arguments = {"address": None}
    row = kind.to_row(Given(name="x", subject=TARGET, arguments=arguments, version=7, ttl=60))
    sent = to_text(encode_row("commands", row))
    assert decode_row("commands", from_text(sent)) == row
