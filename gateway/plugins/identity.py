"""Whom a request is from: consumers and their credentials, as the snapshot has them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from uuid import UUID

from immutables import Map


@dataclass(frozen=True, slots=True, eq=False)
class Consumer:
    """Who uses the services. ``lines`` tell an upstream, each led by CRLF."""

    id: UUID
    username: str | None
    custom_id: str | None
    lines: bytes = field(init=False)

    def __post_init__(self) -> None:
        lines = f"\r\nX-Consumer-ID: {self.id}"
        if self.custom_id is not None:
            lines += f"\r\nX-Consumer-Custom-ID: {one_line(self.custom_id)}"
        if self.username is not None:
            lines += f"\r\nX-Consumer-Username: {one_line(self.username)}"
        object.__setattr__(self, "lines", lines.encode())


@dataclass(frozen=True, slots=True, eq=False)
class Credential:
    """What a consumer shows. ``name`` is its key or user name; the rest depends on the kind.

    ``expires_at`` is in seconds since the epoch. ``line`` tells an upstream, led by CRLF.
    """

    id: UUID
    kind: str
    consumer_id: UUID
    name: str
    secret: str = ""
    algorithm: str = ""
    public_key: str = ""
    expires_at: float | None = None
    line: bytes = field(init=False)

    def __post_init__(self) -> None:
        told = str(self.id) if self.kind == "keyauth_credentials" else one_line(self.name)
        line = f"\r\nX-Credential-Identifier: {told}".encode()
        object.__setattr__(self, "line", line)


@dataclass(frozen=True, slots=True)
class Directory:
    """All consumers, credentials and groups of one snapshot.

    Credentials are found by kind (their table) and name, consumers also by user name and custom id.
    ``generation`` is one object for as long as nothing changes; to keep it keeps nothing else.
    """

    consumers: Map[UUID, Consumer] = field(default_factory=Map)
    consumer_ids: Map[tuple[str, str], UUID] = field(default_factory=Map)
    credentials: Map[tuple[str, str], Credential] = field(default_factory=Map)
    credential_names: Map[UUID, tuple[str, str]] = field(default_factory=Map)
    groups: Map[UUID, Map[UUID, str]] = field(default_factory=Map)
    group_owners: Map[UUID, UUID] = field(default_factory=Map)
    generation: object = field(default_factory=object, compare=False, repr=False)

    def credential(self, kind: str, name: str) -> Credential | None:
        """Return a credential by its key or user name, unless it has expired."""
        found = self.credentials.get((kind, name))
        if found is None or (found.expires_at is not None and found.expires_at <= time.time()):
            return None
        return found

    def consumer(self, id_or_username: str | UUID) -> Consumer | None:
        """Return a consumer by id or user name."""
        if isinstance(id_or_username, str):
            found = self.consumer_ids.get(("username", id_or_username))
            if found is None:
                try:
                    found = UUID(id_or_username)
                except ValueError:
                    return None
            id_or_username = found
        return self.consumers.get(id_or_username)

    def groups_of(self, consumer_id: UUID) -> list[str]:
        """Return the groups that a consumer is a member of."""
        return sorted(self.groups.get(consumer_id, _NONE).values())


_NONE: Map[UUID, str] = Map()


def one_line(text: str) -> str:
    """Return a name as a header can carry it: control characters are percent-encoded."""
    return "".join(c if c >= " " and c != "\x7f" else f"%{ord(c):02X}" for c in text).strip()
