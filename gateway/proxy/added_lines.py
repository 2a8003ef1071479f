"""The header lines that the gateway adds to messages, prepared once per node.

What is switched off is not in a template any more, or takes its argument there without a trace, so
that all nodes fill the same templates with the same arguments: a choice costs no request anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from gateway.added_headers import Added, added_to_requests, added_to_responses
from gateway.proxy.names import WireNames
from gateway.settings import NodeSettings

_NOTHING = b"%.0a"
"""A place that takes any argument and writes nothing."""

_PREFIXES = (b"x-gateway-", b"x-kong-")
_UPSTREAM_STATUS = re.compile(rb"(?i)\r\nx-(?:gateway|kong)-upstream-status:[^\r]*")
_REPLACED = (
    Added.REQUEST_ID,
    Added.PROXY_LATENCY,
    Added.UPSTREAM_LATENCY,
    Added.RESPONSE_LATENCY,
)
"""Headers of an upstream that are taken out of its response, since ours stand for them."""


class AddedLines:
    """Templates of header lines, each led by CRLF (proxying.md section 3).

    ``proxied`` takes upstream latency and proxy latency in milliseconds and the request id; it ends
    with `Via`, which ``measured`` leaves out. ``unproxied`` takes response latency and request id.
    ``request_id_upstream`` is a header line up to its value, empty when the id is not to be sent.
    """

    def __init__(self, settings: NodeSettings, names: WireNames) -> None:
        added = self._added = added_to_responses(settings.headers)
        self._names = names
        request_id = self._template(Added.REQUEST_ID, names.request_id, b"%b")
        self.measured = b"".join(
            (
                self._template(Added.UPSTREAM_LATENCY, names.upstream_latency, b"%d"),
                self._template(Added.PROXY_LATENCY, names.proxy_latency, b"%d"),
                request_id,
            )
        )
        self.proxied = self.measured + self.via_after(b"")
        self.unproxied = (
            self._template(Added.RESPONSE_LATENCY, names.response_latency, b"%d") + request_id
        )
        self.server = b"\r\nServer: " + names.server if Added.SERVER in added else b""
        self._tells_upstream_status = Added.UPSTREAM_STATUS in added
        self._not_ours = tuple(
            prefix + header.replace("_", "-").encode()
            for header in _REPLACED
            if header not in added
            for prefix in _PREFIXES
        )
        sends_id = bool(added_to_requests(settings.headers_upstream))
        self.request_id_upstream = b"\r\n" + names.request_id + b": " if sends_id else b""

    @property
    def suffice(self) -> bool:
        """Whether there is never more to a response than the templates and `Via`."""
        return not self._tells_upstream_status and not self._not_ours

    def via_after(self, earlier: bytes) -> bytes:
        """Return the `Via` line of a response that came with ``earlier`` in its own, if any."""
        ways = [earlier] if earlier else []
        if Added.VIA in self._added:
            ways.append(self._names.via)
        return b"\r\nVia: " + b", ".join(ways) if ways else b""

    def with_upstream_status(self, lines: bytes, status: int) -> bytes:
        """Return header lines that also tell how the last try ended, if there was one (else 0)."""
        if not self._tells_upstream_status:
            return lines
        lines = _UPSTREAM_STATUS.sub(b"", lines)  # of a gateway behind this one
        return lines + b"\r\n%b: %d" % (self._names.upstream_status, status) if status else lines

    def of_others(self, special: Mapping[bytes, bytes]) -> bytes:
        """Return what an upstream says in headers that this node does not write itself."""
        return _lines_of(self._not_ours, special)

    def _template(self, header: Added, name: bytes, place: bytes) -> bytes:
        return b"\r\n" + name + b": " + place if header in self._added else _NOTHING


def request_ids_of_others(special: Mapping[bytes, bytes]) -> bytes:
    """Return the request ids that a client sent, for a node that adds none of its own."""
    return _lines_of([prefix + b"request-id" for prefix in _PREFIXES], special)


def _lines_of(names: Sequence[bytes], special: Mapping[bytes, bytes]) -> bytes:
    return b"".join(b"\r\n" + name + b": " + special[name] for name in names if name in special)
