"""Certificate authorities that live as long as a test, and what they issue."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from gateway.snapshot import KeyPair

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Authority:
    """A CA: a root, or one whose certificate another has issued."""

    def __init__(self, name: str = "Test CA", issuer: Authority | None = None) -> None:
        self.issuer = issuer
        self._name = _named(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        above = issuer or self
        builder = _builder(self._name, above._name, self._key, timedelta(days=1))
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        certificate = builder.add_extension(constraints, critical=True)
        self.pem = _pem(certificate.sign(above._key, hashes.SHA256()))

    def issue(self, *names: str, key: Key | None = None, days: float = 1) -> KeyPair:
        """A pair for DNS names and IP addresses, with the chain up to the root; the first name is
        its common name as well. ``days`` may be negative: it has expired then."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_named(names[0]), self._name, key, timedelta(days=days))
        alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
        certificate = builder.add_extension(alternatives, critical=False)
        chain = _pem(certificate.sign(self._key, hashes.SHA256()))
        above: Authority | None = self
        while above is not None and above.issuer is not None:
            chain += above.pem
            above = above.issuer
        return KeyPair(chain, pem_of_key(key))

    def client_context(self) -> ssl.SSLContext:
        """What a client that trusts this CA alone connects with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.pem)
        return context


def new_rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, bits)


def pem_of_key(key: Key, password: bytes | None = None) -> str:
    encryption = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    ).decode()


def any_server() -> ssl.SSLContext:
    """What a client that trusts whoever answers connects with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def shown_by(peer: ssl.SSLObject) -> x509.Certificate:
    """The certificate that the other side of a connection has shown."""
    shown = peer.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown)


def name_of(certificate: x509.Certificate) -> str:
    """Its common name."""
    (attribute,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(attribute.value)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, valid: timedelta
) -> x509.CertificateBuilder:
    end = datetime.now(UTC) + valid
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=2))
        .not_valid_after(end)
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
