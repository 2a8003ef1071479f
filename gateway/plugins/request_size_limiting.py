"""request-size-limiting: no larger request bodies than this (plugins.md section 5.8)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from gateway.entities.entity import Record
from gateway.entities.rules import Between, OneOf
from gateway.entities.types import Text, WholeNumber
from gateway.plugins.contract import Plugin, Use
from gateway.plugins.reply import Reply, refuse
from gateway.plugins.request import Request

_UNITS_BYTES = {"megabytes": 2**20, "kilobytes": 2**10, "bytes": 1}
_TOO_LARGE = "Request size limit exceeded"
_NO_LENGTH = refuse(411, "A valid Content-Length header is required")


class RequestSizeLimiting(Plugin):
    """Refuses requests with a larger body."""

    name = "request-size-limiting"
    priority = 951

    class Config(Record):
        """How large a body may be."""

        allowed_payload_size: Annotated[WholeNumber, Between(0, 2**31 - 1)] = Field(
            default=128, description="The largest size that is allowed."
        )
        size_unit: Annotated[Text, OneOf(*_UNITS_BYTES)] = Field(
            default="megabytes", description="What it is counted in: 2^20, 2^10 or single bytes."
        )
        require_content_length: bool = Field(
            default=False,
            description="Whether requests must say how long they are, unless they come in chunks.",
        )

    config: Config

    def __init__(self, config: Config, use: Use, shared: Any = None) -> None:
        super().__init__(config, use, shared)
        self._limit_bytes = config.allowed_payload_size * _UNITS_BYTES[config.size_unit]

    def access(self, request: Request) -> Reply | None:
        """Refuse what is too large, as soon as that is known."""
        if not request.asked.has_body:
            return self._judge_empty(request)
        return request.limit_body(self._limit_bytes, _refusal(request))

    def _judge_empty(self, request: Request) -> Reply | None:
        if self.config.require_content_length and request.header("Content-Length") is None:
            return _NO_LENGTH
        return None


def _refusal(request: Request) -> Reply:
    expected = request.header("Expect")
    is_asked_first = expected is not None and expected.lower() == "100-continue"
    return _REFUSALS[is_asked_first]


_REFUSALS = (refuse(413, _TOO_LARGE), refuse(417, _TOO_LARGE))
"""To those who send their body right away, and to those who ask first."""
