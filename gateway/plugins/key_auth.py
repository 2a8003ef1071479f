"""key-auth: a key in a header, the query or the body says who asks (plugins.md section 5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import unquote_plus

from pydantic import Field

from gateway.entities.rules import AtLeast
from gateway.entities.types import HeaderName, Text
from gateway.plugins.authentication import (
    UNAUTHORIZED,
    Authentication,
    challenge,
)
from gateway.plugins.contract import Use
from gateway.plugins.reply import Reply, refuse
from gateway.plugins.request import Request

KIND = "keyauth_credentials"


class KeyAuth(Authentication):
    """Admits requests with a key that a consumer has."""

    name = "key-auth"
    priority = 1250

    class Config(Authentication.Config):
        """Where to look for the key."""

        key_names: Annotated[list[HeaderName], AtLeast(1)] = Field(
            default=["apikey"], description="What the key is called, in the order they are tried."
        )
        key_in_header: bool = Field(default=True, description="Whether a header may have it.")
        key_in_query: bool = Field(default=True, description="Whether the query may have it.")
        key_in_body: bool = Field(default=False, description="Whether the body may have it.")
        hide_credentials: bool = Field(
            default=False, description="Whether the service does not get to see it."
        )
        run_on_preflight: bool = Field(
            default=True, description="Whether OPTIONS requests need a key as well."
        )
        realm: Text | None = Field(default=None, description="Realm that refusals name.")

    config: Config

    def __init__(self, config: Config, use: Use, shared: Any = None) -> None:
        super().__init__(config, use, shared)
        self._challenge = challenge("Key", config.realm)

    def identify(self, request: Request) -> Reply | None:
        """Look for the key where it may be."""
        config = self.config
        if not config.run_on_preflight and request.asked.method == b"OPTIONS":
            return None
        arguments = request.arguments() if config.key_in_query and request.asked.query else {}
        for name in config.key_names:
            if config.key_in_header and (values := request.headers(name)):
                if config.hide_credentials:
                    request.upstream.remove_header(name)
                return self._judge(request, values)
            if name in arguments:
                if config.hide_credentials:
                    request.upstream.query = _query_without(request.query, name)
                return self._judge(request, arguments[name])
        return refuse(401, "No API key found in request", self._challenge)

    def _judge(self, request: Request, found: Sequence[str]) -> Reply | None:
        if len(found) > 1:
            return refuse(401, "Duplicate API key found", self._challenge)
        if not found[0]:
            return refuse(401, "No API key found in request", self._challenge)
        credential = request.directory.credential(KIND, found[0])
        if credential is None:
            return refuse(401, UNAUTHORIZED, self._challenge)
        return self.admit(request, credential)


def _query_without(query: str, name: str) -> bytes:
    """Return a raw query, with its ``?`` if it is not empty, without one argument."""
    kept = [part for part in query.split("&") if unquote_plus(part.partition("=")[0]) != name]
    return b"?" + "&".join(kept).encode("latin-1") if kept else b""
