"""`gateway db`: the database's schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from gateway.cli.errors import CommandError
from gateway.cli.options import require, settings_options
from gateway.settings import NodeSettings, named
from gateway.store import migrate

app = typer.Typer(help="The database's schema.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
@settings_options(NodeSettings, only=["database_url"])
def upgrade(settings: NodeSettings) -> None:
    """Bring the schema up to date; safe to run on several machines at once."""
    with _database(settings) as url:
        typer.echo(migrate.upgrade(url).message)


@app.command()
@settings_options(NodeSettings, only=["database_url"])
def current(settings: NodeSettings) -> None:
    """Print the revision of the schema, `none` for an empty database."""
    with _database(settings) as url:
        typer.echo(migrate.current(url) or "none")


@app.command()
@settings_options(NodeSettings, only=["database_url"])
def check(settings: NodeSettings) -> None:
    """Say whether the schema is the one that this release needs; exit code 1 if not."""
    with _database(settings) as url:
        checked = migrate.check(url)
    if checked.state is not migrate.SchemaState.UP_TO_DATE:
        raise CommandError(checked.message)
    typer.echo(checked.message)


@contextmanager
def _database(settings: NodeSettings) -> Iterator[str]:
    """Give the database's URL; a failure to use it names the setting, never the URL."""
    require(settings, "database_url")
    try:
        yield settings.database_url.get_secret_value()
    except migrate.MigrationError as error:
        raise CommandError(f"{named('database_url')}: {error}") from None
