"""Settings that are lists: where control planes are, and what a data plane is labelled."""

from __future__ import annotations

import re
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


_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9A-Za-z._-]+)):([0-9]{1,5})")


def _address(text: str) -> Address:
    found = _ADDRESS.fullmatch(text)
    if found is None or not 0 < int(found[3]) < 65_536:
        raise ValueError(f"{named('control_planes')}: must be host:port,host:port, not {text!r}")
    return Address(found[1] or found[2], int(found[3]))
