"""The contract of all balancing algorithms, and of those who want to hear how tries end.

Times are in seconds, readings of one clock that never goes back; whoever asks brings them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import Enum
from typing import Protocol

from gateway.balancing.endpoint import Endpoint


class Failure(Enum):
    """Why a try has got no response."""

    CONNECTION = "connection"
    TIMEOUT = "timeout"


class Listener(Protocol):
    """Who wants to hear how tries end: of each pick made while it listened, one of these, once.

    ``took_s`` lasted from the pick to the response's head, or to the failure; that was ``at``.
    """

    def answered(self, endpoint: Endpoint, status: int, at: float, took_s: float) -> None:
        """Hear that a response has passed, or part of it until somebody cut it."""
        ...

    def failed(
        self, endpoint: Endpoint, failure: Failure, at: float, took_s: float, *, is_last: bool
    ) -> None:
        """Hear that there was no response; unless it ``is_last``, another try follows."""
        ...

    def left(self, endpoint: Endpoint) -> None:
        """Hear that it is over without a word on the endpoint.

        The client left, or a kept connection had just been closed.
        """
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
