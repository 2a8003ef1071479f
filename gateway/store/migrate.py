"""Bringing a database to this software's schema, and telling how the two stand.

The migrations lie at the top level of the source tree, and inside the package in a wheel.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, NullPool, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from alembic import command

VERSION_TABLE = "gateway_schema"
ADVISORY_LOCK = 0x6761_7465_7761_79
"""Held while migrating; the letters "gateway"."""

WAIT_FOR_OTHERS_S = 120
LOCK_TIMEOUT_S = 10
STATEMENT_TIMEOUT_S = 300


class MigrationError(Exception):
    """The schema cannot be brought up to date; the message is one line that says why."""


class SchemaState(StrEnum):
    """How a database stands to this software."""

    UP_TO_DATE = "up to date"
    EMPTY = "empty"
    OUTDATED = "outdated"
    UNKNOWN = "unknown"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class SchemaCheck:
    """The schema a database has (``current``) and the one this software has (``head``)."""

    state: SchemaState
    current: str | None
    head: str

    @property
    def message(self) -> str:
        """What it is and what to do, in one line."""
        return {
            SchemaState.UP_TO_DATE: f"the schema is up to date ({self.head})",
            SchemaState.EMPTY: f"the database is empty: run `gateway db upgrade` ({self.head})",
            SchemaState.OUTDATED: (
                f"the schema is {self.current}, this software needs {self.head}: "
                "run `gateway db upgrade`"
            ),
            SchemaState.UNKNOWN: (
                f"the schema is {self.current}, which this software ({self.head}) does not know: "
                "it was made by a newer release; run that one"
            ),
            SchemaState.FOREIGN: (
                "the database has tables that are not ours: use an empty database"
            ),
        }[self.state]


def upgrade(url: str) -> SchemaCheck:
    """Bring the schema up to date and return how it stands. May run on many nodes at once.

    Raises MigrationError.
    """
    with _explained(), connection_to(url) as connection, connection.begin():
        _wait_for_others(connection)
        found = _check(connection)
        if found.state in (SchemaState.UNKNOWN, SchemaState.FOREIGN):
            raise MigrationError(found.message)
        if found.state is not SchemaState.UP_TO_DATE:
            command.upgrade(_config(connection), "head")
        return _check(connection)


def current(url: str) -> str | None:
    """Return the revision of the schema, None if there is none. Raises MigrationError."""
    return check(url).current


def check(url: str) -> SchemaCheck:
    """Return how the schema stands. Raises MigrationError if the database cannot be asked."""
    with _explained(), connection_to(url) as connection:
        return _check(connection)


@contextmanager
def connection_to(url: str) -> Iterator[Connection]:
    """Open a connection with the deadlines that migrations run under."""
    arguments = {
        "connect_timeout": 10,
        "prepare_threshold": None,
        "options": f"-c search_path=public -c statement_timeout={STATEMENT_TIMEOUT_S * 1000}",
    }
    driver_url = make_url(url).set(drivername="postgresql+psycopg")
    engine = create_engine(driver_url, poolclass=NullPool, connect_args=arguments)
    with engine.connect() as connection:
        yield connection


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise MigrationError(f"the database cannot be migrated or asked: {reason}") from error


def _wait_for_others(connection: Connection) -> None:
    _set_lock_timeout(connection, WAIT_FOR_OTHERS_S)
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
    _set_lock_timeout(connection, LOCK_TIMEOUT_S)


def _set_lock_timeout(connection: Connection, timeout_s: int) -> None:
    value = {"value": f"{timeout_s}s"}
    connection.execute(text("SELECT set_config('lock_timeout', :value, true)"), value)


def _check(connection: Connection) -> SchemaCheck:
    scripts = ScriptDirectory.from_config(_config(connection))
    head = scripts.get_current_head()
    assert head is not None  # noqa: S101 - there is at least one migration
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    revision = context.get_current_revision()
    return SchemaCheck(_state(connection, scripts, revision, head), revision, head)


def _state(
    connection: Connection, scripts: ScriptDirectory, revision: str | None, head: str
) -> SchemaState:
    if revision is None:
        return SchemaState.FOREIGN if _has_tables(connection) else SchemaState.EMPTY
    if revision == head:
        return SchemaState.UP_TO_DATE
    known = {script.revision for script in scripts.walk_revisions()}
    return SchemaState.OUTDATED if revision in known else SchemaState.UNKNOWN


def _has_tables(connection: Connection) -> bool:
    """Whether the schema has tables, other than those of extensions and our version table."""
    query = text("""
        SELECT EXISTS (
            SELECT 1 FROM pg_class
            WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
            AND relname <> :version_table
            AND NOT EXISTS (
                SELECT 1 FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e'
            )
        )
    """)
    return bool(connection.execute(query, {"version_table": VERSION_TABLE}).scalar_one())


def _config(connection: Connection) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_migrations()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _migrations() -> Path:
    in_wheel = Path(__file__).parent / "migrations"
    return in_wheel if in_wheel.exists() else Path(__file__).parents[2] / "alembic"
