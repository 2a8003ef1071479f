"""Control planes for a fleet of simulated data planes: real processes on the fleet's database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.hybrid.certificates import make_pair
from gateway.lab.cluster import LabCluster
from gateway.settings import Role

NUMBER = 2
PAIR_DAYS = 365


@dataclass(frozen=True, slots=True)
class ControlPlanes:
    """Running control planes: their process ids, and the settings of a data plane of theirs."""

    pids: list[int]
    settings: dict[str, str]


@asynccontextmanager
async def control_planes(database_url: str) -> AsyncIterator[ControlPlanes]:
    """Run control planes for the length of the block. Raises LabError."""
    async with LabCluster(
        database_url=database_url, role=Role.CONTROL_PLANE, log_level="warning"
    ) as cluster:
        pair = make_pair(cluster.directory, PAIR_DAYS)
        shared = {
            "cluster_cert": str(pair.certificate_path),
            "cluster_cert_key": str(pair.key_path),
        }
        nodes = await cluster.start_nodes(NUMBER, **shared)
        yield ControlPlanes(
            pids=[node.pid for node in nodes if node.pid],
            settings={
                **shared,
                "role": Role.DATA_PLANE,
                "control_planes": ",".join(node.addresses["cluster"] for node in nodes),
                "snapshot_dir": "",
            },
        )
