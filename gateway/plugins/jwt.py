"""jwt: a signed token says who asks (plugins.md section 5.3, RFC 7519)."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, model_validator

from gateway.entities.errors import violation
from gateway.entities.rules import Between, OneOf, Unrepeated
from gateway.entities.types import HeaderName, Number, Text
from gateway.plugins.authentication import (
    UNAUTHORIZED,
    Authentication,
    Outcome,
    Realm,
    challenge,
)
from gateway.plugins.contract import Use
from gateway.plugins.identity import Credential
from gateway.plugins.reply import Reply, reply_json
from gateway.plugins.request import Request
from gateway.plugins.tokens import (
    BadTokenError,
    Token,
    UnusableKeyError,
    from_base64url,
    is_signed,
    read_token,
)

KIND = "jwt_secrets"

LONGEST_EXPIRATION_S = 31_536_000

_BEARER = re.compile(r"(?i)bearer[ \t]+([^ \t].*)")

Texts = Annotated[list[Text], Unrepeated()]


class Jwt(Authentication):
    """Admits requests with a token that is signed with the key of a consumer."""

    name = "jwt"
    priority = 1450

    class Config(Authentication.Config):
        """Where to look for tokens, and which are good."""

        uri_param_names: Texts = Field(
            default=["jwt"], description="Arguments of the query that may have it."
        )
        cookie_names: Texts = Field(default=[], description="Cookies that may have it.")
        header_names: Annotated[list[HeaderName], Unrepeated()] = Field(
            default=["authorization"], description="Headers that may have it, behind 'Bearer'."
        )
        key_claim_name: Text = Field(
            default="iss", description="Claim, or header of the token, that names the key."
        )
        secret_is_base64: bool = Field(
            default=False, description="Whether secrets of HS algorithms are base64url."
        )
        claims_to_verify: (
            Annotated[list[Annotated[Text, OneOf("exp", "nbf")]], Unrepeated()] | None
        ) = Field(default=None, description="Times in a token that have to be right.")
        maximum_expiration: Annotated[Number, Between(0, LONGEST_EXPIRATION_S)] = Field(
            default=0, description="Most seconds until a token expires; 0: any."
        )
        run_on_preflight: bool = Field(
            default=True, description="Whether OPTIONS requests need a token as well."
        )
        realm: Realm | None = Field(default=None, description="Realm that refusals name.")

        @model_validator(mode="after")
        def _verifies_what_is_limited(self) -> Jwt.Config:
            if self.maximum_expiration > 0 and "exp" not in (self.claims_to_verify or ()):
                raise violation("expected to contain: exp", at="claims_to_verify")
            return self

    config: Config

    def __init__(self, config: Config, use: Use, shared: Any = None) -> None:
        super().__init__(config, use, shared)
        headers = challenge("Bearer", config.realm)
        self._missing = reply_json(401, {"message": UNAUTHORIZED}, headers)
        comma = "" if config.realm is None else ","
        told = f'{headers["WWW-Authenticate"]}{comma} error="invalid_token"'
        self._headers = {"WWW-Authenticate": told}
        self._lets_preflight_pass = not config.run_on_preflight
        self._to_verify = frozenset(config.claims_to_verify or ())
        self._cookie_names = frozenset(config.cookie_names)

    def identify(self, request: Request) -> Outcome:
        """Look for a token where it may be."""
        asked = request.asked
        if self._lets_preflight_pass and asked.method == b"OPTIONS":
            return None
        tokens = set(self._in_query(request)) if asked.query else set()
        if not tokens and self.recognises(request):
            return None
        is_in_query = bool(tokens)
        tokens.update(self._in_cookies(request), self._in_headers(request))
        if not tokens:
            return self._missing
        if len(tokens) > 1:
            return self._refuse("Multiple tokens provided")
        return self._judge(request, tokens.pop(), may_be_remembered=not is_in_query)

    # -- where it may be

    def _in_query(self, request: Request) -> Iterator[str]:
        arguments = request.arguments()
        for name in self.config.uri_param_names:
            yield from filter(None, arguments.get(name, ()))

    def _in_cookies(self, request: Request) -> Iterator[str]:
        if not self._cookie_names:
            return
        for line in request.headers("cookie"):
            for pair in line.split(";"):
                name, _, value = pair.strip(" \t").partition("=")
                if value and name in self._cookie_names:
                    yield value

    def _in_headers(self, request: Request) -> Iterator[str]:
        for name in self.config.header_names:
            for value in request.headers(name):
                if (found := _BEARER.fullmatch(value)) is not None:
                    yield found[1]

    # -- whether it is good

    def _judge(self, request: Request, text: str, *, may_be_remembered: bool) -> Reply | None:
        try:
            token = read_token(text)
        except BadTokenError as error:
            return self._refuse(f"Bad token; {error}")
        credential = self._credential(request, token)
        if isinstance(credential, Reply):
            return credential
        refusal = self._check_signature(token, credential) or self._check_claims(token)
        if refusal is not None:
            return refusal
        refusal = self.admit(request, credential)
        if refusal is None and may_be_remembered:
            until = token.claims["exp"] if "exp" in self._to_verify else None
            self.remember(request, credential, until=until)
        return refusal

    def _credential(self, request: Request, token: Token) -> Credential | Reply:
        claim = self.config.key_claim_name
        key = token.claims.get(claim)
        if key is None or key is False:
            key = token.header.get(claim)
        if key is None or key is False:
            return self._refuse(f"No mandatory '{claim}' in claims")
        if not isinstance(key, str) or not key:
            return self._refuse(f"Invalid '{claim}' in claims")
        credential = request.directory.credential(KIND, key)
        if credential is None:
            return self._refuse(f"No credentials found for given '{claim}'")
        return credential

    def _check_signature(self, token: Token, credential: Credential) -> Reply | None:
        if token.algorithm != credential.algorithm:
            return self._refuse("Invalid algorithm")
        key = self._key(credential)
        if not key:
            return self._refuse("Invalid key/secret")
        try:
            is_good = is_signed(token, credential.algorithm, key)
        except UnusableKeyError:
            return self._refuse("Invalid key/secret")
        return None if is_good else self._refuse("Invalid signature")

    def _key(self, credential: Credential) -> str | bytes | None:
        if not credential.algorithm.startswith("HS"):
            return credential.public_key
        if self.config.secret_is_base64:
            return from_base64url(credential.secret.replace("+", "-").replace("/", "_"))
        return credential.secret.encode()

    def _check_claims(self, token: Token) -> Reply | None:
        if not self._to_verify:
            return None
        now = time.time()
        problems: dict[str, str] = {}
        for name in self._to_verify:
            value = token.claims.get(name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                problems[name] = "must be a number"
            elif name == "exp" and value <= now:
                problems[name] = "token expired"
            elif name == "nbf" and value > now:
                problems[name] = "token not valid yet"
        limit_s = self.config.maximum_expiration
        if limit_s and not problems and token.claims["exp"] > now + limit_s:
            problems["exp"] = "exceeds maximum allowed expiration"
        return reply_json(401, problems, self._headers) if problems else None

    def _refuse(self, message: str) -> Reply:
        return reply_json(401, {"message": message}, self._headers)
