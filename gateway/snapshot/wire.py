"""The wire form: rows, batches and marks as JSON, by the declared kinds of their fields.

The disk copy keeps rows in it, and control planes send batches in it. What `encode_*` returns is
ready for `to_text`; the dialect is Python's, as numbers in the database may be NaN or infinite.

Reading is tolerant, because the writer may be another release: a column it did not know gets the
declared default, one that this release does not know is dropped, a whole table too. A value of a
wrong shape stays as it is, so that its row names itself as bad when it is compiled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from gateway.entities import VERSIONED, EntityField, FieldKind, Row
from gateway.store.source import Batch, VersionMark

Plain = dict[str, Any]
"""A JSON object as Python has it."""

_NESTED_TOO_DEEP = json.dumps("JSON that was nested too deep to be passed on")

_Convert = Callable[[Any], Any]


class WireError(Exception):
    """What came is not in the wire form; the message says what is wrong with it."""


def to_text(plain: Plain) -> str:
    """Return the JSON text, in ASCII."""
    return _ENCODE(plain)


def from_text(text: str | bytes) -> Plain:
    """Return the object that a JSON text holds. Raises WireError."""
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {error}") from None
    if not isinstance(plain, dict):
        raise WireError(f"not a JSON object: {type(plain).__name__}")
    return plain


def encode_row(table: str, row: Row) -> Plain:
    """Return a row of an entity's table in the wire form."""
    plain = dict(row)
    for column, convert in _codec(table).to_plain:
        value = plain.get(column)
        if value is not None:
            plain[column] = convert(value)
    return plain


def decode_row(table: str, plain: Plain) -> Row:
    """Return the row that a wire form stands for, with this release's columns."""
    codec = _codec(table)
    if plain.keys() == codec.defaults.keys():
        row = dict(plain)
    else:
        row = {column: plain.get(column, default) for column, default in codec.defaults.items()}
    for column, convert in codec.from_plain:
        value = row[column]
        if value is not None:
            row[column] = convert(value)
    return row


def encode_batch(batch: Batch) -> Plain:
    """Return a batch in the wire form."""
    return {
        "table": batch.table,
        "rows": [encode_row(batch.table, row) for row in batch.rows],
        "deleted": [str(id_) for id_ in batch.deleted],
    }


def decode_batch(plain: Plain) -> Batch:
    """Return the batch that a wire form stands for; empty if its table is of another release.

    Raises WireError.
    """
    try:
        table, rows, deleted = plain["table"], plain["rows"], plain["deleted"]
        if table not in VERSIONED:
            return Batch(str(table), [], [])
        return Batch(
            table, [decode_row(table, row) for row in rows], [UUID(id_) for id_ in deleted]
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WireError(f"not a batch: {error!r}") from error


def encode_mark(mark: VersionMark) -> Plain:
    """Return a mark in the wire form."""
    return {
        "epoch": str(mark.epoch),
        "version": mark.version,
        "committed_at": mark.committed_at.isoformat(),
    }


def decode_mark(plain: Plain) -> VersionMark:
    """Return the mark that a wire form stands for. Raises WireError."""
    try:
        committed_at = datetime.fromisoformat(plain["committed_at"])
        return VersionMark(UUID(plain["epoch"]), int(plain["version"]), committed_at)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WireError(f"not a version mark: {error!r}") from error


# -- by kind of field


def _timestamp_to_plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _json_to_plain(value: Any) -> str:
    """Return JSON as a text of its own: nested too deep, it spoils its row, not the batch."""
    try:
        return _ENCODE(value)
    except RecursionError:
        return _NESTED_TOO_DEEP


def _uuid_from_plain(value: Any) -> Any:
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        return value


def _timestamp_from_plain(value: Any) -> Any:
    """Return the time; one that Python has no date for stays the text that the store made of it."""
    try:
        return datetime.fromisoformat(value)
    except (ValueError, TypeError):
        return value


def _json_from_plain(value: Any) -> Any:
    try:
        return json.loads(value)
    except (ValueError, TypeError, RecursionError):
        return value


_ENCODE = json.JSONEncoder(separators=(",", ":")).encode

_TO_PLAIN: Mapping[FieldKind, _Convert] = {
    FieldKind.UUID: str,
    FieldKind.REFERENCE: str,
    FieldKind.TIMESTAMP: _timestamp_to_plain,
    FieldKind.EXPIRY: _timestamp_to_plain,
    FieldKind.JSON: _json_to_plain,
}

_FROM_PLAIN: Mapping[FieldKind, _Convert] = {
    FieldKind.UUID: _uuid_from_plain,
    FieldKind.REFERENCE: _uuid_from_plain,
    FieldKind.TIMESTAMP: _timestamp_from_plain,
    FieldKind.EXPIRY: _timestamp_from_plain,
    FieldKind.JSON: _json_from_plain,
}


class _Codec:
    """The columns of one table that are not JSON by nature, and what an absent one gets."""

    def __init__(self, fields: list[EntityField]) -> None:
        self.defaults = {field.column: field.default for field in fields}
        self.to_plain = _conversions(fields, _TO_PLAIN)
        self.from_plain = _conversions(fields, _FROM_PLAIN)


def _conversions(
    fields: list[EntityField], by_kind: Mapping[FieldKind, _Convert]
) -> list[tuple[str, _Convert]]:
    return [(field.column, by_kind[field.kind]) for field in fields if field.kind in by_kind]


@cache
def _codec(table: str) -> _Codec:
    return _Codec(list(VERSIONED[table].fields.values()))
