"""The shared pair: made once, checked when read, and the only one that either side takes."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs
from typer.testing import CliRunner

from gateway.cli.app import app
from gateway.hybrid.certificates import SERVER_NAME, ClusterPair, PairError, make_pair
from gateway.settings import NodeSettings


@pytest.fixture
def pair(tmp_path: Path) -> ClusterPair:
    return make_pair(tmp_path / "ours", days=90)


def test_the_command_makes_a_pair_whose_key_only_its_owner_can_read(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["hybrid", "certs", "--dir", str(tmp_path), "--days", "400"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "cluster.key").stat().st_mode & 0o777 == 0o600
    pair = ClusterPair.read(tmp_path / "cluster.crt", tmp_path / "cluster.key")
    assert timedelta(days=399) < pair.expires_at - datetime.now(UTC) <= timedelta(days=400)
    assert str(tmp_path / "cluster.crt") in done.output
    assert "PRIVATE KEY" not in done.output


@pytest.mark.parametrize("there", ["cluster.crt", "cluster.key"])
def test_a_pair_is_never_overwritten(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("precious")
    with pytest.raises(PairError, match=f"{there} is there already"):
        make_pair(tmp_path, days=1)
    assert (tmp_path / there).read_text() == "precious"
    assert [file.name for file in tmp_path.iterdir()] == [there]


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda pair: pair.certificate_path.unlink(), r"--cluster-cert .*No such file"),
        (lambda pair: pair.key_path.unlink(), r"--cluster-cert-key .*No such file"),
        (
            lambda pair: pair.key_path.write_text("?"),
            r"--cluster-cert-key .*not an unencrypted key",
        ),
        (lambda pair: pair.certificate_path.write_text("?"), r"--cluster-cert .*not a certificate"),
    ],
)
def test_a_pair_that_cannot_be_read_is_named(pair: ClusterPair, spoil, complaint: str) -> None:
    spoil(pair)
    with pytest.raises(PairError, match=complaint):
        ClusterPair.read(pair.certificate_path, pair.key_path)


def test_a_key_of_another_certificate_is_refused(pair: ClusterPair, tmp_path: Path) -> None:
    other = make_pair(tmp_path / "theirs", days=1)
    with pytest.raises(PairError, match="is not that of"):
        ClusterPair.read(pair.certificate_path, other.key_path)


@pytest.mark.parametrize("missing", ["cluster_cert", "cluster_cert_key"])
def test_settings_without_a_pair_say_how_to_make_one(pair: ClusterPair, missing: str) -> None:
    given = {
        "cluster_cert": str(pair.certificate_path),
        "cluster_cert_key": str(pair.key_path),
        missing: "",
    }
    with pytest.raises(PairError, match=r"is required for role data-plane.*gateway hybrid certs"):
        ClusterPair.of(NodeSettings(role="data-plane", **given))


async def test_both_sides_take_the_shared_certificate(pair: ClusterPair) -> None:
    assert await hello_over_tls(pair.server_context(), pair.client_context()) == b"hello"


async def test_neither_side_takes_another_certificate(pair: ClusterPair, tmp_path: Path) -> None:
    other = make_pair(tmp_path / "theirs", days=1)
    with pytest.raises(ssl.SSLCertVerificationError):
        await hello_over_tls(pair.server_context(), other.client_context())
    careless = other.client_context()
    careless.verify_mode = ssl.CERT_NONE
    assert await hello_over_tls(pair.server_context(), careless) == b""


async def test_a_client_without_a_certificate_learns_nothing(pair: ClusterPair) -> None:
    anonymous = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anonymous.check_hostname = False
    anonymous.verify_mode = ssl.CERT_NONE
    assert await hello_over_tls(pair.server_context(), anonymous) == b""


async def test_an_expired_pair_goes_on_working_and_is_complained_of(tmp_path: Path) -> None:
    pair = made_elsewhere(tmp_path, valid_until=datetime.now(UTC) - timedelta(days=1))
    assert await hello_over_tls(pair.server_context(), pair.client_context()) == b"hello"
    with capture_logs() as log:
        pair.complain_of_expiry()
    assert ["has expired" in line["event"] for line in log] == [True]


def test_a_pair_is_complained_of_before_it_expires(tmp_path: Path) -> None:
    with capture_logs() as log:
        make_pair(tmp_path / "soon", days=29).complain_of_expiry()
        make_pair(tmp_path / "later", days=31).complain_of_expiry()
    assert ["expires soon" in line["event"] for line in log] == [True]


async def test_a_certificate_that_a_company_signed_may_be_shared(tmp_path: Path) -> None:
    pair = made_elsewhere(
        tmp_path, valid_until=datetime.now(UTC) + timedelta(days=1), issuer="a company"
    )
    assert await hello_over_tls(pair.server_context(), pair.client_context()) == b"hello"


async def hello_over_tls(server: ssl.SSLContext, client: ssl.SSLContext) -> bytes:
    """Return what a server says, nothing if it refuses; raises what the client finds wrong."""

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0, ssl=server) as listening:
        port = listening.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client, server_hostname=SERVER_NAME
        )
        try:
            return await reader.read()
        except OSError:
            return b""
        finally:
            writer.transport.abort()


def made_elsewhere(directory: Path, *, valid_until: datetime, issuer: str = "us") -> ClusterPair:
    """Return a pair as other tools make it: RSA, without extensions."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    issuer_key = key if issuer == "us" else rsa.generate_private_key(65537, 2048)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "us")]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(valid_until - timedelta(days=10))
        .not_valid_after(valid_until)
        .sign(issuer_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (directory / "c").write_bytes(certificate.public_bytes(pem))
    (directory / "k").write_bytes(
        key.private_bytes(
            pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    return ClusterPair.read(directory / "c", directory / "k")
