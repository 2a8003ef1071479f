"""cors: which pages of other origins may read the answers (plugins.md section 5.11)."""

from __future__ import annotations

from gateway.plugins.cors.plugin import Cors

__all__ = ["Cors"]
