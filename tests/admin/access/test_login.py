"""The way in, through the app: no token, the right one, a wrong one, and no database to ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from gateway.lab.fault_proxy import FaultProxy
from gateway.settings import NodeSettings
from gateway.store.admin_tokens import AdminTokens, Role
from gateway.store.embedded import EmbeddedPostgres
from gateway.store.store import Store
from tests.admin.conftest import StandingNode, client_of
from tests.scenarios.nodes import until
from tests.scenarios.sql import run_sql

Client = httpx.AsyncClient

EVERYWHERE = "0.0.0.0"
REQUIRED = "a token is required: send it as Kong-Admin-Token or as Authorization: Bearer"
EVIL = {"Origin": "http://evil.test"}


@pytest.fixture
def tokens(store: Store) -> AdminTokens:
    return AdminTokens(store)


@pytest.fixture
async def admin(tokens: AdminTokens) -> dict[str, str]:
    """What an administrator sends."""
    return bearing(await tokens.create("ops", Role.ADMIN, None))


@pytest.fixture
async def reader(tokens: AdminTokens) -> dict[str, str]:
    return bearing(await tokens.create("dashboard", Role.READ_ONLY, None))


def bearing(token: str) -> dict[str, str]:
    return {"Kong-Admin-Token": token}


def other_client(store: Store, settings: NodeSettings, **changed: Any) -> Client:
    return client_of(store, StandingNode(settings.model_copy(update=changed)))


# -- with and without a token


async def test_on_loopback_nobody_needs_a_token_until_there_is_one(
    client: Client, tokens: AdminTokens
):
    assert (await client.post("/services", json={"host": "a"})).status_code == 201
    token = await tokens.create("ops", Role.ADMIN, None)
    for method, path in (("GET", "/"), ("POST", "/services"), ("GET", "/nowhere"), ("HEAD", "/")):
        response = await client.request(method, path)
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="Admin API"'
    assert response.headers["X-Gateway-Admin-Request-Id"]
    assert (await client.get("/services")).json() == {"message": REQUIRED}
    for headers in (bearing(token), {"Authorization": f"Bearer {token}"}):
        assert len((await client.get("/services", headers=headers)).json()["data"]) == 1


async def test_a_token_where_none_is_needed_is_passed_over(client: Client):
    assert (await client.get("/services", headers=bearing("anything"))).status_code == 200


async def test_what_describes_the_api_needs_no_token(client: Client, admin: dict[str, str]):
    del admin
    for path in ("/docs", "/openapi.json"):
        assert (await client.get(path)).status_code == 200
        assert (await client.head(path)).status_code == 200
        assert (await client.post(path)).status_code == 401


async def test_options_needs_no_token_as_browsers_send_none(client: Client, admin: dict[str, str]):
    del admin
    asked = EVIL | {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "kong-admin-token",
    }
    response = await client.options("/services", headers=asked)
    assert response.status_code == 204
    assert response.headers["Access-Control-Allow-Headers"] == "kong-admin-token"


@pytest.mark.parametrize("end", ["revoked", "expired", "forged", "cut short"])
async def test_a_token_that_does_not_count_is_refused(
    client: Client, tokens: AdminTokens, database_url: str, end: str
):
    token = await tokens.create("ops", Role.ADMIN, timedelta(hours=1))
    assert (await client.get("/", headers=bearing(token))).status_code == 200
    match end:
        case "revoked":
            await tokens.revoke("ops")
        case "expired":
            await run_sql(database_url, "UPDATE admin_tokens SET expires_at = now()")
        case "forged":
            token = "gwt_" + "A" * 43
        case "cut short":
            token = token[:-1]
    response = await client.get("/", headers=bearing(token))
    assert response.status_code == 401
    assert response.json() == {"message": "the token is unknown, expired or revoked"}
    assert response.headers["WWW-Authenticate"].endswith(', error="invalid_token"')
    assert (await client.get("/")).status_code == 401  # the door stays shut


async def test_two_tokens_that_differ_are_refused(client: Client, admin: dict[str, str]):
    response = await client.get("/", headers=admin | {"Authorization": "Bearer other"})
    assert response.status_code == 400
    assert "different tokens" in response.json()["message"]


async def test_beyond_loopback_there_is_no_way_in_without_a_token(
    store: Store, settings: NodeSettings, tokens: AdminTokens
):
    async with other_client(store, settings, admin_host=EVERYWHERE) as client:
        for headers in ({}, bearing("anything")):
            response = await client.get("/", headers=headers)
            assert response.status_code == 401
        assert "gateway admin token create" in (await client.get("/")).json()["message"]
        token = await tokens.create("ops", Role.ADMIN, None)
        assert (await client.get("/", headers=bearing(token))).status_code == 200


async def test_an_open_admin_api_asks_nobody(
    store: Store, settings: NodeSettings, admin: dict[str, str]
):
    open_to_all = {"admin_host": EVERYWHERE, "admin_open": True}
    async with other_client(store, settings, **open_to_all) as client:
        for headers in ({}, admin, bearing("wrong"), {"Host": "gateway.test"}):
            response = await client.post("/services", json={"host": "a"}, headers=headers)
            assert response.status_code == 201
        assert (await client.get("/services", headers=EVIL)).status_code == 403


# -- roles


async def test_who_may_only_read_changes_nothing(
    client: Client, admin: dict[str, str], reader: dict[str, str]
):
    created = await client.post("/services", json={"name": "a", "host": "a"}, headers=admin)
    assert created.status_code == 201
    for method, path, body in (
        ("POST", "/services", {"host": "b"}),
        ("PUT", "/services/a", {"host": "b"}),
        ("PATCH", "/services/a", {"host": "b"}),
        ("DELETE", "/services/a", None),
        ("POST", "/config", {"_format_version": "3.0"}),
    ):
        response = await client.request(method, path, json=body, headers=reader)
        assert response.status_code == 403
        assert response.json() == {
            "message": "the token 'dashboard' has the role read-only: it may read, and change "
            "nothing"
        }
    assert (await client.get("/services/a", headers=reader)).json() == created.json()
    assert (await client.head("/services/a", headers=reader)).status_code == 200


async def test_who_may_only_read_may_try_what_would_be(client: Client, reader: dict[str, str]):
    valid = await client.post("/schemas/services/validate", json={"host": "a"}, headers=reader)
    assert valid.status_code == 200
    body = {"_format_version": "3.0", "services": [{"name": "a", "host": "a"}]}
    for flag in ("1", "true"):
        tried = await client.post(f"/config?dry_run={flag}", json=body, headers=reader)
        assert tried.status_code == 200, tried.text
    assert (await client.get("/services", headers=reader)).json()["data"] == []


# -- failed tries


async def test_who_fails_too_often_waits_even_with_the_right_token(
    store: Store, settings: NodeSettings, admin: dict[str, str]
):
    with capture_logs() as logs:
        async with other_client(store, settings, admin_failed_logins_per_min=3) as client:
            for _ in range(3):
                assert (await client.get("/", headers=bearing("guess"))).status_code == 401
            blocked = await client.get("/", headers=admin)
            assert blocked.status_code == 429
            assert 50 <= int(blocked.headers["Retry-After"]) <= 60
            assert (await client.get("/")).status_code == 401  # no try at all
    assert [line["event"] for line in logs] == [
        "an admin login failed",
        "too many admin logins have failed",
    ]
    assert "guess" not in str(logs)


async def test_tries_at_once_tell_no_more_than_one_by_one(
    store: Store, settings: NodeSettings, admin: dict[str, str]
):
    async with other_client(store, settings, admin_failed_logins_per_min=3) as client:
        tries = [client.get("/", headers=bearing(f"guess-{number}")) for number in range(20)]
        codes = [response.status_code for response in await asyncio.gather(*tries)]
        assert (codes.count(401), codes.count(429)) == (3, 17)
        assert (await client.get("/", headers=admin)).status_code == 429


# -- browsers


async def test_a_web_page_of_elsewhere_has_no_business_here_without_a_login(client: Client):
    form = {"name": "theirs", "host": "evil.test"}  # which a browser sends without asking before
    for method, path in (("POST", "/services"), ("DELETE", "/services/theirs"), ("GET", "/")):
        response = await client.request(method, path, data=form, headers=EVIL)
        assert response.status_code == 403
        assert "--admin-origins (GATEWAY_ADMIN_ORIGINS)" in response.json()["message"]
    assert (await client.get("/services")).json()["data"] == []
    page = {"Origin": "http://localhost:3000"}
    assert (await client.post("/services", data=form, headers=page)).status_code == 201


async def test_a_page_whose_name_was_pointed_at_us_has_none_either(client: Client):
    response = await client.get("/services", headers={"Host": "evil.test"})
    assert response.status_code == 403
    assert "does not answer to the name 'evil.test'" in response.json()["message"]


async def test_with_a_login_pages_need_only_the_token(client: Client, admin: dict[str, str]):
    headers = EVIL | {"Host": "gateway.test"}
    assert (await client.get("/", headers=headers)).status_code == 401
    response = await client.get("/", headers=headers | admin)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == "http://evil.test"


async def test_listed_origins_are_the_only_ones_that_may_read(store: Store, settings: NodeSettings):
    listed = "https://console.test,https://other.test"
    async with other_client(store, settings, admin_origins=listed) as client:
        page = await client.get("/", headers={"Origin": "https://other.test"})
        assert page.headers["Access-Control-Allow-Origin"] == "https://other.test"
        refused = await client.get("/", headers=EVIL)
        assert refused.status_code == 403
        assert refused.headers["Access-Control-Allow-Origin"] == "https://console.test"


# -- what is kept of a use


async def test_the_last_use_is_kept_by_the_minute(
    client: Client, tokens: AdminTokens, admin: dict[str, str], database_url: str
):
    async def last_use() -> datetime | None:
        (row,) = await tokens.all()
        return row.last_used_at

    assert await last_use() is None
    await asyncio.gather(*(client.get("/", headers=admin) for _ in range(5)))
    first = await until(last_use)
    await client.get("/", headers=admin)
    assert (await tokens.look_up(admin["Kong-Admin-Token"])).token.use_is_noted
    assert await last_use() == first

    await run_sql(database_url, "UPDATE admin_tokens SET last_used_at = now() - interval '61 s'")
    old = await last_use()

    async def is_noted_again() -> bool:
        return await last_use() != old

    await client.get("/", headers=admin)
    await until(is_noted_again)


# -- no database to ask


@pytest.fixture
async def network(postgres: EmbeddedPostgres) -> AsyncIterator[FaultProxy]:
    async with FaultProxy.before(postgres) as network:
        yield network


@pytest.fixture
async def distant(network: FaultProxy, database_url: str) -> AsyncIterator[Client]:
    """A client of a node whose database may go away."""
    settings = NodeSettings(database_url=SecretStr(network.url(database_url)))
    store = Store(settings)
    await store.start()
    async with client_of(store, StandingNode(settings)) as client:
        yield client
    await store.stop()


async def test_whoever_cannot_be_checked_is_told_to_come_back(
    distant: Client, network: FaultProxy, admin: dict[str, str]
):
    assert (await distant.get("/", headers=admin)).status_code == 200
    network.cut()
    for headers in (admin, bearing("wrong")):
        response = await distant.get("/", headers=headers)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
        assert response.json()["message"].startswith("the database is unavailable: ")
    assert (await distant.get("/")).status_code == 401  # that needs no asking
    network.heal()
    assert (await distant.get("/", headers=admin)).status_code == 200


async def test_who_was_never_asked_for_a_token_still_learns_that_the_database_is_away(
    distant: Client, network: FaultProxy
):
    assert (await distant.get("/")).status_code == 200
    network.cut()
    assert (await distant.get("/status")).json()["database"] == {"reachable": False}
    assert (await distant.post("/services", json={"host": "a"})).status_code == 503
    assert (await distant.get("/services")).status_code == 503


async def test_as_long_as_nobody_knows_nobody_gets_in(distant: Client, network: FaultProxy):
    network.cut()
    response = await distant.get("/")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
