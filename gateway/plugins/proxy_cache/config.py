"""What may stand in the config of proxy-cache."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, create_model

from gateway.entities.entity import Record
from gateway.entities.errors import violation
from gateway.entities.rules import AtLeast, Between, MoreThan, OneOf, Satisfies
from gateway.entities.types import Text, WholeNumber
from gateway.plugins.proxy_cache.media_types import MediaType, MediaTypeError

_MOST_SECONDS = 2**31 - 1

Seconds = Annotated[WholeNumber, MoreThan(0), Between(1, _MOST_SECONDS)]


def _check_media_type(text: str) -> str:
    try:
        MediaType.read(text)
    except MediaTypeError:
        raise violation(f"'{text}' is no media type, as text/html or text/*") from None
    return text


class Memory(Record):
    """Where Kong keeps responses."""

    dictionary_name: Text = Field(
        default="kong_db_cache",
        description="Kept for Kong's clients: a node has one cache, of `cache_limit_bytes`.",
    )


_TOLD: dict[str, Any] = {
    "age": (bool, Field(default=True, description="`Age`: how old a kept response is.")),
    "X-Cache-Status": (
        bool,
        Field(default=True, description="`X-Cache-Status`: what the cache has done."),
    ),
    "X-Cache-Key": (
        bool,
        Field(default=True, description="`X-Cache-Key`: what the response is kept by."),
    ),
}
"""By names of which two are none in Python."""

ResponseHeaders = create_model("ResponseHeaders", __base__=Record, **_TOLD)


class Caching(Record):
    """Which responses are kept, for whom and for how long."""

    strategy: Annotated[Text, OneOf("memory")] = Field(description="Where responses are kept.")
    response_code: Annotated[list[Annotated[WholeNumber, Between(100, 900)]], AtLeast(1)] = Field(
        default=[200, 301, 404], description="Statuses of responses that are kept."
    )
    request_method: Annotated[
        list[Annotated[Text, OneOf("HEAD", "GET", "POST", "PATCH", "PUT")]], AtLeast(1)
    ] = Field(default=["GET", "HEAD"], description="Methods whose responses are kept.")
    content_type: Annotated[list[Annotated[Text, Satisfies(_check_media_type)]], AtLeast(1)] = (
        Field(
            default=["text/plain", "application/json"],
            description="Types of responses that are kept, parameters and all; `*` for any type or "
            "subtype.",
        )
    )
    cache_ttl: Seconds = Field(
        default=300, description="How many seconds a response is fresh, unless it says so itself."
    )
    cache_control: bool = Field(
        default=False,
        description="Whether requests and responses have a say (`Cache-Control`, RFC 9111).",
    )
    storage_ttl: Seconds | None = Field(
        default=None,
        description="How many seconds a response is kept, fresh or not; null: while it is fresh.",
    )
    ignore_uri_case: bool = Field(
        default=False, description="Whether paths that differ only in case are the same."
    )
    vary_query_params: list[Text] | None = Field(
        default=None, description="Arguments of the query that tell requests apart; null: all."
    )
    vary_headers: list[Text] | None = Field(
        default=None, description="Headers that tell requests apart; null: none."
    )
    response_headers: ResponseHeaders = Field(  # type: ignore[valid-type]
        default_factory=ResponseHeaders, description="Which headers tell clients of the cache."
    )
    memory: Memory = Field(default_factory=Memory, description="Where Kong keeps responses.")

    def tells(self, header: str) -> bool:
        """Whether clients are told this, by its name in ``response_headers``."""
        return bool(getattr(self.response_headers, header))
