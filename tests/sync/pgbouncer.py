"""A real PgBouncer before the tests' PostgreSQL; Debian's package ``pgbouncer`` brings it."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.store.embedded import EmbeddedPostgres
from tests.servers import accepts, free_port

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

needs_pgbouncer = pytest.mark.skipif(
    PGBOUNCER is None and "CI" not in os.environ, reason="pgbouncer is not installed"
)

CONFIG = """
[databases]
* = host={socket_directory} port=5432 user=postgres

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {pool_mode}
ignore_startup_parameters = options
"""


@asynccontextmanager
async def pgbouncer(
    postgres: EmbeddedPostgres, database_url: str, pool_mode: str, directory: Path
) -> AsyncIterator[str]:
    """Run it in this mode; gives the URL of the same database through it."""
    assert PGBOUNCER is not None, "CI has to install pgbouncer"
    socket_directory = Path(parse_qs(urlsplit(postgres.url()).query)["host"][0])
    port = free_port()
    config = directory / "pgbouncer.ini"
    config.write_text(
        CONFIG.format(socket_directory=socket_directory, port=port, pool_mode=pool_mode)
    )
    with config.open() as readable:  # the server's account may not enter our folder
        process = await asyncio.create_subprocess_exec(
            *(PGBOUNCER, "/dev/stdin"),
            stdin=readable,
            stderr=asyncio.subprocess.DEVNULL,
            **_as_owner_of(socket_directory),
        )
    try:
        await accepts(port)
        yield f"postgresql://postgres@127.0.0.1:{port}{urlsplit(database_url).path}"
    finally:
        process.kill()
        await process.wait()


def _as_owner_of(socket_directory: Path) -> dict[str, Any]:
    """Nobody but the server's account may pass to its socket, and PgBouncer refuses root."""
    owner = socket_directory.stat()
    return {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
