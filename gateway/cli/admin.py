"""`gateway admin token`: who may use the Admin API.

Tokens are made in the database itself, so whoever may write there makes the first one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gateway.cli.errors import CommandError
from gateway.settings import NodeSettings, named, read_settings
from gateway.store.admin_tokens import AdminTokens, NameTaken, Role, TokenRow
from gateway.store.embedded import EmbeddedPostgres
from gateway.store.errors import StoreError
from gateway.store.store import Store

FILE_WIDTH = 160
LONGEST_LIFE = timedelta(days=3650)

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_DURATION = re.compile(r"([0-9]{1,6})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}

_DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        metavar="URL",
        show_default=False,
        help="The cluster's PostgreSQL [GATEWAY_DATABASE_URL]. Without one: that of `gateway up` "
        "in --data-dir, while it runs.",
    ),
]
_DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        envvar="GATEWAY_DATA_DIR",
        help="The data directory of `gateway up`.",
    ),
]
_Name = Annotated[str, typer.Argument(metavar="NAME", help="What logs and lists call it.")]

app = typer.Typer(help="The Admin API.", no_args_is_help=True, rich_markup_mode=None)
token = typer.Typer(
    help="Who may use the Admin API. As soon as there is a token, all its requests need one.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(token, name="token")


@token.command()
def create(
    name: _Name,
    role: Annotated[Role, typer.Option(help="`read-only` may look, and try what would be valid.")],
    expires_in: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="How long it counts, like 90m, 12h or 30d: else forever."
        ),
    ] = None,
    database_url: _DatabaseUrl = None,
    data_dir: _DataDir = Path("data"),
) -> None:
    """Make a token and print it: it is shown this once and never again."""
    if not _NAME.fullmatch(name):
        raise CommandError(f"'{name}' is no name of a token: up to 64 letters, digits, . _ @ or -")
    good_for = None if expires_in is None else _duration(expires_in)
    try:
        made = _on(database_url, data_dir, lambda tokens: tokens.create(name, role, good_for))
    except NameTaken:
        raise CommandError(
            f"there is a token named {name}: choose another name, or revoke it before with "
            f"`gateway admin token revoke {name}`"
        ) from None
    typer.echo(made)
    typer.echo(
        "Keep it: it is not shown again. Clients send it as Kong-Admin-Token or as Authorization: "
        "Bearer; the commands of gateway take it from GATEWAY_ADMIN_TOKEN.",
        err=True,
    )


@token.command("list")
def list_(database_url: _DatabaseUrl = None, data_dir: _DataDir = Path("data")) -> None:
    """Show all tokens that were made, by name: never what they are."""
    console = Console()
    if not console.is_terminal:
        console.width = FILE_WIDTH
    console.print(_table(_on(database_url, data_dir, lambda tokens: tokens.all())))


@token.command()
def revoke(
    name: _Name, database_url: _DatabaseUrl = None, data_dir: _DataDir = Path("data")
) -> None:
    """Let a token count no more, at once and on all nodes."""
    if not _on(database_url, data_dir, lambda tokens: tokens.revoke(name)):
        raise CommandError(f"there is no token named {name} that counts")
    typer.echo(f"{name} is revoked", err=True)


def _on(database_url: str | None, data_dir: Path, work: Callable[[AdminTokens], Awaitable[T]]) -> T:
    """Do work on the tokens of a database."""
    settings = read_settings(NodeSettings, database_url=database_url)
    if not settings.database_url.get_secret_value():
        url = _embedded_url(data_dir)
        settings = read_settings(NodeSettings, database_url=url)

    async def run() -> T:
        store = Store(settings)
        await store.start()
        try:
            return await work(AdminTokens(store))
        finally:
            await store.stop()

    try:
        return asyncio.run(run())
    except StoreError as error:
        raise CommandError(f"{named('database_url')}: {error}") from None


def _embedded_url(data_dir: Path) -> str:
    """Return the URL of the PostgreSQL that `gateway up` runs in a directory."""
    directory = data_dir / "postgres"
    if not directory.is_dir():
        raise CommandError(
            f"{named('database_url')} is required, or {named('data_dir')} of a `gateway up` that "
            f"runs: there is no {directory}"
        )
    return EmbeddedPostgres(directory).url()


def _duration(text: str) -> timedelta:
    parts = _DURATION.fullmatch(text)
    duration = timedelta(**{_UNITS[parts[2]]: int(parts[1])}) if parts else timedelta()
    if not timedelta() < duration <= LONGEST_LIFE:
        raise CommandError(
            f"--expires-in: '{text}' is no time like 90m, 12h or 30d, nor are more than "
            f"{LONGEST_LIFE.days}d"
        )
    return duration


def _table(rows: list[TokenRow]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("name", "role", "state", "created", "expires", "last used"):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, _cells(row)), style="" if _state(row) == "counts" else "dim")
    return table


def _cells(row: TokenRow) -> Iterator[str]:
    yield from (row.name, row.role, _state(row))
    yield from map(_moment, (row.created_at, row.expires_at, row.last_used_at))


def _state(row: TokenRow) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.has_expired else "counts"


def _moment(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"
