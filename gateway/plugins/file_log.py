"""file-log: a line of JSON in a file for each request (plugins.md section 5.18).

Lines are collected for a moment and written by a thread, so that no disk ever holds up the event
loop. Plugins with the same path share a file, which is closed when nothing came for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Annotated
from weakref import WeakValueDictionary

from prometheus_client.core import Metric
from pydantic import Field

from gateway.access_log.record import Record as Told
from gateway.access_log.writer import LineWriter, WriterCounts
from gateway.entities.entity import Record
from gateway.entities.rules import Matches
from gateway.entities.types import Text
from gateway.plugins.contract import NodeServices, Plugin, Use
from gateway.plugins.delivery_counts import NO_ROOM, DeliveryCounts
from gateway.plugins.log_record import LogRecords
from gateway.plugins.lua_fields import NoLuaFields
from gateway.plugins.request import Request

IDLE_S = 60.0

_STDOUT = "/dev/stdout"
_MODE = 0o644


class LogFile:
    """A file, open while lines come."""

    def __init__(self, path: str, node: NodeServices, counts: LineCounts, *, reopens: bool) -> None:
        self._path = path
        self._node = node
        self._counts = counts
        self._reopens = reopens
        self._writer: LineWriter | None = None
        self._is_in_use = False

    def put(self, line: bytes) -> None:
        """Have a line written, or count it as dropped."""
        self._counts.taken += 1
        self._is_in_use = True
        writer = self._writer or self._begin()
        writer.put(line)

    def _begin(self) -> LineWriter:
        writer = self._writer = LineWriter(
            "" if self._path == _STDOUT else self._path,
            self._node.settings.access_log_buffer_bytes,
            what=f"file-log {self._path}",
            mode=_MODE,
            opens_each_time=self._reopens,
        )
        self._counts.begin(writer.counts)
        writer.start()
        self._node.begin(f"file-log {self._path}", self._keep(writer))
        return writer

    async def _keep(self, writer: LineWriter) -> None:
        """Stop writing when nothing comes any more, or the node stops."""
        try:
            while self._is_in_use:
                self._is_in_use = False
                await asyncio.sleep(IDLE_S)
        finally:
            self._writer = None
            await writer.stop()
            self._counts.end(writer.counts)


class LineCounts:
    """What became of the lines, of files that are open and of those that were."""

    def __init__(self) -> None:
        self.taken = 0
        self._open: list[WriterCounts] = []
        self._before = WriterCounts()

    def begin(self, counts: WriterCounts) -> None:
        """Mind the counts of a file that is written from now on."""
        self._open.append(counts)

    def end(self, counts: WriterCounts) -> None:
        """Keep the counts of one that is no longer."""
        self._open.remove(counts)
        self._before.written += counts.written
        self._before.dropped += counts.dropped

    def total(self) -> DeliveryCounts:
        """Return the sums."""
        every = [self._before, *self._open]
        total = DeliveryCounts(FileLog.name)
        total.taken = self.taken
        total.sent = sum(counts.written for counts in every)
        total.dropped[NO_ROOM] = sum(counts.dropped for counts in every)
        return total


class LogFiles:
    """The files of a node."""

    def __init__(self, node: NodeServices) -> None:
        self.records = LogRecords(node.settings)
        self._node = node
        self._counts = LineCounts()
        self._known: WeakValueDictionary[tuple[str, bool], LogFile] = WeakValueDictionary()

    def file(self, path: str, *, reopens: bool) -> LogFile:
        """Return the file of this path."""
        found = self._known.get((path, reopens))
        if found is None:
            found = LogFile(path, self._node, self._counts, reopens=reopens)
            self._known[path, reopens] = found
        return found

    def metrics(self) -> Iterable[Metric]:
        """Return what became of all lines."""
        return self._counts.total().metrics()


class FileLog(Plugin):
    """Writes a line for each request."""

    name = "file-log"
    priority = 9

    class Config(Record):
        """Which file."""

        path: Annotated[Text, Matches(r"[^*&%\\`]+", "not a valid filename")] = Field(
            description="The file, made if it is not there; lines go to its end."
        )
        reopen: bool = Field(
            default=False,
            description="Whether it is opened anew each time there is something to write, so that "
            "it can be renamed or removed.",
        )
        custom_fields_by_lua: NoLuaFields = None

    config: Config
    shared: LogFiles

    def __init__(self, config: Config, use: Use, shared: LogFiles) -> None:
        super().__init__(config, use, shared)
        self._file = shared.file(config.path, reopens=config.reopen)

    @classmethod
    def share(cls, node: NodeServices) -> LogFiles:
        """Return the files of the node."""
        return LogFiles(node)

    def log(self, request: Request, record: Told) -> None:
        """Write the line."""
        self._file.put(self.shared.records.entry(request, record) + b"\n")
