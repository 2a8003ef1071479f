"""Data planes and control planes over real sockets and TLS: what holds the line, what cuts it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway import __version__
from gateway.hybrid import link as link_module
from gateway.hybrid import listener as listener_module
from gateway.hybrid import session as session_module
from gateway.hybrid.certificates import SERVER_NAME, make_pair
from gateway.hybrid.link import ControlPlaneLink
from gateway.hybrid.protocol import (
    MOST_BYTES_ASKED,
    PATH,
    PROTOCOL,
    Announced,
    Applied,
    Failed,
    Hello,
    Load,
    Loaded,
    Loading,
    Noted,
    NothingNewer,
    Report,
    Seen,
    SeenAnswer,
    Welcome,
    decode_answered,
    encode,
)
from gateway.hybrid.source import ControlPlaneSource
from gateway.settings import NodeSettings
from gateway.store.data_planes import DataPlaneRow, DataPlaneTable
from gateway.store.errors import StoreUnavailable
from gateway.store.nodes import Heartbeat
from gateway.store.source import Batch
from gateway.store.store import Store
from tests.store.rows import service
from tests.sync.mirror import until

from .planes import RunningControlPlane, shared_pair, with_pair

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def control_plane(settings: NodeSettings) -> AsyncIterator[RunningControlPlane]:
    async with RunningControlPlane(settings).running() as running:
        yield running


@pytest.fixture
async def link_to(settings: NodeSettings) -> AsyncIterator[Callable[..., ControlPlaneLink]]:
    """Makes links to control planes, closed in the end."""
    async with AsyncExitStack() as stack:

        def make(*addresses: str, **changed: Any) -> ControlPlaneLink:
            link = ControlPlaneLink(
                with_pair(settings, control_planes=",".join(addresses), **changed)
            )
            stack.push_async_callback(link.close)
            return link

        yield make


LinkTo = Callable[..., ControlPlaneLink]


async def added(store: Store) -> int:
    async with store.write() as tx:
        await tx.insert("services", service())
    return tx.version


async def fill(store: Store) -> None:
    """Write more than fits into the buffers on the way."""
    async with store.write() as tx:
        for number in range(200):
            await tx.insert("services", service(name=f"s{number}" + "x" * 100_000))


async def data_planes(
    store: Store, are_as_expected: Callable[[list[DataPlaneRow]], bool]
) -> list[DataPlaneRow]:
    """Wait until the table is as expected; return its rows."""
    table = DataPlaneTable(store)
    while not are_as_expected(rows := (await table.page(10)).rows):  # noqa: ASYNC110 - far away
        await asyncio.sleep(0.01)
    return rows


def a_beat(link: ControlPlaneLink, version: int | None = None) -> Heartbeat:
    return Heartbeat(
        id=link.node_id,
        name="edge",
        proxy_address="127.0.0.1:8000",
        admin_address="",
        status_address="127.0.0.1:8100",
        started_at=AT,
        applied_version=version,
        applied_committed_at=None if version is None else AT,
        strategy="hybrid",
        software_version=__version__,
        role="data-plane",
    )


# -- asking


async def test_a_line_is_opened_by_the_first_question_and_kept(
    control_plane: RunningControlPlane, store: Store, link_to: LinkTo
) -> None:
    link = link_to(control_plane.address)
    source = ControlPlaneSource(link)
    version = await added(store)
    assert (await source.seen()).version == version
    line = await link.line()
    async with source.load(None) as load:
        assert load is not None
        assert load.kind == "full"
        assert [len(batch.rows) async for batch in load.batches] == [1]
    mark = await source.seen()
    async with source.load(mark) as load:
        assert load is None
    assert await link.line() is line


async def test_a_load_tells_the_databases_clock_as_of_now(
    control_plane: RunningControlPlane, store: Store, link_to: LinkTo
) -> None:
    source = ControlPlaneSource(link_to(control_plane.address))
    start = await source.seen()
    await added(store)
    await source.seen()
    await asyncio.sleep(0.05)
    async with source.load(start) as load:
        assert load is not None
        async for _ in load.batches:
            pass
        assert (load.read_at - load.oldest_committed_at).total_seconds() >= 0.05


async def test_a_question_that_was_given_up_costs_its_line(
    control_plane: RunningControlPlane, store: Store, link_to: LinkTo
) -> None:
    link = link_to(control_plane.address)
    source = ControlPlaneSource(link)
    await added(store)
    first = await link.line()
    with pytest.raises(LookupError):
        async with source.load(None):
            raise LookupError
    assert first.lost.is_set()
    assert (await source.seen()).version == 1
    assert await link.line() is not first


async def test_a_load_that_was_not_read_to_its_end_counts_as_failed(
    control_plane: RunningControlPlane, store: Store, link_to: LinkTo
) -> None:
    source = ControlPlaneSource(link_to(control_plane.address))
    await added(store)
    with pytest.raises(StoreUnavailable, match="not read to its end"):
        async with source.load(None):
            pass


async def test_a_control_plane_without_its_database_says_so_and_keeps_the_line(
    control_plane: RunningControlPlane, link_to: LinkTo
) -> None:
    link = link_to(control_plane.address)
    source = ControlPlaneSource(link)
    line = await link.line()
    control_plane.hub._timeout_s = 0.0
    with pytest.raises(StoreUnavailable, match=r"control plane test: .* has not answered"):
        await source.seen()
    control_plane.hub._timeout_s = 5.0
    await source.seen()
    assert await link.line() is line


async def test_many_rows_come_in_many_messages(
    control_plane: RunningControlPlane, store: Store, link_to: LinkTo
) -> None:
    async with store.write() as tx:
        for number in range(250):
            await tx.insert("services", service(name=f"s{number}" + "x" * 20_000))
    links = [link_to(control_plane.address) for _ in range(3)]

    async def names(link: ControlPlaneLink) -> set[str]:
        async with ControlPlaneSource(link).load(None) as load:
            assert load is not None
            return {row["name"][:4] async for batch in load.batches for row in batch.rows}

    found = await asyncio.gather(*map(names, links))
    assert all(len(each) == 250 for each in found)


# -- reporting


async def test_a_report_is_in_the_table_when_it_returns(
    control_plane: RunningControlPlane, store: Store, link_to: LinkTo
) -> None:
    link = link_to(control_plane.address, data_plane_labels="region:eu")
    await link.join(a_beat(link))
    (row,) = (await DataPlaneTable(store).page(10)).rows
    assert (row.id, row.applied_version, row.sync_status) == (link.node_id, None, "unknown")
    assert row.labels == {"region": "eu"}
    assert row.control_plane_id == control_plane.id
    assert row.cert_expires_at == shared_pair().expires_at
    await link.heartbeat(a_beat(link, 7))
    (row,) = (await DataPlaneTable(store).page(10)).rows
    assert (row.applied_version, row.applied_committed_at, row.sync_status) == (7, AT, "normal")
    assert row.health is None
    health = {"checked": 2, "unhealthy": 0, "addresses": []}
    await link.heartbeat(replace(a_beat(link, 7), health=health | {"shares_probes": False}))
    (row,) = (await DataPlaneTable(store).page(10)).rows
    assert row.health == health
    await link.forget(link.node_id)
    assert (await DataPlaneTable(store).page(10)).rows == []


async def test_a_data_plane_is_in_the_table_before_it_is_told_anything(
    control_plane: RunningControlPlane, store: Store, link_to: LinkTo
) -> None:
    link = link_to(control_plane.address)
    async with ControlPlaneSource(link).load(None) as load:
        assert load is not None
        assert [row.id for row in (await DataPlaneTable(store).page(10)).rows] == [link.node_id]
        async for _ in load.batches:
            pass


async def test_a_report_goes_with_the_data_plane_to_the_next_control_plane(
    settings: NodeSettings, store: Store, link_to: LinkTo
) -> None:
    first, second = RunningControlPlane(settings), RunningControlPlane(settings)
    link = link_to(first.address, second.address)
    async with second.running():
        async with first.running():
            while (await link.line()).welcome.node_id != first.id:
                await link.close()
            await link.join(a_beat(link))
            await link.heartbeat(a_beat(link, 7))
        assert (await ControlPlaneSource(link).seen()).version == 0
        assert (await link.line()).welcome.node_id == second.id

        await data_planes(store, lambda rows: rows[0].control_plane_id == second.id)
        (row,) = (await DataPlaneTable(store).page(10)).rows
        assert row.applied_version == 7


async def test_a_control_plane_that_is_behind_the_last_one_catches_up_before_it_tells(
    settings: NodeSettings, store: Store, link_to: LinkTo
) -> None:
    seldom = settings.model_copy(update={"poll_interval_s": 3600})
    first, behind = RunningControlPlane(settings), RunningControlPlane(seldom, strategy="poll")
    link = link_to(first.address, behind.address)
    source = ControlPlaneSource(link)
    async with behind.running():
        async with first.running():
            start = await source.seen()
            await added(store)
            while (await link.line()).welcome.node_id != first.id:
                await link.close()
            seen = await source.seen()
        async with source.load(start) as load:
            assert load is not None
            assert load.mark == seen
            async for _ in load.batches:
                pass
        assert (await link.line()).welcome.node_id == behind.id


async def test_without_a_line_there_is_no_heartbeat(
    control_plane: RunningControlPlane, link_to: LinkTo
) -> None:
    link = link_to(control_plane.address)
    with pytest.raises(StoreUnavailable, match="no connection"):
        await link.heartbeat(a_beat(link))


async def test_a_report_that_cannot_be_written_is_not_noted(
    control_plane: RunningControlPlane, link_to: LinkTo
) -> None:
    link = link_to(control_plane.address)
    await link.join(a_beat(link))
    await control_plane.store.stop()
    with pytest.raises(StoreUnavailable, match="the store is not started"):
        await link.heartbeat(a_beat(link))


# -- finding a control plane


async def test_one_that_is_gone_is_passed_over(
    control_plane: RunningControlPlane, settings: NodeSettings, link_to: LinkTo
) -> None:
    gone = RunningControlPlane(settings)
    gone.socket.close()
    for _ in range(10):
        link = link_to(gone.address, control_plane.address)
        assert (await link.line()).welcome.node_id == control_plane.id


async def test_data_planes_spread_over_control_planes(
    settings: NodeSettings, link_to: LinkTo
) -> None:
    first, second = RunningControlPlane(settings), RunningControlPlane(settings)
    async with first.running(), second.running():
        links = [link_to(first.address, second.address) for _ in range(30)]
        lines = await asyncio.gather(*(link.line() for link in links))
    assert {line.welcome.node_id for line in lines} == {first.id, second.id}


async def test_who_asks_at_the_same_time_shares_a_line(
    control_plane: RunningControlPlane, link_to: LinkTo
) -> None:
    link = link_to(control_plane.address)
    lines = await asyncio.gather(*(link.line() for _ in range(5)))
    assert len(set(lines)) == 1


async def test_if_there_is_none_each_is_named_with_its_problem(
    settings: NodeSettings, link_to: LinkTo
) -> None:
    gone = RunningControlPlane(settings)
    gone.socket.close()
    with pytest.raises(StoreUnavailable) as refused:
        await link_to(gone.address, "nowhere.invalid:1").line()
    assert f"{gone.address}: connection refused" in str(refused.value)
    assert "nowhere.invalid:1: " in str(refused.value)


async def test_one_that_says_nothing_is_given_up(
    link_to: LinkTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "OPEN_TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        with pytest.raises(StoreUnavailable, match=r"no answer within 0\.05 s"):
            await link_to(f"{host}:{port}").line()


async def test_other_servers_are_told_from_control_planes(link_to: LinkTo) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as plain:
        host, port = plain.sockets[0].getsockname()
        with capture_logs() as log:
            for _ in range(3):
                with pytest.raises(StoreUnavailable, match="not the cluster listener"):
                    await link_to(f"{host}:{port}").line()
    assert [line["peer"] for line in log if "cannot be used" in line["event"]] == [
        f"{host}:{port}"
    ] * 3


async def test_what_is_wrong_with_a_control_plane_is_said_once_a_minute(
    control_plane: RunningControlPlane, settings: NodeSettings, tmp_path: Path
) -> None:
    other = make_pair(tmp_path, days=90)
    link = ControlPlaneLink(with_pair(settings, other, control_planes=control_plane.address))
    with capture_logs() as log:
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="shows another certificate"):
                await link.line()
        await until(lambda: any("peer refused" in line["event"] for line in log))
    assert len([line for line in log if line["event"] == "control plane cannot be used"]) == 1
    assert len([line for line in log if "peer refused" in line["event"]]) == 1
    assert "PRIVATE" not in str(log)


# -- releases


@pytest.mark.parametrize("release", ["0.999.0", "999.0.0"])
async def test_a_data_plane_of_an_unfit_release_is_refused_and_listed_as_such(
    control_plane: RunningControlPlane,
    store: Store,
    link_to: LinkTo,
    monkeypatch: pytest.MonkeyPatch,
    release: str,
) -> None:
    monkeypatch.setattr(link_module, "__version__", release)
    link = link_to(control_plane.address)
    with pytest.raises(StoreUnavailable, match=f"data plane of release {release}"):
        await link.line()
    (row,) = await data_planes(store, bool)
    assert (row.id, row.sync_status) == (link.node_id, "kong_version_incompatible")
    assert row.software_version == release


async def test_a_control_plane_of_another_major_release_is_not_listened_to(
    control_plane: RunningControlPlane, link_to: LinkTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_why_refused", lambda hello: None)
    monkeypatch.setattr(session_module, "__version__", "999.0.0")
    with pytest.raises(StoreUnavailable, match=r"needs a control plane of"):
        await link_to(control_plane.address).line()


async def test_a_data_plane_of_another_protocol_is_refused(
    control_plane: RunningControlPlane, link_to: LinkTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "PROTOCOL", 2)
    with pytest.raises(StoreUnavailable, match="do not speak the protocol"):
        await link_to(control_plane.address).line()


# -- clients that hold the pair but not the protocol


@asynccontextmanager
async def wire_to(
    control_plane: RunningControlPlane, path: str = PATH
) -> AsyncIterator[ClientConnection]:
    """Connect as a data plane does, and say nothing yet."""
    async with connect(
        f"wss://{control_plane.address}{path}",
        ssl=shared_pair().client_context(),
        server_hostname=SERVER_NAME,
        compression=None,
        proxy=None,
        max_queue=2,
    ) as wire:
        yield wire


def a_hello() -> bytes:
    return encode(
        Hello(
            protocol=PROTOCOL,
            node_id=uuid4(),
            name="edge",
            software_version=__version__,
            labels={},
            applied=None,
        )
    )


async def welcomed(wire: ClientConnection) -> None:
    await wire.send(a_hello())
    assert isinstance(decode_answered(await wire.recv()), Welcome)


async def test_a_path_that_is_not_ours_is_not_found(control_plane: RunningControlPlane) -> None:
    with pytest.raises(InvalidStatus, match="404"):
        async with wire_to(control_plane, "/other"):
            pass


@pytest.mark.parametrize(
    "messages",
    [
        [b"\x00"],
        [encode(Seen())],
        [a_hello(), a_hello()],
        [a_hello(), json.dumps({"type": "unheard-of"}).encode()],
        [a_hello(), encode(Load(since=None)), encode(Load(since=None)), encode(Seen())],
        [a_hello(), b" " * (MOST_BYTES_ASKED + 1)],
    ],
)
async def test_who_does_not_keep_to_the_protocol_is_cut_and_others_go_on(
    control_plane: RunningControlPlane, link_to: LinkTo, messages: list[bytes]
) -> None:
    link = link_to(control_plane.address)
    line = await link.line()
    async with wire_to(control_plane) as wire:
        with suppress(ConnectionClosed):
            for message in messages:
                await wire.send(message)
        async with asyncio.timeout(5):
            await wire.wait_closed()
    await ControlPlaneSource(link).seen()
    assert await link.line() is line


async def test_who_introduces_itself_too_late_is_cut(
    control_plane: RunningControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "OPEN_TIMEOUT_S", 0.05)
    async with wire_to(control_plane) as wire:
        with pytest.raises(ConnectionClosed):
            await wire.recv()


async def test_who_does_not_take_its_messages_is_cut(
    control_plane: RunningControlPlane, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "SEND_TIMEOUT_S", 0.1)
    await fill(store)
    with capture_logs() as log:
        async with wire_to(control_plane) as wire:
            await welcomed(wire)
            await wire.send(encode(Load(since=None)))
            await until(lambda: any("too slow" in line["event"] for line in log))


async def test_reports_are_noted_while_a_load_is_on_its_way(
    control_plane: RunningControlPlane, store: Store
) -> None:
    await fill(store)
    async with wire_to(control_plane) as wire:
        await welcomed(wire)
        await wire.send(encode(Load(since=None)))
        await wire.send(encode(Report(number=1, applied=Applied(version=7, committed_at=AT))))
        await data_planes(store, lambda rows: [row.applied_version for row in rows] == [7])
        kinds = []  # nothing has been taken so far, and it is too much to be on its way
        while not {Loaded, Noted} <= set(kinds):
            kinds.append(type(decode_answered(await wire.recv())))
    assert kinds.count(Batch) > 50


async def test_what_is_announced_only_names_the_newest(
    control_plane: RunningControlPlane, store: Store
) -> None:
    async with wire_to(control_plane) as wire:
        await welcomed(wire)
        version = await added(store)
        answer = decode_answered(await wire.recv())
        assert answer == Announced(version=version)
        await wire.send(encode(Seen()))
        answer = decode_answered(await wire.recv())
        assert isinstance(answer, SeenAnswer)
        await wire.send(encode(Load(since=answer.mark)))
        assert isinstance(decode_answered(await wire.recv()), NothingNewer)


async def test_a_failure_in_the_middle_of_a_load_is_told(
    control_plane: RunningControlPlane, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await added(store)

    def break_off(batch: Batch) -> list[bytes]:
        raise StoreUnavailable("the database is gone")

    monkeypatch.setattr("gateway.hybrid.shared_loads.messages", break_off)
    async with wire_to(control_plane) as wire:
        await welcomed(wire)
        await wire.send(encode(Load(since=None)))
        answers: list[Any] = []
        while not answers or not isinstance(answers[-1], Failed):
            answer = decode_answered(await wire.recv())
            answers += [] if isinstance(answer, Announced) else [answer]
    assert isinstance(answers[0], Loading)
    assert "the database is gone" in answers[-1].error


# -- the listener


async def test_those_that_only_look_whether_the_port_is_open_are_not_complained_of(
    control_plane: RunningControlPlane, link_to: LinkTo
) -> None:
    host, port = control_plane.address.split(":")
    with capture_logs() as log:
        for _ in range(3):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.close()
            await writer.wait_closed()
        await link_to(control_plane.address).line()
        await until(lambda: len(control_plane.plane._listener._serving) == 1)
    assert [line for line in log if "refused" in line["event"]] == []


async def test_those_that_never_speak_are_closed(
    control_plane: RunningControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "OPEN_TIMEOUT_S", 0.05)
    host, port = control_plane.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "plain HTTP"),
        (b"SSH-2.0-OpenSSH\r\n" * 10, "does not speak TLS"),
    ],
)
async def test_those_that_speak_something_else_are_named(
    control_plane: RunningControlPlane, greeting: bytes, reason: str
) -> None:
    host, port = control_plane.address.split(":")
    with capture_logs() as log:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(greeting)
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        await until(lambda: any("refused" in line["event"] for line in log))
    (line,) = [line for line in log if "refused" in line["event"]]
    assert line["peer"] == "127.0.0.1"
    assert reason in line["reason"]


async def test_there_is_a_limit_to_connections(
    control_plane: RunningControlPlane, link_to: LinkTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "MOST_CONNECTIONS", 1)
    link = link_to(control_plane.address)
    await link.line()
    with pytest.raises(StoreUnavailable):
        await link_to(control_plane.address).line()
    await ControlPlaneSource(link).seen()


async def test_data_planes_are_sent_elsewhere_when_a_control_plane_stops(
    settings: NodeSettings, link_to: LinkTo
) -> None:
    control_plane = RunningControlPlane(settings)
    async with control_plane.running():
        line = await link_to(control_plane.address).line()
    async with asyncio.timeout(5):
        await line.lost.wait()
    assert "1001" in line.why_lost
