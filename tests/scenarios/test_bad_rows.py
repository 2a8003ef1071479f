"""Somebody writes SQL by hand: rows that no code can read are named, and nothing else suffers."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

import psycopg
import pytest

from .conftest import StartNodes
from .nodes import NodeProcess, until
from .sql import newest_version, rows, run_sql
from .upstream import Upstream


@dataclass(frozen=True)
class BadRow:
    """A row as an INSERT would write it, and what is to be said of it."""

    table: str
    values: dict[str, str]
    reason: str

    def insert(self) -> str:
        columns = {**_NEEDED.get(self.table, {}), **self.values}
        return (
            f"INSERT INTO {self.table} ({', '.join(columns)}) "
            f"VALUES ({', '.join(columns.values())}) RETURNING id"
        )


_NEEDED = {
    "services": {"host": "'a.test'"},
    "routes": {"paths": "'{/bad}'"},
    "targets": {"upstream_id": "(SELECT id FROM upstreams WHERE name = 'pool')"},
}


def route(reason: str, **values: str) -> BadRow:
    return BadRow("routes", values, reason)


def service(reason: str, **values: str) -> BadRow:
    return BadRow("services", values, reason)


def target(reason: str, **values: str) -> BadRow:
    return BadRow("targets", values, reason)


BAD_ROWS = [
    route("does not compile", paths="'{~/(}'"),
    route("does not compile", paths="'{/good,~/(?=look-ahead)}'"),
    route("does not compile", paths="""'{"~/((a{100}){100}){100}"}'"""),
    route("starts neither with", paths="'{orders}'"),
    route("starts neither with", paths="""'{""}'"""),
    route("path", paths="'{NULL}'"),
    route("none of hosts", paths="NULL"),
    route("headers", headers="""'["x-a"]'"""),
    route("headers", headers="'7'"),
    route("headers", headers="""'{"x-a": "not a list"}'"""),
    route("headers", headers="""'{"x-a": [1, 2]}'"""),
    route("headers", headers="""'{"x-a": null}'"""),
    route("does not compile", headers="""'{"x-a": ["~*("]}'"""),
    route("wildcard", hosts="'{a.*.test}'"),
    route("hosts", hosts="'{NULL}'"),
    route("methods", methods="'{GET,NULL}'"),
    route("not served", protocols="'{}'"),
    route("not served", protocols="'{tcp,udp}'"),
    route("created_at", created_at="'infinity'"),
    route("created_at", created_at="'-infinity'"),
    route("created_at", created_at="'20000-01-01'"),
    route("redirect", https_redirect_status_code="999"),
    service("'gopher' is not served", protocol="'gopher'"),
    service("host", host="E'a\\r\\nX-Injected: yes'"),
    service("host", host="''"),
    service("port", port="70000"),
    service("port", port="-1"),
    target("target", target="'garbage'"),
    target("target", target="'a.test:port'"),
    target("port", target="'a.test:70000'"),
    target("host", target="':80'"),
    target("weight", target="'a.test:1'", weight="-1"),
    BadRow("upstreams", {"name": "'bad'", "host_header": "E'a\\nX-Injected: yes'"}, "host"),
    service("tls_verify_depth", tls_verify_depth="65"),
    service("ca_certificates", ca_certificates="'{NULL}'"),
    service("ca_certificates", ca_certificates="'{root}'"),
    BadRow("certificates", {"cert": "'garbage'", "key": "'garbage'"}, "PEM block of a certificate"),
    BadRow("ca_certificates", {"cert": "'garbage'"}, "PEM block of a certificate"),
]


@pytest.fixture
async def node(start_nodes: StartNodes, upstream: Upstream) -> NodeProcess:
    """A node that serves /orders and, by way of an upstream entity, /pool."""
    (node,) = await start_nodes(1)
    await node.write("PUT", "/services/orders", {"url": upstream.url})
    await node.write("PUT", "/services/orders/routes/orders", {"paths": ["/orders"]})
    await node.write("PUT", "/upstreams/pool", {})
    good = {"target": f"127.0.0.1:{upstream.port}"}
    await node.write("POST", "/upstreams/pool/targets", good)
    await node.write("PUT", "/services/pool", {"host": "pool"})
    await node.reaches(await node.write("PUT", "/services/pool/routes/pool", {"paths": ["/pool"]}))
    return node


async def check_that_the_rest_is_served(node: NodeProcess) -> None:
    assert (await node.proxy("/orders/a")).text == "/a"
    assert (await node.proxy("/pool/b")).text == "/b"


async def bad_entities(node: NodeProcess) -> dict[str, str]:
    """Return what `/status` names, by id, as "table: reason"."""
    named = (await node.report())["bad_entities"]
    return {bad["id"]: f"{bad['entity']}: {bad['reason']}" for bad in named}


async def test_every_bad_row_is_named_and_all_else_is_served(
    node: NodeProcess, database_url: str
) -> None:
    ids = [str((await rows(database_url, bad.insert()))[0][0]) for bad in BAD_ROWS]
    await node.reaches(await newest_version(database_url))
    await check_that_the_rest_is_served(node)
    assert (await node.proxy("/bad")).status_code == 404

    named = await bad_entities(node)
    for id_, bad in zip(ids, BAD_ROWS, strict=True):
        assert named[id_].startswith(f"{bad.table}: "), bad
        assert bad.reason in named[id_], bad
        (line,) = node.lines_of("bad entity left out", id=id_, entity=bad.table)
        assert bad.reason in line["reason"]
    assert set(named) == set(ids)
    metrics = await node.metrics()
    for table, number in Counter(bad.table for bad in BAD_ROWS).items():
        assert metrics.value("gateway_config_bad_entities", entity=table) == number


async def test_a_node_starts_on_bad_rows_and_takes_back_those_that_are_mended(
    node: NodeProcess, start_nodes: StartNodes, database_url: str
) -> None:
    for bad in BAD_ROWS:
        await rows(database_url, bad.insert())
    (late,) = await start_nodes(1)
    assert len(await bad_entities(late)) == len(BAD_ROWS)
    await check_that_the_rest_is_served(late)

    await run_sql(
        database_url,
        "UPDATE routes SET paths = '{/mended}', headers = NULL, hosts = NULL, methods = NULL, "
        "protocols = '{http}', created_at = now(), https_redirect_status_code = 426, "
        "service_id = (SELECT id FROM services WHERE name = 'orders') WHERE name IS NULL",
        "UPDATE services SET protocol = 'http', host = 'a.test', port = 80, "
        "tls_verify_depth = NULL, ca_certificates = NULL WHERE name IS NULL",
        "DELETE FROM targets WHERE target LIKE 'a.test%' OR target IN (':80', 'garbage')",
        "DELETE FROM upstreams WHERE name = 'bad'",
        "DELETE FROM certificates",
        "DELETE FROM ca_certificates",
    )
    for each in (node, late):
        await each.reaches(await newest_version(database_url))
        assert await bad_entities(each) == {}
        assert list((await each.metrics()).values("gateway_config_bad_entities")) == []
        assert (await each.proxy("/mended/c")).text == "/c"
        await check_that_the_rest_is_served(each)


ODD_ROWS = [
    """UPDATE services SET path = E'/a b\\r\\nX-Injected: yes?#\\u00e9'""",
    "UPDATE services SET path = 'no-slash'",
    "UPDATE services SET connect_timeout = -1, read_timeout = 0, write_timeout = -9e18::bigint",
    "UPDATE services SET connect_timeout = 9e18::bigint, read_timeout = 9e18::bigint",
    "UPDATE services SET retries = 9e18::bigint, port = 1",
    "UPDATE services SET retries = -5, port = 1",
    "UPDATE services SET host = repeat('a', 300)",
    "UPDATE services SET host = 'a..b'",
    "UPDATE services SET host = U&'\\00fc\\2603.test'",
    "UPDATE services SET host = '127.0.0.1:99'",
    "UPDATE services SET host = '::1', port = 1",
    "UPDATE services SET name = E'na\"me\\n{x=\\u00e9}\\\\' WHERE name = 'orders'",
    "UPDATE routes SET name = repeat('long', 1000) WHERE name = 'orders'",
    "UPDATE routes SET path_handling = 'v9', regex_priority = -9223372036854775808",
    "UPDATE routes SET tags = '{NULL}', sources = '7', destinations = '[null]', snis = '{*.a}'",
    "UPDATE upstreams SET algorithm = 'dice', slots = -1, healthchecks = '[]', hash_on = 'x'",
    "UPDATE targets SET weight = 9223372036854775807",
    "INSERT INTO targets (upstream_id, target, weight) "
    "SELECT id, '127.0.0.1:1', 9223372036854775806 FROM upstreams",
    "UPDATE targets SET target = repeat('a', 300) || ':80'",
]


async def test_odd_values_may_cost_their_own_route_but_never_the_node(
    node: NodeProcess, upstream: Upstream, database_url: str
) -> None:
    before = await rows(database_url, "SELECT version FROM config_version")
    for odd in ODD_ROWS:
        await keep(database_url)
        await run_sql(database_url, odd)
        await node.reaches(await newest_version(database_url))
        for path in ("/orders", "/pool"):
            async with asyncio.timeout(10):
                response = await node.proxy(path)
            assert response.status_code in (200, 404, 502, 503, 504), f"{odd}: {response}"
            assert response.status_code != 404 or await bad_entities(node), odd
        assert b"\nX-Injected" not in upstream.last_head, odd
        assert (await node.metrics()).value("gateway_datastore_reachable") == 1
        await bring_back(database_url)
        await node.reaches(await newest_version(database_url))
        await check_that_the_rest_is_served(node)
    assert before < await rows(database_url, "SELECT version FROM config_version")


TABLES = ("services", "routes", "upstreams", "targets")


async def keep(database_url: str) -> None:
    """Copy all rows aside."""
    copies = [f"CREATE TABLE kept_{table} AS SELECT * FROM {table}" for table in TABLES]
    await run_sql(database_url, *copies)


async def bring_back(database_url: str) -> None:
    """Bring the copied rows back, in one transaction."""
    away = [f"DELETE FROM {table}" for table in ("targets", "upstreams", "routes", "services")]
    back = [f"INSERT INTO {table} SELECT * FROM kept_{table}" for table in TABLES]
    gone = [f"DROP TABLE kept_{table}" for table in TABLES]
    await run_sql(database_url, "; ".join(["BEGIN", *away, *back, *gone, "COMMIT"]))


async def test_changes_by_hand_are_served_like_any_other(
    node: NodeProcess, database_url: str
) -> None:
    await run_sql(database_url, "UPDATE routes SET paths = '{/moved}' WHERE name = 'orders'")
    await node.reaches(await newest_version(database_url))
    assert (await node.proxy("/moved")).text == "/"
    assert (await node.proxy("/orders")).status_code == 404

    await run_sql(database_url, "DELETE FROM upstreams")  # takes the targets with it
    await node.reaches(await newest_version(database_url))
    assert (await node.proxy("/pool")).status_code == 503

    await run_sql(database_url, "BEGIN; DELETE FROM routes; DELETE FROM services; COMMIT")
    await node.reaches(await newest_version(database_url))
    assert (await node.proxy("/moved")).status_code == 404
    assert (await node.proxy("/pool")).status_code == 404


async def test_truncate_is_refused_and_nothing_is_lost(
    node: NodeProcess, database_url: str
) -> None:
    before = await newest_version(database_url)
    for table in TABLES:
        with pytest.raises(psycopg.errors.RaiseException, match="Use DELETE FROM"):
            await run_sql(database_url, f"TRUNCATE {table} CASCADE")
    assert await newest_version(database_url) == before
    await check_that_the_rest_is_served(node)


async def test_a_database_put_back_to_an_earlier_state_is_served_as_it_is(
    node: NodeProcess, database_url: str
) -> None:
    """As after a restore from a backup: the version goes back."""
    await run_sql(
        database_url,
        "BEGIN; ALTER TABLE routes DISABLE TRIGGER USER; DELETE FROM routes WHERE name = 'pool'; "
        "ALTER TABLE routes ENABLE TRIGGER USER; "
        "DELETE FROM changes WHERE version > 3; DELETE FROM change_sets WHERE version > 3; "
        "UPDATE config_version SET version = 3; COMMIT",
    )

    async def pool_is_gone() -> bool:
        return (await node.proxy("/pool")).status_code == 404

    await until(pool_is_gone)
    assert (await node.proxy("/orders/a")).text == "/a"
    assert (await node.report())["sync"]["applied_version"] == 3
    await node.logged("loading the whole configuration")
