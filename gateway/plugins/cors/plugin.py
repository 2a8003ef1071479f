"""The plugin itself: answers preflights, and tells browsers who may read an answer."""

from __future__ import annotations

import re
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from gateway.entities.entity import Record
from gateway.entities.route import check_regex
from gateway.entities.rules import Matches, OneOf, Satisfies
from gateway.entities.types import Number, Text
from gateway.plugins.contract import Plugin, Use
from gateway.plugins.cors.origins import ANY, Origins, is_regex
from gateway.plugins.lines import removal
from gateway.plugins.reply import Reply
from gateway.plugins.request import Request
from gateway.plugins.response import Response

_METHODS = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS", "TRACE", "CONNECT")
_IS_PREFLIGHT = "cors-preflight"


def _check_origin(entry: str) -> str:
    return check_regex(entry) if is_regex(entry) else entry


Word = Annotated[Text, Matches("[ -~]+")]


class Grant(NamedTuple):
    """What is said to an origin: whether it may ask, and with credentials.

    ``varies`` tells that others may hear something else.
    """

    origin: str | None
    credentials: bool
    varies: bool


class Told(NamedTuple):
    """What an answer tells: header lines in place of those that ``replaced`` matches."""

    lines: bytes
    replaced: re.Pattern[bytes]
    varies: bool


_NOTHING = Told(b"", re.compile(rb"(?!)"), varies=False)


class Cors(Plugin):
    """Lets pages of other origins read answers, as the browser asks for it."""

    name = "cors"
    priority = 2000
    scopes = frozenset({"route", "service"})

    class Config(Record):
        """Who may read what."""

        origins: list[Annotated[Text, Satisfies(_check_origin)]] | None = Field(
            default=None,
            description="Origins that may read answers, or regexes of such; null, or `*`: any.",
        )
        methods: list[Annotated[Text, OneOf(*_METHODS)]] = Field(
            default=list(_METHODS), description="Methods that they may use."
        )
        headers: list[Word] | None = Field(
            default=None, description="Headers that they may send; null: those they ask for."
        )
        exposed_headers: list[Word] | None = Field(
            default=None, description="Headers of answers that they may read."
        )
        max_age: Number | None = Field(
            default=None, description="How many seconds browsers may rely on a preflight."
        )
        credentials: bool = Field(
            default=False, description="Whether requests may come with cookies and the like."
        )
        private_network: bool = Field(
            default=False, description="Whether pages of public networks may ask a private one."
        )
        preflight_continue: bool = Field(
            default=False, description="Whether the service answers preflights itself."
        )
        allow_origin_absent: bool = Field(
            default=True, description="Whether answers to requests without `Origin` tell as well."
        )

    config: Config

    def __init__(self, config: Config, use: Use, shared: Any = None) -> None:
        super().__init__(config, use, shared)
        self._origins = Origins(config.origins or [])

    def access(self, request: Request) -> Reply | None:
        """Answer a preflight."""
        if request.asked.method != b"OPTIONS":
            return None
        origin = request.header("Origin")
        if origin is None or request.header("Access-Control-Request-Method") is None:
            return None
        request.context[_IS_PREFLIGHT] = True
        if self.config.preflight_continue:
            return None
        return Reply(200, headers=self._answer_to_preflight(request, origin))

    def header_filter(self, request: Request, response: Response) -> None:
        """Tell who may read this answer, whoever gives it."""
        if request.asked.method == b"OPTIONS" and _IS_PREFLIGHT in request.context:
            return
        told: Told | None = request.recall(self)
        if told is None:
            told = self._told(request.header("Origin"))
            request.remember(self, told)
        lines = response.lines
        if b"ccess-" in lines or b"CCESS-" in lines:
            lines = told.replaced.sub(b"", lines)
        response.lines = lines + told.lines
        if told.varies:
            _vary_by_origin(response)

    def _grant(self, origin: str | None) -> Grant:
        allowed, credentials = self._origins.allowed_for(origin), self.config.credentials
        if allowed == ANY and credentials:  # which browsers do not take together
            if origin is None:
                return Grant(ANY, credentials=False, varies=not self._origins.are_any)
            return Grant(origin, credentials=True, varies=True)
        return Grant(allowed, credentials, varies=not self._origins.are_any)

    def _told(self, origin: str | None) -> Told:
        if origin is None and not self.config.allow_origin_absent:
            return _NOTHING
        grant = self._grant(origin)
        replaced = ["Access-Control-Allow-Origin"]
        lines = b""
        if grant.origin is not None:
            lines += b"\r\nAccess-Control-Allow-Origin: " + grant.origin.encode("latin-1")
        if grant.credentials:
            replaced.append("Access-Control-Allow-Credentials")
            lines += b"\r\nAccess-Control-Allow-Credentials: true"
        if self.config.exposed_headers:
            replaced.append("Access-Control-Expose-Headers")
            exposed = ",".join(self.config.exposed_headers)
            lines += b"\r\nAccess-Control-Expose-Headers: " + exposed.encode()
        return Told(lines, removal(tuple(replaced)), grant.varies)

    def _answer_to_preflight(self, request: Request, origin: str) -> dict[str, str]:
        config, grant = self.config, self._grant(origin)
        headers = {"Access-Control-Allow-Methods": ",".join(config.methods)}
        if grant.origin is not None:
            headers["Access-Control-Allow-Origin"] = grant.origin
        if grant.credentials:
            headers["Access-Control-Allow-Credentials"] = "true"
        if grant.varies:
            headers["Vary"] = "Origin"
        allowed = ",".join(config.headers or ()) or request.header("Access-Control-Request-Headers")
        if allowed:
            headers["Access-Control-Allow-Headers"] = allowed
        if config.max_age is not None:
            headers["Access-Control-Max-Age"] = str(config.max_age)
        asks_private = request.header("Access-Control-Request-Private-Network") == "true"
        if config.private_network and asks_private:
            headers["Access-Control-Allow-Private-Network"] = "true"
        return headers


def _vary_by_origin(response: Response) -> None:
    told = ",".join(response.headers("Vary")).lower().split(",")
    if "origin" not in map(str.strip, told):
        response.lines += b"\r\nVary: Origin"
