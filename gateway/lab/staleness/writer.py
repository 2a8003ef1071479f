"""Writes through the Admin API of one node; any that speaks Kong's will do."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.lab.cluster import LabError
from gateway.lab.staleness.changes import Write
from gateway.lab.staleness.wire import Answer, Connection, WireError


class Writer:
    """An Admin API on a connection of its own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def write(self, write: Write) -> Answer:
        """Return the answer, whose time is that of the acknowledgement. Raises `LabError`."""
        try:
            answer = await self._connection.request(write.method, write.path, write.document)
        except WireError as error:
            raise LabError(f"{write.method} {write.path}: {error}") from None
        if not 200 <= answer.status < 300:
            reason = answer.body[:500].decode(errors="replace")
            raise LabError(f"{write.method} {write.path}: {answer.status} {reason}")
        return answer

    async def remove(self, removals: Iterable[Write]) -> None:
        """Make all these writes, whatever becomes of single ones. Raises `LabError` for those."""
        failures = []
        for removal in removals:
            try:
                await self.write(removal)
            except LabError as error:
                failures.append(str(error))
        if failures:
            raise LabError(f"the lab could not clean up: {'; '.join(failures)}")
