"""TLS of upstream connections: what is trusted and which certificate is shown (proxying.md, 8).

`TlsTerms` say it for a service and are part of what makes two connections alike, so a change of any
entity behind them leads to new connections. Contexts follow from terms; they are made in a thread,
as reading the system's CA certificates takes some 20 ms, and kept for the next connection.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from gateway.proxy.failures import FailureLog
from gateway.proxy.key_pairs import load_authority, load_pair, read_file, read_pair
from gateway.settings import NodeSettings, SettingError, named
from gateway.snapshot import KeyPair, Service, Snapshot, Upstream

_CONTEXTS_LIMIT = 256  # up to 1 MB each, with the system's CA certificates


_NAME_LIMIT_BYTES = 255


class UntrustedError(Exception):
    """The upstream could not be, or is not, known for what it should be."""


@dataclass(frozen=True, slots=True)
class TlsTerms:
    """What a TLS connection to an upstream requires.

    ``authorities`` are PEM texts, None stands for the system's. ``depth`` is how many intermediate
    certificates there may be. ``pairs`` are shown to an upstream that asks.
    """

    verify: bool
    depth: int
    authorities: tuple[str, ...] | None = field(repr=False)
    pairs: tuple[KeyPair, ...]


class TlsPeer(NamedTuple):
    """Who is expected at the other end of a connection, and on which terms.

    ``name`` is a host name or an IP address; see `server_name`.
    """

    name: str
    terms: TlsTerms


class UpstreamTls:
    """Terms and contexts of a node. Raises SettingError for files that are of no use."""

    def __init__(self, settings: NodeSettings, failures: FailureLog) -> None:
        self._failures = failures
        self._verify = settings.upstream_tls_verify
        self._depth = settings.upstream_tls_verify_depth
        self._authorities = _authorities_of(settings)
        pair = read_pair(settings, "upstream_tls_cert", "upstream_tls_cert_key")
        self._pairs = () if pair is None else (pair,)
        self._contexts: OrderedDict[TlsTerms, ssl.SSLContext] = OrderedDict()
        self._making: dict[TlsTerms, asyncio.Task[ssl.SSLContext]] = {}

    def terms_of(self, service: Service, snapshot: Snapshot) -> TlsTerms | None:
        """Return the terms of connections to a service; None without TLS."""
        if service.protocol != "https":
            return None
        pairs = self._pairs_of(service, snapshot)
        verify = self._verify if service.tls_verify is None else service.tls_verify
        if not verify:
            return TlsTerms(verify=False, depth=0, authorities=(), pairs=pairs)
        return TlsTerms(
            verify=True,
            depth=self._depth if service.tls_verify_depth is None else service.tls_verify_depth,
            authorities=self._trusted_by(service, snapshot),
            pairs=pairs,
        )

    def terms_of_probes(self, upstream: Upstream, snapshot: Snapshot, *, verify: bool) -> TlsTerms:
        """Return the terms of probes of an upstream entity: no service has a say in them."""
        pairs = self._pairs_in(upstream.client_certificate, snapshot, upstream.name)
        if not verify:
            return TlsTerms(verify=False, depth=0, authorities=(), pairs=pairs)
        return TlsTerms(verify=True, depth=self._depth, authorities=self._authorities, pairs=pairs)

    async def context_of(self, terms: TlsTerms) -> ssl.SSLContext:
        """Return the context for new connections on these terms."""
        context = self._contexts.get(terms)
        if context is None:
            return await asyncio.shield(self._making.get(terms) or self._make(terms))
        self._contexts.move_to_end(terms)
        return context

    async def stop(self) -> None:
        """Give up the contexts being made."""
        for task in list(self._making.values()):
            task.cancel()
        await asyncio.gather(*self._making.values(), return_exceptions=True)

    def _pairs_of(self, service: Service, snapshot: Snapshot) -> tuple[KeyPair, ...]:
        """Return the key pairs that upstreams of a service may ask for."""
        id_ = service.client_certificate
        if id_ is None:
            upstream_id = snapshot.upstream_ids.get(service.host)
            if upstream_id is not None:
                id_ = snapshot.upstreams[upstream_id].client_certificate
        return self._pairs_in(id_, snapshot, service.label)

    def _pairs_in(self, id_: UUID | None, snapshot: Snapshot, whose: str) -> tuple[KeyPair, ...]:
        """Return the key pairs of a client certificate, those of the settings without one."""
        if id_ is None:
            return self._pairs
        certificate = snapshot.certificates.get(id_)
        if certificate is None:
            self._note_missing("client certificate", id_, whose)
            return ()
        return certificate.pairs

    def _trusted_by(self, service: Service, snapshot: Snapshot) -> tuple[str, ...] | None:
        """Return the CA certificates that a service trusts; those that are missing are left out."""
        if not service.ca_certificates:
            return self._authorities
        found = []
        for id_ in service.ca_certificates:
            pem = snapshot.ca_certificates.get(id_)
            if pem is None:
                self._note_missing("CA certificate", id_, service.label)
            else:
                found.append(pem)
        return tuple(found)

    def _note_missing(self, what: str, id_: UUID, whose: str) -> None:
        self._failures.note(f"{what} missing", f"{id_} is one of the bad entities", whose)

    def _make(self, terms: TlsTerms) -> asyncio.Task[ssl.SSLContext]:
        task = self._making[terms] = asyncio.get_running_loop().create_task(
            self._made(terms), name="make-upstream-tls-context"
        )
        task.add_done_callback(lambda _: self._making.pop(terms, None))
        return task

    async def _made(self, terms: TlsTerms) -> ssl.SSLContext:
        context, problems = await asyncio.to_thread(_context, terms)
        for problem in problems:
            self._failures.note("upstream TLS context is incomplete", problem, "")
        self._contexts[terms] = context
        if len(self._contexts) > _CONTEXTS_LIMIT:
            self._contexts.popitem(last=False)
        return context


def check_name(name: str) -> None:
    """Raise UntrustedError for a name that `ssl` could not ask for, before it is too late.

    It would find out when the connection is made, and the event loops then leave that open.
    """
    try:
        size = len(name.encode("idna"))
    except UnicodeError:
        size = 0
    if not 0 < size <= _NAME_LIMIT_BYTES:
        raise UntrustedError(f"'{name[:_NAME_LIMIT_BYTES]}' is no server name")


@lru_cache(maxsize=1024)
def server_name(host_header: bytes) -> str:
    """Return who the upstream of a Host header has to be: a name, or an address without brackets.

    A name is also sent as SNI, an address is not (RFC 6066 section 3): `ssl` sees to that.
    """
    host = host_header.decode(errors="replace")
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def check_depth(connection: ssl.SSLObject, terms: TlsTerms) -> None:
    """Raise UntrustedError if too many certificates lie between the upstream's and its CA's.

    OpenSSL could tell by itself, but `ssl` has no way to ask it to.
    """
    if not terms.verify:
        return
    intermediates = len(_verified_chain(connection)) - 2
    if intermediates > terms.depth:
        raise UntrustedError(
            f"{intermediates} intermediate certificates, more than the verify depth {terms.depth}"
        )


def _verified_chain(connection: ssl.SSLObject) -> list[bytes]:
    """Return the certificates from the upstream's to the trusted one."""
    public = getattr(connection, "get_verified_chain", None)  # from Python 3.13 on
    return list(public() if public else connection._sslobj.get_verified_chain())  # type: ignore[attr-defined]


def _authorities_of(settings: NodeSettings) -> tuple[str, ...] | None:
    """Return the CA certificates that the settings name. Raises SettingError."""
    path = settings.upstream_tls_ca
    if not path:
        return None
    pem = read_file("upstream_tls_ca", path)
    try:
        load_authority(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), pem)
    except OSError:
        raise SettingError(
            f"{named('upstream_tls_ca')}: {path} has no certificates in PEM form"
        ) from None
    return (pem,)


def _context(terms: TlsTerms) -> tuple[ssl.SSLContext, list[str]]:
    """Make the context for ``terms``; return with it why some of them could not be met."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    problems: list[str] = []
    if not terms.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif terms.authorities is None:
        context.load_default_certs()
    for pem in terms.authorities or ():
        try:
            load_authority(context, pem)
        except OSError as error:
            problems.append(f"a CA certificate cannot be read: {error}")
    for pair in terms.pairs:
        try:
            load_pair(context, pair)
        except OSError as error:
            problems.append(f"a client certificate cannot be shown: {error}")
    return context, problems
