"""What the Admin API tells of the node and the cluster."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4

import httpx
import psycopg

from gateway import __version__
from gateway.store.nodes import Heartbeat
from gateway.store.store import Store

from .conftest import StandingNode, created

Client = httpx.AsyncClient


async def test_the_root_tells_the_level_spoken_and_hides_secrets(
    client: Client, node: StandingNode
):
    root = (await client.get("/")).json()
    assert root["version"] == "3.9.3"
    assert root["gateway"] == __version__
    assert root["node_id"] == str(node.identity.id)
    assert root["configuration"]["database_url"] == "**********"
    assert root["configuration"]["database"] == "postgres"
    assert root["configuration"]["admin_listeners"] == [
        {
            "listener": "127.0.0.1:8001",
            "ip": "127.0.0.1",
            "port": 8001,
            "ssl": False,
            "http2": False,
        }
    ]
    assert root["configuration"]["poll_interval_s"] == 1.0
    assert root["plugins"] == {"available_on_server": {}, "enabled_in_cluster": []}


async def test_status_asks_the_database(client: Client):
    status = (await client.get("/status")).json()
    assert status["database"] == {"reachable": True}
    assert status["server"]["total_requests"] == 0


def beat(id_: UUID, name: str, applied_version: int | None) -> Heartbeat:
    return Heartbeat(
        id=id_,
        name=name,
        proxy_address="127.0.0.1:8000",
        admin_address="127.0.0.1:8001",
        status_address="127.0.0.1:8100",
        started_at=datetime.now(UTC),
        applied_version=applied_version,
        applied_committed_at=None,
        strategy="notify",
        software_version=__version__,
        role="traditional",
    )


async def test_the_cluster_lists_its_nodes_with_their_lag(
    client: Client, store: Store, node: StandingNode, database_url: str
):
    first = await client.post("/services", json={"host": "a"})
    await created(client, "/services", host="b")
    version = int(first.headers["X-Gateway-Config-Version"])
    await store.heartbeat(beat(node.identity.id, "node-0", version))
    lost = uuid4()
    await store.heartbeat(beat(lost, "node-1", None))
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute(
            "UPDATE nodes SET last_seen_at = last_seen_at - interval '1 minute' WHERE id = %s",
            [lost],
        )

    cluster = (await client.get("/cluster")).json()
    assert cluster["config_version"] == version + 1
    assert UUID(cluster["epoch"])
    assert cluster["answered_by"] == str(node.identity.id)
    here, gone = sorted(cluster["nodes"], key=lambda shown: shown["name"])
    assert (here["applied_version"], here["lag"], here["alive"]) == (version, 1, True)
    assert (gone["applied_version"], gone["lag"], gone["alive"]) == (None, None, False)
    assert gone["last_seen_age_s"] >= 60
    assert here["strategy"] == "notify"
    assert here["admin_address"] == "127.0.0.1:8001"
    assert here["software_version"] == __version__


async def test_the_endpoints_are_listed(client: Client):
    assert (await client.get("/endpoints")).json() == {
        "data": [
            "/",
            "/ca_certificates",
            "/ca_certificates/{ca_certificates}",
            "/certificates",
            "/certificates/{certificates}",
            "/certificates/{certificates}/services",
            "/certificates/{certificates}/services/{services}",
            "/certificates/{certificates}/snis",
            "/certificates/{certificates}/snis/{snis}",
            "/certificates/{certificates}/upstreams",
            "/certificates/{certificates}/upstreams/{upstreams}",
            "/cluster",
            "/clustering/data-planes",
            "/clustering/status",
            "/endpoints",
            "/routes",
            "/routes/{routes}",
            "/routes/{routes}/service",
            "/services",
            "/services/{services}",
            "/services/{services}/client_certificate",
            "/services/{services}/routes",
            "/services/{services}/routes/{routes}",
            "/snis",
            "/snis/{snis}",
            "/status",
            "/upstreams",
            "/upstreams/{upstreams}",
            "/upstreams/{upstreams}/client_certificate",
            "/upstreams/{upstreams}/targets",
            "/upstreams/{upstreams}/targets/all",
            "/upstreams/{upstreams}/targets/{targets}",
        ]
    }
