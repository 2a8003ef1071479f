"""Who is at the other end of a downstream connection."""

from __future__ import annotations

from typing import NamedTuple


class Client(NamedTuple):
    """The peer of a connection: its address, the port it came in by, and its TLS if it has one.

    ``sni`` is the server name it asked for, None if it named none or there is no TLS.
    """

    address: bytes
    port: int
    tls: bool = False
    sni: bytes | None = None
