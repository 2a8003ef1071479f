"""The `gateway` command: one file per command group, assembled in `app.py`."""

from __future__ import annotations

from gateway.cli.app import main

__all__ = ["main"]
