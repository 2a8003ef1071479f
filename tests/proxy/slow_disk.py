"""A disk that does nothing until it is told to."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from .peers import DEADLINE_S


class SlowDisk:
    """Keeps one system call, ``pread`` or ``pwrite``, from doing anything."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
        self.asked = threading.Event()
        self._told = threading.Event()
        self._call = getattr(os, call)
        monkeypatch.setattr(os, call, self._wait)

    def _wait(self, *args: Any) -> Any:
        self.asked.set()
        self._told.wait(DEADLINE_S)
        return self._call(*args)

    def go_on(self) -> None:
        self._told.set()
