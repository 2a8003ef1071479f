"""Certificates, which are written and named together with their SNIs, and CA certificates.

Sheets: entities.md, sections 3.7 and 3.9; admin-api.md, section 5.1.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from gateway.admin.errors import plain, still_referenced_ca
from gateway.admin.query import EVERY_TAG, TagFilter
from gateway.admin.rows import Key, Rows, Where
from gateway.entities import Given, Row, SchemaViolationError
from gateway.entities.ca_certificate import CA_CERTIFICATES
from gateway.entities.certificate import CERTIFICATES, Certificate
from gateway.entities.entity import Entity
from gateway.entities.plugin import PLUGINS
from gateway.entities.service import SERVICES
from gateway.entities.sni import SNIS
from gateway.store.paging import Page
from gateway.store.transactions import Containing, Having, ReadTransaction, WriteTransaction

SNIS_ON_A_PAGE = 1000
"""SNIs that are read before it is seen whether there are more."""

SNIS_AT_ONCE = 20
"""SNIs written in one statement: a stop of the event loop of one to two milliseconds."""

_SNI_ROWS = Rows(SNIS)


class CertificateRows(Rows):
    """Certificates, each with the names of its SNIs in ``snis``; any of them can stand for its id.

    What of the names cannot be written undoes the whole write.
    """

    def __init__(self) -> None:
        super().__init__(CERTIFICATES)

    def key(self, segment: str) -> Key:
        """Return the id, or the ``name`` of an SNI. Raises an answer if no SNI can be called so."""
        return _SNI_ROWS.key(segment)

    def to_api(self, row: Row) -> dict[str, Any]:
        """Return a row as the API writes it, ready for JSON."""
        return super().to_api(row) | {"snis": row["snis"]}

    async def find(self, transaction: ReadTransaction, key: Key, where: Where) -> Row | None:
        """Return the named row. Raises an answer if an SNI is named that is not there."""
        if key.field == "name":
            owner = await _owner(transaction, key.value)
            if owner is None:
                raise plain(404, "SNI not found")
            key = Key("id", owner)
        found = await super().find(transaction, key, where)
        return None if found is None else (await _with_names(transaction, [found]))[0]

    async def current(self, transaction: ReadTransaction, key: Key, entity: Entity) -> Row | None:
        """Return the row that an upsert would replace; no SNI of that name is no error."""
        is_new = key.field == "name" and await _owner(transaction, key.value) is None
        return None if is_new else await super().current(transaction, key, entity)

    async def find_page(
        self,
        transaction: ReadTransaction,
        size: int,
        *,
        after: UUID | None = None,
        where: Where,
        tags: TagFilter = EVERY_TAG,
    ) -> Page:
        """Return up to ``size`` rows in the order of their ids, those after ``after``."""
        page = await super().find_page(transaction, size, after=after, where=where, tags=tags)
        return replace(page, rows=await _with_names(transaction, page.rows))

    async def insert(self, transaction: WriteTransaction, entity: Entity) -> Row:
        """Store a new certificate and its SNIs."""
        row = await super().insert(transaction, entity)
        return await _set_names(transaction, row, _names(entity))

    async def upsert(self, transaction: WriteTransaction, key: Key, entity: Entity) -> Row:
        """Store the certificate in place of the named one, with its SNIs only, or as a new one.

        A new one also gets the name that the URL gives it.
        """
        names = _names(entity)
        if key.field == "name":
            owner = await _owner(transaction, key.value)
            if owner is None:
                row = await super().insert(transaction, entity)
                return await _set_names(
                    transaction, row, list(dict.fromkeys([*names, str(key.value)]))
                )
            key = Key("id", owner)
        return await _set_names(transaction, await super().upsert(transaction, key, entity), names)

    async def patch(self, transaction: WriteTransaction, stored: Row, given: Given) -> Row:
        """Lay ``given`` over the stored row; its SNIs are replaced if any are given."""
        row = await super().patch(transaction, stored, given)
        if "snis" not in given:
            return row | {"snis": stored["snis"]}
        return await _set_names(transaction, row, given["snis"] or [])


class CaCertificateRows(Rows):
    """CA certificates, which services and plugins name without the database knowing."""

    def __init__(self) -> None:
        super().__init__(CA_CERTIFICATES)

    async def delete(self, transaction: WriteTransaction, stored: Row) -> None:
        """Remove a stored row. Raises an answer if somebody verifies against it."""
        id_ = str(stored["id"])
        for table, naming in (
            (SERVICES.table, {"ca_certificates": Having(id_)}),
            (PLUGINS.table, {"config": Containing({"ca_certificates": [id_]})}),
        ):
            by_whom = await transaction.find(table, naming)
            if by_whom is not None:
                raise still_referenced_ca(id_, table, by_whom["id"])
        await super().delete(transaction, stored)


# -- the SNIs of a certificate


def _names(entity: Entity) -> list[str]:
    assert isinstance(entity, Certificate)  # noqa: S101 - validated as one
    return entity.snis or []


async def _owner(transaction: ReadTransaction, name: UUID | str) -> UUID | None:
    """Return the id of the certificate that is shown for a name."""
    sni = await transaction.get(SNIS.table, "name", name)
    return None if sni is None else sni["certificate_id"]


async def _snis(transaction: ReadTransaction, where: Where) -> AsyncIterator[Row]:
    """Yield all SNIs that ``where`` selects."""
    has_more, last_id = True, None
    while has_more:
        page = await _SNI_ROWS.find_page(transaction, SNIS_ON_A_PAGE, after=last_id, where=where)
        for sni in page.rows:
            yield sni
            last_id = sni["id"]
        has_more = page.has_more


async def _with_names(transaction: ReadTransaction, certificates: Sequence[Row]) -> list[Row]:
    """Return the rows with the names of their SNIs, sorted."""
    names: dict[UUID, list[str]] = {row["id"]: [] for row in certificates}
    theirs = {"certificate_id": tuple(names)}
    async for sni in _snis(transaction, theirs):
        names[sni["certificate_id"]].append(sni["name"])
    return [row | {"snis": sorted(names[row["id"]])} for row in certificates]


async def _set_names(transaction: WriteTransaction, certificate: Row, names: Sequence[str]) -> Row:
    """Let the certificate have these SNIs and no others; those it has already stay as they are."""
    id_ = certificate["id"]
    await _refuse_names_of_others(transaction, id_, names)
    snis = _snis(transaction, {"certificate_id": id_})
    held = {sni["name"]: sni["id"] async for sni in snis}
    await transaction.delete(SNIS.table, *(held[name] for name in held.keys() - set(names)))
    new = [name for name in names if name not in held]
    for start in range(0, len(new), SNIS_AT_ONCE):
        some = [_sni(name, id_) for name in new[start : start + SNIS_AT_ONCE]]
        await transaction.insert_all(SNIS.table, some)
    return certificate | {"snis": sorted(names)}


def _sni(name: str, certificate_id: UUID) -> Row:
    given = {"name": name, "certificate": {"id": str(certificate_id)}}
    return SNIS.to_row(SNIS.validate(given))


async def _refuse_names_of_others(
    transaction: ReadTransaction, id_: UUID, names: Sequence[str]
) -> None:
    async for sni in _snis(transaction, {"name": tuple(names)}):
        if sni["certificate_id"] != id_:
            whose = f"existing certificate '{sni['certificate_id']}'"
            text = f"{sni['name']} already associated with {whose}"
            raise SchemaViolationError({"snis": text})
