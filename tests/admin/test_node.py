"""What the Admin API tells of the node and the cluster."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from gateway import __version__
from gateway.plugins import registry
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


async def test_the_root_tells_which_plugins_there_are_and_which_are_used(client: Client):
    plugins = (await client.get("/")).json()["plugins"]
    assert plugins["available_on_server"]["gate-key"] == {"version": "3.9.3", "priority": 1250}
    assert plugins["available_on_server"].keys() == registry.present().keys()
    assert plugins["enabled_in_cluster"] == []
    await created(client, "/services", name="orders", host="a")
    await created(client, "/plugins", name="quota", config={"unit": "request"}, enabled=False)
    await created(client, "/plugins", name="gate-key")
    await created(client, "/services/orders/plugins", name="gate-key")
    used = (await client.get("/")).json()["plugins"]["enabled_in_cluster"]
    assert used == ["gate-key", "quota"]


async def test_status_asks_the_database(client: Client):
    status = (await client.get("/status")).json()
    assert status["database"] == {"reachable": True}
    assert status["server"]["total_requests"] == 0


@pytest.mark.parametrize(
    ("query", "pattern"),
    [
        ("", r"[0-9]+\.[0-9]{2} MiB"),
        ("unit=K", r"[0-9]+\.[0-9]{2} KiB"),
        ("unit=g&scale=4", r"0\.[0-9]{4} GiB"),
        ("scale=0", r"[0-9]+ MiB"),
        ("scale=x", r"[0-9]+\.[0-9]{2} MiB"),
    ],
)
async def test_status_tells_the_memory_in_use(client: Client, query: str, pattern: str):
    memory = (await client.get(f"/status?{query}")).json()["memory"]
    assert memory["lua_shared_dicts"] == {}
    (process,) = memory["workers_lua_vms"]
    assert process["pid"] == os.getpid()
    assert re.fullmatch(pattern, process["http_allocated_gc"])


async def test_status_tells_bytes_as_a_number(client: Client):
    memory = (await client.get("/status?unit=b")).json()["memory"]
    assert memory["workers_lua_vms"][0]["http_allocated_gc"] > 1_000_000


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("unit=V", "invalid unit 'V' (expected 'k/K', 'm/M', or 'g/G')"),
        ("scale=-1", "invalid scale '-1' (expected 0 to 20)"),
    ],
)
async def test_status_knows_some_units(client: Client, query: str, message: str):
    response = await client.get(f"/status?{query}")
    assert (response.status_code, response.json()) == (400, {"message": message})


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


async def test_the_cluster_tells_what_is_unhealthy_to_each_node(
    client: Client, store: Store, node: StandingNode
):
    down = {"upstream": "orders", "target": "a", "address": "10.0.0.1:80"}
    told = {"checked": 2, "unhealthy": 1, "addresses": [down]}
    here = replace(beat(node.identity.id, "node-0", 0), health=told | {"shares_probes": False})
    await store.heartbeat(here)
    await store.heartbeat(beat(uuid4(), "node-1", 0))  # of the release before
    control_plane = replace(beat(uuid4(), "node-2", 0), role="control-plane", health=told)
    await store.heartbeat(control_plane)
    nodes = (await client.get("/cluster")).json()["nodes"]
    assert [shown["health"] for shown in nodes] == [told, None, None]


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


async def test_the_endpoints_are_listed_segment_by_segment(client: Client):
    listed = (await client.get("/endpoints")).json()["data"]
    assert listed[0] == "/"
    assert listed == sorted(listed, key=lambda path: path.split("/"))
    assert len(set(listed)) == len(listed)


OF_ENTITIES = """
/acls /acls/{acls} /acls/{acls}/consumer
/basic-auths /basic-auths/{basicauth_credentials} /basic-auths/{basicauth_credentials}/consumer
/ca_certificates /ca_certificates/{ca_certificates}
/certificates /certificates/{certificates}
/certificates/{certificates}/services /certificates/{certificates}/services/{services}
/certificates/{certificates}/snis /certificates/{certificates}/snis/{snis}
/certificates/{certificates}/upstreams /certificates/{certificates}/upstreams/{upstreams}
/consumers /consumers/{consumers}
/consumers/{consumers}/acls /consumers/{consumers}/acls/{acls}
/consumers/{consumers}/basic-auth /consumers/{consumers}/basic-auth/{basicauth_credentials}
/consumers/{consumers}/hmac-auth /consumers/{consumers}/hmac-auth/{hmacauth_credentials}
/consumers/{consumers}/jwt /consumers/{consumers}/jwt/{jwt_secrets}
/consumers/{consumers}/key-auth /consumers/{consumers}/key-auth/{keyauth_credentials}
/consumers/{consumers}/plugins /consumers/{consumers}/plugins/{plugins}
/hmac-auths /hmac-auths/{hmacauth_credentials} /hmac-auths/{hmacauth_credentials}/consumer
/jwts /jwts/{jwt_secrets} /jwts/{jwt_secrets}/consumer
/key-auths /key-auths/{keyauth_credentials} /key-auths/{keyauth_credentials}/consumer
/plugins /plugins/enabled /plugins/schema/{plugin} /plugins/{plugins}
/plugins/{plugins}/consumer /plugins/{plugins}/route /plugins/{plugins}/service
/routes /routes/{routes} /routes/{routes}/service
/routes/{routes}/plugins /routes/{routes}/plugins/{plugins}
/services /services/{services} /services/{services}/client_certificate
/services/{services}/plugins /services/{services}/plugins/{plugins}
/services/{services}/routes /services/{services}/routes/{routes}
/snis /snis/{snis}
/tags /tags/{tags}
/upstreams /upstreams/{upstreams} /upstreams/{upstreams}/client_certificate
/upstreams/{upstreams}/targets /upstreams/{upstreams}/targets/all
/upstreams/{upstreams}/targets/{targets}
"""


async def test_there_is_an_endpoint_for_each_use_of_an_entity(client: Client):
    listed = set((await client.get("/endpoints")).json()["data"])
    assert set(OF_ENTITIES.split()) <= listed
    assert {"/", "/cluster", "/endpoints", "/status", "/schemas/{entity}"} <= listed
