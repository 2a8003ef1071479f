"""What the database has: all rows, and which of them a file is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256

from gateway.declarative.keys import key_of, unique_keys
from gateway.entities import ENTITIES, EntityField, Row
from gateway.entities.certificate import CERTIFICATES
from gateway.entities.entity_type import EXPIRY_COLUMN
from gateway.entities.pem import parse_chain


@dataclass(frozen=True)
class State:
    """The rows by table and id, all of one version; those that have expired are not there."""

    rows: Mapping[str, Mapping[UUID, Row]]

    @classmethod
    def of(cls, rows: Mapping[str, Iterable[Row]]) -> State:
        """Return the state that consists of these rows."""
        now = datetime.now(UTC)
        return cls(
            {
                table: {row["id"]: row for row in rows.get(table, ()) if not _is_over(row, now)}
                for table in ENTITIES
            }
        )

    @cached_property
    def _by_key(self) -> Mapping[tuple[Any, ...], Row]:
        return {
            (table, *(field.name for field in fields), key): row
            for table, rows in self.rows.items()
            for fields in unique_keys(table)
            for row in rows.values()
            if (key := key_of(fields, row)) is not None
        }

    @cached_property
    def _by_fingerprint(self) -> Mapping[bytes, Sequence[Row]]:
        found: dict[bytes, list[Row]] = {}
        for row in self.rows[CERTIFICATES.table].values():
            found.setdefault(fingerprint(row), []).append(row)
        return found

    def sharing(self, table: str, fields: Sequence[EntityField], row: Row) -> Row | None:
        """Return the row that has the same values of a unique combination of fields."""
        key = key_of(fields, row)
        names = (field.name for field in fields)
        return None if key is None else self._by_key.get((table, *names, key))

    def named(self, table: str, field: str, value: Any) -> Row | None:
        """Return the row that a unique field's value, or the id, names."""
        if field == "id":
            return self.rows[table].get(value)
        return self._by_key.get((table, field, (value,)))

    def certificates_like(self, row: Row) -> Sequence[Row]:
        """Return the rows with the same certificate as this one."""
        return self._by_fingerprint.get(fingerprint(row), ())


def fingerprint(certificate: Row) -> bytes:
    """Return what tells a certificate from others, however its PEM is written."""
    try:
        return parse_chain(certificate["cert"])[0].fingerprint(SHA256())
    except ValueError:
        return str(certificate["cert"]).encode()


def _is_over(row: Row, now: datetime) -> bool:
    expires_at = row.get(EXPIRY_COLUMN)
    return isinstance(expires_at, datetime) and expires_at <= now
