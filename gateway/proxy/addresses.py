"""IP addresses as they come in headers and from sockets: read strictly, compared with networks."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

from gateway.settings import Network

_Length: TypeAlias = tuple[int, int]
"""A version of IP, and how many bits follow the prefix."""

_REMEMBERED = 4096
_MAPPED_BITS = 96
_TOKEN = re.compile(
    rb"(?P<v4>[0-9.]{7,15})(?::[0-9]{1,5})?"
    rb"|\[(?P<bracketed>[0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?"
    rb"|(?P<v6>[0-9A-Fa-f:.]{2,45})"
)


def canonical(address: IPv4Address | IPv6Address) -> bytes:
    """Write an address in its shortest form; one of IPv4 as that, even if mapped into IPv6."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address).encode()


def canonical_text(name: str) -> bytes:
    """Write the address that a socket gives in the same way, without the zone it may have."""
    return canonical(IPv6Address(name.partition("%")[0])) if ":" in name else name.encode()


@lru_cache(maxsize=_REMEMBERED)
def read_address(token: bytes) -> bytes | None:
    """Return the address in ``a``, ``a:port``, ``[a]`` or ``[a]:port``; None if it is none."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        return None
    text = match["v4"] or match["bracketed"] or match["v6"]
    try:
        if match["bracketed"]:
            return canonical(IPv6Address(text.decode()))
        return canonical(ip_address(text.decode()))
    except ValueError:
        return None


class Networks:
    """A set of addresses, given as networks.

    A look-up asks once for each length of a prefix that there is, however many networks have it.
    """

    def __init__(self, networks: list[Network]) -> None:
        self._prefixes: dict[_Length, set[int]] = {}
        for network in map(_unmapped, networks):
            host_bits = network.max_prefixlen - network.prefixlen
            prefixes = self._prefixes.setdefault((network.version, host_bits), set())
            prefixes.add(int(network.network_address) >> host_bits)
        self._knows = lru_cache(maxsize=_REMEMBERED)(self._holds)

    def __bool__(self) -> bool:
        return bool(self._prefixes)

    def __contains__(self, address: bytes) -> bool:
        """Tell whether a canonical address is in one of the networks; other text is in none."""
        return bool(self._prefixes) and self._knows(address)

    def _holds(self, address: bytes) -> bool:
        try:
            parsed = ip_address(address.decode())
        except ValueError:
            return False
        version, bits = parsed.version, int(parsed)
        return any(
            version == of and bits >> host_bits in prefixes
            for (of, host_bits), prefixes in self._prefixes.items()
        )


def _unmapped(network: Network) -> Network:
    """Write a network of IPv4 addresses mapped into IPv6 as one of IPv4."""
    if not isinstance(network, IPv6Network) or network.prefixlen < _MAPPED_BITS:
        return network
    mapped = network.network_address.ipv4_mapped
    return network if mapped is None else IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
