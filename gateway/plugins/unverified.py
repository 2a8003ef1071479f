"""TLS to where logs go: encrypted, but nobody's certificate is verified (plugins.md 5.17)."""

from __future__ import annotations

import ssl


def unverified_tls() -> ssl.SSLContext:
    """Return a context for clients that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
