"""What plugins that find out who a request is from have in common (plugins.md section 4)."""

from __future__ import annotations

import time
from collections.abc import Coroutine
from typing import Annotated, Any

from pydantic import Field

from gateway.entities.entity import Record
from gateway.entities.rules import Matches
from gateway.entities.types import Text
from gateway.plugins.contract import Plugin, Use
from gateway.plugins.identity import Consumer, Credential
from gateway.plugins.reply import Reply, refuse
from gateway.plugins.request import Request, Upstream

UNAUTHORIZED = "Unauthorized"

Realm = Annotated[
    Text, Matches(r"[^\x00-\x1f\x7f]*", "invalid value '{value}': control characters in a realm")
]
Outcome = Reply | Coroutine[Any, Any, Reply | None] | None


class Known:
    """Who sends certain header lines, until a time in seconds since the epoch.

    ``hidden`` are the headers that its service does not get to see. ``lines`` are what becomes of
    the header lines that pass, once that was worked out.
    """

    __slots__ = ("consumer", "credential", "hidden", "lines", "until")

    def __init__(
        self,
        consumer: Consumer,
        credential: Credential,
        hidden: tuple[str, ...],
        until: float | None,
    ) -> None:
        self.consumer = consumer
        self.credential = credential
        self.hidden = hidden
        self.until = until
        self.lines: bytes | None = None


class Authentication(Plugin):
    """Base of plugins that authenticate.

    A subclass has `identify`, which answers with a refusal, or with what `admit` returns.
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

    def __init__(self, config: Any, use: Use, shared: Any = None) -> None:
        super().__init__(config, use, shared)
        self._anonymous: str | None = config.anonymous

    def identify(self, request: Request) -> Outcome:
        """Find out who the request is from."""
        raise NotImplementedError

    def access(self, request: Request) -> Outcome:
        """Let the request pass as its consumer's, or as nobody's where that is allowed."""
        if self._anonymous is not None and request.credential is not None:
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
        if self._anonymous is None or refusal.status != 401:
            return refusal
        consumer = request.directory.consumer(self._anonymous)
        if consumer is None:
            raise LookupError(f"there is no anonymous consumer {self._anonymous!r}")
        request.admit_as_anonymous(consumer)
        return None

    def admit(self, request: Request, credential: Credential) -> Reply | None:
        """Let the request pass as its consumer's. Returns a refusal if there is no such one."""
        consumer = request.directory.consumers.get(credential.consumer_id)
        if consumer is None:  # a bad row
            return refuse(401, UNAUTHORIZED)
        request.authenticate(consumer, credential)
        return None

    # -- the same header lines again

    def remember(
        self,
        request: Request,
        credential: Credential,
        *hidden: str,
        until: float | None = None,
    ) -> None:
        """Take it from now on that requests with these header lines show this credential.

        Until it expires, or what it was in does, or anything changes in the directory. Only for a
        request that was admitted.
        """
        if request.consumer is not None:
            ends = [end for end in (credential.expires_at, until) if end is not None]
            known = Known(request.consumer, credential, hidden, min(ends, default=None))
            request.remember(self, known)

    def recognises(self, request: Request) -> bool:
        """Admit a request whose header lines are known; tell whether they are."""
        known: Known | None = request.recall(self)
        if known is None or (known.until is not None and known.until <= time.time()):
            return False
        if request.changes is not None:
            self._admit_known(request, known)
        elif known.lines is None:
            self._admit_known(request, known)
            known.lines = request.upstream.lines
        else:
            request.consumer, request.credential = known.consumer, known.credential
            request.changes = Upstream(known.lines)
        return True

    def _admit_known(self, request: Request, known: Known) -> None:
        for name in known.hidden:
            request.upstream.remove_header(name)
        request.authenticate(known.consumer, known.credential)


def challenge(scheme: str, realm: str | None) -> dict[str, str]:
    """Return the header that says how to authenticate."""
    quoted = (
        "" if realm is None else ' realm="' + realm.replace("\\", "\\\\").replace('"', '\\"') + '"'
    )
    return {"WWW-Authenticate": scheme + quoted}


def as_text(value: str) -> str:
    """Return the value of a header, which is decoded as Latin-1, as the UTF-8 that it may be."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value
