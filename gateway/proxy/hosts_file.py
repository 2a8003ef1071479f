"""The hosts file: names that no name server has to be asked for (hosts(5))."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path

_LOOPBACK = ("127.0.0.1",)
_LIMIT_BYTES = 4 << 20


class HostsFile:
    """Reads the file again when it has changed; one that cannot be read has no names.

    ``localhost`` and names below it are this machine, if the file says nothing else (RFC 6761).
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path else None
        self._mark: tuple[int, int] | None = None
        self._names: Mapping[str, Sequence[str]] = {}

    def addresses(self, host: str) -> Sequence[str]:
        """Return the addresses of a name, those of IPv4 alone if there are any."""
        self._read()
        name = host.lower().removesuffix(".")
        found = self._names.get(name, ())
        if not found and (name == "localhost" or name.endswith(".localhost")):
            return _LOOPBACK
        return [address for address in found if ":" not in address] or found

    def _read(self) -> None:
        if self._path is None:
            return
        try:
            status = self._path.stat()
            mark = (status.st_mtime_ns, status.st_size)
            if mark == self._mark:
                return
            text = self._path.read_bytes()[:_LIMIT_BYTES].decode("utf-8", "replace")
        except OSError:
            self._mark, self._names = None, {}
        else:
            self._mark, self._names = mark, _parse(text)


def _parse(text: str) -> Mapping[str, Sequence[str]]:
    names: dict[str, list[str]] = {}
    for line in text.splitlines():
        address, *aliases = line.partition("#")[0].split() or [""]
        if not _is_address(address):
            continue
        for alias in aliases:
            addresses = names.setdefault(alias.lower(), [])
            if address not in addresses:
                addresses.append(address)
    return names


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
