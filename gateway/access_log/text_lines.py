"""The access log as text: the combined log format, and the request id behind it.

Each field is one that any reader of such logs knows; what could end a line or a field is escaped
as ``\\xXX``, so that no client can write lines of its own.
"""

from __future__ import annotations

import re
import time
from functools import lru_cache

from gateway.access_log.record import Record
from gateway.settings import Compat

_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_PLAIN = bytes(code for code in range(0x20, 0x7F) if code not in b'"\\')
_UNSAFE = re.compile(rb'[^\x20-\x7e]|["\\]')
_SHOWN_HEADER = re.compile(rb"(?i)\r\n(referer|user-agent):[ \t]*+([^\r]*+)")

_REMEMBERED = 512
_REMEMBERED_BYTES = 2048


class TextLines:
    """Writes records as lines of the combined log format."""

    def __init__(self, compat: Compat) -> None:
        id_name = b"kong_request_id" if compat is Compat.KONG else b"request_id"
        self._line = b'%b - - [%b] "%b" %d %d %b ' + id_name + b': "%b"\n'
        self._second = 0
        self._time = b""

    def line(self, record: Record) -> bytes:
        """Return the line of a request."""
        lines = record.request_lines
        told = _remembered if len(lines) <= _REMEMBERED_BYTES else _referer_and_agent
        return self._line % (
            record.client,
            self._time_of(record.started_at),
            escaped(record.request_line),
            record.status,
            record.body_bytes,
            told(lines),
            record.request_id,
        )

    def _time_of(self, moment: float) -> bytes:
        second = int(moment)
        if second != self._second:
            self._second = second
            self._time = local_time(second)
        return self._time


def local_time(second: int) -> bytes:
    """Return a time as ``10/Oct/2000:13:55:36 -0700``; the months have English names anywhere."""
    parts = time.localtime(second)
    month = _MONTHS[parts.tm_mon - 1]
    return time.strftime(f"%d/{month}/%Y:%H:%M:%S %z", parts).encode()


def escaped(text: bytes) -> bytes:
    """Return ``text`` with everything escaped that is not printable ASCII, or a quote."""
    if not text.translate(None, _PLAIN):
        return text
    return _UNSAFE.sub(lambda found: b"\\x%02X" % found[0][0], text)


def _referer_and_agent(lines: bytes) -> bytes:
    values = {name.lower(): value for name, value in _SHOWN_HEADER.findall(lines)}
    shown = (escaped(values.get(name, b"")) or b"-" for name in (b"referer", b"user-agent"))
    return b'"%b" "%b"' % tuple(shown)


_remembered = lru_cache(_REMEMBERED)(_referer_and_agent)
