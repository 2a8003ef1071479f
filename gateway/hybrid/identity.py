"""Who a data plane is: an id that outlives its restarts, kept beside the disk copy."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote
from uuid import UUID, uuid4

import structlog

from gateway.settings import NodeSettings

_log = structlog.get_logger(__name__)


def node_id(settings: NodeSettings) -> UUID:
    """Return the id of the data plane with these settings, a new one if there is none yet.

    Without a directory to keep it in, or if that cannot be written, each start has an id of its
    own: control planes then list one more data plane for each.
    """
    if not settings.snapshot_dir:
        return uuid4()
    name = f"{quote(settings.node_name, safe='')}-{settings.proxy_port}.id"
    path = Path(settings.snapshot_dir).expanduser() / name
    try:
        return _read(path) or _write(path, uuid4())
    except OSError as error:
        _log.warning("the node's id cannot be kept", path=str(path), reason=error.strerror)
        return uuid4()


def _read(path: Path) -> UUID | None:
    try:
        return UUID(path.read_text().strip())
    except (FileNotFoundError, ValueError):
        return None


def _write(path: Path, id_: UUID) -> UUID:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}")
    aside.write_text(f"{id_}\n")
    aside.replace(path)
    return id_
