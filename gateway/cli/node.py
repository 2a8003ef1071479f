"""`gateway node`: one node of a cluster; this is what production runs."""

from __future__ import annotations

import typer

from gateway.cli.options import require, settings_options
from gateway.node import run_node
from gateway.settings import NodeSettings, Role


@settings_options(NodeSettings)
def node(settings: NodeSettings) -> None:
    """Run one node against the cluster's database, until SIGTERM or Ctrl-C."""
    if settings.role is not Role.DATA_PLANE:
        require(settings, "database_url")
    raise typer.Exit(run_node(settings))
