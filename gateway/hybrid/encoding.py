"""Batches of rows as messages to data planes, none too large to be taken."""

from __future__ import annotations

from collections.abc import Iterator

import structlog

from gateway.hybrid.protocol import MOST_BYTES_ANSWERED
from gateway.snapshot.wire import encode_row, to_text
from gateway.store.source import Batch

GOOD_BYTES = 262_144
"""A message is closed when it gets longer than this."""

_MOST_ROW_BYTES = MOST_BYTES_ANSWERED - 1024

_log = structlog.get_logger(__name__)


def messages(batch: Batch) -> Iterator[bytes]:
    """Yield a batch as messages, rows before deletions.

    A row too large for any message is named in the log, and sent as gone: data planes go without
    it rather than without everything.
    """
    deleted = [str(id_) for id_ in batch.deleted]
    rows: list[str] = []
    size = 0
    for row in batch.rows:
        text = to_text(encode_row(batch.table, row))
        if len(text) > _MOST_ROW_BYTES:
            _log.error("row too large for data planes", entity=batch.table, id=str(row["id"]))
            deleted.append(str(row["id"]))
            continue
        if rows and size + len(text) > GOOD_BYTES:
            yield _message(batch.table, rows, [])
            rows, size = [], 0
        rows.append(text)
        size += len(text)
    if rows or deleted:
        yield _message(batch.table, rows, deleted)


def _message(table: str, rows: list[str], deleted: list[str]) -> bytes:
    ids = ",".join(f'"{id_}"' for id_ in deleted)
    text = f'{{"type":"batch","table":"{table}","rows":[{",".join(rows)}],"deleted":[{ids}]}}'
    return text.encode()
