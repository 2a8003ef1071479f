"""Who a data plane is: an id that outlives its restarts, kept beside the disk copy."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO
from urllib.parse import quote
from uuid import UUID, uuid4

import structlog

from gateway.settings import NodeSettings

_log = structlog.get_logger(__name__)


class Identity:
    """The id of a data plane, which no other has while this one lives.

    Two with one id would pass for one: who waits for the cluster would wait for either.
    """

    def __init__(self, id_: UUID, held: IO[str] | None = None) -> None:
        self.id = id_
        self._held = held  # locked for as long as it is open

    @classmethod
    def of(cls, settings: NodeSettings) -> Identity:
        """Return the identity of the data plane with these settings, a new one if there is none.

        Without a directory to keep it in, or if that cannot be written, or if another process has
        it, each start is somebody new: control planes then list one more data plane for each.
        """
        if not settings.snapshot_dir:
            return cls(uuid4())
        name = f"{quote(settings.node_name, safe='')}-{settings.proxy_port}.id"
        path = Path(settings.snapshot_dir).expanduser() / name
        try:
            held = _locked(path)
            return cls(_read(held) or _write(held, uuid4()), held)
        except BlockingIOError:
            reason = "another process has it: give each node a name or a proxy port of its own"
        except OSError as error:
            reason = error.strerror or str(error)
        _log.warning("the node's id cannot be kept", path=str(path), reason=reason)
        return cls(uuid4())

    def release(self) -> None:
        """Let another process have it."""
        if self._held is not None:
            self._held.close()


def _locked(path: Path) -> IO[str]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        file.close()
        raise
    return file


def _read(file: IO[str]) -> UUID | None:
    try:
        return UUID(file.read().strip())
    except ValueError:
        return None


def _write(file: IO[str], id_: UUID) -> UUID:
    file.seek(0)
    file.truncate()
    file.write(f"{id_}\n")
    file.flush()
    return id_
