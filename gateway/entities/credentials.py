"""Credentials: what consumers show, or are members of, for plugins to tell them by.

Sheet: entities.md, 3.10.
"""

from __future__ import annotations

import secrets
import string
from typing import Annotated, Any

from pydantic import Field
from pydantic_core import PydanticCustomError

from gateway.entities.checks import Conditional, Is, IsSet
from gateway.entities.consumer import OF_CONSUMER
from gateway.entities.entity import Entity, Reference, Secret, TimeToLive, Unique
from gateway.entities.entity_type import EntityType
from gateway.entities.password import hashed
from gateway.entities.pem import PemText, check_public_key
from gateway.entities.rules import AtMost, Between, OneOf, Satisfies
from gateway.entities.types import Text, WholeNumber

LONGEST_TTL_S = 100_000_000
MOST_PASSWORD_CHARACTERS = 4096

_ALPHANUMERIC = string.ascii_letters + string.digits

ALGORITHMS = (
    *("HS256", "HS384", "HS512"),
    *("RS256", "RS384", "RS512"),
    *("ES256", "ES384", "ES512"),
    *("PS256", "PS384", "PS512"),
    "EdDSA",
)
_PUBLIC_KEY_ALGORITHMS = tuple(name for name in ALGORITHMS if name[:2] in ("RS", "PS", "Ed"))


def random_text() -> str:
    """Return 32 letters and digits, which nobody can guess."""
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(32))


class IsPublicKey(IsSet):
    """A public key in PEM: of what other algorithms do not read, anything is taken."""

    def problem(self, value: Any) -> str | None:
        """Return why ``value`` does not do, or ``None``."""
        if value is None:
            return super().problem(value)
        try:
            check_public_key(value)
        except PydanticCustomError as error:
            return error.message()
        return None


class Credential(Entity):
    """What belongs to a consumer."""

    consumer: Annotated[Reference, OF_CONSUMER] = Field(description="Whose it is.")


class KeyAuthCredential(Credential):
    """A key that a consumer sends with each request."""

    key: Annotated[Text, Unique(), Secret()] = Field(
        default_factory=random_text, description="The key; a random one if absent."
    )
    ttl: Annotated[Annotated[WholeNumber, Between(0, LONGEST_TTL_S)] | None, TimeToLive()] = Field(
        default=None, description="Seconds until it is gone; null or 0: never."
    )


class BasicAuthCredential(Credential):
    """A name and password."""

    username: Annotated[Text, Unique()] = Field(description="The name in the request.")
    password: Annotated[Text, AtMost(MOST_PASSWORD_CHARACTERS), Satisfies(hashed), Secret()] = (
        Field(description="The password; only its hash is kept, and shown.")
    )


class JwtSecret(Credential):
    """A key to verify a consumer's tokens (JWT) with."""

    key: Annotated[Text, Unique()] = Field(
        default_factory=random_text, description="What tokens name it by; random if absent."
    )
    secret: Annotated[Text, Secret()] = Field(
        default_factory=random_text, description="The key of HS algorithms; random if absent."
    )
    rsa_public_key: PemText | None = Field(
        default=None, description="The key of RS, PS, ES and EdDSA algorithms in PEM."
    )
    algorithm: Annotated[Text, OneOf(*ALGORITHMS)] = Field(
        default="HS256", description="The one algorithm that tokens may be signed with."
    )


class HmacAuthCredential(Credential):
    """A name, and a secret that requests are signed with."""

    username: Annotated[Text, Unique()] = Field(description="The name in the request.")
    secret: Annotated[Text, Secret()] = Field(
        default_factory=random_text, description="The key of signatures; random if absent."
    )


class Acl(Credential):
    """A consumer's membership of a group."""

    group: Text = Field(description="The group's name.")


KEYAUTH_CREDENTIALS = EntityType(
    KeyAuthCredential,
    table="keyauth_credentials",
    singular="keyauth_credential",
    endpoint_key="key",
    collection="key-auths",
    nested="key-auth",
)

BASICAUTH_CREDENTIALS = EntityType(
    BasicAuthCredential,
    table="basicauth_credentials",
    singular="basicauth_credential",
    endpoint_key="username",
    collection="basic-auths",
    nested="basic-auth",
)

JWT_SECRETS = EntityType(
    JwtSecret,
    table="jwt_secrets",
    singular="jwt_secret",
    endpoint_key="key",
    checks=(Conditional("algorithm", Is(_PUBLIC_KEY_ALGORITHMS), "rsa_public_key", IsPublicKey()),),
    collection="jwts",
    nested="jwt",
)

HMACAUTH_CREDENTIALS = EntityType(
    HmacAuthCredential,
    table="hmacauth_credentials",
    singular="hmacauth_credential",
    endpoint_key="username",
    collection="hmac-auths",
    nested="hmac-auth",
)

ACLS = EntityType(
    Acl,
    table="acls",
    singular="acl",
    endpoint_key=None,
    composite_uniques=(("consumer", "group"),),
)

CREDENTIALS = (
    KEYAUTH_CREDENTIALS,
    BASICAUTH_CREDENTIALS,
    JWT_SECRETS,
    HMACAUTH_CREDENTIALS,
    ACLS,
)
