"""hmac-auth: a signature over parts of the request says who asks (plugins.md section 5.4)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from gateway.entities.rules import MoreThan, OneOf
from gateway.entities.types import Number, Text
from gateway.plugins.authentication import (
    UNAUTHORIZED,
    Authentication,
    Outcome,
    Realm,
    as_text,
    challenge,
)
from gateway.plugins.contract import Use
from gateway.plugins.identity import Credential
from gateway.plugins.reply import Reply, refuse
from gateway.plugins.request import BodyTooLarge, Request

KIND = "hmacauth_credentials"

HASHES = {
    "hmac-sha1": "sha1",
    "hmac-sha256": "sha256",
    "hmac-sha384": "sha384",
    "hmac-sha512": "sha512",
}

MOST_SIGNED = 100
"""Headers that one signature may be over."""

_LONGEST_DATE = 64

_HEADERS = ("proxy-authorization", "authorization")
_SCHEME = re.compile(r"(?i)hmac[ \t]+(.*)")
_PARAMETER = re.compile(r'[ \t]*([a-z]+)="([^"]*)"[ \t]*(?:,|\Z)')
_LINE = re.compile(rb"\r\n([^:]++):[ \t]*+([^\r]*+)")


class Shown(NamedTuple):
    """What a client says it has signed."""

    username: str
    algorithm: str
    names: list[str]
    signature: bytes


class HmacAuth(Authentication):
    """Admits requests that are signed with the secret of a consumer."""

    name = "hmac-auth"
    priority = 1030

    class Config(Authentication.Config):
        """Which signatures are good."""

        hide_credentials: bool = Field(
            default=False, description="Whether the service does not get to see the signature."
        )
        clock_skew: Annotated[Number, MoreThan(0)] = Field(
            default=300, description="Most seconds that a request's date may be off."
        )
        validate_request_body: bool = Field(
            default=False, description="Whether the header Digest must be that of the body."
        )
        enforce_headers: list[Text] = Field(
            default=[], description="Headers that a signature must be over."
        )
        algorithms: list[Annotated[Text, OneOf(*HASHES)]] = Field(
            default=list(HASHES), description="Algorithms that may be used."
        )
        realm: Realm | None = Field(default=None, description="Realm that refusals name.")

    config: Config

    def __init__(self, config: Config, use: Use, shared: Any = None) -> None:
        super().__init__(config, use, shared)
        headers = challenge("hmac", config.realm)
        self._missing = refuse(401, UNAUTHORIZED, headers)
        self._no_date = refuse(
            401,
            "HMAC signature cannot be verified, a valid date or x-date header is required for "
            "HMAC Authentication",
            headers,
        )
        self._unverifiable = refuse(401, "HMAC signature cannot be verified", headers)
        self._different = refuse(401, "HMAC signature does not match", headers)
        self._enforced = {name.lower() for name in config.enforce_headers}

    def identify(self, request: Request) -> Outcome:
        """Look for a signature, and whether it is right."""
        headers = _first_values(request.asked.client_lines)
        if not any(name.encode() in headers for name in _HEADERS):
            return self._missing
        if not self._is_in_time(headers):
            return self._no_date
        shown = self._shown(request)
        if shown is None or not self._is_enough(shown):
            return self._unverifiable
        return self._judge(request, headers, shown)

    def _judge(self, request: Request, headers: Mapping[bytes, bytes], shown: Shown) -> Outcome:
        credential = request.directory.credential(KIND, shown.username)
        if credential is None:
            return self._unverifiable
        if not _is_signed(request, headers, shown, credential.secret):
            return self._different
        if self.config.validate_request_body:
            return self._admit_with_body(request, credential, headers.get(b"digest"))
        return self.admit(request, credential)

    async def _admit_with_body(
        self, request: Request, credential: Credential, digest: bytes | None
    ) -> Reply | None:
        try:
            body = await request.body()
        except BodyTooLarge:
            return self._different
        if not _is_digest(digest, body):
            return self._different
        return self.admit(request, credential)

    def _is_in_time(self, headers: Mapping[bytes, bytes]) -> bool:
        now = time.time()
        dates = (_moment(headers.get(name)) for name in (b"x-date", b"date"))
        return any(date is not None and abs(now - date) <= self.config.clock_skew for date in dates)

    def _shown(self, request: Request) -> Shown | None:
        for header in _HEADERS:
            values = request.headers(header)
            if values and self.config.hide_credentials:
                request.upstream.remove_header(header)
            if len(values) == 1 and (shown := _parameters(values[0])) is not None:
                return shown
        return None

    def _is_enough(self, shown: Shown) -> bool:
        is_allowed = shown.algorithm in self.config.algorithms
        return is_allowed and self._enforced.issubset(name.lower() for name in shown.names)


def _first_values(lines: bytes) -> Mapping[bytes, bytes]:
    """Return the first value of each header, by its lower-case name."""
    found: dict[bytes, bytes] = {}
    for name, value in _LINE.findall(lines):
        found.setdefault(name.lower(), value.rstrip(b" \t"))
    return found


def _moment(date: bytes | None) -> float | None:
    """Return the seconds since the epoch of a date in a header, None if it is none."""
    if date is None or len(date) > _LONGEST_DATE:
        return None
    try:
        moment = parsedate_to_datetime(date.decode("latin-1"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, LookupError, OverflowError):  # whatever the parser stumbles on
        return None


def _parameters(value: str) -> Shown | None:
    scheme = _SCHEME.fullmatch(value)
    if scheme is None:
        return None
    given, at = {}, 0
    while (found := _PARAMETER.match(scheme[1], at)) is not None:
        given[found[1]] = found[2]
        at = found.end()
    try:
        names = given["headers"].split()
        signature = base64.b64decode(given["signature"], validate=True)
        shown = Shown(as_text(given["username"]), given["algorithm"], names, signature)
    except (KeyError, ValueError):
        return None
    return shown if at == len(scheme[1]) and 0 < len(names) <= MOST_SIGNED else None


def _is_signed(request: Request, headers: Mapping[bytes, bytes], shown: Shown, secret: str) -> bool:
    lines = (_signed_line(request, headers, name.encode("latin-1")) for name in shown.names)
    expected = hmac.digest(secret.encode(), b"\n".join(lines), HASHES[shown.algorithm])
    return hmac.compare_digest(expected, shown.signature)


def _signed_line(request: Request, headers: Mapping[bytes, bytes], name: bytes) -> bytes:
    """Return the line of the signed text that stands for a header, or for the request line."""
    value = headers.get(name.lower())
    if value is not None:
        return b"%b: %b" % (name, value)
    asked = request.asked
    target = asked.path + asked.query
    if name == b"@request-target":
        return b"@request-target: %b %b" % (asked.method.lower(), target)
    if name == b"request-line":
        return b"%b %b %b" % (asked.method, target, asked.version)
    return b"%b:" % name


def _is_digest(digest: bytes | None, body: bytes) -> bool:
    """Tell whether the header Digest is that of the body; there need be none if that is empty."""
    if digest is None:
        return not body
    expected = b"SHA-256=" + base64.b64encode(hashlib.sha256(body).digest())
    return hmac.compare_digest(expected, digest)
