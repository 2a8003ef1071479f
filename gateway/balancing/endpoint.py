"""An address that requests can be sent to, and what this node alone knows of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gateway.balancing.health import Health

Identity = tuple[str, str, int]
"""Host as its target says it, IP address, port (balancer.md section 6.2)."""


class Member(NamedTuple):
    """An address that belongs to a group: by configuration, or because DNS says so.

    ``host_header`` is the Host header by protocol. A ``weight`` of 0 means no traffic.
    """

    host: str
    address: str
    port: int
    weight: int
    host_header: Mapping[str, bytes]

    @property
    def identity(self) -> Identity:
        """What stays the same when weight or Host header change."""
        return self.host, self.address, self.port


class Endpoint:
    """A member as requests meet it. It lasts, with what is known of it, while its identity does.

    ``available`` is whether it may have traffic now, as follows from its ``health`` where that is
    checked. The algorithms that need to know keep here how many tries are in flight, and in
    ``scores``, at its ``place`` beside those that it is compared with, what follows from all they
    know: the lowest is best. ``step`` is what a further try adds to it. ``latency_s`` is a moving
    average as of the time ``measured_at``, None for never.
    """

    __slots__ = (
        "address",
        "available",
        "health",
        "host",
        "host_header",
        "identity",
        "in_flight",
        "latency_s",
        "measured_at",
        "place",
        "port",
        "scores",
        "step",
        "weight",
    )

    def __init__(self, member: Member) -> None:
        self.identity = member.identity
        self.host, self.address, self.port = self.identity
        self.weight = member.weight
        self.host_header = member.host_header
        self.available = True
        self.health = Health()
        self.in_flight = 0
        self.leave_others()
        self.step = 0.0
        self.latency_s = 0.0
        self.measured_at: float | None = None

    def leave_others(self) -> None:
        """Be compared with nobody."""
        self.scores, self.place = [0.0], 0

    def __repr__(self) -> str:
        return f"<Endpoint {self.host} {self.address}:{self.port}>"

    def become(self, member: Member) -> None:
        """Take over weight and Host header."""
        self.weight = member.weight
        self.host_header = member.host_header
