"""The demo of `gateway up` where the Admin API asks for a token."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from gateway.admin.app import create_app
from gateway.settings import NodeSettings
from gateway.store.admin_tokens import AdminTokens, Role
from gateway.store.store import Store
from gateway.up.seed import seed_demo
from tests.admin.conftest import StandingNode

DEMO_PORT = 9000


async def seeded(store: Store, settings: NodeSettings, data_dir: Path, token: str = "") -> str:
    """Return what the seeding of the demo tells."""
    told: list[str] = []
    transport = httpx.ASGITransport(create_app(store, StandingNode(settings)))
    async with httpx.AsyncClient(transport=transport) as client:
        await seed_demo([settings], DEMO_PORT, data_dir, client, told.append, token=token)
    (line,) = told
    return line


async def test_the_demo_is_made_with_a_token_where_one_is_needed(
    store: Store, settings: NodeSettings, tmp_path: Path
) -> None:
    token = await AdminTokens(store).create("up", Role.ADMIN, None)
    left = await seeded(store, settings, tmp_path)
    assert left.startswith("the demo is left as it is")
    assert "GATEWAY_ADMIN_TOKEN" in left
    assert "path /demo leads to" in await seeded(store, settings, tmp_path, token)
    async with store.read() as view:
        assert (await view.get("services", "name", "demo"))["port"] == DEMO_PORT


@pytest.mark.parametrize("role", Role)
async def test_a_demo_that_is_there_is_left_alone_by_any_role(
    store: Store, settings: NodeSettings, tmp_path: Path, role: Role
) -> None:
    await seeded(store, settings, tmp_path)
    token = await AdminTokens(store).create("up", role, None)
    assert "path /demo leads to" in await seeded(store, settings, tmp_path, token)
