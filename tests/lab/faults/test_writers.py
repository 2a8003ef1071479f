"""Writers record what they try and what they are told, no more and no less."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from itertools import count
from pathlib import Path

import httpx
import pytest

from gateway.lab.faults import ledger
from gateway.lab.faults.history import Answered, Barrier, Invoked, Outcome, Recorder, read
from gateway.lab.faults.registers import KINDS, ROUTES, fields
from gateway.lab.faults.writers import AdminWriter, Desk, SqlWriter, barrier_told

Answer = Callable[[httpx.Request], httpx.Response]


def told(status: int, **headers: str) -> Answer:
    return lambda _: httpx.Response(status, headers=headers, json={"message": "so it is"})


def failing(error: httpx.HTTPError) -> Answer:
    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    return fail


async def written(tmp_path: Path, answer: Answer, *, barrier: bool = False) -> list[Answered]:
    """Return what a writer records that is answered so, five times."""
    path = tmp_path / "history.jsonl"
    with Recorder(path) as recorder:
        desk = Desk(recorder, ["k1"])
        requests = count(1)

        def respond(request: httpx.Request) -> httpx.Response:
            if next(requests) == 5:
                desk.ended.set()
            assert (request.url.query == b"wait=cluster&timeout=2s") is barrier
            return answer(request)

        async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as http:
            urls = {"node-1": "http://node-1", "node-2": "http://node-2"}
            writer = AdminWriter(desk, http, urls, random.Random(1), count(), 0.001, barrier)
            await writer.run()
    events = list(read(path))
    invoked = [event for event in events if isinstance(event, Invoked)]
    answered = [event for event in events if isinstance(event, Answered)]
    assert [event.write for event in invoked] == [event.write for event in answered]
    assert {event.through for event in invoked} <= set(urls)
    return answered


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (told(200, **{"X-Gateway-Config-Version": "7"}), Outcome.OK),
        (told(204, **{"X-Gateway-Config-Version": "7"}), Outcome.OK),
        (told(404), Outcome.FAILED),
        (told(409), Outcome.FAILED),
        (told(503), Outcome.UNKNOWN),
        (told(500), Outcome.UNKNOWN),
        (failing(httpx.ConnectError("refused")), Outcome.FAILED),
        (failing(httpx.ReadError("reset")), Outcome.UNKNOWN),
        (failing(httpx.ReadTimeout("silence")), Outcome.UNKNOWN),
        (failing(httpx.RemoteProtocolError("gone")), Outcome.UNKNOWN),
    ],
)
async def test_only_a_refusal_is_a_failure_for_certain(
    tmp_path: Path, answer: Answer, outcome: Outcome
) -> None:
    answered = await written(tmp_path, answer)
    assert {event.outcome for event in answered} == {outcome}
    assert {event.version for event in answered} == {7 if outcome is Outcome.OK else None}


async def test_a_writer_that_waits_for_the_cluster_notes_who_has_it(tmp_path: Path) -> None:
    headers = {"X-Gateway-Config-Version": "7", "X-Gateway-Propagation": "3/3"}
    answered = await written(tmp_path, told(200, **headers), barrier=True)
    assert {event.barrier is not None and event.barrier.held for event in answered} == {True}


@pytest.mark.parametrize(
    ("headers", "barrier"),
    [
        ({}, None),
        ({"X-Gateway-Propagation": "unknown"}, None),
        ({"X-Gateway-Propagation": "3/3"}, Barrier(3, 3, [], [])),
        (
            {"X-Gateway-Propagation": "1/2", "X-Gateway-Propagation-Behind": "b"},
            Barrier(1, 2, ["b"], []),
        ),
        (
            {"X-Gateway-Propagation": "1/1", "X-Gateway-Propagation-Unseen": "a%2Cb, c"},
            Barrier(1, 1, [], ["a,b", "c"]),
        ),
    ],
)
def test_headers_tell_of_a_barrier(headers: dict[str, str], barrier: Barrier | None) -> None:
    assert barrier_told(headers) == barrier


async def test_sql_is_committed_under_the_version_that_is_recorded(
    tmp_path: Path, database_url: str
) -> None:
    await ledger.install(database_url)
    async with await ledger.connect(database_url) as connection:
        await connection.execute("INSERT INTO services (name, host) VALUES ('k1', 'h')")
        await connection.execute("INSERT INTO upstreams (name) VALUES ('k1')")
    path = tmp_path / "history.jsonl"
    with Recorder(path) as recorder:
        desk = Desk(recorder, ["k1"])
        writer = SqlWriter(desk, database_url, random.Random(1), count(1))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(writer.run())
            while desk.newest < 10:  # noqa: ASYNC110 - the writer does not know of this test
                await asyncio.sleep(0.01)
            desk.ended.set()
    events = list(read(path))
    values = {event.write: event.values for event in events if isinstance(event, Invoked)}
    recorded = {
        event.version: values[event.write]
        for event in events
        if isinstance(event, Answered) and event.outcome is Outcome.OK
    }
    entered: dict[int | None, dict[str, str | None]] = {}
    async for commit in ledger.commits(database_url):
        entered.setdefault(commit.version, {})[commit.register] = commit.value
    assert recorded.items() <= entered.items()
    assert len(recorded) >= 8
    assert {event.outcome for event in events if isinstance(event, Answered)} <= {
        Outcome.OK,
        Outcome.FAILED,
    }


def test_the_admin_api_takes_what_is_written_to_it() -> None:
    assert {kind: sorted(fields(kind, "k1", 1)) for kind in KINDS} == {
        "services": ["path"],
        "upstreams": ["host_header"],
        ROUTES: ["paths", "service"],
    }
