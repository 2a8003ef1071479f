"""The processes that make up the cluster, each with its command, environment and log file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from gateway.settings import NodeSettings
from gateway.up.plan import environment
from gateway.up.process import Child

Tell = Callable[[str], None]


def postgres(data_dir: Path, tell: Tell) -> Child:
    """Return the embedded PostgreSQL; it announces its URL."""
    command = ["gateway.up.postgres", str(data_dir / "postgres")]
    log = _log(data_dir, "postgres")
    return Child("PostgreSQL", command, os.environ, log, tell, announces=True)


def demo(port: int, data_dir: Path, tell: Tell) -> Child:
    """Return the demo upstream."""
    command = ["gateway.demo", str(port)]
    return Child("demo upstream", command, os.environ, _log(data_dir, "demo"), tell)


def node(settings: NodeSettings, data_dir: Path, tell: Tell) -> Child:
    """Return one node."""
    name = settings.node_name
    return Child(name, ["gateway", "node"], environment(settings), _log(data_dir, name), tell)


def _log(data_dir: Path, name: str) -> Path:
    return data_dir / "logs" / f"{name}.log"
