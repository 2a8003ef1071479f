"""Who is at the other end of a downstream connection."""

from __future__ import annotations

from typing import NamedTuple


class Client(NamedTuple):
    """Who a request is from: address, the port it came in by, and its TLS if it has one.

    The address is the peer's, or what a trusted one says it is. The port is the one clients know
    (setting ``port_maps``), 0 on a Unix socket. ``sni`` is the server name that the peer asked for,
    None if it named none or there is no TLS.
    """

    address: bytes
    port: int
    tls: bool = False
    sni: bytes | None = None


class Peer(NamedTuple):
    """The other end of the connection itself, and whether its word on the client is taken."""

    address: bytes
    trusted: bool


UNIX_ADDRESS = b"unix:"
"""The address of a peer on a Unix socket."""
