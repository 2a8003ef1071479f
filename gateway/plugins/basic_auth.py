"""basic-auth: a user name and a password say who asks (plugins.md section 5.2, RFC 7617)."""

from __future__ import annotations

import base64
import binascii
import re

from pydantic import Field

from gateway.entities.credentials import MOST_PASSWORD_CHARACTERS
from gateway.plugins.authentication import (
    UNAUTHORIZED,
    Authentication,
    Outcome,
    Realm,
    challenge,
)
from gateway.plugins.contract import NodeServices, Use
from gateway.plugins.identity import Credential
from gateway.plugins.password_checks import Attempt, PasswordChecks, TooManyError
from gateway.plugins.reply import Reply, refuse
from gateway.plugins.request import Request

KIND = "basicauth_credentials"

_HEADERS = ("proxy-authorization", "authorization")
_BASIC = re.compile(r"(?i)basic[ \t]+([A-Za-z0-9+/]+)={0,2}")

_SOON = {"Retry-After": "1"}
_BUSY = refuse(503, "Too many passwords are being checked", _SOON)
_BUSY_WITH_CLIENT = refuse(429, "Too many passwords of this client are being checked", _SOON)


class BasicAuth(Authentication):
    """Admits requests with the name and password of a consumer."""

    name = "basic-auth"
    priority = 1100

    class Config(Authentication.Config):
        """What clients are told, and services are not."""

        hide_credentials: bool = Field(
            default=False, description="Whether the service does not get to see them."
        )
        realm: Realm = Field(default="service", description="Realm that refusals name.")

    config: Config
    shared: PasswordChecks

    def __init__(self, config: Config, use: Use, shared: PasswordChecks) -> None:
        super().__init__(config, use, shared)
        self._hides = config.hide_credentials
        self._refusal = refuse(401, UNAUTHORIZED, challenge("Basic", config.realm))

    @classmethod
    def share(cls, node: NodeServices) -> PasswordChecks:
        """Return the one who tries passwords."""
        del node
        return PasswordChecks()

    def identify(self, request: Request) -> Outcome:
        """Look for a name and password, and whether they belong together."""
        if self.recognises(request):
            return None
        hidden: list[str] = []
        for header in _HEADERS:
            values = request.headers(header)
            if values and self._hides:
                request.upstream.remove_header(header)
                hidden.append(header)
            if len(values) == 1 and (shown := _decoded(values[0])) is not None:
                return self._try(request, *shown, hidden)
        return self._refusal

    def _try(self, request: Request, username: str, password: str, hidden: list[str]) -> Outcome:
        credential = request.directory.credential(KIND, username)
        attempt = self.shared.attempt(username, credential, password)
        is_right = self.shared.outcome(attempt)
        if is_right is None:
            return self._wait(request, credential, attempt, hidden)
        return self._judge(request, credential, hidden, is_right=is_right)

    async def _wait(
        self, request: Request, credential: Credential | None, attempt: Attempt, hidden: list[str]
    ) -> Reply | None:
        try:
            is_right = await self.shared.check(attempt, request.client_address)
        except TooManyError as error:
            return _BUSY if error.of_all else _BUSY_WITH_CLIENT
        return self._judge(request, credential, hidden, is_right=is_right)

    def _judge(
        self, request: Request, credential: Credential | None, hidden: list[str], *, is_right: bool
    ) -> Reply | None:
        if credential is None or not is_right:
            return self._refusal
        refusal = self.admit(request, credential)
        if refusal is None:
            self.remember(request, credential, *hidden)
        return refusal


def _decoded(value: str) -> tuple[str, str] | None:
    """Return the name and password in a header, None if there are none."""
    found = _BASIC.fullmatch(value)
    if found is None:
        return None
    encoded = found[1] + "=" * (-len(found[1]) % 4)
    try:
        username, colon, password = base64.b64decode(encoded).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    if not colon or len(password) > MOST_PASSWORD_CHARACTERS:
        return None
    return username, password
