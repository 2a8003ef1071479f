"""The heads that an exchange sends: its request's to the upstream, a response's to the client."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from gateway.balancing import with_cookie
from gateway.proxy.added_lines import request_ids_of_others
from gateway.proxy.exchange_facts import ExchangeFacts
from gateway.proxy.http1 import CHUNKED, NO_BODY, RequestFields, ResponseHead, place_for_charset
from gateway.proxy.upgrade import chosen_protocol

if TYPE_CHECKING:
    from gateway.plugins.request import Told, Upstream

_TAKES_TRAILERS = re.compile(rb"(?i)(?:^|,)[ \t]*trailers[ \t]*(?:[;,]|$)")


class ExchangeHeads(ExchangeFacts):
    """Writes the heads from the facts."""

    __slots__ = ()

    # -- to the upstream

    def _request_head(self) -> bytes:
        """Write the head that goes upstream (proxying.md section 1)."""
        head = self.head
        fields = head.fields
        resolution = self._resolution
        request_id_line = self._proxy.added_lines.request_id_upstream
        parts = [
            head.method,
            b" ",
            resolution.upstream_path,
            self.query,
            b" HTTP/1.1\r\nHost: ",
            self._host_header,
            b"\r\nConnection: keep-alive",
            resolution.forwarded,
            self._downstream.forwarded_lines,
            request_id_line,
            self.request_id,
            fields.rest,
            b"\r\n\r\n",
        ]
        if not fields.is_ordinary:
            peer, special = self._downstream.peer, fields.special
            parts[7] = self._proxy.forwarding.route_lines(resolution.forwarded, peer, special)
            parts[8] = self._forwarded_lines_with(fields)
            if fields.upgrades:
                parts[6] += b", Upgrade\r\nUpgrade: " + b", ".join(fields.upgrades)
        if self._body is not None:
            parts[-1] = self._body.framing_line
        elif b"content-length" in fields.special:
            parts[-1] = b"\r\nContent-Length: 0\r\n\r\n"
        if not request_id_line:
            parts[10] = request_ids_of_others(fields.special)
        if self._run is not None and (changes := self._run.request.changes) is not None:
            self._change_head(parts, changes)
        return b"".join(parts)

    def _change_head(self, parts: list[bytes], changes: Upstream) -> None:
        """Let plugins have their say."""
        parts[11] = changes.lines
        if changes.method is not None:
            parts[0] = changes.method
        if changes.path is not None:
            parts[2] = changes.path
        if changes.query is not None:
            parts[3] = changes.query
        if changes.host is not None:
            parts[5] = changes.host

    def _forwarded_lines_with(self, fields: RequestFields) -> bytes:
        """Append to what earlier proxies said of the request (proxying.md section 2)."""
        special = fields.special
        lines = self._proxy.forwarding.lines(
            self.client, self._downstream.peer, special, fields.minor
        )
        if _TAKES_TRAILERS.search(special.get(b"te", b"")):
            lines += b"\r\nTE: trailers"
        if b"trailer" in special and not (self._body is not None and self._body.drops_trailers):
            lines += b"\r\nTrailer: " + special[b"trailer"]
        return lines

    # -- to the client

    def _response_lines(self, head: ResponseHead) -> bytes:
        """Write the header lines that go to the client (proxying.md section 3)."""
        proxy = self._proxy
        rest, special = head.rest, head.special
        if proxy.charset_suffix and (place := place_for_charset(rest)):
            rest = rest[:place] + proxy.charset_suffix + rest[place:]
        lines = rest + self._proxied_lines(special.get(b"via"))
        if not head.has_date:
            lines += proxy.date_line()
        if not head.has_server:
            lines += proxy.added_lines.server
        if not head.is_ordinary:
            lines += self._extraordinary_lines(head)
        if self._cookie is not None:
            lines = with_cookie(lines, self._cookie)
        if proxy.tells_more:
            lines = self._told_more(lines, head.status, special)
        if self._run is not None and self._run.request.told:
            lines = _with_told(lines, self._run.request.told, head)
        return lines

    def _extraordinary_lines(self, head: ResponseHead) -> bytes:
        """Tell of an upgrade, of the body that a response to HEAD would have, or of trailers."""
        special = head.special
        protocol = chosen_protocol(special, self.head.fields.upgrades)
        lines = self._lines_about_body(head)
        if protocol is not None:
            lines = b"\r\nConnection: Upgrade\r\nUpgrade: " + protocol + lines
        return lines

    def _lines_about_body(self, head: ResponseHead) -> bytes:
        special = head.special
        has_length = b"content-length" in special and head.status not in (101, 204)
        if head.body_length == NO_BODY and has_length:
            return b"\r\nContent-Length: " + special[b"content-length"]
        if head.body_length == CHUNKED and b"trailer" in special and self._takes_trailers():
            return b"\r\nTrailer: " + special[b"trailer"]
        return b""

    def _proxied_lines(self, earlier_via: bytes | None = None) -> bytes:
        """Write latencies, request id and Via of a request for which a target was chosen."""
        added = self._proxy.added_lines
        facts = (
            (self._head_at - self._chosen_at) * 1000,
            (self._chosen_at - self._started_at) * 1000,
            self.request_id,
        )
        if earlier_via:
            return added.measured % facts + added.via_after(earlier_via)
        return added.proxied % facts

    def _told_more(
        self, lines: bytes, upstream_status: int, special: Mapping[bytes, bytes]
    ) -> bytes:
        """Add to header lines what only some nodes tell (`Proxy.tells_more`)."""
        proxy = self._proxy
        added = proxy.added_lines
        lines = added.with_upstream_status(lines, upstream_status) + added.of_others(special)
        if proxy.debug_lines is not None and self._traffic is not None:  # there is a route
            resolution = self._resolution
            lines += proxy.debug_lines.for_request(
                self.head.fields.block, resolution.route, resolution.service
            )
        return lines

    def _takes_trailers(self) -> bool:
        fields = self.head.fields
        te = fields.special.get(b"te")
        return te is not None and fields.minor == b"1" and bool(_TAKES_TRAILERS.search(te))

    def _answer_lines(self, content_type: str) -> bytes:
        proxy = self._proxy
        if self._chosen_at:  # a target was chosen: what failed was the upstream side
            how = self._proxied_lines()
        else:
            took_ms = (self._head_at - self._started_at) * 1000
            how = proxy.added_lines.unproxied % (took_ms, self.request_id)
        what = b"\r\nContent-Type: " + content_type.encode() if content_type else b""
        lines = proxy.date_line() + what + proxy.added_lines.server + how
        if self._cookie is not None and self._chosen_at:
            lines += self._cookie.line
        if proxy.tells_more:
            lines = self._told_more(lines, self._failures[-1].status if self._failures else 0, {})
        if self._run is not None and self._run.request.told:
            lines = _with_told(lines, self._run.request.told)
        return lines


def _with_told(lines: bytes, told: Iterable[Told], head: ResponseHead | None = None) -> bytes:
    """Add to the lines of a response, a service's if it has a head, what plugins tell."""
    for telling in told:
        if head is not None and head.mentions(telling.instead_of):
            lines = telling.instead_of.sub(b"", lines)
        lines += telling.lines
    return lines
