"""What of a config is about where is counted, and what must fit together there."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from gateway.entities.entity import Record, Secret
from gateway.entities.errors import REQUIRED, violation
from gateway.entities.rules import Between, OneOf
from gateway.entities.types import HostText, Integer, PortNumber, Text

_OLD_REDIS = "redis_"


class Redis(Record):
    """Where the counters are with the policy ``redis``."""

    host: HostText | None = Field(default=None, description="Its host.")
    port: PortNumber = Field(default=6379, description="Its port.")
    timeout: Annotated[Integer, Between(0, 2**31 - 2)] = Field(
        default=2000, description="How long an answer may take, in milliseconds."
    )
    username: Annotated[Text | None, Secret()] = Field(default=None, description="Who logs in.")
    password: Annotated[Text | None, Secret()] = Field(default=None, description="The password.")
    database: Integer = Field(default=0, description="Number of the database.")
    ssl: bool = Field(default=False, description="Whether to connect over TLS.")
    ssl_verify: bool = Field(default=False, description="Whether its certificate is verified.")
    server_name: Text | None = Field(
        default=None, description="The server name in TLS; null: the host."
    )


class Policy(Record):
    """Where is counted, and what is done while that cannot be reached."""

    policy: Annotated[Text, OneOf("local", "cluster", "redis")] = Field(
        default="local",
        description="Where is counted: on each node by itself, in the database, or in Redis.",
    )
    fault_tolerant: bool = Field(
        default=True, description="Whether requests pass while the counters cannot be reached."
    )
    redis: Redis = Field(
        default_factory=Redis, validate_default=True, description="The Redis of the policy `redis`."
    )
    hide_client_headers: bool = Field(
        default=False, description="Whether clients are not told of limits and what is left."
    )

    @model_validator(mode="before")
    @classmethod
    def _take_old_names(cls, given: Any) -> Any:
        """Take ``redis_host`` and the like, which older clients send, as fields of ``redis``."""
        if not isinstance(given, dict):
            return given
        old = {name for name in given if str(name).startswith(_OLD_REDIS)}
        redis = given.get("redis") or {}
        if not old or not isinstance(redis, dict):
            return given
        moved = {name.removeprefix(_OLD_REDIS): given[name] for name in old}
        kept = {name: value for name, value in given.items() if name not in old}
        return kept | {"redis": redis | {n: v for n, v in moved.items() if v is not None}}

    @field_validator("redis")
    @classmethod
    def _says_where_redis_is(cls, redis: Redis, info: ValidationInfo) -> Redis:
        if info.data.get("policy") == "redis" and redis.host is None:
            raise violation(REQUIRED, at="host")
        return redis
