"""response-ratelimiting: limits of what services say their responses cost (plugins.md 5.7)."""

from __future__ import annotations

from gateway.plugins.response_ratelimiting.plugin import ResponseRateLimiting

__all__ = ["ResponseRateLimiting"]
