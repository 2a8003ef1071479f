"""`gateway hybrid`: what control planes and data planes need beside a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.errors import CommandError
from gateway.hybrid.certificates import PairError, make_pair

app = typer.Typer(
    help="Control planes and data planes.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def _group() -> None:
    """Keep `certs` a sub-command although it is the only one."""


@app.command()
def certs(
    directory: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where to put the pair.")
    ] = Path(),
    days: Annotated[
        int, typer.Option(min=1, max=36_500, metavar="DAYS", help="How long it is valid.")
    ] = 1095,
) -> None:
    """Make the pair that all control and data planes share: cluster.crt and cluster.key."""
    try:
        pair = make_pair(directory, days)
    except PairError as error:
        raise CommandError(str(error)) from None
    typer.echo(f"{pair.certificate_path} and {pair.key_path}, until {pair.expires_at:%Y-%m-%d}.")
    typer.echo("Copy both to every control and data plane; the key belongs to nobody else.")
    typer.echo(f"  --cluster-cert {pair.certificate_path} --cluster-cert-key {pair.key_path}")
