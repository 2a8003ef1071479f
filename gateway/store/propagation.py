"""Who serves traffic in the cluster, and how far each has got: what a write can wait for."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Executable, text

MEMBERS: Executable = text("""
    WITH members AS (
        SELECT name, last_seen_at, applied_version, applied_committed_at
        FROM nodes WHERE role <> 'control-plane'
        UNION ALL
        SELECT name, last_seen_at, applied_version, applied_committed_at
        FROM data_planes
    )
    SELECT members.name,
        extract(epoch FROM clock_timestamp() - last_seen_at)::float8 AS age_s,
        CASE
            WHEN applied_committed_at IS NULL OR applied_committed_at = change_sets.committed_at
            THEN applied_version
        END AS applied_version
    FROM members LEFT JOIN change_sets ON change_sets.version = applied_version
    ORDER BY name
""")
"""One row per node or data plane that proxies.

A version that was not committed when the member says is one of another history, from before a
restore: it counts as none. Nodes of an older release do not say.
"""


@dataclass(frozen=True, slots=True)
class Member:
    """A node or data plane that serves traffic, as it last reported; None: it serves nothing yet.

    ``age_s`` is how long ago that was, by the database's clock.
    """

    name: str
    age_s: float
    applied_version: int | None

    def serves(self, version: int) -> bool:
        """Tell whether it has applied this version or a later one."""
        return self.applied_version is not None and self.applied_version >= version
