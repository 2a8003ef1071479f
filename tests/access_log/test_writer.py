"""The writer keeps every line it can, in order, and never holds up the event loop."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.access_log import writer
from gateway.access_log.writer import LineWriter
from gateway.settings import SettingError
from tests.proxy.peers import eventually

BUFFER_BYTES = 65_536

MakeWriter = Callable[..., LineWriter]


@pytest.fixture
async def make_writer(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeWriter]:
    """Starts a writer; in the end none of its threads is left."""
    monkeypatch.setattr(writer, "_RETRY_S", 0.01)
    monkeypatch.setattr(writer, "_HAND_OVER_S", 0.01)
    monkeypatch.setattr(writer, "_FLUSH_S", 0.2)

    def make(path: Path | str, buffer_bytes: int = BUFFER_BYTES) -> LineWriter:
        made = LineWriter(str(path), buffer_bytes)
        made.open()
        made.start()
        return made

    yield make
    await eventually(lambda: "access-log" not in {t.name for t in threading.enumerate()})


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A pipe that nobody reads yet."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def read_end(pipe: Path) -> int:
    return os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)


async def test_lines_are_written_in_order_behind_what_is_there(
    tmp_path: Path, make_writer: MakeWriter
):
    path = tmp_path / "access.log"
    path.write_text("before\n")
    lines = make_writer(path)
    for number in range(2000):  # several batches
        lines.put(b"%d\n" % number)
    await lines.stop()
    assert path.read_text().splitlines() == ["before", *map(str, range(2000))]
    assert (lines.counts.written, lines.counts.dropped, lines.counts.failures) == (2000, 0, 0)


async def test_a_line_is_written_soon_though_no_other_follows(
    tmp_path: Path, make_writer: MakeWriter
):
    path = tmp_path / "access.log"
    lines = make_writer(path)
    lines.put(b"alone\n")
    await eventually(lambda: path.read_bytes() == b"alone\n")
    await lines.stop()


async def test_a_new_file_is_not_for_all_to_read(tmp_path: Path, make_writer: MakeWriter):
    path = tmp_path / "access.log"
    before = os.umask(0)
    try:
        await make_writer(path).stop()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing/access.log", "No such file or directory"), (".", "Is a directory")],
)
def test_a_file_that_cannot_be_opened_is_named_with_its_setting(
    tmp_path: Path, name: str, reason: str
):
    path = tmp_path / name
    with pytest.raises(SettingError) as refused:
        LineWriter(str(path), BUFFER_BYTES).open()
    assert str(refused.value) == (f"--access-log-path (GATEWAY_ACCESS_LOG_PATH): {path}: {reason}")


def test_a_pipe_that_nobody_reads_is_refused_rather_than_waited_for(pipe: Path):
    with pytest.raises(SettingError, match="No such device or address"):
        LineWriter(str(pipe), BUFFER_BYTES).open()


async def test_no_path_means_standard_output(
    capfd: pytest.CaptureFixture[str], make_writer: MakeWriter
):
    lines = make_writer("")
    lines.put(b"said\n")
    lines.reopen()  # means nothing here
    await lines.stop()
    assert capfd.readouterr().out == "said\n"


# -- rotation


async def test_a_renamed_file_gets_what_came_before_and_a_new_one_the_rest(
    tmp_path: Path, make_writer: MakeWriter
):
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    lines = make_writer(path)
    lines.put(b"before\n")
    path.rename(old)
    lines.reopen()
    lines.put(b"after\n")
    await lines.stop()
    assert (old.read_bytes(), path.read_bytes()) == (b"before\n", b"after\n")


async def test_where_no_new_file_can_be_opened_the_old_one_is_written_on(
    tmp_path: Path, make_writer: MakeWriter
):
    folder, moved = tmp_path / "logs", tmp_path / "moved"
    folder.mkdir()
    lines = make_writer(folder / "access.log")
    folder.rename(moved)
    with capture_logs() as logs:
        lines.reopen()
        lines.put(b"after\n")
        await lines.stop()
    assert (moved / "access.log").read_bytes() == b"after\n"
    assert [line["event"] for line in logs] == [
        "access log cannot be opened anew: the old file is written on"
    ]


# -- what cannot be written


async def test_what_cannot_be_written_is_tried_again_until_it_can(
    pipe: Path, make_writer: MakeWriter
):
    reader = read_end(pipe)
    lines = make_writer(pipe)
    os.close(reader)
    with capture_logs() as logs:
        lines.put(b"kept\n")
        await eventually(lambda: lines.counts.failures > 2)
        reader = read_end(pipe)
        await eventually(lambda: lines.counts.written == 1)
    assert os.read(reader, 100) == b"kept\n"
    os.close(reader)
    await lines.stop()
    assert [(line["event"], line.get("reason")) for line in logs] == [
        ("access log cannot be written", "Broken pipe"),
        ("access log is written again", None),
    ]


async def test_a_full_disk_drops_only_what_is_too_much_and_says_so(make_writer: MakeWriter):
    with capture_logs() as logs:
        lines = make_writer("/dev/full")
        for _ in range(70):
            lines.put(b"x" * 1024)
        await eventually(lambda: lines.counts.failures)
        await lines.stop()
    assert (lines.counts.written, lines.counts.dropped) == (0, 6)
    events = {line["event"]: line for line in logs}
    assert events["access log cannot be written"]["reason"] == "No space left on device"
    assert events["access log lines are dropped: writing does not keep up"]["dropped"] == 1
    lost = events["access log lines are lost, as they could not be written before the end"]
    assert lost["bytes"] == 64 * 1024


async def test_a_reader_that_does_not_read_holds_up_nobody(pipe: Path, make_writer: MakeWriter):
    reader = read_end(pipe)
    lines = make_writer(pipe, buffer_bytes=1 << 20)
    for _ in range(2048):
        lines.put(b"x" * 1023 + b"\n")
    await asyncio.sleep(0)  # the loop goes on
    assert lines.counts.dropped == 1024
    await lines.stop()  # and so does the stop, though the thread hangs in its write
    os.close(reader)
