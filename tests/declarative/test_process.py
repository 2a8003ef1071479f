"""The process that does the work: told all by a pipe, followed, and ended when not wanted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from gateway.declarative.job import Job, Outcome, Progress, Task, needed_settings
from gateway.declarative.process import ProcessError, run
from gateway.settings import NodeSettings
from gateway.store.actor import Actor
from gateway.store.store import Store

YAML = "_format_version: '3.0'\nservices:\n- {name: orders, host: orders.test}\n"
ACTOR = Actor("ci", "192.0.2.1", "request-1")


def job(settings: NodeSettings, task: Task = "write", **further: object) -> Job:
    return Job(
        task=task,
        needed=needed_settings(settings),
        actor=ACTOR,
        deadline_s=30.0,
        content_type="application/yaml",
        **further,
    )


def ignored(progress: Progress) -> None:
    del progress


def children() -> list[int]:
    """The processes that this one has started."""
    tasks = Path("/proc/self/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


def newcomer() -> Callable[[], int]:
    """A function that returns the child which has come since."""
    before = set(children())
    return lambda: next(pid for pid in children() if pid not in before)


async def test_a_job_is_followed_step_by_step_to_its_answer(settings: NodeSettings) -> None:
    steps: list[Progress] = []
    answer = await run(job(settings), YAML.encode(), steps.append)
    assert (answer.outcome, answer.version) == (Outcome.DONE, 1)
    assert json.loads(answer.document)["counts"]["create"] == 1
    assert list(dict.fromkeys(progress.step for progress in steps)) == [
        *("read", "check", "compare", "write", "commit")
    ]
    assert Progress("write", 1, 1) in steps


@pytest.mark.parametrize(
    ("body", "outcome", "message"),
    [
        ("a: b: c", Outcome.INVALID, "failed parsing declarative configuration: line 1, column 5"),
        ("services: []", Outcome.INVALID, "_format_version"),
    ],
)
async def test_a_refused_file_is_an_answer(
    body: str, outcome: Outcome, message: str, settings: NodeSettings
) -> None:
    answer = await run(job(settings), body.encode(), ignored)
    assert answer.outcome is outcome
    told = json.loads(answer.document)
    assert told["code"] == 14
    assert message in told["message"]


async def test_a_database_that_is_away_is_an_answer(settings: NodeSettings) -> None:
    away = settings.model_copy(update={"database_url": "postgresql://me:hunter2@127.0.0.1:1/d"})
    database = {**needed_settings(settings), "database_url": away.database_url}
    there = job(settings)
    answer = await run(
        Job(there.task, database, ACTOR, 30.0, content_type="text/yaml"), YAML.encode(), ignored
    )
    assert answer.outcome is Outcome.UNAVAILABLE
    assert b"hunter2" not in answer.document


async def test_nothing_secret_is_in_its_arguments_or_environment(
    settings: NodeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = settings.database_url.get_secret_value()
    monkeypatch.setenv("GATEWAY_DATABASE_URL", url)
    monkeypatch.setenv("GATEWAY_ADMIN_TOKEN", "a-token-of-ours")
    started, seen = newcomer(), []

    def look(progress: Progress) -> None:
        if progress.step == "read":
            process = Path(f"/proc/{started()}")
            seen.append((process / "environ").read_bytes() + (process / "cmdline").read_bytes())

    await run(job(settings), YAML.encode(), look)
    (told,) = seen
    assert b"gateway.declarative" in told
    assert url.encode() not in told
    assert b"a-token-of-ours" not in told


async def test_when_cancelled_it_is_killed_and_nothing_is_written(
    settings: NodeSettings, store: Store, database_url: str
) -> None:
    started, waits = newcomer(), asyncio.Event()
    async with store.write():  # which holds the version, so that the job has to wait
        writing = asyncio.create_task(
            run(
                job(settings),
                YAML.encode(),
                lambda progress: progress.step != "check" or waits.set(),
            )
        )
        await asyncio.wait_for(waits.wait(), 30)
        pid = started()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM services").fetchone() == (0,)


async def test_a_process_that_dies_is_told_with_its_end(settings: NodeSettings) -> None:
    started = newcomer()

    def kill(progress: Progress) -> None:
        if progress.step == "check":
            os.kill(started(), signal.SIGKILL)

    with pytest.raises(ProcessError, match="exit code -9"):
        await run(job(settings), YAML.encode(), kill)


async def test_who_talks_between_is_told(
    settings: NodeSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('hello from elsewhere')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ProcessError, match="it said b'hello from elsewhere"):
        await run(job(settings), YAML.encode(), ignored)
