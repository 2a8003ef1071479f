"""TLS of client connections: which certificate is shown to whom (proxying.md section 9).

There is one context for all connections. When a client says which server it wants, the certificate
is chosen from the snapshot of that moment, so a change counts from the next handshake on and leaves
open connections alone. The context of a certificate is made when it is first chosen.
"""

from __future__ import annotations

import re
import ssl
from collections import OrderedDict
from collections.abc import Callable, Iterator
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.proxy.failures import FailureLog
from gateway.proxy.key_pairs import load_pair, read_pair
from gateway.self_signed import pem_of_certificate, pem_of_key, self_signed
from gateway.settings import NodeSettings, SettingError, named
from gateway.snapshot import Certificate, KeyPair, Snapshot

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:!PSK"
"""Of TLS 1.2: forward secrecy and authenticated encryption. TLS 1.3 has nothing else."""

_MIN_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CONTEXTS_LIMIT = 1024  # some 15 KB each
_DEFAULT_NAME = "localhost"
_DEFAULT_DAYS = 3650
_SERVER_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")  # of 255 bytes at most, by TLS


class ClientTls(ssl.SSLObject):
    """The TLS of one client connection, which remembers the server name that was asked for."""

    server_name: bytes | None = None


class TlsTermination:
    """What the TLS listener accepts connections with.

    ``context`` is for the server side of each; ``snapshot`` returns the current one. Raises
    SettingError for files or ciphers that are of no use.
    """

    def __init__(
        self, settings: NodeSettings, snapshot: Callable[[], Snapshot], failures: FailureLog
    ) -> None:
        self._snapshot = snapshot
        self._failures = failures
        self._contexts: OrderedDict[UUID, tuple[Certificate, ssl.SSLContext]] = OrderedDict()
        pair = read_pair(settings, "proxy_tls_cert", "proxy_tls_cert_key") or self_signed_pair()
        self.context = server_context(settings, pair)
        self.context.sslobject_class = ClientTls
        self.context.sni_callback = self._choose

    @staticmethod
    def server_name(connection: ssl.SSLObject) -> bytes | None:
        """Return the server name that a client asked for, None if it named none, or no host."""
        return connection.server_name if isinstance(connection, ClientTls) else None

    def _choose(
        self, connection: ssl.SSLObject, name: str | None, default: ssl.SSLContext
    ) -> int | None:
        """Have the certificate for ``name`` shown, or end the handshake (called by OpenSSL)."""
        del default
        if name is None or _SERVER_NAME.fullmatch(name) is None:
            return None
        if isinstance(connection, ClientTls):
            connection.server_name = name.encode()
        snapshot = self._snapshot()
        found = (snapshot.snis.get(candidate) for candidate in candidates(name))
        id_ = next((id_ for id_ in found if id_ is not None), None)
        if id_ is None:
            return None
        try:
            connection.context = self._context_of(snapshot.certificates[id_])
        except KeyError:
            return self._refuse(id_, "it is one of the bad entities")
        except OSError as error:
            return self._refuse(id_, str(error))
        return None

    def _refuse(self, id_: UUID, reason: str) -> int:
        """Log that a certificate cannot be shown; return the alert that ends the handshake."""
        self._failures.note("certificate of no use", reason, str(id_))
        return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR

    def _context_of(self, certificate: Certificate) -> ssl.SSLContext:
        """Return the context of a certificate, a new one for a new one. Raises OSError."""
        known, context = self._contexts.pop(certificate.id, (None, None))
        if known is not certificate or context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            for pair in certificate.pairs:
                load_pair(context, pair)
        self._contexts[certificate.id] = (certificate, context)  # as the one used last
        if len(self._contexts) > _CONTEXTS_LIMIT:
            self._contexts.popitem(last=False)
        return context


def candidates(name: str) -> Iterator[str]:
    """Yield the names of SNI entities that may stand for ``name``, the first choice first."""
    yield name
    _, _, rest = name.partition(".")
    if "." in rest:
        yield f"*.{rest}"
    beginning, dot, _ = name.rpartition(".")
    if dot:
        yield f"{beginning}.*"
    yield "*"


def server_context(settings: NodeSettings, pair: KeyPair) -> ssl.SSLContext:
    """Return the context whose versions, ciphers and tickets all connections of a listener have.

    Raises SettingError for ciphers that are of no use.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _MIN_VERSIONS[settings.tls_min_version]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.set_ciphers(settings.tls_ciphers or _CIPHERS)
    except ssl.SSLError:
        raise SettingError(
            f"{named('tls_ciphers')}: OpenSSL knows no cipher of '{settings.tls_ciphers}'"
        ) from None
    load_pair(context, pair)
    return context


def self_signed_pair() -> KeyPair:
    """Make a certificate that nobody trusts, for clients that none was given for."""
    key = ec.generate_private_key(ec.SECP256R1())
    usages = [ExtendedKeyUsageOID.SERVER_AUTH]
    certificate = self_signed(key, _DEFAULT_NAME, _DEFAULT_DAYS, usages)
    return KeyPair(pem_of_certificate(certificate).decode(), pem_of_key(key).decode())
