"""What a data plane and a control plane say to each other, over one WebSocket.

A data plane introduces itself with `Hello` and is told `Welcome` or `Refused`. Then it asks, one
question at a time: `Seen` for the newest version, `Load` for what leads there, which is answered by
`Loading`, batches of rows in the wire form, and `Loaded`. Beside that it sends a `Report` now and
then, and `Leave` in the end, answered by `Noted` once the cluster knows. A control plane may say
`Announced` at any time, which only wakes the data plane: it asks.

Each message is one JSON object in a binary frame. Unknown keys are ignored, so that releases can
add some.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from gateway.snapshot.wire import Plain, WireError, decode_batch, from_text
from gateway.status.health_counts import LONGEST_NAME, MOST_NAMED
from gateway.store.source import Batch, VersionMark

PROTOCOL = 1
"""Raised when a release cannot talk to the one before."""

PATH = "/v1/data-plane"

MOST_BYTES_ASKED = 65_536
"""Largest message of a data plane."""

MOST_BYTES_ANSWERED = 16_777_216
"""Largest message of a control plane. No batch comes near it unless a single row does."""

OPEN_TIMEOUT_S = 3.0
"""Deadline for each step of getting connected: TCP and TLS, WebSocket, introduction."""

PING_INTERVAL_S = 15.0
PING_TIMEOUT_S = 30.0
"""A side that has not answered a ping for so long is cut: 45 seconds after it fell silent."""

NO_CONFIG_HASH = "0" * 32
"""The hash of a data plane that serves no configuration."""

_Line = Annotated[str, Field(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Name = Annotated[str, Field(max_length=LONGEST_NAME, pattern=r"^[^\x00]*$")]
_Number = Annotated[int, Field(ge=0, lt=2**31)]
_Version = Annotated[int, Field(ge=0, lt=2**63)]


class ProtocolError(Exception):
    """The other side said something that is not in the protocol; the message says what."""


class DataPlaneStatus(StrEnum):
    """How a data plane and its control plane get on, as Kong names it."""

    UNKNOWN = "unknown"
    NORMAL = "normal"
    VERSION_INCOMPATIBLE = "kong_version_incompatible"


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True)


class Mark(_Message):
    """A version mark."""

    epoch: UUID
    version: _Version
    committed_at: AwareDatetime

    @classmethod
    def of(cls, mark: VersionMark) -> Mark:
        """Return the message's form of a mark."""
        return cls(epoch=mark.epoch, version=mark.version, committed_at=mark.committed_at)

    def mark(self) -> VersionMark:
        """Return the mark."""
        return VersionMark(self.epoch, self.version, self.committed_at)


class Applied(_Message):
    """The version that a data plane serves."""

    version: _Version
    committed_at: AwareDatetime

    @classmethod
    def of(cls, version: int | None, committed_at: datetime | None) -> Applied | None:
        """Return the version, None if there is none."""
        if version is None or committed_at is None:
            return None
        return cls(version=version, committed_at=committed_at)


class UnhealthyAddress(_Message):
    """An address that gets no traffic from a data plane."""

    upstream: _Name
    target: _Name
    address: _Name


class Health(_Message):
    """How many addresses of targets a data plane checks, and what of them is unhealthy."""

    checked: _Number
    unhealthy: _Number
    addresses: Annotated[list[UnhealthyAddress], Field(max_length=MOST_NAMED)]

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Health | None:
        """Return what a heartbeat tells, None if it tells nothing."""
        return cls.model_validate(told) if told else None


# -- what a data plane says


class Hello(_Message):
    """The first message on a connection."""

    type: Literal["hello"] = "hello"
    protocol: int
    node_id: UUID
    name: Annotated[_Line, Field(min_length=1)]
    software_version: _Line
    labels: Annotated[dict[_Line, _Line], Field(max_length=100)]
    applied: Applied | None


class Seen(_Message):
    """Asks for the newest version: everything committed before the question is in it."""

    type: Literal["seen"] = "seen"


class Load(_Message):
    """Asks for what leads from a version to the newest one; None: for everything."""

    type: Literal["load"] = "load"
    since: Mark | None


class Report(_Message):
    """A heartbeat."""

    type: Literal["report"] = "report"
    number: Annotated[int, Field(ge=0)]
    applied: Applied | None
    health: Health | None = None


class Leave(_Message):
    """The data plane stops in good order: nobody shall wait for it any more."""

    type: Literal["leave"] = "leave"
    number: Annotated[int, Field(ge=0)]


# -- what a control plane says


class Welcome(_Message):
    """The data plane will be answered."""

    type: Literal["welcome"] = "welcome"
    protocol: int
    node_id: UUID
    name: str
    software_version: str


class Refused(_Message):
    """The data plane will not be answered, and why; the connection ends."""

    type: Literal["refused"] = "refused"
    reason: str


class SeenAnswer(_Message):
    """The newest version."""

    type: Literal["seen"] = "seen"
    mark: Mark


class Loading(_Message):
    """Batches follow. Times are by the database's clock, ``read_at`` as of this message."""

    type: Literal["loading"] = "loading"
    kind: Literal["full", "changes"]
    mark: Mark
    oldest_committed_at: AwareDatetime
    read_at: AwareDatetime
    reason: str | None


class Loaded(_Message):
    """All batches have been sent."""

    type: Literal["loaded"] = "loaded"


class NothingNewer(_Message):
    """The version asked from is the newest."""

    type: Literal["nothing-newer"] = "nothing-newer"


class Failed(_Message):
    """The question cannot be answered now."""

    type: Literal["failed"] = "failed"
    error: str


class Noted(_Message):
    """The cluster knows what the message with this number said, or why not."""

    type: Literal["noted"] = "noted"
    number: int
    error: str | None


class Announced(_Message):
    """There is a newer version."""

    type: Literal["announced"] = "announced"
    version: int


Asked: TypeAlias = Hello | Seen | Load | Report | Leave
Answered: TypeAlias = (
    Welcome
    | Refused
    | SeenAnswer
    | Loading
    | Loaded
    | NothingNewer
    | Failed
    | Noted
    | Announced
    | Batch
)

_ASKED: TypeAdapter[Asked] = TypeAdapter(Annotated[Asked, Field(discriminator="type")])
_ANSWERED: TypeAdapter[Any] = TypeAdapter(
    Annotated[
        Welcome
        | Refused
        | SeenAnswer
        | Loading
        | Loaded
        | NothingNewer
        | Failed
        | Noted
        | Announced,
        Field(discriminator="type"),
    ]
)


def encode(message: BaseModel) -> bytes:
    """Return what is sent for a message that is not a batch."""
    return message.model_dump_json().encode()


def decode_asked(content: str | bytes) -> Asked:
    """Return what a data plane said. Raises ProtocolError."""
    try:
        return _ASKED.validate_json(content)
    except ValidationError as error:
        raise ProtocolError(_first(error)) from None


def decode_answered(content: str | bytes) -> Answered:
    """Return what a control plane said. Raises ProtocolError."""
    try:
        plain: Plain = from_text(content)
        if plain.get("type") == "batch":
            return decode_batch(plain)
        answered: Answered = _ANSWERED.validate_python(plain)
    except WireError as error:
        raise ProtocolError(str(error)) from None
    except ValidationError as error:
        raise ProtocolError(_first(error)) from None
    return answered


def _first(error: ValidationError) -> str:
    """Say what is wrong first, without quoting the other side."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'message'}: {first['msg']}"


# -- what both sides must agree on


def incompatibility(control_plane: str, data_plane: str) -> str | None:
    """Say why a data plane of one release must not ask a control plane of another, None if it may.

    The wire form bridges minor releases in one direction: a data plane drops what it does not know,
    but must not be fed with defaults for what it does. So control planes are upgraded first.
    """
    control, data = _release(control_plane), _release(data_plane)
    if control is None or data is None:
        return f"there is no telling whether releases {control_plane} and {data_plane} get on"
    if control[0] != data[0]:
        return f"a data plane of release {data_plane} needs a control plane of {data[0]}.x"
    if data[1] > control[1]:
        return (
            f"a data plane of release {data_plane} is newer than the control plane "
            f"({control_plane}): upgrade control planes first"
        )
    return None


def _release(version: str) -> tuple[int, int] | None:
    found = re.match(r"(\d{1,9})\.(\d{1,9})(?![0-9])", version)
    return None if found is None else (int(found[1]), int(found[2]))


def config_hash(epoch: UUID, applied: Applied | None) -> str:
    """Return 32 hex digits that are the same if and only if the same version is applied.

    Zeros if none is. The epoch is that of the database, as data planes do not report theirs: two
    histories differ in when they committed a version.
    """
    if applied is None:
        return NO_CONFIG_HASH
    committed_at = applied.committed_at.astimezone(UTC).isoformat()
    identity = f"{epoch} {applied.version} {committed_at}"
    return blake2b(identity.encode(), digest_size=16).hexdigest()
