"""Plugins as somebody else writes them: one like Kong's, and one with fields of every shape."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from gateway.entities.entity import Record, Secret
from gateway.entities.errors import ENTITY, violation
from gateway.entities.rules import AtLeast, Between, Unrepeated
from gateway.entities.types import Headers, Id, Number, Path, Text, Timestamp, UuidText, WholeNumber
from gateway.plugins.contract import Plugin


class GateKey(Plugin):
    """Lets in who has a key; only then is it known which consumer asks."""

    name = "gate-key"
    priority = 1250
    version = "3.9.3"
    scopes = frozenset({"route", "service"})

    class Config(Record):
        """How the key is sent."""

        key_names: Annotated[list[Text], AtLeast(1)] = Field(
            default=["apikey"], description="Names of the header or argument."
        )
        hide_credentials: bool = Field(default=False, description="Whether upstreams see it.")
        anonymous: Text | None = Field(default=None, description="Who comes without a key.")


class Limit(Record):
    """So many requests in a time."""

    requests: WholeNumber = Field(description="How many.")
    window: Annotated[WholeNumber, Between(1, 3600)] | Literal["day"] = Field(
        default="day", description="Seconds, or a day."
    )


class Alarm(Record):
    """Who hears of it."""

    url: Text | None = Field(default=None, description="Where to call.")
    token: Annotated[Text | None, Secret()] = Field(default=None, description="What to show there.")
    after_s: Number = Field(default=1.5, description="Seconds to wait.")


class Quota(Plugin):
    """Counts, with settings of every shape."""

    name = "quota"
    priority = 910
    protocols = ("http", "https", "tcp")

    class Config(Record):
        """What is counted, and what then."""

        unit: Text = Field(description="What is counted: there is no default.")
        minute: Annotated[WholeNumber, Between(0, 60)] | None = Field(
            default=None, description="Requests a minute."
        )
        limits: list[Limit] = Field(default=[], description="Further limits.")
        alarm: Alarm = Field(default=Alarm(), description="Who hears of it.")
        by_path: dict[Path, WholeNumber] = Field(default={}, description="Limits by path.")
        headers: Headers | None = Field(default=None, description="Headers that are added.")
        groups: Annotated[list[Text], Unrepeated()] | None = Field(
            default=None, description="Who is counted."
        )
        since: Timestamp | None = Field(default=None, description="From when on.")
        account: Id | None = Field(default=None, description="Whose it is.")
        ca_certificates: list[UuidText] | None = Field(default=None, description="Whom to trust.")
        notes: dict[str, Any] = Field(default={}, description="Anything.")

        @model_validator(mode="after")
        def _counts_something(self) -> Self:
            if self.unit == "nothing":
                raise violation("'config.unit' must be something", at=ENTITY)
            return self
