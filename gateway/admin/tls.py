"""The certificate that the Admin API shows over TLS; versions and ciphers are the proxy's."""

from __future__ import annotations

import ssl

from gateway.proxy.key_pairs import read_pair
from gateway.proxy.tls import self_signed_pair, server_context
from gateway.settings import NodeSettings


def admin_tls_context(settings: NodeSettings) -> ssl.SSLContext:
    """Return what the listener accepts connections with.

    Raises SettingError for files or ciphers that are of no use.
    """
    pair = read_pair(settings, "admin_tls_cert", "admin_tls_cert_key") or self_signed_pair()
    return server_context(settings, pair)
