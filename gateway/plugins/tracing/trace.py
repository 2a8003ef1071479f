"""The trace that a request belongs to, and the ids of what the gateway adds to it."""

from __future__ import annotations

from random import getrandbits
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gateway.plugins.tracing.formats import Format

NOTE = "trace"
"""Where plugins find the trace in a request's context."""

_RANGE = 1 << 64


class Parent(NamedTuple):
    """What a request says of its trace: ids, 0 where it has none, and whether it is to be told.

    ``is_sampled`` is None where that is left to others.
    """

    trace_id: int = 0
    span_id: int = 0
    is_sampled: bool | None = None


class Trace:
    """The trace of one request, the same for all plugins that tell of it.

    ``server_id`` is the span of the request in the gateway, ``client_id`` that of the gateway's own
    request, which the service sees as its parent. ``is_sampled`` is what the service hears.
    ``format`` is the one it came in, ``has_headers`` whether there was anything of the kind, and
    ``formats`` are those in which the service hears it, by name.
    """

    __slots__ = (
        "client_id",
        "format",
        "formats",
        "has_headers",
        "is_sampled",
        "parent",
        "server_id",
        "trace_id",
    )

    def __init__(
        self, parent: Parent, id_bytes: int, format_: Format | None, *, has_headers: bool
    ) -> None:
        self.parent = parent
        self.trace_id = parent.trace_id or new_id(id_bytes)
        self.server_id = new_id(8)
        self.client_id = new_id(8)
        self.is_sampled = bool(parent.is_sampled)
        self.format = format_
        self.has_headers = has_headers
        self.formats: dict[str, Format] = {}

    def ids(self) -> dict[str, str]:
        """Return the trace's id in each format in which the service hears it."""
        return {name: format_.show(self.trace_id) for name, format_ in self.formats.items()}

    def is_sampled_at(self, rate: float) -> bool:
        """Tell whether it is told: as its parent was, else at a rate, whoever decides by it."""
        if self.parent.is_sampled is not None:
            return self.parent.is_sampled
        return self.trace_id % _RANGE < rate * _RANGE


def new_id(size_bytes: int) -> int:
    """Return a random id; which nobody has to guess: it only has to differ from others."""
    return getrandbits(8 * size_bytes) or 1
