"""Clients present tokens the way each of them can, to a node that asks for one."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from gateway.store.admin_tokens import AdminTokens, Role
from gateway.store.store import Store
from tests.scenarios.nodes import NodeProcess, http_client

from .conftest import THIRD_PARTY_PLUGINS
from .deck import Deck, DeckError
from .go import GoTests, needs_go_kong

MakeToken = Callable[[Role], Awaitable[str]]

FILE = {
    "services": [{"name": "orders", "host": "orders-pool"}],
    "consumers": [{"username": "bob", "keyauth_credentials": [{"key": "bobs-key"}]}],
    "plugins": [{"name": "greeting", "config": {"text": "hello"}}],
}


@pytest.fixture
async def admin_url(
    database_url: str, monkeypatch: pytest.MonkeyPatch, make_token: MakeToken
) -> AsyncIterator[str]:
    """A node of its own: it asks for a token as soon as there is one, and for ever after."""
    await make_token(Role.ADMIN)
    monkeypatch.setenv("PYTHONPATH", str(THIRD_PARTY_PLUGINS), prepend=os.pathsep)
    async with http_client() as http:
        node = await NodeProcess("guarded", http, database_url=database_url).start()
        yield f"http://{node.addresses['admin']}"
        assert await node.stop() == 0
    assert node.stumbles() == []


@pytest.fixture
def make_token(store: Store) -> MakeToken:
    async def make(role: Role) -> str:
        return await AdminTokens(store).create(f"{role}-{os.urandom(4).hex()}", role, None)

    return make


@needs_go_kong
async def test_go_kong_as_for_kong_s_paid_edition(
    go_kong: GoTests, admin_url: str, make_token: MakeToken
) -> None:
    token = await make_token(Role.ADMIN)
    name = "TestServicesService"
    outcome = await go_kong.run(name, admin_url=admin_url, KONG_ADMIN_TOKEN=token)
    assert outcome.verdicts == {name: "PASS"}, outcome.output
    refused = await go_kong.run(name, admin_url=admin_url)
    assert refused.verdicts == {name: "FAIL"}
    assert "httpCode:401" in refused.output


async def test_deck_by_its_option_headers(admin_url: str, make_token: MakeToken) -> None:
    def deck(token: str) -> Deck:
        headers = {"Kong-Admin-Token": token}
        return Deck(httpx.AsyncClient(base_url=admin_url, headers=headers, trust_env=False))

    admin = deck(await make_token(Role.ADMIN))
    reader = deck(await make_token(Role.READ_ONLY))
    stranger = deck("gwt_guessed")
    async with admin.http, reader.http, stranger.http:
        assert len(await reader.diff(FILE)) == 4
        with pytest.raises(DeckError, match=r"PUT /consumers/.*: 403 .*it may read"):
            await reader.sync(FILE)
        with pytest.raises(DeckError, match="GET /: 401 "):
            await stranger.diff(FILE)
        await admin.sync(FILE)
        assert await reader.diff(FILE) == []


async def test_others_by_a_bearer_token(admin_url: str, make_token: MakeToken) -> None:
    bearer = {"Authorization": f"Bearer {await make_token(Role.ADMIN)}"}
    async with httpx.AsyncClient(base_url=admin_url, trust_env=False) as client:
        refused = await client.get("/services")
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"].startswith("Bearer ")
        assert (await client.get("/services", headers=bearer)).status_code == 200
