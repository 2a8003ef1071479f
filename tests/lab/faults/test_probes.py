"""Probes record what an answer shows, when it was asked for, and which process gave it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.lab.faults.history import Recorder, read
from gateway.lab.faults.probes import Prober
from gateway.lab.faults.upstream import ShowingUpstream


class Node:
    """Something to probe: answers each request with the next of ``answers``, else it hangs up."""

    def __init__(self, recorder: Recorder) -> None:
        self.answers: list[bytes] = []
        self.heads: list[bytes] = []
        self.connections = 0
        self.incarnation = 1
        self.recorder = recorder
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        address = f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        self.prober = Prober("node-1", address, lambda: self.incarnation, self.recorder)

    async def stop(self) -> None:
        self.prober.close()
        self.server.close()
        await asyncio.gather(*self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        with suppress(OSError, EOFError):
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                if not self.answers:
                    break
                writer.write(self.answers.pop(0))
        writer.close()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    with Recorder(tmp_path / "history.jsonl") as recorder:
        node = Node(recorder)
        await node.start()
        yield node
        await node.stop()


def answer(status: int, body: str, more: str = "") -> bytes:
    return (
        f"HTTP/1.1 {status} What\r\nX: y\r\ncontent-length: {len(body)}\r\n{more}\r\n{body}"
    ).encode()


SHOWN = answer(200, "/s1/xx h2.test")
SEEN = {"services/k1": "1", "upstreams/k1": "2", "routes/k1": "398"}


async def test_answers_come_over_one_connection_and_are_recorded(
    node: Node, tmp_path: Path
) -> None:
    node.answers = [SHOWN, answer(404, "none"), answer(503, "not now")]
    found = [await node.prober.ask("k1") for _ in range(3)]
    assert [probe and (probe.status, probe.seen) for probe in found] == [
        (200, SEEN),
        (404, {"routes/k1": None}),
        (503, {}),
    ]
    assert node.connections == 1
    times = [time for probe in found if probe for time in (probe.sent_at, probe.at)]
    assert times == sorted(times)
    node.recorder.__exit__()
    assert list(read(tmp_path / "history.jsonl")) == found


@pytest.mark.parametrize("broken", [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 O"])
async def test_what_is_no_answer_shows_nothing_and_the_next_one_is_asked_for_anew(
    node: Node, broken: bytes
) -> None:
    node.answers = [broken] if broken else []
    lost = await node.prober.ask("k1")
    assert lost
    assert (lost.status, lost.seen) == (None, {})
    node.answers = [SHOWN]
    found = await node.prober.ask("k1")
    assert found
    assert found.seen == SEEN


async def test_a_connection_that_is_said_to_close_is_left(node: Node) -> None:
    node.answers = [answer(200, "/s1/xx h2.test", "Connection: close\r\n"), SHOWN]
    assert await node.prober.ask("k1")
    assert await node.prober.ask("k1")
    assert node.connections == 2


async def test_an_answer_belongs_to_the_process_that_the_connection_led_to(node: Node) -> None:
    node.answers = [SHOWN, SHOWN]
    first = await node.prober.ask("k1")
    node.incarnation = 2
    second = await node.prober.ask("k1")
    assert first
    assert second
    assert (first.incarnation, second.incarnation) == (1, 1)
    node.prober.close()
    node.answers = [SHOWN]
    third = await node.prober.ask("k1")
    assert third
    assert third.incarnation == 2


async def test_a_version_is_demanded_as_it_is_at_the_moment(node: Node) -> None:
    versions = iter([7, 8])
    node.prober.min_version = lambda: next(versions)
    node.answers = [SHOWN, SHOWN]
    found = [await node.prober.ask("k1") for _ in range(2)]
    assert [probe and probe.min_version for probe in found] == [7, 8]
    assert [b"X-Gateway-Min-Version: 7\r\n" in head for head in node.heads] == [True, False]


async def test_who_cannot_be_reached_cannot_be_asked(node: Node) -> None:
    node.server.close()
    await node.server.wait_closed()
    assert await node.prober.ask("k1") is None


async def test_the_upstream_shows_path_and_host() -> None:
    async with ShowingUpstream() as upstream:
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        for path in ("/s1/xx", "/s2"):
            writer.write(f"GET {path} HTTP/1.1\r\nVia: x\r\nhost: h7.test\r\nA: b\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            body = f"{path} h7.test".encode()
            assert head.endswith(b"Content-Length: %d\r\n\r\n" % len(body))
            assert await reader.readexactly(len(body)) == body
        writer.close()
