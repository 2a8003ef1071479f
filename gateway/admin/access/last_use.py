"""Keeps in the database which tokens are in use, by the minute and beside the requests."""

from __future__ import annotations

import asyncio
from uuid import UUID

import structlog

from gateway.store.admin_tokens import AdminTokens, ValidToken
from gateway.store.errors import StoreError

_log = structlog.get_logger(__name__)


class LastUse:
    """Writes when a token was last used, if what is known of that is a minute old."""

    def __init__(self, tokens: AdminTokens) -> None:
        self._tokens = tokens
        self._noting: dict[UUID, asyncio.Task[None]] = {}

    def note(self, token: ValidToken) -> None:
        """Have a use written; the caller does not wait for that."""
        if not token.use_is_noted and token.id not in self._noting:
            self._noting[token.id] = asyncio.create_task(self._write(token), name="note-token-use")

    async def _write(self, token: ValidToken) -> None:
        try:
            await self._tokens.note_use(token)
        except StoreError as error:
            _log.debug("no telling when a token was used", token=token.name, error=str(error))
        finally:
            del self._noting[token.id]
