"""The access log of a node: records in, lines out."""

from __future__ import annotations

from collections.abc import Callable

from gateway.access_log.json_lines import JsonLines
from gateway.access_log.record import Record
from gateway.access_log.text_lines import TextLines
from gateway.access_log.writer import LineWriter, WriterCounts
from gateway.settings import AccessLogFormat, NodeSettings


class AccessLog:
    """Has a line written for each request."""

    def __init__(self, line_of: Callable[[Record], bytes], writer: LineWriter) -> None:
        self._line_of = line_of
        self._writer = writer

    @classmethod
    def of(cls, settings: NodeSettings) -> AccessLog | None:
        """Return the log that the settings ask for, None if they ask for none.

        :raises SettingError: when its file cannot be opened.
        """
        if settings.access_log is AccessLogFormat.OFF:
            return None
        is_text = settings.access_log is AccessLogFormat.TEXT
        lines = TextLines(settings.compat) if is_text else JsonLines(settings.compat)
        writer = LineWriter(settings.access_log_path, settings.access_log_buffer_bytes)
        writer.open()
        return cls(lines.line, writer)

    @property
    def counts(self) -> WriterCounts:
        """What became of the lines."""
        return self._writer.counts

    def note(self, record: Record) -> None:
        """Log a request that is over."""
        self._writer.put(self._line_of(record))

    def start(self) -> None:
        """Begin to write."""
        self._writer.start()

    def reopen(self) -> None:
        """Open the file anew, as after it was renamed."""
        self._writer.reopen()

    async def stop(self) -> None:
        """Write what waits, for a moment, and close the file."""
        await self._writer.stop()
