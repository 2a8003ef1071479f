"""proxy-cache: responses of services are kept in memory and sent again (plugins.md 5.16)."""

from __future__ import annotations

from gateway.plugins.proxy_cache.plugin import ProxyCache

__all__ = ["ProxyCache"]
