"""TLS of client connections: which certificate is shown to whom, and what is refused."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from immutables import Map
from structlog.testing import capture_logs

from gateway.proxy import downstream, key_pairs, tls
from gateway.proxy.failures import FailureLog
from gateway.proxy.tls import TlsTermination, candidates
from gateway.settings import NodeSettings, SettingError
from gateway.snapshot import Certificate, KeyPair, Snapshot
from tests.snapshot import rows

from .certificates import Authority, any_server, name_of, new_rsa_key, pem_of_key, shown_by
from .conftest import StartGateway
from .gateway import one_route
from .peers import DEADLINE_S, Client, ClientTls, Upstream, eventually

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CA = Authority()


def certificate(*names: str) -> Certificate:
    return Certificate(uuid4(), (CA.issue(*names),))


class Server:
    """A server that accepts with a `TlsTermination` and says nothing."""

    def __init__(self, **settings: Any) -> None:
        self.snapshot = Snapshot.empty()
        self.names: list[bytes | None] = []
        self.termination = TlsTermination(
            NodeSettings(**settings), lambda: self.snapshot, FailureLog()
        )

    def serve(self, snis: Mapping[str, Certificate], missing: Iterable[str] = ()) -> None:
        """Replace the snapshot: these names, and some whose certificate is a bad row."""
        ids: dict[str, UUID] = {name: found.id for name, found in snis.items()}
        self.snapshot = replace(
            self.snapshot,
            snis=Map(ids | {name: uuid4() for name in missing}),
            certificates=Map({found.id: found for found in snis.values()}),
        )

    async def start(self) -> None:
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", 0, ssl=self.termination.context
        )
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("ssl_object")
        self.names.append(self.termination.server_name(connection))
        writer.write(b"hello")
        await reader.read()
        writer.close()

    async def stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.start()
    yield server
    await server.stop()


@asynccontextmanager
async def connected(
    server: Server, name: str | None, context: ssl.SSLContext | None = None
) -> AsyncIterator[ssl.SSLObject]:
    """A client that asks for ``name`` and has heard from the server."""
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.port, ssl=context or any_server(), server_hostname=name or ""
        )
        try:
            assert await reader.read(5) == b"hello"
            yield writer.get_extra_info("ssl_object")
        finally:
            writer.close()
            await writer.wait_closed()


async def shown(server: Server, name: str | None, context: ssl.SSLContext | None = None) -> str:
    """The common name of the certificate that a client is shown who asks for ``name``."""
    async with connected(server, name, context) as connection:
        return name_of(shown_by(connection))


# -- the choice


@pytest.mark.parametrize(
    ("name", "tried"),
    [
        ("a.b.example", ["a.b.example", "*.b.example", "a.b.*", "*"]),
        ("a.b.c.example", ["a.b.c.example", "*.b.c.example", "a.b.c.*", "*"]),
        ("b.example", ["b.example", "b.*", "*"]),
        ("localhost", ["localhost", "*"]),
    ],
)
def test_the_candidates_of_a_name(name: str, tried: list[str]) -> None:
    assert list(candidates(name)) == tried


@pytest.mark.both_loops
async def test_the_nearest_sni_decides(server: Server) -> None:
    found = {
        "a.b.example": certificate("exact"),
        "*.b.example": certificate("left"),
        "a.b.*": certificate("right"),
    }
    server.serve(found)
    assert await shown(server, "a.b.example") == "exact"
    assert await shown(server, "x.b.example") == "left"
    assert await shown(server, "a.b.test") == "right"
    assert await shown(server, "b.example") == "localhost"
    assert await shown(server, "x.y.b.example") == "localhost"
    assert await shown(server, None) == "localhost"
    server.serve(found | {"*": certificate("any")})
    assert await shown(server, "b.example") == "any"
    assert await shown(server, "x.b.example") == "left"
    assert await shown(server, None) == "localhost"
    assert server.names[:3] == [b"a.b.example", b"x.b.example", b"a.b.test"]
    assert server.names[-1] is None


async def test_names_are_compared_as_they_came(server: Server) -> None:
    server.serve({"a.example": certificate("exact")})
    assert await shown(server, "A.example") == "localhost"
    assert server.names == [b"A.example"]


@pytest.mark.parametrize("name", ["*.b.example", "a.example.", "-a b", "a/b", "a\r\nb"])
async def test_what_is_no_host_name_counts_as_none(server: Server, name: str) -> None:
    server.serve({name: certificate("odd"), "*": certificate("any")})
    assert await shown(server, name) == "localhost"
    assert server.names == [None]


async def test_bytes_that_are_no_text_end_the_handshake(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", FailureLog().note_unraisable)  # as in a node
    hello = hello_for("aa.example").replace(b"aa.example", b"\xff\xfe.example")
    with capture_logs() as logs:
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(hello)
            async with asyncio.timeout(DEADLINE_S):
                assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
    assert server.names == []
    (line,) = logs
    assert line["event"] == "error ignored"
    assert "UnicodeDecodeError" in line["reason"]


def hello_for(name: str, context: ssl.SSLContext | None = None) -> bytes:
    """The first bytes of a client that asks for ``name``."""
    sent = ssl.MemoryBIO()
    client = (context or any_server()).wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


def refusal(server: Server, name: str, client: ssl.SSLContext | None = None) -> str:
    """Why a client is refused; it hears no more than that its connection is closed."""
    received = ssl.MemoryBIO()
    received.write(hello_for(name, client))
    side = server.termination.context.wrap_bio(received, ssl.MemoryBIO(), server_side=True)
    with pytest.raises(ssl.SSLError) as refused:
        side.do_handshake()
    assert not isinstance(refused.value, ssl.SSLWantReadError)
    return refused.value.reason


# -- changes


@pytest.mark.both_loops
async def test_a_new_certificate_counts_from_the_next_handshake_on(server: Server) -> None:
    first = certificate("first")
    server.serve({"a.example": first})
    async with connected(server, "a.example") as before:
        server.serve({"a.example": Certificate(first.id, (CA.issue("second"),))})
        assert await shown(server, "a.example") == "second"
        server.serve({})
        assert await shown(server, "a.example") == "localhost"
        assert name_of(shown_by(before)) == "first"
    server.serve({"a.example": first})
    assert await shown(server, "a.example") == "first"


async def test_contexts_are_made_once_and_only_so_many_are_kept(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[KeyPair] = []

    def load_pair(context: ssl.SSLContext, pair: KeyPair) -> None:
        made.append(pair)
        key_pairs.load_pair(context, pair)

    monkeypatch.setattr(tls, "load_pair", load_pair)
    monkeypatch.setattr(tls, "_CONTEXTS_LIMIT", 2)
    found = {name: certificate(name) for name in ("a", "b", "c")}
    server.serve(found)
    assert made == []
    for name in ("a", "a", "b", "a", "c", "a", "b"):
        assert await shown(server, name) == name
    assert made == [found[name].pairs[0] for name in ("a", "b", "c", "b")]


# -- key pairs


async def test_both_pairs_of_a_certificate_are_offered(server: Server) -> None:
    pairs = (CA.issue("rsa", key=new_rsa_key()), CA.issue("ecdsa"))
    server.serve({"a.example": Certificate(uuid4(), pairs)})

    async def key_for(ciphers: str) -> object:
        client = any_server()
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        client.set_ciphers(ciphers)
        async with connected(server, "a.example", client) as connection:
            return shown_by(connection).public_key()

    assert isinstance(await key_for("aRSA"), rsa.RSAPublicKey)
    assert isinstance(await key_for("aECDSA"), ec.EllipticCurvePublicKey)


async def test_the_chain_is_sent(server: Server) -> None:
    between = Authority("Between", issuer=CA)
    server.serve({"a.example": Certificate(uuid4(), (between.issue("a.example"),))})
    assert await shown(server, "a.example", CA.client_context()) == "a.example"


@pytest.mark.both_loops
async def test_a_certificate_of_no_use_ends_the_handshakes_for_it_alone(server: Server) -> None:
    broken = Certificate(uuid4(), (KeyPair("no certificate", "no key"),))
    server.serve(
        {"good.example": certificate("good"), "*.broken.example": broken}, missing=["bad.example"]
    )
    with capture_logs() as logs:
        for name in ("a.broken.example", "b.broken.example", "bad.example"):
            with pytest.raises(OSError):
                await shown(server, name)
            assert await shown(server, "good.example") == "good"
    assert [line["event"] for line in logs] == ["certificate of no use"] * 2
    assert [line["peer"] for line in logs] == [
        str(server.snapshot.snis["*.broken.example"]),
        str(server.snapshot.snis["bad.example"]),
    ]
    assert logs[1]["reason"] == "it is one of the bad entities"


def test_a_key_never_lies_on_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    class Context(ssl.SSLContext):
        def load_cert_chain(self, certfile: Any, *args: Any, **options: Any) -> None:
            opened.append(str(Path(certfile).readlink()))
            super().load_cert_chain(certfile, *args, **options)

    key_pairs.load_pair(Context(ssl.PROTOCOL_TLS_SERVER), CA.issue("a"))
    assert opened == ["/memfd:pem (deleted)"]


def test_without_files_in_memory_a_private_one_is_deleted_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    modes: list[int] = []

    class Context(ssl.SSLContext):
        def load_cert_chain(self, certfile: Any, *args: Any, **options: Any) -> None:
            modes.append(Path(certfile).stat().st_mode & 0o777)
            super().load_cert_chain(certfile, *args, **options)

    monkeypatch.setattr(key_pairs, "_OPEN_FILES", tmp_path / "nowhere")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    key_pairs.load_pair(Context(ssl.PROTOCOL_TLS_SERVER), CA.issue("a"))
    assert modes == [0o600]
    assert list(tmp_path.iterdir()) == []


def test_no_terminal_is_asked_for_a_password() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pair = KeyPair(CA.issue("a", key=key).cert_pem, pem_of_key(key, b"secret"))
    with pytest.raises(OSError, match="PEM lib"):
        key_pairs.load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pair)


# -- versions, ciphers, protocols, resumption


async def test_the_protocol_is_http_1_1(server: Server) -> None:
    client = any_server()
    client.set_alpn_protocols(["h2", "http/1.1"])
    async with connected(server, "a.example", client) as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"
        assert connection.version() == "TLSv1.3"
        assert connection.compression() is None


def test_old_versions_are_refused() -> None:
    server = Server()
    client = any_server()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        client.minimum_version = ssl.TLSVersion.TLSv1
        client.maximum_version = ssl.TLSVersion.TLSv1_1
    client.set_ciphers("ALL:@SECLEVEL=0")
    assert refusal(server, "a.example", client) == "UNSUPPORTED_PROTOCOL"


async def test_the_ciphers_of_tls_1_2_have_forward_secrecy(server: Server) -> None:
    client = any_server()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers("ALL")
    async with connected(server, None, client) as connection:
        name, version, _ = connection.cipher() or ("", "", 0)
        assert (name.startswith("ECDHE-ECDSA-"), version) == (True, "TLSv1.2")
    client.set_ciphers("AES128-SHA:ECDHE-ECDSA-AES128-SHA")
    assert refusal(server, "a.example", client) == "NO_SHARED_CIPHER"


def test_versions_and_ciphers_are_settings() -> None:
    server = Server(tls_min_version="1.3", tls_ciphers="ECDHE-RSA-AES128-GCM-SHA256")
    assert [c["name"] for c in server.termination.context.get_ciphers()][3:] == [
        "ECDHE-RSA-AES128-GCM-SHA256"
    ]
    client = any_server()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert refusal(server, "a.example", client) == "UNSUPPORTED_PROTOCOL"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_session_is_resumed_and_its_name_is_known_again(
    server: Server, version: ssl.TLSVersion
) -> None:
    server.serve({"a.example": certificate("a.example")})
    client = ClientWithSession(version)
    for _ in range(2):
        async with connected(server, "a.example", client) as connection:
            client.session = connection.session
            reused = connection.session_reused
    assert reused
    assert server.names == [b"a.example", b"a.example"]


class ClientWithSession(ssl.SSLContext):
    """A client that resumes ``session``."""

    session: ssl.SSLSession | None = None

    def __new__(cls, version: ssl.TLSVersion) -> Self:
        context = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.maximum_version = version
        return context

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        return super().wrap_bio(*args, **options, session=self.session)


# -- the default certificate


async def test_the_default_certificate_is_the_one_in_the_files(tmp_path: Path) -> None:
    cert, key = written(tmp_path, CA.issue("default.example"))
    server = Server(proxy_tls_cert=cert, proxy_tls_cert_key=key)
    await server.start()
    assert await shown(server, None) == "default.example"
    assert await shown(server, "a.example") == "default.example"
    await server.stop()


def written(directory: Path, pair: KeyPair) -> tuple[str, str]:
    """The paths of two files with a pair."""
    cert, key = directory / "cert.pem", directory / "key.pem"
    cert.write_text(pair.cert_pem)
    key.write_text(pair.key_pem)
    return str(cert), str(key)


def test_files_of_no_use_are_named_with_their_setting(tmp_path: Path) -> None:
    cert, key = written(tmp_path, CA.issue("a"))
    (tmp_path / "other").mkdir()
    other_cert, other_key = written(tmp_path / "other", CA.issue("b"))

    def problem(cert: str, key: str) -> str:
        with pytest.raises(SettingError) as refusal:
            Server(proxy_tls_cert=cert, proxy_tls_cert_key=key)
        return str(refusal.value)

    cert_setting = "--proxy-tls-cert (GATEWAY_PROXY_TLS_CERT)"
    key_setting = "--proxy-tls-cert-key (GATEWAY_PROXY_TLS_CERT_KEY)"
    assert problem(cert, "") == f"{key_setting} is required, as {cert_setting} is given"
    assert problem("", key) == f"{cert_setting} is required, as {key_setting} is given"
    assert problem("/nowhere.pem", key) == (
        f"{cert_setting}: /nowhere.pem cannot be read: No such file or directory"
    )
    assert problem(key, key) == f"{cert_setting}: {key} is not a certificate in PEM form"
    assert problem(cert, cert) == (
        f"{key_setting}: {cert} is not an unencrypted private key in PEM form"
    )
    assert (
        problem(cert, other_key) == f"{key_setting}: the key in {other_key} is not that of {cert}"
    )
    del other_cert


def test_ciphers_of_no_use_are_named() -> None:
    with pytest.raises(SettingError, match=r"--tls-ciphers .* knows no cipher of 'ROT13'"):
        Server(tls_ciphers="ROT13")


# -- through the proxy


@pytest.mark.both_loops
async def test_rows_are_served_and_replaced_under_open_connections(
    start_gateway: StartGateway, upstream: Upstream
) -> None:
    first = rows.certificate(CA.issue("first"))
    named = {"certificates": [first], "snis": [rows.sni("a.test", first)]}
    gateway = await start_gateway(one_route(upstream) | named, proxy_tls_port=0)

    async def connect() -> tuple[Client, str]:
        client = await gateway.connect(tls=ClientTls("a.test", context=any_server()))
        return client, name_of(shown_by(client.writer.get_extra_info("ssl_object")))

    before, name = await connect()
    assert name == "first"
    await gateway.change(
        {"certificates": [rows.certificate(CA.issue("next"), id=str(first["id"]))]}
    )
    assert (await connect())[1] == "next"
    await gateway.change({}, deleted={"snis": [named["snis"][0]["id"]]})
    after, name = await connect()
    assert name == "localhost"
    for client in (before, after):
        assert (await client.ask(GET)).status == 200


async def test_routes_for_https_are_found_by_the_server_name(
    start_gateway: StartGateway, upstream: Upstream
) -> None:
    tables = one_route(upstream, protocols=["https"], snis=["a.test"], paths=None)
    gateway = await start_gateway(tables, proxy_tls_port=0)

    async def status(name: str) -> int:
        client = await gateway.connect(tls=ClientTls(name, context=any_server()))
        return (await client.ask(GET)).status

    assert await status("a.test") == 200
    assert await status("A.test") == 404
    assert await status("b.test") == 404


@pytest.mark.parametrize("code", [301, 302, 307, 308])
async def test_a_redirect_to_https_ends_there(
    start_gateway: StartGateway, upstream: Upstream, code: int
) -> None:
    tables = one_route(upstream, protocols=["https"], https_redirect_status_code=code)
    gateway = await start_gateway(tables, proxy_tls_port=0)
    request = b"GET /orders?page=2 HTTP/1.1\r\nHost: a.test:8000\r\n\r\n"
    redirected = await gateway.ask(request)
    assert (redirected.status, redirected["Location"]) == (code, "https://a.test/orders?page=2")
    client = await gateway.connect(tls=ClientTls("a.test", context=any_server()))
    response = await client.ask(request)
    assert response.status == 200
    assert response["Via"].startswith("1.1 ")
    (forwarded,) = upstream.requests
    assert forwarded["X-Forwarded-Proto"] == "https"
    assert forwarded["X-Forwarded-Port"] == str(gateway.tls_port)
    assert forwarded["X-Forwarded-Host"] == "a.test"


@pytest.mark.both_loops
async def test_large_bodies_go_both_ways(start_gateway: StartGateway, upstream: Upstream) -> None:
    body = bytes(range(256)) * 8192  # 2 MiB
    upstream.answer = lambda request: (
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.body) + request.body
    )
    gateway = await start_gateway(one_route(upstream), proxy_tls_port=0)
    client = await gateway.connect(tls=ClientTls("a.test", context=any_server()))
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert (await client.response("POST")).body == body


@pytest.mark.both_loops
async def test_the_end_of_a_connection_is_announced_also_by_a_draining_proxy(
    start_gateway: StartGateway, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without that, a client could not tell the end of a body without a length from a cut."""
    monkeypatch.setattr(downstream, "_LINGER_S", 0.05)
    gateway = await start_gateway(one_route(upstream), proxy_tls_port=0)
    gateway.proxy.announce_end()

    def ask() -> bytes:
        connected = socket.create_connection(("127.0.0.1", gateway.tls_port), DEADLINE_S)
        with any_server().wrap_socket(connected, suppress_ragged_eofs=False) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            said = b""
            while data := client.recv(4096):
                said += data
            return said

    assert (await asyncio.to_thread(ask)).endswith(b"ok")


async def test_a_client_that_ends_its_side_ends_the_connection(
    start_gateway: StartGateway, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.scripted = True
    gateway = await start_gateway(one_route(upstream), proxy_tls_port=0)
    client = await gateway.connect(tls=ClientTls("a.test", context=any_server()))
    client.send(GET)
    peer = await upstream.accept()
    await peer.request()
    client.writer.close()
    assert await peer.closed()
    await eventually(lambda: not gateway.connections)
    assert caplog.records == []
