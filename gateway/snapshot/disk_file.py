"""The file of the disk copy: the raw rows of one version in SQLite. Blocking, for one thread.

A version is written in one transaction, so that the file always holds one version as a whole,
whatever ends the process. Rows are kept in the wire form, each on its own, so that a change costs
what it changed. Two checksums tell whether the file is as it was written: one over the facts (mark,
format), and in the facts one over all rows, a sum of digests that adds up in any order and follows
a change without reading the rest. Opening the file checks both.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from gateway.entities import VERSIONED, Row
from gateway.snapshot.wire import (
    Plain,
    WireError,
    decode_mark,
    decode_row,
    encode_mark,
    encode_row,
    from_text,
    to_text,
)
from gateway.store.source import BATCH_ROWS, Batch, VersionMark

FORMAT = 1
"""Of the file. Older ones are rewritten by the next full load, newer ones left alone."""

SHAPE = {table: sorted(f.column for f in e.fields.values()) for table, e in VERSIONED.items()}
"""What this release knows. What another one knew can be served, but not be continued: changes since
then do not tell what it left out."""

_SLICE_S = 0.0005
_PAUSE_S = 0.0001
"""A thread that computes keeps the event loop waiting for 5 ms, unless it pauses by itself."""

_DIGESTS = 1 << 128
_PRAGMAS = (
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA locking_mode = EXCLUSIVE",  # nobody else in it, and no shared memory beside it
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",  # whole versions survive a power cut; the last ones by `sync`
)
_CREATE_FACTS = """
    CREATE TABLE facts (
        singleton INTEGER PRIMARY KEY CHECK (singleton = 1), facts BLOB, digest BLOB
    )
"""
_CREATE_ROWS = """
    CREATE TABLE rows (kind TEXT, id TEXT, row BLOB, PRIMARY KEY (kind, id)) WITHOUT ROWID
"""
_FIND = "SELECT id, row FROM rows WHERE kind = ? AND id IN ({})"
_DELETE = "DELETE FROM rows WHERE kind = ? AND id IN ({})"
_INSERT = "INSERT INTO rows VALUES {}"
_AT_ONCE = 100
"""Rows per statement: for each one the thread may have to queue for the interpreter."""

_PAGE = "SELECT id, row FROM rows WHERE kind = ? AND id > ? ORDER BY id LIMIT ?"
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
"""What SQLite says of a damaged file; its general error too, as our statements are right."""

T = TypeVar("T")


class DiskCopyError(Exception):
    """The disk copy cannot be used; the message names the file, and says why and what to do."""


class CorruptError(DiskCopyError):
    """The file is not as it was written."""


class OutOfStepError(DiskCopyError):
    """Work that goes on from what the file does not hold, or did not take."""


class DiskFile:
    """One node's file. ``mark`` is the version in it, None while there is none or it is closed.

    ``is_foreign``: it was written by a release with other tables or columns.
    Every method raises DiskCopyError, and closes the file first: what was not committed is gone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mark: VersionMark | None = None
        self.is_foreign = False
        self._connection: sqlite3.Connection | None = None
        self._lock: int | None = None
        self._digest = 0
        self._committed_digest = 0
        self._is_anew = False

    # -- life

    @property
    def is_open(self) -> bool:
        """Whether the file can be read and written."""
        return self._connection is not None

    def open(self, *, replace_corrupt: bool = False) -> None:
        """Lock, open and check the file, creating it if need be.

        With ``replace_corrupt`` a corrupt one is moved aside, and an empty one takes its place.
        """
        if self.is_open:
            return
        try:
            self._open()
        except CorruptError:
            if not replace_corrupt:
                raise
            with self._safely():
                self._move_aside()
            self._open()

    def close(self) -> None:
        """Let go of the file."""
        connection, self._connection = self._connection, None
        self.mark = None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _open(self) -> None:
        with self._safely(AttributeError, KeyError, TypeError, ValueError, WireError):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = self._take_lock()
            self._connection, is_new = self._connect()
            if is_new:
                self._create()
            if (facts := self._read_facts()) is not None:
                self._check_rows(facts["rows_digest"])
                self.mark = decode_mark(facts["mark"]) if facts["mark"] else None
                self.is_foreign = facts["shape"] != SHAPE

    def _take_lock(self) -> int:
        """Lock a file beside, for as long as this process lives."""
        lock = _open_private(self.path.with_name(self.path.name + ".lock"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise DiskCopyError(
                f"{self.path} is in use by another process: give each node on this machine a "
                "node name or a proxy port of its own"
            ) from None
        return lock

    def _connect(self) -> tuple[sqlite3.Connection, bool]:
        """Return the connection, and whether the file is new."""
        os.close(_open_private(self.path))  # SQLite would create it for all to read
        is_new = self.path.stat().st_size == 0
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            for pragma in _PRAGMAS:
                connection.execute(pragma).fetchall()
        except BaseException:
            connection.close()
            raise
        return connection, is_new

    def _create(self) -> None:
        self._execute("BEGIN IMMEDIATE")
        self._execute(_CREATE_FACTS)
        self._write_facts(None)
        self._execute("COMMIT")

    def _move_aside(self) -> None:
        for suffix in ("", "-wal"):
            path = self.path.with_name(self.path.name + suffix)
            if path.exists():
                path.replace(self.path.with_name(f"{self.path.name}.corrupt{suffix}"))

    # -- checks

    def _read_facts(self) -> Plain | None:
        """Return what the file says of itself, None if that is in an older format."""
        text, digest = self._execute("SELECT facts, digest FROM facts").fetchone()
        if _digest_of(text) != digest:
            raise self._corrupt("its facts do not match their checksum")
        facts = from_text(text)
        if facts["format"] > FORMAT:
            raise DiskCopyError(
                f"{self.path} was written by a newer release (format {facts['format']}, this one "
                f"knows {FORMAT}): run that release, or remove the file"
            )
        return facts if facts["format"] == FORMAT else None

    def _check_rows(self, expected: str | None) -> None:
        self._digest = 0
        if expected is None:
            return
        for kind, id_, row in _unhurried(self._execute("SELECT kind, id, row FROM rows")):
            self._digest += _row_digest(kind, id_, row)
        self._digest %= _DIGESTS
        if f"{self._digest:032x}" != expected:
            raise self._corrupt("its rows do not match their checksum")
        self._committed_digest = self._digest

    # -- reading

    def read(self, table: str, after: str) -> tuple[list[Row], str]:
        """Return the next rows of a table, at most BATCH_ROWS, and the id of the last one."""
        with self._safely(TypeError, ValueError, WireError):
            found = self._execute(_PAGE, table, after, BATCH_ROWS).fetchall()
            rows = [decode_row(table, from_text(text)) for _, text in _unhurried(found)]
            return rows, found[-1][0] if found else after

    # -- writing

    def begin(self, since: VersionMark | None) -> None:
        """Begin a version: from what ``since`` left, or from nothing if that is None."""
        if since is None:
            self.open(replace_corrupt=True)
        elif since != self.mark or self.is_foreign:
            raise OutOfStepError(f"{self.path} does not hold version {since.version}")
        with self._safely():
            self._execute("BEGIN IMMEDIATE")
            self._is_anew = since is None
            if self._is_anew:
                self._execute("DROP TABLE IF EXISTS rows")
                self._execute(_CREATE_ROWS)
                self._digest = 0

    def put(self, batch: Batch) -> None:
        """Write a batch into the version that has begun."""
        self._must_have_begun()
        with self._safely():
            if not self._is_anew:
                ids = [str(row["id"]) for row in batch.rows] + list(map(str, batch.deleted))
                for some_ids in _portions(ids):
                    self._remove(batch.table, some_ids)
            for some_rows in _portions(batch.rows):
                self._insert(batch.table, some_rows)

    def commit(self, mark: VersionMark) -> None:
        """End the version; from now on the file holds it."""
        self._must_have_begun()
        with self._safely():
            self._write_facts(mark)
            self._execute("COMMIT")
            self.mark = mark
            self.is_foreign = False
            self._committed_digest = self._digest

    def sync(self) -> None:
        """Have what is committed outlive a power cut too; another process's end it does anyway."""
        with self._safely():
            if self._connection is not None and not self._connection.in_transaction:
                self._execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def rollback(self) -> None:
        """Forget the version that has begun."""
        self._must_have_begun()
        with self._safely():
            self._execute("ROLLBACK")
            self._digest = self._committed_digest

    def _must_have_begun(self) -> None:
        if self._connection is None or not self._connection.in_transaction:
            raise OutOfStepError(f"{self.path}: no version has begun")

    def _remove(self, table: str, ids: Sequence[str]) -> None:
        places = ",".join("?" * len(ids))
        found = self._execute(_FIND.format(places), table, *ids).fetchall()
        self._execute(_DELETE.format(places), table, *ids)
        removed = sum(_row_digest(table, id_, row) for id_, row in _unhurried(found))
        self._digest = (self._digest - removed) % _DIGESTS

    def _insert(self, table: str, rows: Sequence[Row]) -> None:
        values: list[str | bytes] = []
        added = 0
        for row in _unhurried(rows):
            id_, text = str(row["id"]), to_text(encode_row(table, row)).encode()
            values += (table, id_, text)
            added += _row_digest(table, id_, text)
        self._execute(_INSERT.format(",".join(["(?,?,?)"] * len(rows))), *values)
        self._digest = (self._digest + added) % _DIGESTS

    def _write_facts(self, mark: VersionMark | None) -> None:
        facts = {
            "format": FORMAT,
            "mark": None if mark is None else encode_mark(mark),
            "shape": SHAPE,
            "rows_digest": None if mark is None else f"{self._digest:032x}",
        }
        text = to_text(facts).encode()
        self._execute("INSERT OR REPLACE INTO facts VALUES (1, ?, ?)", text, _digest_of(text))

    def _execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        if self._connection is None:
            raise OutOfStepError(f"{self.path} is closed")
        return self._connection.execute(statement, values)

    @contextmanager
    def _safely(self, *damage: type[Exception]) -> Iterator[None]:
        """Close the file when anything goes wrong, and say what it was and what to do.

        ``damage`` are the errors that can only come from a file that is not as it was written.
        """
        try:
            yield
        except sqlite3.Error as error:
            self.close()
            # Extended codes end in the primary one; text that is not UTF-8 comes without a code.
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in _DAMAGE:
                raise self._corrupt(str(error)) from error
            raise self._unusable(error) from error
        except OSError as error:
            self.close()
            raise self._unusable(error) from error
        except damage as error:
            self.close()
            raise self._corrupt(repr(error)) from error
        except BaseException:
            self.close()
            raise

    def _unusable(self, error: Exception) -> DiskCopyError:
        return DiskCopyError(
            f"{self.path} cannot be used ({error}): "
            "see to the folder, its permissions and the space on the disk"
        )

    def _corrupt(self, why: str) -> CorruptError:
        return CorruptError(
            f"{self.path} is corrupt ({why}): remove it, and start the node with its database"
        )


def _open_private(path: Path) -> int:
    """Open a file of ours that nobody else may read, but nothing that it links to."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


def _digest_of(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


def _row_digest(table: str, id_: str, row: bytes) -> int:
    return int.from_bytes(_digest_of(f"{table}\0{id_}\0".encode() + row))


def _portions(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE))


def _unhurried(items: Iterable[T]) -> Iterator[T]:
    """Yield the items with pauses in which the event loop gets its turn."""
    began = time.perf_counter()
    for item in items:
        yield item
        if time.perf_counter() - began > _SLICE_S:
            time.sleep(_PAUSE_S)
            began = time.perf_counter()
