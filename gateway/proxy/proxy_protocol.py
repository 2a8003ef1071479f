"""The header of the PROXY protocol without I/O: bytes in, the client's address out.

A balancer that passes TCP on writes one at the very beginning of each connection, before TLS
(https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt). Version 1 is a line of text, version
2 is binary. What comes after the header belongs to the connection.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from gateway.proxy.addresses import canonical

LIMIT_BYTES = 4096
"""Longest header of version 2 that is read; addresses take 216 bytes at most, the rest is TLVs."""

_LINE_LIMIT_BYTES = 107
_START_1 = b"PROXY "
_START_2 = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED_BYTES = 16

_PORT = rb"(?:0|[1-9][0-9]{0,4})"
_LINE = re.compile(
    rb"PROXY (?:TCP(?P<family>[46]) (?P<source>[0-9A-Fa-f.:]+) (?P<target>[0-9A-Fa-f.:]+) "
    rb"(?P<source_port>%b) (?P<target_port>%b)|UNKNOWN(?: [^\r\n]*)?)\r\n" % (_PORT, _PORT)
)

_LOCAL, _PROXIED = 0x20, 0x21
_UNSPECIFIED, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31
_ADDRESSES_BYTES = {_UNSPECIFIED: 0, _TCP4: 12, _TCP6: 36, _UNIX: 216}


class ProxyHeaderError(Exception):
    """What came is not, and will not become, a header of the PROXY protocol."""


class ProxyHeader(NamedTuple):
    """A header of ``size`` bytes.

    ``client`` is the address that the balancer's client came from; None when the connection is the
    balancer's own, or not from an IP address.
    """

    size: int
    client: bytes | None


def parse_proxy_header(data: bytes) -> ProxyHeader | None:
    """Parse the header that ``data`` begins with; None while it is incomplete.

    As long as it is, all of ``data`` belongs to it.

    :raises ProxyHeaderError: with what is wrong.
    """
    if data.startswith(_START_2):
        return _parse_binary(data)
    if data.startswith(_START_1):
        return _parse_line(data)
    if _START_1.startswith(data) or _START_2.startswith(data):
        return None
    raise ProxyHeaderError("no PROXY protocol header")


def _parse_line(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, _LINE_LIMIT_BYTES)
    if end < 0:
        if len(data) >= _LINE_LIMIT_BYTES:
            raise ProxyHeaderError("v1 header without an end")
        return None
    line = _LINE.fullmatch(data, 0, end + 2)
    if line is None:
        raise ProxyHeaderError("malformed v1 header")
    if line["family"] is None:
        return ProxyHeader(line.end(), None)
    kind = IPv4Address if line["family"] == b"4" else IPv6Address
    try:
        source, _ = kind(line["source"].decode()), kind(line["target"].decode())
    except ValueError:
        raise ProxyHeaderError("malformed address in v1 header") from None
    if max(int(line["source_port"]), int(line["target_port"])) > 65535:
        raise ProxyHeaderError("malformed port in v1 header")
    return ProxyHeader(line.end(), canonical(source))


def _parse_binary(data: bytes) -> ProxyHeader | None:
    if len(data) < _FIXED_BYTES:
        return None
    command, family = data[12], data[13]
    size = _FIXED_BYTES + int.from_bytes(data[14:16], "big")
    if command not in (_LOCAL, _PROXIED):
        raise ProxyHeaderError(f"unknown version and command {command:#04x} in v2 header")
    if size > LIMIT_BYTES:
        raise ProxyHeaderError(f"v2 header of {size} bytes, more than {LIMIT_BYTES}")
    if command == _PROXIED:
        _check_family(family, size)
    if len(data) < size:
        return None
    if command == _PROXIED and family == _TCP4:
        return ProxyHeader(size, canonical(IPv4Address(data[16:20])))
    if command == _PROXIED and family == _TCP6:
        return ProxyHeader(size, canonical(IPv6Address(data[16:32])))
    return ProxyHeader(size, None)


def _check_family(family: int, size: int) -> None:
    needed = _ADDRESSES_BYTES.get(family)
    if needed is None:
        raise ProxyHeaderError(f"unknown family and transport {family:#04x} in v2 header")
    if size < _FIXED_BYTES + needed:
        raise ProxyHeaderError("v2 header too short for its addresses")
