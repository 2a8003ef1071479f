"""Stands before all endpoints of the Admin API: who may not pass gets the answer here."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from gateway.admin.access.doorkeeper import Doorkeeper
from gateway.admin.access.rules import READING
from gateway.admin.actor import ACTOR
from gateway.admin.errors import answer
from gateway.store.actor import Actor

_DESCRIPTIONS = frozenset({"/docs", "/openapi.json"})


class Login:
    """Notes the token's name with the actor, for the audit log; it is in all lines of the log too.

    OPTIONS needs no login: a browser asks so before it sends a token, and it tells only methods.
    Nor does what describes the API, so that a browser, which has no token, can show it.
    """

    def __init__(self, app: ASGIApp, doorkeeper: Doorkeeper, timeout_s: float) -> None:
        self._app = app
        self._doorkeeper = doorkeeper
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if it may pass."""
        if scope["type"] != "http" or _is_for_everybody(scope):
            await self._app(scope, receive, send)
            return
        actor: Actor = scope[ACTOR]
        try:
            async with asyncio.timeout(self._timeout_s):
                token = await self._doorkeeper.admit(scope, actor.address)
        except Exception as error:  # noqa: BLE001 - `answer` logs what is not expected
            await answer(error)(scope, receive, send)
            return
        with bound_contextvars(**({"token": token} if token else {})):
            await self._app({**scope, ACTOR: replace(actor, token=token)}, receive, send)


def _is_for_everybody(scope: Scope) -> bool:
    method = scope["method"]
    return method == "OPTIONS" or (method in READING and scope["path"] in _DESCRIPTIONS)
