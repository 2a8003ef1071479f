"""key-auth: a key in a header, the query or the body says who asks (plugins.md section 5.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import unquote_plus

from pydantic import Field

from gateway.entities.rules import AtLeast
from gateway.entities.types import HeaderName
from gateway.plugins.authentication import (
    UNAUTHORIZED,
    Authentication,
    Outcome,
    Realm,
    as_text,
    challenge,
)
from gateway.plugins.contract import Use
from gateway.plugins.form import Form, read_form
from gateway.plugins.reply import Reply, refuse
from gateway.plugins.request import BodyTooLarge, Request

KIND = "keyauth_credentials"

_NO_ARGUMENTS: Mapping[str, Sequence[str]] = {}


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
        key_in_body: bool = Field(
            default=False, description="Whether a form, or an object in JSON, may have it."
        )
        hide_credentials: bool = Field(
            default=False, description="Whether the service does not get to see it."
        )
        run_on_preflight: bool = Field(
            default=True, description="Whether OPTIONS requests need a key as well."
        )
        realm: Realm | None = Field(default=None, description="Realm that refusals name.")

    config: Config

    def __init__(self, config: Config, use: Use, shared: Any = None) -> None:
        super().__init__(config, use, shared)
        headers = challenge("Key", config.realm)
        self._none = refuse(401, "No API key found in request", headers)
        self._duplicate = refuse(401, "Duplicate API key found", headers)
        self._unknown = refuse(401, UNAUTHORIZED, headers)
        self._hides = config.hide_credentials
        self._lets_preflight_pass = not config.run_on_preflight
        self._headers_only = not (config.key_in_query or config.key_in_body)

    def identify(self, request: Request) -> Outcome:
        """Look for the key where it may be."""
        asked = request.asked
        if self._lets_preflight_pass and asked.method == b"OPTIONS":
            return None
        if not (self._hides and asked.query) and self.recognises(request):
            return None
        arguments = request.arguments() if asked.query else _NO_ARGUMENTS
        if self.config.key_in_body and asked.has_body:
            return self._look_also_in_body(request, arguments)
        return self._look(request, arguments, None)

    async def _look_also_in_body(
        self, request: Request, arguments: Mapping[str, Sequence[str]]
    ) -> Reply | None:
        first = self.config.key_names[0]
        if self._in_head(request, first, arguments):
            return self._look(request, arguments, None)
        try:
            body = await request.body()
        except BodyTooLarge:
            return self._look(request, arguments, None)
        return self._look(request, arguments, read_form(body, request.header("content-type") or ""))

    def _look(
        self, request: Request, arguments: Mapping[str, Sequence[str]], form: Form | None
    ) -> Reply | None:
        for name in self.config.key_names:
            found = self._in_head(request, name, arguments)
            in_body = [] if found or form is None else form.values(name)
            if self._hides and form is not None and in_body:
                request.replace_body(form.without(name))
            if found or in_body:
                if self._hides:
                    _hide(request, name, arguments)
                return self._judge(request, name, found or in_body)
        return self._none

    def _in_head(
        self, request: Request, name: str, arguments: Mapping[str, Sequence[str]]
    ) -> Sequence[str]:
        config = self.config
        if config.key_in_header and (values := request.headers(name)):
            return [as_text(value) for value in values]
        return arguments.get(name, ()) if config.key_in_query else ()

    def _judge(self, request: Request, name: str, found: Sequence[str]) -> Reply | None:
        if len(found) > 1:
            return self._duplicate
        if not found[0]:
            return self._none
        credential = request.directory.credential(KIND, found[0])
        if credential is None:
            return self._unknown
        refusal = self.admit(request, credential)
        if refusal is None and self._follows_from_lines(request, name):
            hidden = (name,) if self._hides else ()
            self.remember(request, credential, *hidden)
        return refusal

    def _follows_from_lines(self, request: Request, name: str) -> bool:
        """Tell whether a key of this name was found in what goes before query and body."""
        config = self.config
        if not config.key_in_header or not request.header(name):
            return False
        return self._headers_only or name == config.key_names[0]


def _hide(request: Request, name: str, arguments: Mapping[str, Sequence[str]]) -> None:
    """Let the service see no key of this name, wherever it stands."""
    request.upstream.remove_header(name)
    if name in arguments:
        changed = request.upstream.query
        query = request.asked.query if changed is None else changed
        request.upstream.query = _query_without(query[1:].decode("latin-1"), name)


def _query_without(query: str, name: str) -> bytes:
    """Return a raw query, with its ``?`` if it is not empty, without one argument."""
    kept = [part for part in query.split("&") if unquote_plus(part.partition("=")[0]) != name]
    return b"?" + "&".join(kept).encode("latin-1") if kept else b""
