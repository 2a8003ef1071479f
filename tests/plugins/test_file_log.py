"""file-log: lines in a file, whatever becomes of the file."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from gateway.access_log import writer
from gateway.plugins import file_log
from gateway.plugins.file_log import FileLog
from gateway.testing import Serving
from tests.plugins.configs import problems
from tests.proxy.peers import eventually


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_HAND_OVER_S", 0.01)
    monkeypatch.setattr(writer, "_RETRY_S", 0.01)


def uris(path: Path) -> list[str]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line)["request"]["uri"] for line in lines]


async def test_a_line_for_each_request(tmp_path: Path):
    path = tmp_path / "log"
    before = os.umask(0)
    try:
        async with Serving(FileLog, path=str(path)) as gateway:
            await gateway.ask("GET", "/a")
            await eventually(lambda: uris(path) == ["/a"])
            await gateway.ask("GET", "/b")
    finally:
        os.umask(before)
    assert uris(path) == ["/a", "/b"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


async def test_objects_with_the_same_path_share_the_file(tmp_path: Path):
    path = tmp_path / "log"
    async with Serving(FileLog, path=str(path)) as gateway:
        for number in range(3):
            await gateway.ask("GET", f"/{number}")
            await gateway.apply()
    assert uris(path) == ["/0", "/1", "/2"]


async def test_a_file_that_is_renamed_is_made_anew_if_so_configured(tmp_path: Path):
    path, old = tmp_path / "log", tmp_path / "log.1"
    async with Serving(FileLog, path=str(path), reopen=True) as gateway:
        await gateway.ask("GET", "/a")
        await eventually(lambda: uris(path) == ["/a"])
        path.rename(old)
        await gateway.ask("GET", "/b")
        await eventually(lambda: uris(path) == ["/b"])
    assert uris(old) == ["/a"]


async def test_a_file_that_cannot_be_opened_costs_no_request_and_is_written_later(tmp_path: Path):
    path = tmp_path / "missing" / "log"
    async with Serving(FileLog, path=str(path)) as gateway:
        assert (await gateway.ask("GET", "/a")).status_code == 200
        path.parent.mkdir()
        await eventually(lambda: uris(path) == ["/a"])


async def test_an_unused_file_is_closed_and_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(file_log, "IDLE_S", 0.01)
    path, old = tmp_path / "log", tmp_path / "log.1"
    async with Serving(FileLog, path=str(path)) as gateway:
        await gateway.ask("GET", "/a")
        await eventually(lambda: uris(path) == ["/a"])
        path.rename(old)
        await eventually(lambda: not is_written(path))
        await gateway.ask("GET", "/b")
        await eventually(lambda: uris(path) == ["/b"])
        await eventually(lambda: gateway.measured("delivery_sent_total", plugin="file-log") == 2)
        assert gateway.measured("delivery_dropped_total", plugin="file-log") == 0
        assert gateway.measured("delivery_waiting", plugin="file-log") == 0


def is_written(path: Path) -> bool:
    return f"file-log-{path}" in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("path", ["a*", "a&b", "%d", "a\\b", "`id`"])
def test_paths_that_are_refused(path: str):
    assert problems(FileLog, {"path": path}) == {"path": "not a valid filename"}


def test_code_is_refused():
    config: dict[str, Any] = {"path": "/a", "custom_fields_by_lua": {"x": "return 1"}}
    assert "code" in problems(FileLog, config)["custom_fields_by_lua"]
    assert problems(FileLog, config | {"custom_fields_by_lua": {}}) == {}
