"""rate-limiting: so many requests per second, minute, hour, day, month, year (plugins.md 5.6)."""

from __future__ import annotations

from gateway.plugins.rate_limiting.plugin import RateLimiting

__all__ = ["RateLimiting"]
