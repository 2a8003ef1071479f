"""The plugin itself: who is answered, and what."""

from __future__ import annotations

import os
import socket
from collections.abc import Coroutine, Mapping
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from gateway.entities.entity import Record
from gateway.entities.errors import violation
from gateway.entities.rules import Between, Matches, Satisfies
from gateway.entities.types import HeaderName, Text, WholeNumber
from gateway.plugins.contract import NodeServices, Plugin, Use
from gateway.plugins.reply import Reply, reply_json
from gateway.plugins.request import Request
from gateway.plugins.request_termination.echo import echo_of, written

_JSON = "application/json; charset=utf-8"

_MESSAGES = {
    401: "Unauthorized",
    404: "Not found",
    405: "Method not allowed",
    500: "An unexpected error occurred",
    502: "Bad Gateway",
    503: "Service unavailable",
}
"""What is said of a status when the config says nothing."""


def _final(status: int) -> int:
    if status < 200:
        raise violation("a status below 200 ends no request")
    return status


class RequestTermination(Plugin):
    """Answers requests itself."""

    name = "request-termination"
    priority = 2

    class Config(Record):
        """What is answered, and to whom."""

        status_code: Annotated[WholeNumber, Between(100, 599), Satisfies(_final)] = Field(
            default=503, description="Status of the answer."
        )
        message: Text | None = Field(
            default=None, description="What a JSON answer says; null: what goes with the status."
        )
        body: Text | None = Field(default=None, description="The body, as it is sent.")
        content_type: Annotated[Text, Matches("[ -~]+")] | None = Field(
            default=None, description="The type of `body`."
        )
        echo: bool = Field(
            default=False, description="Whether the answer tells what the gateway was asked."
        )
        trigger: HeaderName | None = Field(
            default=None,
            description="Name of a header or argument of the query: only requests with it are "
            "answered; null: all.",
        )

        @model_validator(mode="after")
        def _says_one_thing(self) -> Self:
            has_body, has_type = self.body is not None, self.content_type is not None
            if self.message is not None and (has_type or has_body):
                raise violation("message cannot be used with content_type or body")
            if has_type and not has_body:
                raise violation("content_type requires a body")
            if self.echo and (has_type or has_body):
                raise violation("echo cannot be used with content_type and body")
            return self

    config: Config
    shared: Mapping[str, Any]

    def __init__(self, config: Config, use: Use, shared: Any = None) -> None:
        super().__init__(config, use, shared)
        self._message = config.message or _MESSAGES.get(config.status_code)
        self._reply = self._fixed_reply()

    @classmethod
    def share(cls, node: NodeServices) -> Mapping[str, Any]:
        """Return what an echo tells of the node."""
        return {
            "node_id": node.settings.node_name,
            "worker_pid": os.getpid(),
            "hostname": socket.gethostname(),
        }

    def access(self, request: Request) -> Reply | Coroutine[Any, Any, Reply] | None:
        """Answer, if this request is meant."""
        trigger = self.config.trigger
        if trigger is not None and not _has(request, trigger):
            return None
        return self._echo(request) if self.config.echo else self._reply

    def _fixed_reply(self) -> Reply:
        config = self.config
        if config.body is not None:
            content_type = config.content_type or ""
            return Reply(config.status_code, body=config.body.encode(), content_type=content_type)
        if self._message is None:
            return Reply(config.status_code)
        return reply_json(config.status_code, {"message": self._message})

    async def _echo(self, request: Request) -> Reply:
        told = {"message": self._message, "kong": self.shared} | await echo_of(request)
        return Reply(self.config.status_code, body=written(told), content_type=_JSON)


def _has(request: Request, name: str) -> bool:
    return request.header(name) is not None or name in request.arguments()
