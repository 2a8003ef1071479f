"""acl: who may use a service, by the groups that consumers are members of (plugins.md section 5.5).

A plugin that knows of groups from elsewhere leaves them in ``request.context`` under
``authenticated_groups``: a list of texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from immutables import Map
from pydantic import Field, model_validator

from gateway.entities.entity import Record
from gateway.entities.errors import ENTITY, violation
from gateway.entities.types import Text
from gateway.plugins.authentication import UNAUTHORIZED
from gateway.plugins.contract import Plugin, Use
from gateway.plugins.identity import Consumer, one_line
from gateway.plugins.lines import line, removal
from gateway.plugins.reply import Reply, refuse
from gateway.plugins.request import Request

AUTHENTICATED_GROUPS = "authenticated_groups"

MOST_VERDICTS = 10_000
"""Consumers whose groups a plugin remembers its opinion of."""

_OF_GROUPS = removal(("x-consumer-groups", "x-authenticated-groups"))
_UNKNOWN = refuse(401, UNAUTHORIZED)
_UNWANTED = refuse(403, "You cannot consume this service")

_Memberships = Map[UUID, str]
_Verdict = Reply | bytes
"""A refusal, or the header line with the groups."""


class Acl(Plugin):
    """Admits consumers by their groups."""

    name = "acl"
    priority = 950
    scopes = frozenset({"route", "service"})

    class Config(Record):
        """Which groups are let in, or are not."""

        allow: list[Text] | None = Field(
            default=None, description="Groups that are let in: a member of any of them is."
        )
        deny: list[Text] | None = Field(
            default=None, description="Groups that are not let in: no member of any of them is."
        )
        hide_groups_header: bool = Field(
            default=False, description="Whether the service is not told the groups."
        )
        always_use_authenticated_groups: bool = Field(
            default=False,
            description="Whether groups that another plugin found count more than those of a "
            "consumer who showed a credential.",
        )

        @model_validator(mode="after")
        def _has_one_list(self) -> Acl.Config:
            if bool(self.allow) == bool(self.deny):
                raise violation(
                    "exactly one of these fields must be non-empty: 'config.allow', 'config.deny'",
                    at=ENTITY,
                )
            return self

    config: Config

    def __init__(self, config: Config, use: Use, shared: Any = None) -> None:
        super().__init__(config, use, shared)
        self._allows = bool(config.allow)
        self._listed = frozenset(config.allow or config.deny or ())
        self._verdicts: dict[UUID, tuple[_Memberships, _Verdict]] = {}

    def access(self, request: Request) -> Reply | None:
        """Let the request pass if its groups may, and tell the service which they are."""
        verdict = self._verdict(request)
        if isinstance(verdict, Reply):
            return verdict
        upstream = request.upstream
        upstream.lines = _OF_GROUPS.sub(b"", upstream.lines) + verdict
        return None

    def _verdict(self, request: Request) -> _Verdict:
        consumer = request.consumer
        if consumer is None or request.credential is None or self._prefers_authenticated:
            groups = request.context.get(AUTHENTICATED_GROUPS)
            if groups is not None:
                return self._judged(groups, "X-Authenticated-Groups")
        if consumer is None:
            return _UNKNOWN if request.credential is None else _UNWANTED
        memberships = request.directory.groups.get(consumer.id)
        if memberships is None:
            return self._without_groups(request)
        return self._of_consumer(consumer, memberships)

    @property
    def _prefers_authenticated(self) -> bool:
        return self.config.always_use_authenticated_groups

    def _without_groups(self, request: Request) -> _Verdict:
        if not self._allows:
            return b""
        return _UNKNOWN if request.credential is None else _UNWANTED

    def _of_consumer(self, consumer: Consumer, memberships: _Memberships) -> _Verdict:
        """Judge a consumer, once for as long as it is a member of just these groups."""
        known = self._verdicts.get(consumer.id)
        if known is not None and known[0] is memberships:
            return known[1]
        verdict = self._judged(sorted(memberships.values()), "X-Consumer-Groups")
        if len(self._verdicts) >= MOST_VERDICTS:
            self._verdicts.clear()
        self._verdicts[consumer.id] = memberships, verdict
        return verdict

    def _judged(self, groups: Sequence[str], header: str) -> _Verdict:
        is_listed = not self._listed.isdisjoint(groups)
        if is_listed != self._allows:
            return _UNWANTED
        if self.config.hide_groups_header or not groups:
            return b""
        return line(header, ", ".join(map(one_line, groups)))
