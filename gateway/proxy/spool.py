"""Disk for bodies that memory is too small for: unlinked temporary files, used off the event loop.

All spool files of a node share a few threads and a bound on their bytes. A file does one thing at
a time and calls back on the loop; it is gone with its descriptor, however the process ends.
"""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from gateway.settings import SettingError, named

T = TypeVar("T")

READ_BYTES = 131_072
"""How much of a file is read at once."""

_THREADS = 4
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class SpoolError(Exception):
    """A body could not be written or read. ``no_room``: because all room is taken for now."""

    def __init__(self, reason: str, *, no_room: bool) -> None:
        super().__init__(reason)
        self.no_room = no_room


class SpoolRoom:
    """What the spool files of a node share (settings ``body_spool_dir`` and ``_limit_bytes``).

    Raises SettingError for a directory that no file can be made in.
    """

    def __init__(self, directory: str, limit_bytes: int) -> None:
        self.directory = directory or tempfile.gettempdir()
        if not os.access(self.directory, os.W_OK | os.X_OK):
            raise SettingError(
                f"{named('body_spool_dir')}: {self.directory} is no directory to write in"
            )
        self.used_bytes = 0
        self._limit_bytes = limit_bytes
        self._stopped = False
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="body-spool")

    def take(self, size: int) -> None:
        """Take room for so many bytes.

        :raises SpoolError: when there is not so much.
        """
        if self.used_bytes + size > self._limit_bytes:
            raise SpoolError(
                f"bodies on disk would take more than {self._limit_bytes} bytes "
                "(GATEWAY_BODY_SPOOL_LIMIT_BYTES)",
                no_room=True,
            )
        self.used_bytes += size

    def give_back(self, size: int) -> None:
        """Give room back."""
        self.used_bytes -= size

    def run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Do ``work`` in a thread."""
        return asyncio.get_running_loop().run_in_executor(self._threads, work)

    def discard(self, descriptor: int) -> None:
        """Close a file, off the loop while there are threads: a large one takes time."""
        if self._stopped:
            os.close(descriptor)
        else:
            self.run(partial(os.close, descriptor))

    async def stop(self) -> None:
        """Wait for what is being written or read, and end the threads."""
        self._stopped = True
        await asyncio.to_thread(self._threads.shutdown)


class SpoolFile:
    """A file of one body. While it is ``busy`` it must not be asked for anything but its end."""

    __slots__ = ("_closed", "_descriptor", "_room", "busy", "size")

    def __init__(self, room: SpoolRoom) -> None:
        self._room = room
        self._descriptor: int | None = None
        self._closed = False
        self.busy = False
        self.size = 0  # the most bytes that it has held

    def write(
        self, at: int, pieces: Sequence[bytes], done: Callable[[SpoolError | None], None]
    ) -> None:
        """Write ``pieces`` from position ``at`` on, then call ``done``, unless closed before.

        :raises SpoolError: when there is no room.
        """
        more = at + sum(map(len, pieces)) - self.size
        if more > 0:
            self._room.take(more)
            self.size += more
        self._start(partial(self._write, at, pieces), done)

    def read(self, at: int, size: int, done: Callable[[bytes | SpoolError], None]) -> None:
        """Read ``size`` bytes from position ``at`` on, and call ``done`` with them."""
        self._start(partial(self._read, at, size), done)

    def close(self) -> None:
        """Give the room back; what is being done is finished, but nobody is told."""
        self._closed = True
        if not self.busy:
            self._release()

    def _start(self, work: Callable[[], T], done: Callable[[T | SpoolError], None]) -> None:
        self.busy = True
        self._room.run(work).add_done_callback(partial(self._finish, done))

    def _finish(self, done: Callable[[Any], None], future: asyncio.Future[Any]) -> None:
        self.busy = False
        error = future.exception()
        if self._closed:
            self._release()
        elif error is None:
            done(future.result())
        else:
            done(self._explained(error))

    def _explained(self, error: BaseException) -> SpoolError:
        no_room = isinstance(error, OSError) and error.errno in _NO_ROOM
        reason = f"{error} in {self._room.directory} (GATEWAY_BODY_SPOOL_DIR)"
        return SpoolError(reason, no_room=no_room)

    def _release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        self._room.give_back(self.size)
        self.size = 0
        if descriptor is not None:
            self._room.discard(descriptor)

    # -- in a thread

    def _write(self, at: int, pieces: Sequence[bytes]) -> None:
        if self._descriptor is None:
            self._descriptor = _unlinked_file(self._room.directory)
        left = memoryview(b"".join(pieces))
        while left:
            written = os.pwrite(self._descriptor, left, at)
            left = left[written:]
            at += written

    def _read(self, at: int, size: int) -> bytes:
        data = b"" if self._descriptor is None else os.pread(self._descriptor, size, at)
        if len(data) != size:
            raise OSError(errno.EIO, "file is shorter than what was written")
        return data


def _unlinked_file(directory: str) -> int:
    """Open a file without a name, readable by nobody else."""
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        return os.dup(file.fileno())
