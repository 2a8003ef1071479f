"""Watches whether the event loop goes round, and names what holds it up.

While a plain function of a plugin runs, nothing else does. The loop leaves a mark ten times a
second; a thread of its own looks at it, and when the mark has not moved for too long, at what the
loop is doing: the plugin whose phase is on the stack, or else the innermost function.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

import structlog

from gateway.proxy import plugin_run

BEAT_S = 0.1

_FRAMES_TOLD = 8

_log = structlog.get_logger(__name__)


class StallMonitor:
    """Counts stalls of the running event loop longer than ``limit_s``, by what caused them."""

    def __init__(self, limit_s: float) -> None:
        self.counts: dict[str, int] = {}
        self._limit_s = limit_s
        self._loop_thread = threading.get_ident()
        self._last_beat = time.monotonic()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    async def run(self) -> None:
        """Watch until cancelled."""
        self._last_beat = time.monotonic()
        self._thread = threading.Thread(target=self._watch, name="stall-monitor", daemon=True)
        self._thread.start()
        try:
            while True:
                self._last_beat = time.monotonic()
                await asyncio.sleep(BEAT_S)
        finally:
            self._ended.set()

    def _watch(self) -> None:
        told_beat = 0.0
        while not self._ended.wait(self._limit_s / 2):
            beat = self._last_beat
            if beat != told_beat and time.monotonic() - beat > self._limit_s + BEAT_S:
                told_beat = beat  # each stall once, however long it lasts
                self._tell(sys._current_frames().get(self._loop_thread))

    def _tell(self, innermost: FrameType | None) -> None:
        frames = list(_outwards(innermost))
        culprit = next(filter(None, map(_plugin_of, frames)), None)
        cause = "other" if culprit is None else culprit
        self.counts[cause] = self.counts.get(cause, 0) + 1
        where = [f"{f.f_code.co_qualname}:{f.f_lineno}" for f in frames[:_FRAMES_TOLD]]
        _log.error(
            "the event loop is held up",
            plugin=culprit,
            longer_than_s=self._limit_s,
            within=where,
        )


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _plugin_of(frame: FrameType) -> str | None:
    """Return the name of the plugin whose phase a frame of `plugin_run` is calling."""
    if frame.f_code.co_filename != plugin_run.__file__:
        return None
    use = frame.f_locals.get("use")
    return None if use is None else str(use.plugin.name)
