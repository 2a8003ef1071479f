"""The disk copy follows what is applied, and a bad disk is nobody's problem but its own."""

from __future__ import annotations

import asyncio
import resource
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from gateway.entities import ENTITIES, Row
from gateway.settings import NodeSettings, Role
from gateway.snapshot import SnapshotApplier, disk, disk_file
from gateway.snapshot.disk import CopiedSource, DiskCopy, DiskCopyError
from gateway.snapshot.disk_file import DiskFile
from gateway.store.source import BATCH_ROWS, Batch, Load, VersionMark
from gateway.sync.loop import SyncLoop
from gateway.sync.poll import PollStrategy
from gateway.sync.status import SyncStatus
from tests.proxy.certificates import Authority

from .rows import (
    EPOCH,
    NOW,
    ca_certificate,
    certificate,
    change_load,
    consumer,
    credentials,
    full_load,
    plugin,
    route,
    service,
    sni,
    target,
    upstream,
)

NOT_KEPT = "the disk copy of the configuration is not kept"
KEPT_AGAIN = "the disk copy of the configuration is kept again"


class History:
    """A source: services by name, in all versions there were."""

    def __init__(self, **names: Row) -> None:
        self.versions = [names]
        self.asked_since: list[int | None] = []

    @property
    def newest(self) -> dict[str, Row]:
        return self.versions[-1]

    def change(self, *, delete: tuple[str, ...] = (), **services: Row) -> VersionMark:
        kept = {name: row for name, row in self.newest.items() if name not in delete}
        self.versions.append(kept | services)
        return mark(len(self.versions) - 1)

    async def seen(self) -> VersionMark:
        return mark(len(self.versions) - 1)

    @asynccontextmanager
    async def load(self, since: VersionMark | None) -> AsyncIterator[Load]:
        self.asked_since.append(None if since is None else since.version)
        version, now = len(self.versions) - 1, self.newest
        if since is None:
            yield full_load({"services": list(now.values())}, version)
            return
        before = self.versions[since.version]
        changed = [row for name, row in now.items() if before.get(name) != row]
        there = {row["id"] for row in now.values()}
        gone = [row["id"] for row in before.values() if row["id"] not in there]
        yield change_load({"services": changed}, {"services": gone}, version)

    async def close(self) -> None:
        pass


def mark(version: int) -> VersionMark:
    return VersionMark(EPOCH, version, NOW)


class Node:
    """The part of a node that loads and copies: a source, a disk copy, what is applied."""

    def __init__(self, history: History, path: Path) -> None:
        self.history = history
        self.disk = DiskCopy(path)
        self.source = CopiedSource(history, self.disk)
        self.applier = SnapshotApplier(lambda snapshot: None)

    @property
    def applied(self) -> VersionMark | None:
        return self.applier.current.mark

    async def sync(self) -> None:
        async with self.source.load(self.applied) as load:
            assert load is not None
            await self.applier.apply(load)

    async def on_disk(self) -> tuple[int, dict[str, Row]]:
        """Close the copy, and return what a node that starts anew finds."""
        await self.disk.close()
        async with opened(self.disk.path) as found, found.load() as load:
            rows = [row async for batch in load.batches for row in batch.rows]
            return load.mark.version, {row["name"]: row for row in rows}

    async def written(self) -> None:
        """Wait until the disk copy has nothing left to do."""
        async with asyncio.timeout(30):
            while self.disk.is_busy:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.001)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[DiskCopy]:
    copy = DiskCopy(path)
    await copy.open()
    try:
        yield copy
    finally:
        await copy.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "snapshots" / "node-1-8000.snapshot"


@pytest.fixture
def history() -> History:
    return History(a=service(name="a"), b=service(name="b"))


@pytest.fixture
async def node(history: History, path: Path) -> AsyncIterator[Node]:
    node = Node(history, path)
    await node.disk.open()
    yield node
    await node.disk.close()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again with the next version."""
    monkeypatch.setattr(disk, "FIRST_RETRY_S", 0.0)


# -- where it is


def test_each_node_has_a_file_of_its_own(tmp_path: Path) -> None:
    def path_of(**settings: Any) -> Path:
        copy = DiskCopy.of(NodeSettings(snapshot_dir=str(tmp_path), **settings))
        assert copy is not None
        return copy.path

    assert path_of(node_name="a", proxy_port=8010) == tmp_path / "a-8010.snapshot"
    assert path_of(node_name="../../etc/x", proxy_port=1).parent == tmp_path


def test_a_node_may_have_none() -> None:
    assert DiskCopy.of(NodeSettings(snapshot_dir="")) is None
    assert DiskCopy.of(NodeSettings(role=Role.CONTROL_PLANE)) is None


# -- it follows


async def test_a_new_node_has_nothing_to_start_from(node: Node, path: Path) -> None:
    assert node.disk.problem is None
    with pytest.raises(DiskCopyError, match=f"{path} holds no configuration"):
        async with node.disk.load():
            pass


async def test_what_is_applied_is_on_disk(node: Node, history: History) -> None:
    await node.sync()
    history.change(c=service(name="c"), delete=("a",))
    await node.sync()
    history.change(b=service(name="b", port=81))
    await node.sync()
    assert await node.on_disk() == (2, history.newest)
    assert history.asked_since == [None, 0, 1]


async def fail_to_apply(node: Node, since: VersionMark | None) -> None:
    async with node.source.load(since) as load:
        assert load is not None
        await anext(load.batches)
        await node.written()
        raise ZeroDivisionError


async def test_what_fails_to_apply_is_not_on_disk(node: Node, history: History) -> None:
    await node.sync()
    history.change(delete=("a", "b"))
    with pytest.raises(ZeroDivisionError):
        await fail_to_apply(node, node.applied)
    assert await node.on_disk() == (0, history.versions[0])


async def test_a_large_load_that_fails_half_way_leaves_the_version_before(
    node: Node, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "PIECE_ROWS", 1)
    await node.sync()
    history.change(**{f"n{number}": service(name=f"n{number}") for number in range(5)})
    with pytest.raises(ZeroDivisionError):
        await fail_to_apply(node, None)
    history.change(delete=("a",))
    await node.sync()
    assert await node.on_disk() == (2, history.newest)
    assert node.disk.problem is None


async def test_an_apply_does_not_wait_for_the_disk(
    node: Node, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.sync()
    await node.written()
    with stuck(monkeypatch):
        for number in range(3):
            history.change(a=service(name="a", port=80 + number))
            await node.sync()
        assert node.disk.mark == mark(0)
        assert node.applied == mark(3)
    assert await node.on_disk() == (3, history.newest)


@contextmanager
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A disk that does not answer inside the block."""
    goes_on, execute = threading.Event(), DiskFile._execute

    def wait_and_execute(file: DiskFile, statement: str, *values: Any) -> Any:
        assert goes_on.wait(30)
        return execute(file, statement, *values)

    monkeypatch.setattr(DiskFile, "_execute", wait_and_execute)
    try:
        yield
    finally:
        goes_on.set()
        monkeypatch.setattr(DiskFile, "_execute", execute)


async def test_a_copy_is_read_in_batches(node: Node, history: History) -> None:
    number = 2 * BATCH_ROWS + 1
    history.change(**{f"n{k}": service(name=f"n{k}") for k in range(number - 2)})
    await node.sync()
    await node.written()
    async with node.disk.load() as load:
        assert (load.kind, load.mark) == ("full", mark(1))
        sizes = [len(batch.rows) async for batch in load.batches]
    assert sizes == [BATCH_ROWS, BATCH_ROWS, 1]


async def test_all_tables_come_parents_first(path: Path) -> None:
    authority = Authority()
    shown = certificate(authority.issue("a.example"))
    parent = service(name="a", protocol="https", client_certificate={"id": str(shown["id"])})
    pool = upstream("pool")
    bob = consumer()
    tables = {
        "plugins": [plugin("key-auth")],
        **credentials(bob),
        "consumers": [bob],
        "ca_certificates": [ca_certificate(authority.pem)],
        "snis": [sni("a.example", shown)],
        "certificates": [shown],
        "targets": [target(pool, "127.0.0.1:80")],
        "upstreams": [pool],
        "routes": [route(parent, paths=["/"])],
        "services": [parent],
    }
    async with opened(path) as copy:
        recording = copy.record(None, mark(1))
        async for batch in full_load(tables).batches:
            await recording.add(batch)
        recording.commit()
        await copy.close()
    async with opened(path) as copy, copy.load() as load:
        found = [(batch.table, batch.rows) async for batch in load.batches]
    assert found == [(table, tables[table]) for table in ENTITIES]


# -- it catches up


async def test_a_full_disk_is_said_once_and_caught_up_with(
    at_once: None, node: Node, history: History
) -> None:
    await node.sync()
    await node.written()
    with capture_logs() as logs:
        with full_disk():
            for number in range(3):
                history.change(**large(number))
                await node.sync()
                await node.written()
            assert node.applied == mark(3)
            assert node.disk.problem is not None
            assert "see to the folder, its permissions and the space" in node.disk.problem
        for _ in range(2):  # one finds the file open again, the next one catches up
            history.change(a=service(name="a", port=81))
            await node.sync()
            await node.written()
    assert [line["event"] for line in logs] == [NOT_KEPT, KEPT_AGAIN]
    assert node.disk.problem is None
    assert await node.on_disk() == (5, history.newest)
    assert None not in history.asked_since[1:]


def large(number: int) -> dict[str, Row]:
    return {f"n{number}-{k}": service(name=f"n{number}-{k}", tags=["x" * 200]) for k in range(300)}


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow beyond 64 KB inside the block."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_busy_disk_misses_versions_and_catches_up(
    at_once: None, node: Node, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "WAITING_ROWS", 2)
    await node.sync()
    await node.written()
    with stuck(monkeypatch):
        for number in range(5):
            history.change(**{f"n{number}": service(name=f"n{number}")})
            await node.sync()
        assert node.disk.problem is not None
        assert "written too slowly" in node.disk.problem
    await node.written()
    missed = node.disk.mark
    assert missed is not None
    assert missed.version < 5
    history.change(delete=("a",))
    await node.sync()
    assert history.asked_since[-1] == missed.version
    await node.written()
    assert node.disk.problem is None
    assert await node.on_disk() == (6, history.newest)


async def test_a_large_load_waits_for_the_disk_but_not_for_long(
    node: Node, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "PIECE_ROWS", 1)
    monkeypatch.setattr(disk, "PATIENCE_S", 0.05)
    rows = [service(name=f"n{number}") for number in range(10)]
    with stuck(monkeypatch):
        recording = node.disk.record(None, mark(1))
        for row in rows:
            await recording.add(Batch("services", [row], []))
        recording.commit()
        assert node.disk.problem is not None
    await node.written()
    assert node.disk.mark is None


async def test_a_folder_that_cannot_be_is_said_and_tried_again(
    at_once: None, history: History, tmp_path: Path
) -> None:
    obstacle = tmp_path / "snapshots"
    obstacle.write_text("a file where the folder should be")
    node = Node(history, obstacle / "node-1-8000.snapshot")
    with capture_logs() as logs:
        await node.disk.open()
        await node.sync()
        await node.written()
        assert node.disk.problem is not None
        assert str(obstacle) in node.disk.problem
        with pytest.raises(DiskCopyError, match="cannot be used"):
            async with node.disk.load():
                pass
        obstacle.unlink()
        for number in range(2):
            history.change(a=service(name="a", port=80 + number))
            await node.sync()
            await node.written()
    assert [line["event"] for line in logs] == [NOT_KEPT, KEPT_AGAIN]
    assert await node.on_disk() == (2, history.newest)


async def test_a_disk_that_never_answers_is_named_at_the_start(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "DEADLINE_S", 0.05)
    copy = DiskCopy(path)
    with stuck(monkeypatch):
        await copy.open()
        with pytest.raises(DiskCopyError, match="could not be opened within"):
            async with copy.load():
                pass
    await copy.close()


async def test_the_second_of_two_processes_goes_on_without(
    node: Node, history: History, path: Path
) -> None:
    await node.sync()
    second = Node(history, path)
    await second.disk.open()
    history.change(delete=("a",))
    await second.sync()
    await second.written()
    assert second.applied == mark(1)
    assert second.disk.problem is not None
    assert "in use by another process" in second.disk.problem
    await second.disk.close()
    assert await node.on_disk() == (0, history.versions[0])


async def test_a_corrupt_copy_is_not_served_and_replaced_by_the_next_load(
    node: Node, history: History, path: Path
) -> None:
    await node.sync()
    await node.disk.close()
    damage(path)
    again = Node(history, path)
    await again.disk.open()
    assert again.disk.problem is not None
    with pytest.raises(DiskCopyError, match=rf"{path} is corrupt \(.*\): remove it"):
        async with again.disk.load():
            pass
    await again.sync()
    await again.written()
    assert again.disk.problem is None
    assert await again.on_disk() == (0, history.newest)
    assert path.with_name(path.name + ".corrupt").exists()


def damage(path: Path) -> None:
    data = path.read_bytes()
    assert b'"name":"a"' in data
    path.write_bytes(data.replace(b'"name":"a"', b'"name":"x"'))


async def test_after_a_start_from_the_copy_of_another_release_everything_is_loaded(
    node: Node, history: History, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.sync()
    await node.disk.close()
    monkeypatch.setattr(disk_file, "SHAPE", disk_file.SHAPE | {"plugins": ["id"]})
    upgraded = Node(history, path)
    await upgraded.disk.open()
    async with upgraded.disk.load() as load:
        await upgraded.applier.apply(load)
    status = SyncStatus("poll")
    status.note_loaded_from_disk(load.mark, "no database")
    settings = NodeSettings(strategy="poll")
    loop = SyncLoop(upgraded.source, PollStrategy(settings), upgraded.applier, settings, status)
    await loop.first_load()
    await upgraded.written()
    assert history.asked_since == [None, None]
    assert not status.loaded_from_disk
    history.change(delete=("a",))
    await loop.first_load()
    assert history.asked_since == [None, None, 0]
    assert await upgraded.on_disk() == (1, history.newest)


async def test_another_epoch_is_copied_from_nothing(
    at_once: None, node: Node, history: History
) -> None:
    await node.sync()
    await node.written()
    other = replace(mark(0), epoch=UUID(int=7))
    assert node.disk.since(mark(0)) == mark(0)
    assert node.disk.since(other) is None
