"""Nodes that start while PostgreSQL is away: they serve what they served, or say why not."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest

from gateway.lab.fault_proxy import FaultProxy
from gateway.store.embedded import EmbeddedPostgres

from .conftest import StartNodes
from .nodes import NodeProcess, http_client, until
from .sql import rows, run_sql
from .upstream import Upstream

FROM_DISK = "serving the configuration of the disk copy, which may be stale"
NOT_KEPT = "the disk copy of the configuration is not kept"

Settings = dict[str, object]


@pytest.fixture
def settings(own_postgres: EmbeddedPostgres, tmp_path: Path) -> Settings:
    """Settings of nodes that lose their database, and ask often whether it is back."""
    return {
        "database_url": own_postgres.url(),
        "snapshot_dir": tmp_path / "snapshots",
        "poll_interval_s": 0.2,
        "heartbeat_interval_s": 0.2,
    }


def file_of(settings: Settings, name: str = "node-1") -> Path:
    return Path(str(settings["snapshot_dir"])) / f"{name}-0.snapshot"


async def give_routes(node: NodeProcess, upstream: Upstream, number: int) -> int:
    """Have so many routes; return the version with all of them, which the node has applied."""
    version = await node.write("PUT", "/services/orders", {"url": upstream.url})
    for k in range(number):
        route = {"paths": [f"/route/{k:03}"]}
        version = await node.write("PUT", f"/services/orders/routes/route-{k}", route)
    await node.reaches(version)
    await node.copies(version)
    return version


async def check_that_it_serves(node: NodeProcess, number: int) -> None:
    for k in range(number):
        assert (await node.proxy(f"/route/{k:03}/x")).text == "/x"
    assert (await node.proxy(f"/route/{number:03}/x")).status_code == 404


# -- it serves what it served


async def test_a_killed_node_starts_from_disk_and_catches_up_when_the_database_is_back(
    start_nodes: StartNodes, own_postgres: EmbeddedPostgres, upstream: Upstream, settings: Settings
) -> None:
    (node,) = await start_nodes(1, **settings)
    version = await give_routes(node, upstream, 20)
    own_postgres.stop()
    await node.kill()

    (again,) = await start_nodes(1, **settings | {"node_name": "node-1"})
    await check_that_it_serves(again, 20)
    assert await again.ready() == 200
    sync = (await again.report())["sync"]
    assert (sync["source"], sync["state"]) == ("disk", "database unavailable")
    assert (sync["applied_version"], sync["seconds_since_success"]) == (version, None)
    (said,) = again.lines_of(FROM_DISK)
    assert (said["version"], said["committed_at"]) == (version, sync["applied_committed_at"])
    assert (await again.metrics()).value("gateway_config_from_disk") == 1
    assert (await again.admin("GET", "/services")).status_code == 503

    own_postgres.start()
    route = "INSERT INTO routes (service_id, paths) SELECT id, '{/route/020}' FROM services"
    await run_sql(own_postgres.url(), route)
    await again.reaches(version + 1)
    await again.becomes("synced")
    await check_that_it_serves(again, 21)
    assert (await again.report())["sync"]["source"] == "database"
    metrics = await again.metrics()
    assert metrics.value("gateway_config_from_disk") == 0
    assert metrics.value("gateway_config_full_loads_total") == 0
    await again.copies(version + 1)
    await joins(again)


async def joins(node: NodeProcess) -> None:
    """Wait until node-1 is in the list that the node gives of the cluster."""

    async def is_listed() -> bool:
        answer = await node.admin("GET", "/cluster")
        return answer.is_success and "node-1" in answer.text

    await until(is_listed)


async def test_a_database_that_never_answers_does_not_keep_a_node_from_starting(
    start_nodes: StartNodes, own_postgres: EmbeddedPostgres, upstream: Upstream, settings: Settings
) -> None:
    async with FaultProxy.before(own_postgres) as network:
        settings["database_url"] = network.url(own_postgres.url())
        settings["sync_timeout_s"] = 1
        (node,) = await start_nodes(1, **settings)
        await give_routes(node, upstream, 2)
        network.stall()
        await node.kill()
        (again,) = await start_nodes(1, **settings | {"node_name": "node-1"})
        await check_that_it_serves(again, 2)
        assert "does not answer within 1 s" in again.lines_of(FROM_DISK)[0]["problem"]
        network.heal()
        await again.becomes("synced")
        assert await again.stop() == 0


async def test_a_database_restored_meanwhile_is_followed_with_a_full_load(
    start_nodes: StartNodes, own_postgres: EmbeddedPostgres, upstream: Upstream, settings: Settings
) -> None:
    (node,) = await start_nodes(1, **settings)
    version = await give_routes(node, upstream, 4)
    await node.kill()
    await run_sql(
        own_postgres.url(),
        "DELETE FROM routes WHERE name IN ('route-2', 'route-3')",
        f"DELETE FROM changes WHERE version > {version - 2}",
        f"DELETE FROM change_sets WHERE version > {version - 2}",
        f"UPDATE config_version SET version = {version - 2}, committed_at = "
        f"(SELECT committed_at FROM change_sets WHERE version = {version - 2})",
    )
    own_postgres.stop()
    (again,) = await start_nodes(1, **settings | {"node_name": "node-1"})
    await check_that_it_serves(again, 4)

    own_postgres.start()
    said = await again.logged("loading the whole configuration")
    assert said["reason"] == "the version went back"
    await again.becomes("synced")
    await check_that_it_serves(again, 2)
    await again.copies(version - 2)


async def test_nodes_killed_amid_writes_restart_with_exactly_one_version(
    start_nodes: StartNodes, own_postgres: EmbeddedPostgres, upstream: Upstream, settings: Settings
) -> None:
    nodes = await start_nodes(2, **settings)
    await give_routes(nodes[0], upstream, 0)
    ids: list[UUID] = []
    writers = [asyncio.create_task(keep_writing(nodes[0], ids)) for _ in range(3)]
    await until(partial(many_of, ids))
    await nodes[1].kill()
    await nodes[0].kill()
    await asyncio.gather(*writers)
    log = await rows(
        own_postgres.url(),
        "SELECT version, entity_id, operation FROM changes WHERE kind = 'routes' ORDER BY version",
    )
    own_postgres.stop()

    for name in ("node-1", "node-2"):
        (again,) = await start_nodes(1, **settings | {"node_name": name})
        version = (await again.report())["sync"]["applied_version"]
        operations = {id_: operation for at, id_, operation in log if at <= version}
        expected = {id_ for id_, operation in operations.items() if operation != "delete"}
        assert expected
        answers = [(id_, (await again.proxy(f"/{id_}")).status_code) for id_ in ids]
        assert {id_ for id_, status in answers if status == 200} == expected


async def many_of(ids: list[UUID]) -> bool:
    return len(ids) >= 60


async def keep_writing(node: NodeProcess, ids: list[UUID]) -> None:
    """Create routes and delete every third until the node is gone; note their ids."""
    try:
        while True:
            ids.append(id_ := uuid4())
            path = f"/services/orders/routes/{id_}"
            await node.write("PUT", path, {"paths": [f"/{id_}"]})
            if len(ids) % 3 == 0:
                await node.write("DELETE", f"/routes/{id_}")
    except (httpx.HTTPError, AssertionError):
        pass


# -- or says why not


async def refusal(settings: Settings) -> str:
    """Return the line with which node-1 ends instead of serving."""
    async with http_client() as http:
        node = await NodeProcess("node-1", http, **settings).begin()
        assert await node.ends() == 1
    (line,) = node.noise
    return line


async def test_without_database_and_without_a_copy_it_refuses_and_names_both(
    own_postgres: EmbeddedPostgres, settings: Settings
) -> None:
    own_postgres.stop()
    line = await refusal(settings)
    assert "--database-url (GATEWAY_DATABASE_URL)" in line
    assert f"{file_of(settings)} holds no configuration" in line


async def test_a_corrupt_copy_is_refused_by_name_and_moved_aside_with_the_database(
    start_nodes: StartNodes, own_postgres: EmbeddedPostgres, upstream: Upstream, settings: Settings
) -> None:
    (node,) = await start_nodes(1, **settings)
    version = await give_routes(node, upstream, 3)
    await node.stop()
    file = file_of(settings)
    data = file.read_bytes()
    assert b"/route/001" in data
    file.write_bytes(damaged := data.replace(b"/route/001", b"/route/007"))
    own_postgres.stop()
    line = await refusal(settings)
    assert "--database-url (GATEWAY_DATABASE_URL)" in line
    assert f"{file} is corrupt (its rows do not match their checksum): remove it" in line

    own_postgres.start()
    (again,) = await start_nodes(1, **settings | {"node_name": "node-1"})
    await check_that_it_serves(again, 3)
    assert f"{file} is corrupt" in again.lines_of(NOT_KEPT)[0]["problem"]
    await again.copies(version)
    assert (await again.report())["disk_copy"]["problem"] is None
    assert file.with_name(f"{file.name}.corrupt").read_bytes() == damaged


async def test_a_schema_of_another_release_is_refused_in_spite_of_a_copy(
    start_nodes: StartNodes, own_postgres: EmbeddedPostgres, upstream: Upstream, settings: Settings
) -> None:
    (node,) = await start_nodes(1, **settings)
    await give_routes(node, upstream, 1)
    await node.stop()
    await run_sql(own_postgres.url(), "UPDATE gateway_schema SET version_num = '9999'")
    assert "made by a newer release" in await refusal(settings)


async def test_two_nodes_of_one_name_do_not_share_a_copy(
    start_nodes: StartNodes, own_postgres: EmbeddedPostgres, upstream: Upstream, settings: Settings
) -> None:
    (first,) = await start_nodes(1, **settings)
    version = await give_routes(first, upstream, 1)
    (second,) = await start_nodes(1, **settings | {"node_name": "node-1"})
    await second.reaches(version)
    await check_that_it_serves(second, 1)
    assert "in use by another process" in (await second.report())["disk_copy"]["problem"]
    assert (await second.metrics()).value("gateway_config_disk_copy_failing") == 1
    assert len(second.lines_of(NOT_KEPT)) == 1
    assert (await first.report())["disk_copy"]["problem"] is None
