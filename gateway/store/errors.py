"""What can go wrong in the store, and the one seam where the driver's errors become ours."""
# ruff: noqa: N818 - most are answers rather than errors, and named as the Admin API tells them.

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors as pg
from sqlalchemy import PrimaryKeyConstraint, Table, UniqueConstraint
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout

NO_VERSION = (
    "config_version has no row, so there is no telling which version this is: "
    "restore it from a backup"
)


class StoreError(Exception):
    """The store did not do what it was asked."""


class StoreUnavailable(StoreError):
    """The database is gone, too slow, read-only, or not ours: worth another try later."""


class PrimaryKeyConflict(StoreError):
    """There is an entity with this id already."""

    def __init__(self, table: str, id: Any) -> None:  # noqa: A002 - the column's name
        super().__init__(f"{table} has an entity with id {id} already")
        self.table = table
        self.id = id


class UniqueConflict(StoreError):
    """Another entity has the values (by column) that must be unique."""

    def __init__(self, table: str, columns: dict[str, Any]) -> None:
        super().__init__(f"{table} has another entity with {columns}")
        self.table = table
        self.columns = columns


class ForeignKeyMissing(StoreError):
    """The entity that ``column`` refers to does not exist."""

    def __init__(self, table: str, column: str, references: str, id: Any) -> None:  # noqa: A002
        super().__init__(f"{table}.{column} refers to {id}, which is not in {references}")
        self.table = table
        self.column = column
        self.references = references
        self.id = id


class StillReferenced(StoreError):
    """The entity cannot be deleted while rows of ``by_table`` refer to it."""

    def __init__(self, table: str, by_table: str) -> None:
        super().__init__(f"an entity of {by_table} still refers to this one of {table}")
        self.table = table
        self.by_table = by_table


class UnstorableValue(StoreError):
    """PostgreSQL cannot hold a value; ``column`` is None when it does not say which."""

    def __init__(self, table: str, column: str | None, reason: str) -> None:
        super().__init__(f"{table}.{column}: {reason}" if column else f"{table}: {reason}")
        self.table = table
        self.column = column
        self.reason = reason


@contextmanager
def translated(table: Table | None = None, row: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Raise the driver's errors as ours; ``row`` is what is written, nothing when deleting.

    They are not kept as causes: they quote the row, and a traceback must not tell private keys.
    """
    try:
        yield
    except DBAPIError as error:
        raise translate(error.orig or error, table, row or {}) from None
    except (psycopg.Error, UnicodeError, OverflowError) as error:
        raise translate(error, table, row or {}) from None
    except (PoolTimeout, DisconnectionError, TimeoutError, OSError) as error:
        raise StoreUnavailable(f"the database does not answer: {_one_line(error)}") from error


def translate(error: BaseException, table: Table | None, row: Mapping[str, Any]) -> StoreError:
    """Return the StoreError for a driver's error."""
    if table is not None:
        match error:
            case pg.UniqueViolation():
                return _conflict(error, table, row)
            case pg.ForeignKeyViolation() | pg.RestrictViolation():
                return _reference(error, table, row)
            case pg.DataError() | pg.NotNullViolation() | pg.ProgramLimitExceeded():
                return _unstorable(error, table, row)
            case UnicodeError() | OverflowError():
                return _unstorable(error, table, row)
    return _other(error)


def _conflict(error: pg.UniqueViolation, table: Table, row: Mapping[str, Any]) -> StoreError:
    constraint = _constraint(error, table)
    if isinstance(constraint, UniqueConstraint):
        return UniqueConflict(table.name, {c.name: row.get(c.name) for c in constraint.columns})
    if isinstance(constraint, PrimaryKeyConstraint):
        return PrimaryKeyConflict(table.name, row.get("id"))
    return StoreError(_one_line(error))


def _reference(error: psycopg.Error, table: Table, row: Mapping[str, Any]) -> StoreError:
    if not row:
        return StillReferenced(table.name, error.diag.table_name or "another table")
    for key in table.foreign_keys:
        if key.constraint is not None and key.constraint.name == error.diag.constraint_name:
            column = key.parent.name
            return ForeignKeyMissing(table.name, column, key.column.table.name, row.get(column))
    return StoreError(_one_line(error))


def _unstorable(error: BaseException, table: Table, row: Mapping[str, Any]) -> UnstorableValue:
    named = error.diag.column_name if isinstance(error, psycopg.Error) else None
    return UnstorableValue(table.name, named or _culprit(row), _one_line(error))


def _other(error: BaseException) -> StoreError:
    match error:
        case pg.UndefinedTable() | pg.UndefinedColumn():
            return StoreUnavailable(
                f"the database lacks our schema: run `gateway db upgrade` ({_one_line(error)})"
            )
        case pg.IntegrityError() | pg.ProgrammingError() | pg.DataError() | ValueError():
            return StoreError(_one_line(error))
        case _:
            return StoreUnavailable(f"the database is unavailable: {_one_line(error)}")


def _constraint(error: psycopg.Error, table: Table) -> Any:
    name = error.diag.constraint_name
    return next((c for c in table.constraints if c.name == name), None)


def _culprit(row: Mapping[str, Any]) -> str | None:
    """Return the column with text that PostgreSQL cannot hold, or a number too large."""
    return next((column for column, value in row.items() if _is_unstorable(value)), None)


def _is_unstorable(value: Any) -> bool:
    match value:
        case str():
            return "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value)
        case bool():
            return False
        case int():
            return not -(2**63) <= value < 2**63
        case list():
            return any(map(_is_unstorable, value))
        case dict():
            return any(map(_is_unstorable, value)) or any(map(_is_unstorable, value.values()))
        case _:
            return False


def _one_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
