"""Tokens in the database: only their hashes, unique names, and a trace of who made them."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from gateway.store.admin_tokens import AdminTokens, Lookup, NameTaken, Role
from gateway.store.errors import StoreUnavailable
from gateway.store.store import Store
from tests.scenarios.sql import run_sql


@pytest.fixture
def tokens(store: Store) -> AdminTokens:
    return AdminTokens(store)


def rows(database_url: str, query: str) -> list[dict[str, Any]]:
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        return connection.execute(query).fetchall()


async def test_a_token_is_known_again_and_only_its_hash_is_kept(
    tokens: AdminTokens, database_url: str
):
    token = await tokens.create("ops", Role.ADMIN, None)
    assert re.fullmatch(r"gwt_[A-Za-z0-9_-]{43}", token)
    found = (await tokens.look_up(token)).token
    assert (found.name, found.role, found.use_is_noted) == ("ops", Role.ADMIN, False)
    (row,) = rows(database_url, "SELECT * FROM admin_tokens")
    assert row["hash"] == hashlib.sha256(token.encode()).digest()
    assert token not in str(row)
    assert token != await tokens.create("other", Role.ADMIN, None)


async def test_without_any_token_there_is_none(tokens: AdminTokens):
    assert tokens.existed is None
    for asked in (None, "", "gwt_x", "é", "\x00"):
        assert await tokens.look_up(asked) == Lookup(False, None)
    assert tokens.existed is False
    assert not await tokens.exist()


async def test_the_end_of_a_token_is_not_the_end_of_all_memory(
    tokens: AdminTokens, database_url: str
):
    expiring = await tokens.create("expiring", Role.READ_ONLY, timedelta(days=30))
    revoked = await tokens.create("revoked", Role.ADMIN, None)
    assert (await tokens.look_up(expiring)).token.role is Role.READ_ONLY
    await run_sql(database_url, "UPDATE admin_tokens SET expires_at = now() WHERE name='expiring'")
    assert await tokens.revoke("revoked")
    for token in (expiring, revoked):
        assert await tokens.look_up(token) == Lookup(True, None)
    assert await tokens.exist()
    assert tokens.existed


async def test_a_name_is_free_again_once_its_token_is_revoked(tokens: AdminTokens):
    first = await tokens.create("ops", Role.ADMIN, None)
    with pytest.raises(NameTaken):
        await tokens.create("ops", Role.READ_ONLY, None)
    assert await tokens.revoke("ops")
    assert not await tokens.revoke("ops")
    second = await tokens.create("ops", Role.ADMIN, None)
    assert (await tokens.look_up(first)).token is None
    assert (await tokens.look_up(second)).token is not None
    assert [row.revoked_at is None for row in await tokens.all()] == [False, True]


async def test_the_list_tells_what_became_of_each(tokens: AdminTokens, database_url: str):
    await tokens.create("old", Role.ADMIN, timedelta(minutes=1))
    await run_sql(database_url, "UPDATE admin_tokens SET expires_at = now()")
    await tokens.create("new", Role.READ_ONLY, timedelta(days=30))
    old, new = await tokens.all()
    assert (old.name, old.role, old.has_expired) == ("old", "admin", True)
    assert (new.name, new.role, new.has_expired) == ("new", "read-only", False)
    assert new.expires_at - new.created_at == timedelta(days=30)


async def test_making_and_revoking_are_in_the_audit_log(tokens: AdminTokens, database_url: str):
    token = await tokens.create("ops", Role.ADMIN, None)
    await tokens.revoke("ops")
    await tokens.create("twice", Role.ADMIN, None)
    with pytest.raises(NameTaken):
        await tokens.create("twice", Role.ADMIN, None)
    made, revoked, twice = rows(database_url, "SELECT * FROM audit ORDER BY id")
    assert (made["kind"], made["operation"], made["version"]) == ("admin_tokens", "create", None)
    assert made["before"] is None
    assert made["after"]["name"] == "ops"
    assert (revoked["operation"], revoked["changed"]) == ("update", ["revoked_at"])
    assert revoked["before"] == made["after"]
    assert revoked["after"]["revoked_at"] is not None
    assert twice["after"]["name"] == "twice"
    kept = str([made, revoked])
    assert "hash" not in kept
    assert hashlib.sha256(token.encode()).hexdigest() not in kept


async def test_a_use_is_written_once_a_minute(tokens: AdminTokens):
    token = await tokens.create("ops", Role.ADMIN, None)
    await tokens.note_use((await tokens.look_up(token)).token)
    found = (await tokens.look_up(token)).token
    assert found.use_is_noted
    first = (await tokens.all())[0].last_used_at
    await tokens.note_use(found)
    assert (await tokens.all())[0].last_used_at == first


async def test_a_database_without_our_tables_says_so(store: Store, database_url: str):
    await run_sql(database_url, "DROP TABLE admin_tokens")
    with pytest.raises(StoreUnavailable, match="run `gateway db upgrade`"):
        await AdminTokens(store).exist()
