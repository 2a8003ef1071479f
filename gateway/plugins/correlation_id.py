"""correlation-id: a header by which a request is known wherever it goes (plugins.md 5.15)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from time import time
from typing import Annotated, Any
from uuid import uuid4

from pydantic import Field

from gateway.entities.entity import Record
from gateway.entities.errors import violation
from gateway.entities.rules import OneOf, Satisfies
from gateway.entities.types import HeaderName, Text
from gateway.plugins.contract import NodeServices, Plugin, Use
from gateway.plugins.lines import LineError, checked_name
from gateway.plugins.request import Request
from gateway.plugins.response import Response

CORRELATION_ID = "correlation_id"
"""Where the id stands in `Request.context`, for plugins that log."""


def _may_be_set(name: str) -> str:
    try:
        return checked_name(name)
    except LineError as error:
        raise violation(str(error)) from None


class CorrelationId(Plugin):
    """Gives each request an id, unless it comes with one."""

    name = "correlation-id"
    priority = 100_001

    class Config(Record):
        """Where the id stands, and what it looks like."""

        header_name: Annotated[HeaderName, Satisfies(_may_be_set)] = Field(
            default="Kong-Request-ID", description="The header that has the id."
        )
        generator: Annotated[Text, OneOf("uuid", "uuid#counter", "tracker")] = Field(
            default="uuid#counter",
            description="How ids are made: a random UUID; one of the node with a number behind "
            "it; or address and port of the node, process, connection, request and time.",
        )
        echo_downstream: bool = Field(
            default=False, description="Whether the client is told the id as well."
        )

    config: Config
    shared: Iterator[str]

    def __init__(self, config: Config, use: Use, shared: Any = None) -> None:
        super().__init__(config, use, shared)
        self._start_of_line = f"\r\n{config.header_name}: ".encode()

    @classmethod
    def share(cls, node: NodeServices) -> Iterator[str]:
        """Return what numbers the requests of the node."""
        del node
        prefix = uuid4()
        return (f"{prefix}#{number}" for number in count(1))

    def access(self, request: Request) -> None:
        """Pass on the id that the request came with, or a new one."""
        name = self.config.header_name
        given = request.header(name)
        known = request.context[CORRELATION_ID] = given or self._generate(request)
        if given is None:
            request.upstream.lines += self._start_of_line + known.encode()
        elif not given:
            request.upstream.set_header(name, known)

    def header_filter(self, request: Request, response: Response) -> None:
        """Tell the client, if it is to know."""
        if self.config.echo_downstream:
            name = self.config.header_name
            known = request.context.get(CORRELATION_ID) or request.header(name)
            response.remove_header(name)
            response.lines += self._start_of_line + (known or self._generate(request)).encode(
                "latin-1"
            )

    def _generate(self, request: Request) -> str:
        match self.config.generator:
            case "uuid":
                return str(uuid4())
            case "tracker":
                return _tracker(request)
            case _:
                return next(self.shared)


def _tracker(request: Request) -> str:
    """Return an id that tells where and when: ``10.0.0.1-8000-4711-12-3-1700000000.123``."""
    address, port, connection, number = request.asked.connection
    return f"{address}-{port}-{os.getpid()}-{connection}-{number}-{time():.3f}"
