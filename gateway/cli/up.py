"""`gateway up`: a whole cluster on this machine."""

from __future__ import annotations

import typer

from gateway.cli.options import settings_options
from gateway.settings import UpSettings
from gateway.up.run import run_up


@settings_options(UpSettings)
def up(settings: UpSettings) -> None:
    """Run a whole cluster here: PostgreSQL, nodes and a demo upstream, until Ctrl-C."""
    raise typer.Exit(run_up(settings))
