"""The tokens of the Admin API: made, listed, revoked, and looked up at each request.

A token is 32 random bytes, so a plain SHA-256 keeps it as well as a slow hash would. Who makes and
who revokes one is kept in the audit log, in the same statement.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Executable, Interval, LargeBinary, Uuid, bindparam, func, select, text

from gateway.store.store import Store
from gateway.store.tables import admin_tokens

PREFIX = "gwt_"
"""What a token begins with, so that people and scanners of secrets know one when they see it."""
BYTES = 32
USE_NOTED_EVERY = timedelta(minutes=1)


class Role(StrEnum):
    """What a token lets its bearer do."""

    ADMIN = "admin"
    READ_ONLY = "read-only"


class NameTaken(Exception):  # noqa: N818 - an answer rather than an error
    """A token of this name is there that was not revoked."""


@dataclass(frozen=True, slots=True)
class ValidToken:
    """A token that counts; ``use_is_noted``: that it is in use is known well enough."""

    id: UUID
    name: str
    role: Role
    use_is_noted: bool


@dataclass(frozen=True, slots=True)
class Lookup:
    """What the database knows of a token, and whether any was ever made."""

    tokens_exist: bool
    token: ValidToken | None


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token as lists show it; ``has_expired`` is by the database's clock."""

    name: str
    role: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    has_expired: bool


class AdminTokens:
    """The table of tokens. All methods raise StoreError.

    ``existed`` is whether any was ever made, as of the last look; None before that.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.existed: bool | None = None

    async def exist(self) -> bool:
        """Tell whether any token was ever made, revoked and expired ones included."""
        return (await self.look_up(None)).tokens_exist

    async def look_up(self, token: str | None) -> Lookup:
        """Return the token if it counts, and whether there is any, in one question."""
        asked = b"" if token is None else _hash_of(token)
        async with self._store.autocommit() as session:
            row = (await session.execute(_LOOK_UP.bindparams(hash=asked))).mappings().one()
        self.existed = row["tokens_exist"]
        # The index has found the row by its hash, which tells nothing by the time that it takes:
        # nobody can aim at hashes. That the row is the right one is compared in constant time.
        if row["id"] is None or not hmac.compare_digest(row["hash"], asked):
            return Lookup(row["tokens_exist"], None)
        found = ValidToken(row["id"], row["name"], Role(row["role"]), row["use_is_noted"])
        return Lookup(row["tokens_exist"], found)

    async def note_use(self, token: ValidToken) -> None:
        """Write that a token is in use."""
        async with self._store.autocommit() as session:
            await session.execute(_NOTE_USE.bindparams(id=token.id))

    async def create(self, name: str, role: Role, good_for: timedelta | None) -> str:
        """Make a token, which nobody can be told again, and return it. Raises NameTaken."""
        token = PREFIX + secrets.token_urlsafe(BYTES)
        values = {"name": name, "role": role.value, "hash": _hash_of(token), "good_for": good_for}
        if not await self._has_changed(_CREATE.bindparams(**values)):
            raise NameTaken(name)
        return token

    async def revoke(self, name: str) -> bool:
        """Let the token of this name count no more; return whether there was one."""
        return await self._has_changed(_REVOKE.bindparams(name=name))

    async def all(self) -> list[TokenRow]:
        """Return all tokens, the oldest first."""
        async with self._store.autocommit() as session:
            rows = (await session.execute(_ALL)).mappings().all()
        return [TokenRow(**row) for row in rows]

    async def _has_changed(self, statement: Executable) -> bool:
        async with self._store.autocommit() as session:
            return (await session.execute(statement)).rowcount > 0


def _hash_of(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


_LOOK_UP = text("""
    SELECT
        EXISTS (SELECT FROM admin_tokens) AS tokens_exist,
        token.id, token.name, token.role, token.hash,
        coalesce(token.last_used_at > clock_timestamp() - :every, false) AS use_is_noted
    FROM (SELECT) AS question LEFT JOIN admin_tokens AS token
        ON token.hash = :hash
        AND token.revoked_at IS NULL
        AND (token.expires_at IS NULL OR token.expires_at > clock_timestamp())
""").bindparams(bindparam("hash", type_=LargeBinary), every=USE_NOTED_EVERY)

_NOTE_USE = text("""
    UPDATE admin_tokens SET last_used_at = clock_timestamp()
    WHERE id = :id
        AND (last_used_at IS NULL OR last_used_at <= clock_timestamp() - :every)
""").bindparams(bindparam("id", type_=Uuid), every=USE_NOTED_EVERY)

_CREATE = text("""
    WITH created AS (
        INSERT INTO admin_tokens (name, role, hash, created_at, expires_at)
        VALUES (:name, :role, :hash, now(), now() + CAST(:good_for AS interval))
        ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING
        RETURNING *
    )
    INSERT INTO audit (kind, entity_id, operation, after)
    SELECT 'admin_tokens', id, 'create', to_jsonb(created) - 'hash' FROM created
""").bindparams(
    bindparam("hash", type_=LargeBinary), bindparam("good_for", type_=Interval(native=True))
)

_REVOKE = text("""
    WITH revoked AS (
        UPDATE admin_tokens AS token SET revoked_at = clock_timestamp()
        FROM (
            SELECT * FROM admin_tokens WHERE name = :name AND revoked_at IS NULL FOR UPDATE
        ) AS before
        WHERE token.id = before.id
        RETURNING token.id, to_jsonb(before) - 'hash' AS before, to_jsonb(token) - 'hash' AS after
    )
    INSERT INTO audit (kind, entity_id, operation, changed, before, after)
    SELECT 'admin_tokens', id, 'update', ARRAY['revoked_at'], before, after FROM revoked
""")

_ALL = select(
    *(
        admin_tokens.c[name]
        for name in ("name", "role", "created_at", "expires_at", "last_used_at", "revoked_at")
    ),
    func.coalesce(admin_tokens.c.expires_at <= func.clock_timestamp(), False).label("has_expired"),
).order_by(admin_tokens.c.created_at, admin_tokens.c.id)
