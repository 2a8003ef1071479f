"""What plugins that find out who a request is from have in common (plugins.md section 4)."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from pydantic import Field

from gateway.entities.entity import Record
from gateway.entities.types import Text
from gateway.plugins.contract import Plugin
from gateway.plugins.identity import Credential
from gateway.plugins.reply import Reply, refuse
from gateway.plugins.request import Request

UNAUTHORIZED = "Unauthorized"


class Authentication(Plugin):
    """Base of plugins that authenticate.

    A subclass has `identify`, which answers with a refusal, or with None when it has called
    `authenticate`.
    """

    scopes = frozenset({"route", "service"})

    class Config(Record):
        """What all of these can be told."""

        anonymous: Text | None = Field(
            default=None,
            description="Id or user name of the consumer that requests without credentials are "
            "from; null: they are refused.",
        )

    config: Config

    def identify(self, request: Request) -> Reply | Coroutine[Any, Any, Reply | None] | None:
        """Find out who the request is from."""
        raise NotImplementedError

    def access(self, request: Request) -> Reply | Coroutine[Any, Any, Reply | None] | None:
        """Let the request pass as its consumer's, or as nobody's where that is allowed."""
        if self.config.anonymous is not None and request.credential is not None:
            return None  # another plugin knows already
        outcome = self.identify(request)
        if outcome is None:
            return None
        if isinstance(outcome, Reply):
            return self._refused(request, outcome)
        return self._waited(request, outcome)

    async def _waited(
        self, request: Request, identify: Coroutine[Any, Any, Reply | None]
    ) -> Reply | None:
        refusal = await identify
        return None if refusal is None else self._refused(request, refusal)

    def _refused(self, request: Request, refusal: Reply) -> Reply | None:
        anonymous = self.config.anonymous
        if anonymous is None:
            return refusal
        consumer = request.directory.consumer(anonymous)
        if consumer is None:
            raise LookupError(f"there is no anonymous consumer {anonymous!r}")
        request.admit_as_anonymous(consumer)
        return None

    def admit(self, request: Request, credential: Credential) -> Reply | None:
        """Let the request pass as its consumer's. Returns a refusal if there is no such one."""
        consumer = request.directory.consumers.get(credential.consumer_id)
        if consumer is None:  # a bad row
            return refuse(401, UNAUTHORIZED)
        request.authenticate(consumer, credential)
        return None


def challenge(scheme: str, realm: str | None) -> dict[str, str]:
    """Return the header that says how to authenticate."""
    quoted = (
        "" if realm is None else ' realm="' + realm.replace("\\", "\\\\").replace('"', '\\"') + '"'
    )
    return {"WWW-Authenticate": scheme + quoted}
