"""Who changed what, as the Admin API tells it: entities as elsewhere, without their secrets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import psycopg
import pytest

from gateway.entities import ENTITIES
from gateway.store.admin_tokens import AdminTokens, Role
from gateway.store.store import Store
from tests.proxy.certificates import Authority

from .conftest import created

Client = httpx.AsyncClient
CA = Authority()
PAIR, OTHER = CA.issue("a.example"), CA.issue("b.example")
MASK = "******"


def run_sql(url: str, sql: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql)


async def entries(client: Client, **query: Any) -> list[dict[str, Any]]:
    """The newest entries, the newest first."""
    response = await client.get("/audit", params=query)
    assert response.status_code == 200, response.text
    data: list[dict[str, Any]] = response.json()["data"]
    return data


# -- what an entry says


async def test_an_entry_names_the_request_and_what_it_did(client: Client):
    made = await client.post("/services", json={"name": "orders", "host": "a"})
    patched = await client.patch("/services/orders", json={"host": "b", "tags": ["x"]})
    await client.delete("/services/orders")
    deletion, update, creation = await entries(client)
    assert creation == {
        "id": creation["id"],
        "version": int(made.headers["X-Gateway-Config-Version"]),
        "kind": "services",
        "entity_id": made.json()["id"],
        "operation": "create",
        "occurred_at": creation["occurred_at"],
        "token": None,
        "address": "127.0.0.1",
        "request_id": made.headers["X-Gateway-Admin-Request-Id"],
        "db_role": "postgres",
        "changed": None,
        "before": None,
        "after": made.json(),
    }
    assert datetime.fromisoformat(creation["occurred_at"]) <= datetime.now(UTC)
    assert (update["operation"], update["before"], update["after"]) == (
        "update",
        made.json(),
        patched.json(),
    )
    assert set(update["changed"]) == {"updated_at", "tags", "host"}
    assert (deletion["operation"], deletion["before"], deletion["after"]) == (
        "delete",
        patched.json(),
        None,
    )
    for entry in (deletion, update, creation):
        assert (await client.get(f"/audit/{entry['id']}")).json() == entry


ENTITIES_OF_ALL_KINDS: list[tuple[str, str, dict[str, Any]]] = [
    ("services", "/services", {"host": "a", "protocol": "https", "tls_verify": True}),
    ("routes", "/services/orders/routes", {"headers": {"x-a": ["b"]}, "tags": ["a"]}),
    ("upstreams", "/upstreams", {"name": "p", "healthchecks": {"active": {"concurrency": 3}}}),
    ("targets", "/upstreams/pool/targets", {"target": "a.test:80", "weight": 7}),
    ("certificates", "/certificates", {"cert": PAIR.cert_pem, "key": PAIR.key_pem}),
    ("ca_certificates", "/ca_certificates", {"cert": CA.pem}),
    ("consumers", "/consumers", {"username": "ann", "custom_id": "1"}),
    ("keyauth_credentials", "/consumers/bob/key-auth", {"key": "secret"}),
    ("basicauth_credentials", "/consumers/bob/basic-auth", {"username": "b", "password": "s"}),
    ("jwt_secrets", "/consumers/bob/jwt", {"key": "k", "secret": "s"}),
    ("hmacauth_credentials", "/consumers/bob/hmac-auth", {"username": "b", "secret": "s"}),
    ("acls", "/consumers/bob/acls", {"group": "staff"}),
    ("plugins", "/consumers/bob/plugins", {"name": "quota", "config": {"unit": "bytes"}}),
]


@pytest.mark.parametrize(("kind", "path", "fields"), ENTITIES_OF_ALL_KINDS)
async def test_entities_look_as_they_do_elsewhere(
    client: Client, kind: str, path: str, fields: dict[str, Any]
):
    await created(client, "/services", name="orders", host="a")
    await created(client, "/upstreams", name="pool")
    await created(client, "/consumers", username="bob")
    made = await created(client, path, **fields)
    if kind == "certificates":
        assert made.pop("snis") == []  # each of them would have entries of its own
    secret = {f.name for f in ENTITIES[kind].fields.values() if f.secret and made[f.name]}
    (entry,) = await entries(client, entity_id=made["id"])
    assert entry["kind"] == kind
    assert entry["after"] == made | dict.fromkeys(secret, MASK)


async def test_what_differs_within_records_is_named_one_by_one(client: Client):
    await created(client, "/upstreams", name="pool")
    await client.patch("/upstreams/pool", json={"healthchecks": {"active": {"concurrency": 3}}})
    await client.patch("/upstreams/pool", json={"slots": 100})
    second, first, _ = await entries(client)
    assert set(first["changed"]) == {"updated_at", "healthchecks.active.concurrency"}
    assert set(second["changed"]) == {"updated_at", "slots"}


async def test_a_reference_changes_under_its_name(client: Client):
    service = await created(client, "/services", name="orders", host="a")
    await created(client, "/routes", name="all", paths=["/"])
    await client.patch("/routes/all", json={"service": {"name": "orders"}})
    (entry, *_) = await entries(client)
    assert set(entry["changed"]) == {"updated_at", "service"}
    assert (entry["before"]["service"], entry["after"]["service"]) == (None, {"id": service["id"]})


async def test_a_ttl_is_what_was_left_of_it_then(client: Client, database_url: str):
    await created(client, "/consumers", username="bob")
    key = await created(client, "/consumers/bob/key-auth", ttl=1000)
    await client.patch(f"/key-auths/{key['id']}", json={"ttl": 2000})
    run_sql(database_url, "UPDATE audit SET occurred_at = occurred_at + interval '100 s'")
    update, creation = await entries(client, kind="keyauth_credentials")
    assert creation["after"]["ttl"] == pytest.approx(900, abs=30)
    assert update["before"]["ttl"] < update["after"]["ttl"] == pytest.approx(1900, abs=30)
    assert update["changed"] == ["ttl"]


async def test_odd_values_written_by_hand_are_shown_as_they_are(client: Client, database_url: str):
    run_sql(database_url, "INSERT INTO services (host, created_at) VALUES ('a', 'infinity')")
    (entry,) = await entries(client)
    assert entry["after"]["created_at"] == "infinity"


# -- secrets


async def test_a_new_secret_is_seen_to_be_new(client: Client):
    pair = {"cert": PAIR.cert_pem, "key": PAIR.key_pem}
    certificate = await created(client, "/certificates", **pair)
    await client.patch(
        f"/certificates/{certificate['id']}", json={"cert": OTHER.cert_pem, "key": OTHER.key_pem}
    )
    (entry, *_) = await entries(client)
    assert set(entry["changed"]) == {"updated_at", "cert", "key"}
    assert entry["before"]["key"] == entry["after"]["key"] == MASK


async def test_of_a_config_the_plugin_says_what_is_secret(client: Client):
    config = {"unit": "bytes", "alarm": {"url": "http://a", "token": "first secret"}}
    plugin = await created(client, "/plugins", name="quota", config=config)
    path = f"/plugins/{plugin['id']}"
    await client.patch(path, json={"config": {"minute": 5, "alarm": {"token": "second secret"}}})
    await client.delete(path)
    response = await client.get("/audit")
    assert "secret" not in response.text
    deletion, update, creation = response.json()["data"]
    assert set(update["changed"]) == {"updated_at", "config.alarm.token", "config.minute"}
    expected = plugin["config"] | {"alarm": plugin["config"]["alarm"] | {"token": MASK}}
    assert creation["after"]["config"] == update["before"]["config"] == expected
    assert deletion["before"]["config"] == expected | {"minute": 5}


async def test_of_a_config_that_nobody_here_knows_nothing_is_shown(
    client: Client, database_url: str
):
    run_sql(
        database_url,
        """
        INSERT INTO plugins (name, config) VALUES ('elsewhere', '{"a": "secret"}');
        INSERT INTO plugins (name, config) VALUES ('quota', '["secret"]');
        """,
    )
    response = await client.get("/audit")
    assert "secret" not in response.text
    assert [entry["after"]["config"] for entry in response.json()["data"]] == [MASK, MASK]


async def test_of_a_token_its_name_is_shown(client: Client, store: Store):
    tokens = AdminTokens(store)
    token = await tokens.create("ci", Role.ADMIN, None)
    client.headers["Kong-Admin-Token"] = token
    await created(client, "/services", host="a")
    use, creation = await entries(client)
    assert (use["token"], creation["kind"], creation["version"]) == ("ci", "admin_tokens", None)
    assert creation["after"]["name"] == "ci"
    assert "hash" not in creation["after"]
    reader = {"Kong-Admin-Token": await tokens.create("reader", Role.READ_ONLY, None)}
    assert (await client.get("/audit", headers=reader)).status_code == 200


# -- lists


async def test_pages_lead_to_the_next_with_their_filters(client: Client):
    for number in range(5):
        await created(client, "/services", host=f"h{number}")
        await created(client, "/upstreams", name=f"u{number}")
    found, path = [], "/audit?kind=services&size=2&ignored=1"
    pages = 0
    while path:
        page = (await client.get(path)).json()
        found += [entry["after"]["host"] for entry in page["data"]]
        path, pages = page["next"], pages + 1
        if path:
            assert path.startswith(f"/audit?offset={page['offset']}&size=2&kind=services")
    assert (found, pages) == (["h4", "h3", "h2", "h1", "h0"], 3)


async def test_each_filter_selects(client: Client, database_url: str):
    first = await client.post("/services", json={"name": "a", "host": "a"})
    await created(client, "/services", name="b", host="a")
    await client.patch("/services/a", json={"host": "b"})
    run_sql(
        database_url,
        "UPDATE audit SET occurred_at = timestamptz '2026-01-01Z' + id * interval '1 h'",
    )

    async def found(**query: Any) -> list[tuple[str, str]]:
        found = await entries(client, **query)
        return [(entry["after"]["name"], entry["operation"]) for entry in found]

    update, later, earlier = ("a", "update"), ("b", "create"), ("a", "create")
    assert await found() == [update, later, earlier]
    assert await found(entity_id=first.json()["id"].upper()) == [update, earlier]
    assert await found(operation="update") == [update]
    assert await found(version=first.headers["X-Gateway-Config-Version"]) == [earlier]
    assert await found(request_id=first.headers["X-Gateway-Admin-Request-Id"]) == [earlier]
    assert await found(address="127.0.0.1", kind="services") == [update, later, earlier]
    assert await found(address="127.0.0.2") == await found(token="x") == []
    assert await found(kind="routes") == []
    for since in ("2026-01-01T02:00:00Z", "2026-01-01T03:00:00+01:00", "2026-01-01T02", 1767232800):
        assert await found(since=since) == [update, later]
        assert await found(until=since) == [earlier]
    assert await found(since="2026-01-01", until="2026-01-02") == await found()


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("kind", "service", "expected one of: certificates, snis"),
        ("entity_id", "orders", "expected a valid UUID"),
        ("operation", "", "expected one of: create, update, delete"),
        ("token", "", "expected a text of 1 to 256 characters"),
        ("address", "a" * 257, "expected a text of 1 to 256 characters"),
        ("request_id", "nul\0", "expected a text of 1 to 256 characters"),
        ("version", "-1", "expected an integer from 0 to 9223372036854775807"),
        ("version", "9" * 19, "expected an integer from 0 to 9223372036854775807"),
        ("since", "yesterday", "expected seconds since 1970 or a time such as"),
        ("since", "2026-01-01T00:00:00 01:00", "in a URL + is written %2B"),
        ("until", "253402300800", "expected seconds since 1970 or a time such as"),
        ("until", "-1", "expected seconds since 1970 or a time such as"),
        ("until", "", "expected seconds since 1970 or a time such as"),
    ],
)
async def test_an_option_that_cannot_be_says_what_is_expected(
    client: Client, option: str, value: str, text: str
):
    response = await client.get("/audit", params={option: value})
    assert response.status_code == 400
    body = response.json()
    assert (body["code"], body["name"]) == (11, "invalid options")
    assert body["options"][option].startswith(text) or body["options"][option].endswith(text)


@pytest.mark.parametrize("offset", ["", "x", "-1", "1.5", str(2**63), "9" * 30])
async def test_an_offset_that_no_page_gave_out_is_refused(client: Client, offset: str):
    response = await client.get("/audit", params={"offset": offset})
    assert (response.status_code, response.json()["code"]) == (400, 7)


@pytest.mark.parametrize("year", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_times_at_the_ends_of_the_calendar_are_fine(client: Client, year: str):
    assert await entries(client, since=year, until=year) == []


@pytest.mark.parametrize("segment", ["0", "1", "x", "-1", str(2**63), "a%2Fb"])
async def test_an_entry_that_is_not_there_is_not_found(client: Client, segment: str):
    response = await client.get(f"/audit/{segment}")
    assert (response.status_code, response.json()) == (404, {"message": "Not found"})


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_the_log_is_only_read(client: Client, method: str):
    for path in ("/audit", "/audit/1"):
        assert (await client.request(method, path)).status_code == 405
