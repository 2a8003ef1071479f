"""Settings that are lists: where control planes are, and what a data plane is labelled."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.settings import named


@dataclass(frozen=True, slots=True)
class Address:
    """A host, which may be an IPv6 address, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_addresses(text: str) -> list[Address]:
    """Return the addresses in ``host:port,host:port``. Raises ValueError naming the setting."""
    addresses = [_address(part.strip()) for part in text.split(",") if part.strip()]
    if not addresses:
        raise ValueError(f"{named('control_planes')}: name at least one, as host:port")
    return list(dict.fromkeys(addresses))


def parse_labels(text: str) -> dict[str, str]:
    """Return the labels in ``key:value,key:value``. Raises ValueError naming the setting."""
    labels = {}
    for part in filter(None, map(str.strip, text.split(","))):
        key, colon, value = part.partition(":")
        if not (colon and key.strip() and value.strip() and part.isprintable()):
            raise ValueError(
                f"{named('data_plane_labels')}: must be key:value,key:value, not {part!r}"
            )
        labels[key.strip()] = value.strip()
    return labels


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65_536:
        raise ValueError(f"{named('control_planes')}: must be host:port,host:port, not {text!r}")
    return Address(host, int(port))
