"""The health of upstreams and targets as the Admin API tells it, and the marks it gives."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text

from gateway import marks
from gateway.admin.errors import ApiError
from gateway.admin.health import read_address, target_health, upstream_health
from gateway.settings import NodeSettings, Role
from gateway.status.health import AddressHealth, TargetHealth, UpstreamHealth
from gateway.store.store import Store

from .conftest import StandingNode, client_of, created

Client = httpx.AsyncClient
NOT_FOUND = {"message": "Not found"}
CHECKED = {"active": {"healthy": {"interval": 5, "successes": 1}}}


def address(ip: str, state: str | None, weight: int = 100) -> AddressHealth:
    return AddressHealth(ip, 8000, weight, state in (None, "healthy", "mostly_healthy"), state)


def target(*addresses: AddressHealth, **fields: Any) -> TargetHealth:
    given: dict[str, Any] = {
        "id": uuid4(),
        "host": "a",
        "port": 8000,
        "weight": 100,
        "record_type": "A",
        "dns_error": "",
    }
    return TargetHealth(**(given | fields), addresses=addresses)


# -- what is told of a view


@pytest.mark.parametrize(
    ("states", "health"),
    [
        (["healthy"], "HEALTHY"),
        (["mostly_healthy"], "HEALTHY"),
        (["unhealthy"], "UNHEALTHY"),
        (["mostly_unhealthy"], "UNHEALTHY"),
        (["unhealthy", "healthy"], "HEALTHY"),
        (["unhealthy", None], "UNHEALTHY"),
        ([None], "HEALTHCHECKS_OFF"),
        ([], "DNS_ERROR"),
    ],
)
def test_a_target_is_as_healthy_as_the_best_of_its_addresses(states: list[str | None], health: str):
    told = target_health(target(*(address("10.0.0.1", state) for state in states)))
    assert told["health"] == health


def test_a_target_tells_its_addresses_and_weights():
    told = target_health(
        target(address("10.0.0.1", "healthy", 70), address("::1", "unhealthy", 30))
    )
    assert told["data"] == {
        "host": "a",
        "port": 8000,
        "dns": "A",
        "nodeWeight": 100,
        "weight": {"total": 100, "available": 70, "unavailable": 30},
        "addresses": [
            {"ip": "10.0.0.1", "port": 8000, "weight": 70, "health": "HEALTHY"},
            {"ip": "::1", "port": 8000, "weight": 30, "health": "UNHEALTHY"},
        ],
    }


@pytest.mark.parametrize(
    ("fields", "dns"),
    [
        ({"record_type": "SRV"}, "SRV"),
        ({"record_type": "A", "dns_error": "name does not exist"}, "name does not exist"),
        ({"record_type": ""}, "unknown"),
    ],
)
def test_a_target_tells_what_dns_says(fields: dict[str, str], dns: str):
    assert target_health(target(**fields))["data"]["dns"] == dns


def test_a_target_that_is_not_in_the_balancer_has_no_data():
    assert target_health(None) == {"health": "DNS_ERROR"}


@pytest.mark.parametrize(
    ("checked", "healthy", "health", "balancer_health"),
    [
        (True, True, "HEALTHY", "HEALTHY"),
        (True, False, "UNHEALTHY", "UNHEALTHY"),
        (False, True, "HEALTHCHECKS_OFF", "HEALTHY"),
        (False, False, "HEALTHCHECKS_OFF", "UNHEALTHY"),
    ],
)
def test_an_upstream_tells_whether_enough_of_it_is_available(
    checked: bool, healthy: bool, health: str, balancer_health: str
):
    view = UpstreamHealth(
        uuid4(), "pool", checked, healthy, (target(address("10.0.0.1", "unhealthy")),)
    )
    told = upstream_health(view)
    assert (told["health"], told["balancer_health"]) == (health, balancer_health)
    details = told["details"]
    assert (details["healthy"], details["weight"]["unavailable"]) == (healthy, 100)
    assert details["hosts"][0]["addresses"] == [
        {"ip": "10.0.0.1", "port": 8000, "weight": 100, "healthy": False}
    ]


# -- asking


async def pool(client: Client, *targets: str, **fields: Any) -> UUID:
    upstream = await created(client, "/upstreams", name="pool", **fields)
    for number, name in enumerate(targets, 1):
        await created(client, "/upstreams/pool/targets", target=name, created_at=number)
    return UUID(upstream["id"])


async def test_each_target_has_its_fields_and_its_health(client: Client, node: StandingNode):
    id_ = await pool(client, "10.0.0.1:80", "10.0.0.2:80")
    rows = (await client.get("/upstreams/pool/targets")).json()["data"]
    newer, older = rows
    seen = target(address("10.0.0.1", "unhealthy"), id=UUID(older["id"]), host="10.0.0.1", port=80)
    node.health.views[id_] = UpstreamHealth(id_, "pool", True, False, (seen,))
    answer = await client.get("/upstreams/pool/health")
    assert answer.status_code == 200
    body = answer.json()
    assert body.keys() == {"data", "next", "node_id"}
    assert (body["next"], body["node_id"]) == (None, str(node.identity.id))
    assert body["data"] == [newer | {"health": "DNS_ERROR"}, older | target_health(seen)]


async def test_an_upstream_that_the_node_does_not_know_yet_has_no_health(client: Client):
    await pool(client, "10.0.0.1:80")
    listed = (await client.get("/upstreams/pool/targets")).json()["data"]
    assert (await client.get("/upstreams/pool/health")).json()["data"] == listed
    whole = (await client.get("/upstreams/pool/health?balancer_health=1")).json()
    assert whole.keys() == {"next", "node_id"}


async def test_health_is_told_in_pages(client: Client):
    await pool(client, "a:1", "b:1", "c:1")
    first = (await client.get("/upstreams/pool/health?size=2")).json()
    assert [row["target"] for row in first["data"]] == ["c:1", "b:1"]
    assert first["next"] == "/upstreams/pool/health?offset=2"
    second = (await client.get(first["next"])).json()
    assert [row["target"] for row in second["data"]] == ["a:1"]
    assert "offset" not in second


async def test_the_upstream_as_a_whole(client: Client, node: StandingNode):
    id_ = await pool(client, "10.0.0.1:80")
    view = UpstreamHealth(id_, "pool", True, True, (target(address("10.0.0.1", "healthy")),))
    node.health.views[id_] = view
    body = (await client.get("/upstreams/pool/health?balancer_health=1")).json()
    assert body == {
        "data": upstream_health(view),
        "next": None,
        "node_id": str(node.identity.id),
    }


async def test_there_is_no_health_of_what_is_not_there(client: Client):
    for query in ("", "?balancer_health=1"):
        missed = await client.get(f"/upstreams/nope/health{query}")
        assert (missed.status_code, missed.json()) == (404, NOT_FOUND)


# -- marking


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_a_mark_is_a_command_for_all_nodes(client: Client, store: Store, method: str):
    await pool(client, "10.0.0.1:80", healthchecks=CHECKED)
    (row,) = (await client.get("/upstreams/pool/targets")).json()["data"]
    for path in ("10.0.0.1:80/unhealthy", f"{row['id']}/10.0.0.1/healthy"):
        answer = await client.request(method, f"/upstreams/pool/targets/{path}")
        assert (answer.status_code, answer.content) == (204, b"")
        assert int(answer.headers["X-Gateway-Config-Version"]) > 2
    given = [(c["name"], str(c["subject"]), c["arguments"]) for c in await commands(store)]
    assert given == [
        (marks.UNHEALTHY, row["id"], {"address": None}),
        (marks.HEALTHY, row["id"], {"address": "10.0.0.1:8000"}),
    ]


async def commands(store: Store) -> list[Any]:
    """Return the commands given, in their order."""
    async with store.autocommit() as session:
        rows = await session.execute(text("SELECT * FROM commands ORDER BY version"))
        return [dict(row) for row in rows.mappings()]


async def test_no_health_can_be_set_where_it_is_not_checked(client: Client, store: Store):
    await pool(client, "10.0.0.1:80")
    refused = await client.put("/upstreams/pool/targets/10.0.0.1:80/unhealthy")
    assert refused.status_code == 400
    assert refused.json() == {"message": "no healthchecker found for pool"}
    assert await commands(store) == []


@pytest.mark.parametrize(
    "path", ["nope/targets/10.0.0.1:80", "pool/targets/10.0.0.2:80", "pool/targets/10.0.0.1"]
)
async def test_what_is_not_there_cannot_be_marked(client: Client, path: str):
    await pool(client, "10.0.0.1:80", healthchecks=CHECKED)
    for end in ("healthy", "unhealthy", "10.0.0.1:80/healthy"):
        missed = await client.put(f"/upstreams/{path}/{end}")
        assert (missed.status_code, missed.json()) == (404, NOT_FOUND)


@pytest.mark.parametrize(
    ("segment", "address"),
    [
        ("10.0.0.1", "10.0.0.1:8000"),
        ("10.0.0.1:81", "10.0.0.1:81"),
        ("[::1]:81", "[::1]:81"),
        ("[0:0::1]", "[::1]:8000"),
        ("FE80::0:1", "[fe80::1]:8000"),
    ],
)
def test_an_address_has_one_spelling(segment: str, address: str):
    assert read_address(segment) == address


@pytest.mark.parametrize(
    "segment", ["a", "a:80", "10.0.0", "10.0.0.1:x", "10.0.0.1:99999", "[::", " "]
)
async def test_what_is_no_address_is_refused(client: Client, segment: str):
    with pytest.raises(ApiError, match="is no address"):
        read_address(segment)


async def test_a_control_plane_gives_marks_and_has_no_health_to_tell(
    store: Store, settings: NodeSettings
):
    node = StandingNode(settings.model_copy(update={"role": Role.CONTROL_PLANE}))
    async with client_of(store, node) as client:
        await pool(client, "10.0.0.1:80", healthchecks=CHECKED)
        assert (await client.get("/upstreams/pool/health")).status_code == 404
        marked = await client.put("/upstreams/pool/targets/10.0.0.1:80/unhealthy")
        assert marked.status_code == 204
        paths = (await client.get("/openapi.json")).json()["paths"]
        assert "/upstreams/{upstreams}/health" not in paths
        assert "/upstreams/{upstreams}/targets/{targets}/healthy" in paths
