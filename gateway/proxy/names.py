"""Header names and server tokens on the wire: neutral ones, or Kong's with ``compat=kong``."""

from __future__ import annotations

from dataclasses import dataclass

from gateway import KONG_ADMIN_API_VERSION, __version__
from gateway.settings import Compat


@dataclass(frozen=True, slots=True)
class WireNames:
    """What the proxy calls itself and its headers."""

    server: bytes
    request_id: bytes
    proxy_latency: bytes
    upstream_latency: bytes
    response_latency: bytes
    upstream_status: bytes

    @property
    def via(self) -> bytes:
        """The token of `Via`: HTTP/1.1 is what both sides of this proxy speak."""
        return b"1.1 " + self.server


def wire_names(compat: Compat) -> WireNames:
    """Return the names that ``compat`` asks for (architecture.md section 7)."""
    kong = compat is Compat.KONG
    prefix = b"X-Kong-" if kong else b"X-Gateway-"
    server = f"kong/{KONG_ADMIN_API_VERSION}" if kong else f"gateway/{__version__}"
    return WireNames(
        server=server.encode(),
        request_id=prefix + b"Request-Id",
        proxy_latency=prefix + b"Proxy-Latency",
        upstream_latency=prefix + b"Upstream-Latency",
        response_latency=prefix + b"Response-Latency",
        upstream_status=prefix + b"Upstream-Status",
    )
