"""Header lines that tell who asks for it which route and service a request took (router.md 9).

Only with the setting ``allow_debug_header``: anybody may ask.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import UUID

from gateway.settings import Compat
from gateway.snapshot import Route, Service

_ASKING = re.compile(rb"(?i)\r\n(?:gateway|kong)-debug:")
_NOT_IN_A_HEADER = re.compile(rb"[\x00-\x1f\x7f]")


class DebugLines:
    """Writes the lines, under neutral names or Kong's."""

    def __init__(self, compat: Compat) -> None:
        self._prefix = b"\r\nKong-" if compat is Compat.KONG else b"\r\nGateway-"

    def for_request(self, block: bytes, route: Route, service: Service | None) -> bytes:
        """Return the lines if the request asks for them.

        :param block: the header lines of the request.
        """
        if _ASKING.search(block) is None:
            return b""
        lines = [*self._named(b"Route", route.id, route.name)]
        if service is not None:
            lines += self._named(b"Service", service.id, service.name)
        return b"".join(lines)

    def _named(self, kind: bytes, id_: UUID, name: str | None) -> Iterator[bytes]:
        yield self._prefix + kind + b"-Id: " + str(id_).encode()
        if name is not None:  # a row written by hand may hold anything
            yield self._prefix + kind + b"-Name: " + _NOT_IN_A_HEADER.sub(b"?", name.encode())
