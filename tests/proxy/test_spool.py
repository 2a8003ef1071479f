"""Spool files: what is written is read again, within a bound, and nothing is left behind."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.proxy.spool import SpoolError, SpoolFile, SpoolRoom
from gateway.settings import SettingError

from .peers import eventually


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[SpoolRoom]:
    room = SpoolRoom(str(tmp_path), 1000)
    yield room
    await room.stop()


async def write(file: SpoolFile, at: int, *pieces: bytes) -> SpoolError | None:
    written: asyncio.Future[SpoolError | None] = asyncio.get_running_loop().create_future()
    file.write(at, pieces, written.set_result)
    assert file.busy
    return await written


async def read(file: SpoolFile, at: int, size: int) -> bytes | SpoolError:
    done: asyncio.Future[bytes | SpoolError] = asyncio.get_running_loop().create_future()
    file.read(at, size, done.set_result)
    return await done


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


async def test_what_is_written_is_read_again(room: SpoolRoom):
    file = SpoolFile(room)
    assert await write(file, 0, b"abc", b"def") is None
    assert await write(file, 6, b"ghi") is None
    assert await read(file, 2, 5) == b"cdefg"
    assert await write(file, 0, b"xyz") is None
    assert await read(file, 0, 9) == b"xyzdefghi"
    file.close()


async def test_the_file_has_no_name_and_takes_no_room_in_the_end(room: SpoolRoom, tmp_path: Path):
    before = open_descriptors()
    file = SpoolFile(room)
    await write(file, 0, b"a" * 600)
    assert names_in(tmp_path) == []
    assert (room.used_bytes, open_descriptors()) == (600, before + 1)
    await write(file, 0, b"b" * 600)
    assert room.used_bytes == 600  # the same bytes again
    file.close()
    assert room.used_bytes == 0
    await eventually(lambda: open_descriptors() == before)


async def test_all_files_together_have_so_much_room(room: SpoolRoom):
    one, other = SpoolFile(room), SpoolFile(room)
    await write(one, 0, b"a" * 600)
    with pytest.raises(SpoolError, match="GATEWAY_BODY_SPOOL_LIMIT_BYTES") as caught:
        other.write(0, [b"a" * 401], lambda _: None)
    assert caught.value.no_room
    assert not other.busy
    one.close()
    assert await write(other, 0, b"a" * 401) is None
    other.close()


async def test_who_closes_a_busy_file_hears_no_more_of_it(room: SpoolRoom):
    before = open_descriptors()
    file = SpoolFile(room)
    heard: list[SpoolError | None] = []
    file.write(0, [b"abc"], heard.append)
    file.close()
    await eventually(lambda: not room.used_bytes)
    await eventually(lambda: open_descriptors() == before)
    assert heard == []


@pytest.mark.parametrize(
    ("number", "no_room"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False)]
)
async def test_a_disk_that_fails_is_named(
    room: SpoolRoom, monkeypatch: pytest.MonkeyPatch, number: int, no_room: bool
):
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    file = SpoolFile(room)
    with monkeypatch.context() as broken:
        broken.setattr("os.pwrite", fail)
        error = await write(file, 0, b"abc")
    assert isinstance(error, SpoolError)
    assert error.no_room is no_room
    assert "GATEWAY_BODY_SPOOL_DIR" in str(error)
    assert room.directory in str(error)
    file.close()
    assert room.used_bytes == 0


async def test_a_file_that_has_lost_bytes_is_not_read_short(room: SpoolRoom):
    file = SpoolFile(room)
    await write(file, 0, b"abc")
    assert isinstance(await read(file, 0, 4), SpoolError)
    file.close()


async def test_files_may_be_closed_after_the_room(tmp_path: Path):
    before = open_descriptors()
    room = SpoolRoom(str(tmp_path), 1000)
    file = SpoolFile(room)
    await write(file, 0, b"abc")
    await room.stop()
    file.close()
    assert open_descriptors() == before


def test_a_directory_that_cannot_be_written_in_is_named_at_the_start(tmp_path: Path):
    with pytest.raises(SettingError, match=r"GATEWAY_BODY_SPOOL_DIR.*/none is no directory"):
        SpoolRoom(str(tmp_path / "none"), 1000)
