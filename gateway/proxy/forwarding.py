"""Whose word on the client is taken, and what is told upstream of it (proxying.md sections 1, 2).

Only the connecting peer is asked whether it is trusted (setting ``trusted_ips``). What any other
says of the client is replaced, but for X-Forwarded-For and Via, which tell the whole way.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Mapping

from gateway.proxy.addresses import Networks, canonical_text, read_address
from gateway.proxy.client import UNIX_ADDRESS, Client, Peer
from gateway.proxy.http1 import MessageError, RequestFields, check_host
from gateway.settings import PROXY_PROTOCOL, NodeSettings, mapped_ports, trusted_peers

_HOPS = 64
"""Most addresses of `real_ip_header` that are looked at."""

_SPECIAL = frozenset((b"x-real-ip", b"x-forwarded-for"))
"""Names of `real_ip_header` that make a request special (`RequestFields.special`)."""

_NOTHING: Mapping[bytes, bytes] = {}
_FOR, _PROTO, _PORT = b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-port"
_HOST, _VIA = b"x-forwarded-host", b"via"
_OF_ROUTE = (b"X-Forwarded-Path", b"X-Forwarded-Host", b"X-Forwarded-Prefix")


class Forwarding:
    """What earlier proxies say, as far as it is believed, and what the next one is told."""

    def __init__(self, settings: NodeSettings, server: bytes) -> None:
        networks, self._trusts_unix = trusted_peers(settings.trusted_ips)
        self._trusted = Networks(networks)
        self._recursive = settings.real_ip_recursive
        self._ports = mapped_ports(settings.port_maps)
        self._via = {b"1": b"1.1 " + server, b"0": b"1 " + server}  # by minor version
        name = settings.real_ip_header.lower().encode()
        self.by_proxy_protocol = settings.real_ip_header == PROXY_PROTOCOL
        self._real_ip_lines = re.compile(rb"(?i)\r\n%b:([^\r]*+)" % re.escape(name))
        self.reads_ordinary = (
            bool(networks or self._trusts_unix)
            and not self.by_proxy_protocol
            and name not in _SPECIAL
        )
        """Whether the client of a request may be named where no special header is."""

    # -- of a connection

    def peer_of(self, transport: asyncio.BaseTransport) -> Peer:
        """Return who is connected."""
        name = transport.get_extra_info("peername")
        if isinstance(name, tuple):
            address = canonical_text(name[0])
            return Peer(address, address in self._trusted)
        if transport.get_extra_info("socket").family == socket.AF_UNIX:
            return Peer(UNIX_ADDRESS, self._trusts_unix)
        return Peer(b"unknown", trusted=False)  # gone already

    def port_of(self, transport: asyncio.BaseTransport) -> int:
        """Return the port that clients know the listener by, 0 for a Unix socket."""
        name = transport.get_extra_info("sockname")
        port: int = name[1] if isinstance(name, tuple) else 0
        return self._ports.get(port, port)

    def connection_lines(self, client: Client, peer: Peer) -> bytes:
        """Return the header lines about a client for requests that say nothing of it themselves."""
        return self.lines(client, peer, _NOTHING, b"1")

    # -- of a request

    def client_behind(self, client: Client, peer: Peer, fields: RequestFields) -> Client:
        """Return whom the peer names as the client, ``client`` if nobody or it is not trusted."""
        if not peer.trusted or self.by_proxy_protocol:
            return client
        named = b",".join(self._real_ip_lines.findall(fields.block))
        address = self._last_address(named) if named else None
        if address is None:
            return client
        return Client(address, client.port, client.tls, client.sni)

    def _last_address(self, listed: bytes) -> bytes | None:
        """Return the last address of a list; if recursive, the last that is not trusted.

        What is no address ends the search: nobody knows who wrote what is before it.
        """
        found = None
        for token in reversed(listed.rsplit(b",", _HOPS)[-_HOPS:]):
            if not (token := token.strip(b" \t")):
                continue
            address = read_address(token)
            if address is None:
                break
            found = address
            if not self._recursive or address not in self._trusted:
                break
        return found

    def is_https(self, client: Client, peer: Peer, special: Mapping[bytes, bytes]) -> bool:
        """Tell whether the client used HTTPS, as a trusted peer says, else as it came."""
        if peer.trusted and _PROTO in special:
            return special[_PROTO].lower() == b"https"
        return client.tls

    def host_of(self, host: bytes, peer: Peer, special: Mapping[bytes, bytes]) -> bytes:
        """Return the host the client asked for, as a trusted peer says, else ``host``."""
        named = special.get(_HOST) if peer.trusted else None
        if not named:
            return host
        try:
            check_host(named)
        except MessageError:
            return host
        return named

    def lines(
        self, client: Client, peer: Peer, special: Mapping[bytes, bytes], minor: bytes
    ) -> bytes:
        """Return the header lines about the client of a request, and the way it came by.

        ``minor`` is the minor version of HTTP/1 that the client spoke.
        """
        via = self._via[minor]
        said = special if peer.trusted else _NOTHING
        earlier_for, earlier_via = special.get(_FOR), special.get(_VIA)
        scheme = b"https" if client.tls else b"http"
        port = b"%d" % client.port if client.port else b""
        return b"".join(
            (
                b"\r\nX-Forwarded-For: ",
                earlier_for + b", " + peer.address if earlier_for else client.address,
                b"\r\nX-Real-IP: ",
                client.address,
                _line(b"X-Forwarded-Proto", said.get(_PROTO, scheme)),
                _line(b"X-Forwarded-Port", said.get(_PORT, port)),
                b"\r\nVia: ",
                earlier_via + b", " + via if earlier_via else via,
            )
        )

    def route_lines(self, own: bytes, peer: Peer, special: Mapping[bytes, bytes]) -> bytes:
        """Put what a trusted peer says of host, path and prefix in the place of our ``own`` lines.

        A header that came without a value is not sent at all.
        """
        if peer.trusted:
            for name in _OF_ROUTE:
                said = special.get(name.lower())
                if said is not None:
                    own = _without(own, name) + _line(name, said)
        return own


def _line(name: bytes, value: bytes) -> bytes:
    return b"\r\n" + name + b": " + value if value else b""


def _without(lines: bytes, name: bytes) -> bytes:
    """Drop the line of a header from lines that are each led by CRLF."""
    before, found, after = lines.partition(b"\r\n" + name + b":")
    if not found:
        return lines
    _, led, rest = after.partition(b"\r\n")
    return before + led + rest
