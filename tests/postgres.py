"""A PostgreSQL that a test may do to as it likes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.store.embedded import EmbeddedPostgres


@contextmanager
def temporary_postgres(name: str) -> Iterator[EmbeddedPostgres]:
    """Run a server in a directory of its own; nothing of it is left.

    Not below pytest's own folder, whose mode other runs reset while the server needs to pass.
    """
    directory = Path(tempfile.mkdtemp(prefix=f"gateway-{name}-"))
    directory.chmod(0o711)
    server = EmbeddedPostgres(directory / "postgres", durable=False)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)
