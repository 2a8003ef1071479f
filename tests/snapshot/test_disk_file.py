"""The file of the disk copy: one version as a whole, or a sentence that says why not."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.entities import ENTITIES, Row
from gateway.snapshot import disk_file
from gateway.snapshot.disk_file import CorruptError, DiskCopyError, DiskFile, OutOfStepError
from gateway.store.source import BATCH_ROWS, Batch, VersionMark

from .rows import EPOCH, NOW, route, service

Contents = dict[tuple[str, UUID], Row]

SERVICE = service(name="orders")
ROUTES = [route(SERVICE, name=f"r{number}", paths=[f"/{number}"]) for number in range(30)]


def mark(version: int) -> VersionMark:
    return VersionMark(EPOCH, version, NOW)


def write(file: DiskFile, since: int | None, version: int, *batches: Batch) -> None:
    file.begin(None if since is None else mark(since))
    for batch in batches:
        file.put(batch)
    file.commit(mark(version))


def contents(file: DiskFile) -> Contents:
    return {(table, row["id"]): row for table in ENTITIES for row in read(file, table)}


def read(file: DiskFile, table: str) -> Iterator[Row]:
    rows, last = file.read(table, "")
    while rows:
        assert len(rows) <= BATCH_ROWS
        yield from rows
        rows, last = file.read(table, last)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[DiskFile]:
    file = DiskFile(tmp_path / "snapshots" / "node-1-8000.snapshot")
    yield file
    file.close()


@pytest.fixture
def written(file: DiskFile) -> DiskFile:
    """A closed file with a service and its routes, in version 1."""
    write(file, None, 1, Batch("services", [SERVICE], []), Batch("routes", ROUTES, []))
    file.close()
    return file


# -- what is written


def test_what_was_written_is_there_again(written: DiskFile) -> None:
    written.open()
    assert written.mark == mark(1)
    assert contents(written) == {
        ("services", SERVICE["id"]): SERVICE,
        **{("routes", made["id"]): made for made in ROUTES},
    }


def test_a_new_file_holds_nothing(file: DiskFile) -> None:
    file.open()
    assert file.mark is None


keys = st.tuples(st.sampled_from(["services", "routes"]), st.integers(0, 5))
change_sets = st.dictionaries(keys, st.none() | st.integers(0, 9), max_size=6)
kinds = st.sampled_from(["full", "changes", "rolled back"])
steps = st.lists(st.tuples(kinds, change_sets), max_size=6)


def batches_of(changes: dict[tuple[str, int], int | None]) -> list[Batch]:
    return [
        Batch(
            table,
            [
                SERVICE | {"id": UUID(int=number), "name": str(value)}
                for (kind, number), value in changes.items()
                if kind == table and value is not None
            ],
            [
                UUID(int=number)
                for (kind, number), value in changes.items()
                if kind == table and value is None
            ],
        )
        for table in ("services", "routes")
    ]


@settings(deadline=None, max_examples=50)
@given(steps)
def test_any_order_of_loads_leaves_what_they_say(
    steps: list[tuple[str, dict[tuple[str, int], int | None]]],
) -> None:
    expected: dict[tuple[str, int], str] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = DiskFile(Path(folder) / "a.snapshot")
        write(file, None, 0)
        version = 0
        for kind, changes in steps:
            file.begin(None if kind == "full" else mark(version))
            for batch in batches_of(changes):
                file.put(batch)
            if kind == "rolled back":
                file.rollback()
                continue
            version += 1
            file.commit(mark(version))
            if kind == "full":
                expected = {}
            for key, value in changes.items():
                expected.pop(key, None)
                if value is not None:
                    expected[key] = str(value)
        file.close()
        file.open()
        assert file.mark == mark(version)
        found = {(table, id_.int): row["name"] for (table, id_), row in contents(file).items()}
        assert found == expected
        file.close()


def test_changes_must_start_from_the_version_in_the_file(written: DiskFile) -> None:
    written.open()
    for since in (mark(2), replace(mark(1), epoch=uuid4())):
        with pytest.raises(OutOfStepError, match=r"node-1-8000\.snapshot does not hold version"):
            written.begin(since)
        with pytest.raises(OutOfStepError, match="no version has begun"):
            written.put(Batch("services", [], [SERVICE["id"]]))
    assert len(contents(written)) == 31


def test_what_is_not_committed_is_gone(written: DiskFile) -> None:
    written.open()
    written.begin(mark(1))
    written.put(Batch("services", [], [SERVICE["id"]]))
    written.close()
    written.open()
    assert (written.mark, len(contents(written))) == (mark(1), 31)


# -- whose it is


def test_nobody_else_may_read_it(file: DiskFile) -> None:
    before = os.umask(0)
    try:
        write(file, None, 1, Batch("services", [SERVICE], []))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder(file)}
        assert len(modes) >= 2
        assert set(modes.values()) == {0o600}
        assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    finally:
        os.umask(before)


def folder(file: DiskFile) -> list[Path]:
    return sorted(file.path.parent.iterdir())


def test_a_file_that_was_open_to_others_is_closed_to_them(written: DiskFile) -> None:
    written.path.chmod(0o644)
    written.open()
    assert stat.S_IMODE(written.path.stat().st_mode) == 0o600


def test_a_link_is_not_followed(file: DiskFile, tmp_path: Path) -> None:
    file.path.parent.mkdir()
    file.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DiskCopyError, match="cannot be used"):
        file.open()
    assert not (tmp_path / "elsewhere").exists()


def test_two_never_share_it(written: DiskFile) -> None:
    written.open()
    second = DiskFile(written.path)
    with pytest.raises(DiskCopyError, match="in use by another process: give each node"):
        second.open()
    written.close()
    second.open()
    assert second.mark == mark(1)
    second.close()


# -- other releases


def test_a_newer_format_is_refused_by_name_and_left_alone(
    written: DiskFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_file, "FORMAT", 0)
    for attempt in (written.open, lambda: written.begin(None)):
        with pytest.raises(DiskCopyError, match=r"newer release \(format 1, this one knows 0\)"):
            attempt()
    monkeypatch.undo()
    written.open()
    assert written.mark == mark(1)


def test_an_older_format_is_rewritten_by_the_next_full_load(
    written: DiskFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_file, "FORMAT", 2)
    written.open()
    assert written.mark is None
    write(written, None, 7, Batch("services", [SERVICE], []))
    written.close()
    written.open()
    assert (written.mark, len(contents(written))) == (mark(7), 1)


def test_what_a_release_with_other_columns_wrote_can_be_read_but_not_continued(
    written: DiskFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_file, "SHAPE", disk_file.SHAPE | {"plugins": ["id"]})
    written.open()
    assert written.is_foreign
    assert (written.mark, len(contents(written))) == (mark(1), 31)
    with pytest.raises(OutOfStepError):
        written.begin(mark(1))
    write(written, None, 2)
    assert not written.is_foreign
    write(written, 2, 3)
    written.close()
    written.open()
    assert (written.mark, written.is_foreign) == (mark(3), False)


# -- damage


@pytest.fixture(scope="module")
def sound() -> Iterator[Path]:
    """A sound file, to be copied."""
    with tempfile.TemporaryDirectory() as folder:
        file = DiskFile(Path(folder) / "a.snapshot")
        write(file, None, 1, Batch("services", [SERVICE], []), Batch("routes", ROUTES, []))
        file.close()
        yield file.path


positions = st.integers(0, 2**20)


def check_that_nothing_wrong_is_read(damaged: bytes) -> None:
    """Either the damage is where nothing was, or the file is refused as corrupt."""
    with tempfile.TemporaryDirectory() as folder:
        file = DiskFile(Path(folder) / "a.snapshot")
        file.path.write_bytes(damaged)
        try:
            file.open()
        except CorruptError:
            pass
        else:
            assert file.mark == mark(1)
            assert [row["id"] for row in read(file, "services")] == [SERVICE["id"]]
            by_name = sorted(read(file, "routes"), key=lambda row: int(row["name"][1:]))
            assert by_name == ROUTES
        finally:
            file.close()


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(position=positions, bit=st.integers(0, 7))
def test_a_flipped_bit_is_never_served(sound: Path, position: int, bit: int) -> None:
    flipped = bytearray(sound.read_bytes())
    flipped[position % len(flipped)] ^= 1 << bit
    check_that_nothing_wrong_is_read(bytes(flipped))


@settings(deadline=None)
@given(position=positions)
def test_a_file_cut_short_is_never_served(sound: Path, position: int) -> None:
    whole = sound.read_bytes()
    check_that_nothing_wrong_is_read(whole[: position % (len(whole) - 1) + 1])


@settings(deadline=None)
@given(garbage=st.binary(min_size=1, max_size=4096))
def test_what_is_no_such_file_is_never_served(garbage: bytes) -> None:
    check_that_nothing_wrong_is_read(garbage)


def test_a_corrupt_file_is_moved_aside_when_a_version_is_written_anew(written: DiskFile) -> None:
    damaged = written.path.read_bytes().replace(b"r17", b"r71")
    written.path.write_bytes(damaged)
    with pytest.raises(CorruptError, match="rows do not match their checksum") as refused:
        written.open()
    assert str(written.path) in str(refused.value)
    assert "start the node with its database" in str(refused.value)
    write(written, None, 2, Batch("services", [SERVICE], []))
    assert len(contents(written)) == 1
    aside = written.path.with_name("node-1-8000.snapshot.corrupt")
    assert aside.read_bytes() == damaged


# -- sudden ends

WRITER = """
import sys
from pathlib import Path
from tests.snapshot.test_disk_file import SERVICE, mark, Batch, DiskFile, UUID

file = DiskFile(Path(sys.argv[1]))
version = 0
while True:
    version += 1
    is_anew = version % 10 == 1
    file.begin(None if is_anew else mark(version - 1))
    for number in range(50):
        row = SERVICE | {"id": UUID(int=number), "name": str(version)}
        file.put(Batch("services", [row], [UUID(int=1000 + version - 1)]))
    file.put(Batch("routes", [SERVICE | {"id": UUID(int=1000 + version)}], []))
    file.put(Batch("routes", [], [UUID(int=1000 + version - 1)]))
    file.commit(mark(version))
    print(version, flush=True)
"""


@pytest.mark.parametrize("versions", [1, 2, 7, 15, 16])
def test_a_killed_writer_leaves_one_whole_version(tmp_path: Path, versions: int) -> None:
    path = tmp_path / "a.snapshot"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    for _ in range(versions):
        acknowledged = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    acknowledged = max([acknowledged, *map(int, process.stdout.read().split())])
    process.wait()
    process.stdout.close()
    file = DiskFile(path)
    file.open()
    assert file.mark is not None
    version = file.mark.version
    assert version in (acknowledged, acknowledged + 1)
    assert {row["name"] for row in read(file, "services")} == {str(version)}
    assert [row["id"] for row in read(file, "routes")] == [UUID(int=1000 + version)]
    file.close()
