"""The contract of all balancing algorithms, and of those who want to hear how tries end.

Times are in seconds, readings of one clock that never goes back; whoever asks brings them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from gateway.balancing.endpoint import Endpoint


class Failure(Enum):
    """Why a try has got no response."""

    CONNECTION = "connection"
    TIMEOUT = "timeout"


class TryEnd(NamedTuple):
    """How a try ended.

    ``status`` is what the upstream answered, 0 if it did not. Without a ``failure`` either, the try
    says nothing of its endpoint: the client left, or a kept connection had just been closed.
    ``took_s`` lasted from the pick to the response's head, or to the failure. ``is_last`` is False
    when another try follows.
    """

    now: float
    took_s: float
    status: int = 0
    failure: Failure | None = None
    is_last: bool = True


class Listener(Protocol):
    """Who wants to hear how tries end; exactly once for each pick made while it listened."""

    def ended(self, endpoint: Endpoint, end: TryEnd) -> None:
        """Hear that a try is over: for a response, once all of it has passed."""
        ...


class Balancer(Protocol):
    """Chooses among the endpoints of one group; what it knows belongs to this node alone."""

    @property
    def listener(self) -> Listener | None:
        """Who has to be told how each try ends, None where that is of no use."""
        ...

    def arrange(self, endpoints: Sequence[Endpoint]) -> None:
        """Take note of which endpoints there are, of their weights and whether they are available.

        Called whenever any of that may have changed.
        """
        ...

    def pick(
        self, now: float, exclude: Collection[Endpoint] = (), value: bytes | None = None
    ) -> Endpoint | None:
        """Return the endpoint for the next try, None if none may have it.

        Endpoints without weight or not available are never picked. Those in ``exclude``, which
        failed this request, are passed over while another is left. ``value`` is what the request
        is hashed by, None if it is not.
        """
        ...
