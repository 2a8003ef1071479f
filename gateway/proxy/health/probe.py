"""One probe: a connection, with TLS a handshake, and mostly a request whose status is read.

Source: ``balancer.md`` section 6.3. It is done in raw HTTP/1.0: of what comes, nothing matters but
the first line, and nothing else is waited for.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from errno import EADDRNOTAVAIL, EMFILE, ENFILE, ENOBUFS, ENOMEM
from typing import Any, NamedTuple

from gateway.balancing import Endpoint
from gateway.balancing.health import Report
from gateway.balancing.health_checks import Probes
from gateway.proxy.upstream_tls import (
    TlsTerms,
    UntrustedError,
    check_depth,
    check_name,
    server_name,
)

_LINE_LIMIT_BYTES = 4096
_STATUS_LINE = re.compile(rb"HTTP/\d\.\d[ \t]+(\d{3})(?!\d)")
_OUR_TROUBLE = frozenset({EMFILE, ENFILE, ENOMEM, ENOBUFS, EADDRNOTAVAIL})
"""Errors that say nothing of who was asked."""


class Security(NamedTuple):
    """What a probe over TLS requires."""

    terms: TlsTerms
    context: ssl.SSLContext


class Outcome(NamedTuple):
    """What a probe has found, None for nothing; and the same in words.

    ``was_asked`` is False where the trouble is ours.
    """

    report: Report | None
    reason: str
    was_asked: bool = True


async def probe(endpoint: Endpoint, probes: Probes, security: Security | None) -> Outcome:
    """Probe an endpoint, over TLS if there is a ``security``."""
    host = _host_header(endpoint, probes)
    try:
        async with asyncio.timeout(probes.timeout_s):
            if security is None:
                asking = await _connect(endpoint)
            else:
                name = probes.server_name or server_name(host.encode())
                asking = await _connect_securely(endpoint, name, security, probes.timeout_s)
    except TimeoutError:
        return Outcome(Report.TIMEOUT, "connect timed out")
    except Exception as error:  # noqa: BLE001 - whatever it is, there is no connection
        if isinstance(error, OSError) and error.errno in _OUR_TROUBLE:
            return Outcome(None, _in_words(error), was_asked=False)
        return Outcome(Report.TCP_FAILURE, _in_words(error))
    try:
        if probes.path is None:
            return Outcome(Report.SUCCESS, "connected")
        return await _ask(asking, probes, host)
    finally:
        asking.transport.abort()


class _Asking(asyncio.Protocol):
    """A connection that waits for the first line of a response."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.line: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport  # type: ignore[assignment]  # TCP gives a full Transport

    def data_received(self, data: bytes) -> None:
        """Take what comes, up to the end of the first line."""
        if self.line.done():
            return
        self._received += data
        if b"\n" in self._received or len(self._received) > _LINE_LIMIT_BYTES:
            self.line.set_result(self._received[:_LINE_LIMIT_BYTES])

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        del exc
        if not self.line.done():
            self.line.set_result(None)


async def _connect(endpoint: Endpoint, **options: Any) -> _Asking:
    loop = asyncio.get_running_loop()
    _, asking = await loop.create_connection(_Asking, endpoint.address, endpoint.port, **options)
    return asking


async def _connect_securely(
    endpoint: Endpoint, name: str, security: Security, timeout_s: float
) -> _Asking:
    """Connect over TLS to who has to be ``name``. Raises UntrustedError, OSError."""
    check_name(name)
    asking = await _connect(
        endpoint,
        ssl=security.context,
        server_hostname=name,
        ssl_handshake_timeout=timeout_s + 1,  # ours ends first
    )
    try:
        check_depth(asking.transport.get_extra_info("ssl_object"), security.terms)
    except UntrustedError:
        asking.transport.abort()
        raise
    return asking


async def _ask(asking: _Asking, probes: Probes, host: str) -> Outcome:
    """Send the request, and judge what comes."""
    request = f"GET {probes.path} HTTP/1.0\r\nHost: {host}{probes.headers}\r\n\r\n"
    asking.transport.write(request.encode())
    try:
        async with asyncio.timeout(probes.timeout_s):
            line = await asking.line
    except TimeoutError:
        return Outcome(Report.TIMEOUT, "no response in time")
    if line is None:
        return Outcome(Report.TCP_FAILURE, "connection closed before a response")
    found = _STATUS_LINE.match(line)
    if found is None:
        return Outcome(Report.HTTP_FAILURE, "what came is no HTTP")
    status = int(found[1])
    return Outcome(probes.criteria.of_status(status), f"status {status}")


def _host_header(endpoint: Endpoint, probes: Probes) -> str:
    """Return the Host header: without a port, unless the upstream entity says one."""
    if probes.host is not None:
        return probes.host
    return f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
