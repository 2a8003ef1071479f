"""The cluster under measurement, as the lab sees it: addresses."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from gateway.lab.staleness.wire import Origin


@dataclass(frozen=True, slots=True)
class Target:
    """Where to write, whom to probe, whom to ask what it has counted.

    ``probed`` and ``status`` are by name of node; ``checked`` names those in ``status`` whose own
    view of the stale window is to be compared with the outside. ``upstream_url`` is where the
    cluster reaches the upstream of what is probed, ``load_upstream_url`` that of the load; if
    empty, the load brings one. ``nodes`` counts the nodes that share the database's work.
    ``database_url`` is empty where the database is out of reach.
    """

    admin: Origin
    probed: Mapping[str, Origin]
    upstream_url: str
    nodes: int
    status: Mapping[str, Origin] = field(default_factory=dict)
    checked: Collection[str] = ()
    database_url: str = ""
    load_upstream_url: str = ""
