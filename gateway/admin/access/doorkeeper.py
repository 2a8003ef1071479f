"""Decides on each request to the Admin API whether it may pass, and finds out whose it is.

The database is asked at most once per request, and each time anew, so that a revoked token is of no
use from that moment on any node.
"""

from __future__ import annotations

import math

from starlette.datastructures import Headers
from starlette.types import Scope

from gateway.admin.access.browsers import Browsers
from gateway.admin.access.failures import FailedLogins
from gateway.admin.access.last_use import LastUse
from gateway.admin.access.rules import (
    READING,
    TOKEN_HEADER,
    exposed_hosts,
    needs_login,
    permits,
    presented_token,
)
from gateway.admin.errors import ApiError, plain
from gateway.settings import NodeSettings
from gateway.store.admin_tokens import AdminTokens, Lookup, ValidToken
from gateway.store.errors import StoreUnavailable

_CHALLENGE = 'Bearer realm="Admin API"'
_HOW = f"send it as {TOKEN_HEADER} or as Authorization: Bearer"
_REQUIRED = f"a token is required: {_HOW}"
_NONE_THERE = (
    "the Admin API of this node can be reached from other machines, so it needs a token: make one "
    f"with `gateway admin token create`, and {_HOW}"
)


class Doorkeeper:
    """Lets requests pass, or raises the answer that they get instead."""

    def __init__(self, tokens: AdminTokens, browsers: Browsers, settings: NodeSettings) -> None:
        self._tokens = tokens
        self._browsers = browsers
        self._settings = settings
        self._failures = FailedLogins(settings.admin_failed_logins_per_min)
        self._last_use = LastUse(tokens)

    async def admit(self, scope: Scope, address: str) -> str | None:
        """Return the name of the token by which a request may pass, None if it needs none.

        :param address: the client's, for the count of failed logins.
        :raises ApiError: the refusal. Raises StoreUnavailable if the database cannot be asked.
        """
        headers = Headers(scope=scope)
        if self._settings.admin_open:
            self._browsers.check_origin(headers)
            return None
        token = presented_token(headers)
        if token is None:
            await self._admit_without_token(headers, scope["method"])
            return None
        self._check_failures(address)
        found = await self._tokens.look_up(token)
        if not self._needs_login(found):
            self._check_browser(headers)
            return None
        return self._admit_with(found.token, scope, address)

    async def _admit_without_token(self, headers: Headers, method: str) -> None:
        if self._tokens.existed:
            raise _unauthorized(_REQUIRED)
        try:
            found = await self._tokens.look_up(None)
        except StoreUnavailable:
            # If there were none when the database was last there, what the node can tell without
            # it is told, for example that it is away.
            was_open = self._tokens.existed is False and not exposed_hosts(self._settings)
            if not was_open or method not in READING:
                raise
        else:
            if self._needs_login(found):
                raise _unauthorized(_REQUIRED if found.tokens_exist else _NONE_THERE)
        self._check_browser(headers)

    def _admit_with(self, token: ValidToken | None, scope: Scope, address: str) -> str:
        self._check_failures(address)  # again: of tries that came at once, some have failed by now
        if token is None:
            self._failures.note(address)
            raise _unauthorized("the token is unknown, expired or revoked", "invalid_token")
        if not permits(token.role, scope["method"], scope["path"], scope["query_string"]):
            raise plain(
                403,
                f"the token '{token.name}' has the role {token.role}: it may read, "
                "and change nothing",
            )
        self._last_use.note(token)
        return token.name

    def _needs_login(self, found: Lookup) -> bool:
        return needs_login(self._settings, tokens_exist=found.tokens_exist)

    def _check_browser(self, headers: Headers) -> None:
        self._browsers.check_host(headers)
        self._browsers.check_origin(headers)

    def _check_failures(self, address: str) -> None:
        """Refuse who has failed too often: also the right token, or each try would still tell."""
        blocked_s = self._failures.blocked_s(address)
        if blocked_s > 0:
            raise ApiError(
                429,
                {"message": "too many logins from your address have failed"},
                {"Retry-After": str(math.ceil(blocked_s))},
            )


def _unauthorized(message: str, error: str = "") -> ApiError:
    challenge = f'{_CHALLENGE}, error="{error}"' if error else _CHALLENGE
    return ApiError(401, {"message": message}, {"WWW-Authenticate": challenge})
