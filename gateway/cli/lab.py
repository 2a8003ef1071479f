"""`gateway lab`: measurements of what a cluster promises, one file each."""

from __future__ import annotations

import typer

from gateway.cli.lab_faults import faults
from gateway.cli.lab_fleet import fleet
from gateway.cli.lab_staleness import staleness

app = typer.Typer(
    help="Measure what a cluster promises.", no_args_is_help=True, rich_markup_mode=None
)
app.command()(staleness)
app.command()(faults)
app.command()(fleet)
