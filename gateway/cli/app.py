"""Assembles the command groups and turns every expected failure into one line and an exit code."""

from __future__ import annotations

import sys
from typing import Annotated

import structlog
import typer

from gateway import __version__
from gateway.cli import admin, cluster, config, db, hybrid, lab, node, plugin, settings, up
from gateway.cli.errors import CommandError
from gateway.settings import SettingError
from gateway.up.errors import StartError

app = typer.Typer(
    name="gateway",
    help="An API-gateway cluster: N identical nodes on one PostgreSQL.",
    no_args_is_help=True,
    add_completion=False,
    # Plain help fits a narrow terminal; rich tracebacks would show local variables, secrets too.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("up")(up.up)
app.command("node")(node.node)
app.add_typer(db.app, name="db")
app.add_typer(config.app, name="config")
app.add_typer(admin.app, name="admin")
app.add_typer(cluster.app, name="cluster")
app.add_typer(plugin.app, name="plugin")
app.add_typer(hybrid.app, name="hybrid")
app.add_typer(lab.app, name="lab")
app.command("settings")(settings.settings)


def main() -> int:
    """Run the command of this process's arguments; return the exit code or raise SystemExit."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        app(prog_name="gateway")
    except SettingError as error:
        return _complain(error, 2)
    except (CommandError, StartError) as error:
        return _complain(error, 1)
    return 0


def _complain(error: Exception, exit_code: int) -> int:
    typer.echo(f"gateway: {' '.join(str(error).split())}", err=True)
    return exit_code


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gateway {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """An API-gateway cluster: N identical nodes on one PostgreSQL."""
