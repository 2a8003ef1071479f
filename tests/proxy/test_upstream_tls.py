"""TLS to upstreams: who is trusted, what name is asked for, which certificate is shown."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from gateway.entities import Row
from gateway.proxy import pool, upstream_tls
from gateway.proxy.failures import FailureLog
from gateway.proxy.key_pairs import load_pair
from gateway.proxy.upstream_tls import TlsTerms, UpstreamTls, server_name
from gateway.settings import NodeSettings, SettingError
from gateway.snapshot import KeyPair
from tests.snapshot.rows import ca_certificate, certificate, target, upstream

from .certificates import Authority, name_of, shown_by
from .conftest import StartGateway
from .gateway import Gateway, Tables, one_route
from .peers import ClientTls, Upstream, eventually

GET = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
CA = Authority()
OTHER_CA = Authority("Other CA")
LOCAL = CA.issue("127.0.0.1", "localhost")


class SecuredUpstream(Upstream):
    """An upstream that shows a key pair, and asks for one; it takes those of the test's CA."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str | None] = []  # asked for, by connection

    async def start_with(self, pair: KeyPair) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        load_pair(context, pair)
        context.load_verify_locations(cadata=CA.pem)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.sni_callback = lambda _, name, __: self.names.append(name)
        await self.start(tls=context)

    @property
    def clients(self) -> list[str | None]:
        """The common names of the certificates that were shown, by connection."""
        found = [peer.writer.get_extra_info("ssl_object") for peer in self.connections]
        return [name_of(shown_by(it)) if it.getpeercert(True) else None for it in found]


StartUpstream = Callable[[KeyPair], Awaitable[SecuredUpstream]]


@pytest.fixture
async def start_upstream() -> AsyncIterator[StartUpstream]:
    """Starts an upstream: ``await start_upstream(pair)``."""
    async with AsyncExitStack() as stack:

        async def start(pair: KeyPair) -> SecuredUpstream:
            secured = SecuredUpstream()
            await secured.start_with(pair)
            stack.push_async_callback(secured.stop)
            return secured

        yield start


@pytest.fixture
async def secured(start_upstream: StartUpstream) -> SecuredUpstream:
    """An upstream whose certificate is for 127.0.0.1 and localhost."""
    return await start_upstream(LOCAL)


def to(upstream: Upstream, *, tables: Tables | None = None, **of_service: Any) -> Tables:
    """A route to an https service; it says at once when that fails."""
    of_service = {"protocol": "https", "retries": 0} | of_service
    return one_route(upstream, to=of_service) | (tables or {})


def trusting(*authorities: Authority) -> dict[str, Any]:
    """The fields of a service that verifies by these CAs, and the rows of those."""
    rows = [ca_certificate(authority.pem) for authority in authorities]
    ids = [str(row["id"]) for row in rows]
    return {
        "tls_verify": True,
        "ca_certificates": ids,
        "tables": {"ca_certificates": rows},
    }


async def status(gateway: Gateway, request: bytes = GET) -> int:
    return (await gateway.ask(request)).status


# -- verification


@pytest.mark.both_loops
async def test_a_certificate_is_verified_where_the_service_says_so(
    start_gateway: StartGateway, secured: SecuredUpstream
):
    gateway = await start_gateway(to(secured, **trusting(CA)))
    assert await status(gateway) == 200
    gateway = await start_gateway(to(secured, **trusting(OTHER_CA)))
    with capture_logs() as logs:
        assert await status(gateway) == 502
    assert "CERTIFICATE_VERIFY_FAILED" in logs[0]["reason"]


async def test_by_default_it_is_not(start_gateway: StartGateway, start_upstream: StartUpstream):
    unknown = await start_upstream(OTHER_CA.issue("elsewhere.example", days=-1))
    gateway = await start_gateway(to(unknown))
    assert await status(gateway) == 200


@pytest.mark.parametrize(
    "pair",
    [CA.issue("127.0.0.2"), CA.issue("127.0.0.1", days=-1), OTHER_CA.issue("127.0.0.1")],
    ids=["other-address", "expired", "self-signed"],
)
async def test_a_certificate_that_does_not_hold_is_a_502(
    start_gateway: StartGateway, start_upstream: StartUpstream, pair: KeyPair
):
    gateway = await start_gateway(to(await start_upstream(pair), **trusting(CA)))
    response = await gateway.ask(GET)
    assert response.status == 502
    assert b"An invalid response was received from the upstream server" in response.body


async def test_the_settings_stand_in_where_the_service_does_not_say(
    start_gateway: StartGateway, secured: SecuredUpstream, tmp_path: Path
):
    trusted, other = tmp_path / "ca.pem", tmp_path / "other.pem"
    trusted.write_text(f"Zertifikate für Prüfungen\n{CA.pem}")
    other.write_text(OTHER_CA.pem)
    verifying: dict[str, Any] = {"upstream_tls_verify": True}
    for service, settings, expected in (
        ({}, verifying | {"upstream_tls_ca": str(trusted)}, 200),
        ({}, verifying | {"upstream_tls_ca": str(other)}, 502),
        ({}, verifying, 502),  # the system does not know the test's CA
        ({"tls_verify": False}, verifying, 200),
        ({"tls_verify": True}, {}, 502),
        ({"tls_verify": True}, {"upstream_tls_ca": str(trusted)}, 200),
        (trusting(CA), verifying | {"upstream_tls_ca": str(other)}, 200),
        (trusting(OTHER_CA), verifying | {"upstream_tls_ca": str(trusted)}, 502),
    ):
        gateway = await start_gateway(to(secured, **service), **settings)
        assert await status(gateway) == expected, (service, settings)


async def test_a_ca_that_is_missing_is_told_and_nothing_is_trusted(
    start_gateway: StartGateway, secured: SecuredUpstream
):
    missing = str(uuid4())
    gateway = await start_gateway(to(secured, tls_verify=True, ca_certificates=[missing]))
    with capture_logs() as logs:
        assert await status(gateway) == 502
    assert [logs[0][key] for key in ("event", "reason", "peer")] == [
        "CA certificate missing",
        f"{missing} is one of the bad entities",
        "orders",
    ]


@pytest.mark.both_loops
async def test_there_may_be_only_so_many_intermediate_certificates(
    start_gateway: StartGateway, start_upstream: StartUpstream
):
    first = Authority("First", issuer=CA)
    second = Authority("Second", issuer=first)
    upstreams = [await start_upstream(ca.issue("127.0.0.1")) for ca in (CA, first, second)]
    for settings, service, expected in (
        ({}, {}, [200, 200, 502]),
        ({"upstream_tls_verify_depth": 0}, {}, [200, 502, 502]),
        ({}, {"tls_verify_depth": 0}, [200, 502, 502]),
        ({}, {"tls_verify_depth": 2}, [200, 200, 200]),
        ({}, {"tls_verify_depth": 0, "tls_verify": False}, [200, 200, 200]),
    ):
        found = []
        for secured in upstreams:
            fields = trusting(CA) | service
            gateway = await start_gateway(to(secured, **fields), **settings)
            found.append(await status(gateway))
            await eventually(lambda s=secured, g=gateway: _only_idle(g))
        assert found == expected, (settings, service)


def _only_idle(gateway: Gateway) -> bool:
    """Whether each upstream connection waits in its pool: none is left of a failed try."""
    return len(gateway.proxy.pools._open_connections) == gateway.idle_upstream_connections()


# -- the name


@pytest.mark.parametrize(
    ("host_header", "name"),
    [
        (b"shop.example", "shop.example"),
        (b"shop.example:8443", "shop.example"),
        (b"10.0.0.1:8443", "10.0.0.1"),
        (b"[::1]:8443", "::1"),
        (b"[::1]", "::1"),
        (b"\xff.example", "\ufffd.example"),
    ],
)
def test_the_name_is_the_host_header_without_its_port(host_header: bytes, name: str):
    assert server_name(host_header) == name


async def test_a_name_is_sent_and_an_address_is_not(
    start_gateway: StartGateway, secured: SecuredUpstream
):
    for host, name in (("localhost", "localhost"), ("127.0.0.1", None)):
        gateway = await start_gateway(to(secured, host=host, **trusting(CA)))
        assert await status(gateway) == 200
        assert secured.names.pop() == name


async def test_the_name_follows_the_host_header(
    start_gateway: StartGateway, start_upstream: StartUpstream
):
    secured = await start_upstream(CA.issue("shop.example"))
    named = upstream("orders-upstream", host_header="shop.example")
    rows = {"upstreams": [named], "targets": [target(named, f"127.0.0.1:{secured.port}")]}
    verifying = trusting(CA)
    tables = to(secured, host="orders-upstream", **verifying)
    gateway = await start_gateway(tables | rows)
    assert await status(gateway) == 200
    assert secured.names == ["shop.example"]
    assert secured.requests[-1]["Host"] == f"shop.example:{secured.port}"


async def test_the_clients_own_host_counts_where_it_is_preserved(
    start_gateway: StartGateway, start_upstream: StartUpstream
):
    secured = await start_upstream(CA.issue("shop.example"))
    tables = to(secured, **trusting(CA))
    tables["routes"][0]["preserve_host"] = True
    gateway = await start_gateway(tables, proxy_tls_port=0)
    assert await status(gateway) == 200
    assert await status(gateway, GET.replace(b"shop.example", b"shop.example:8443")) == 200
    assert await status(gateway, GET.replace(b"shop.example", b"other.example")) == 502
    assert secured.names == ["shop.example", "other.example"]
    client = await gateway.connect(tls=ClientTls("shop.example"))
    assert (await client.ask(b"GET / HTTP/1.0\r\n\r\n")).status == 200
    assert secured.requests[-1]["Host"] == "shop.example"


@pytest.mark.both_loops
@pytest.mark.parametrize("host", [b"a..example", b"." * 9, b"a" * 300])
async def test_a_name_that_cannot_be_asked_for_is_a_502(
    start_gateway: StartGateway, secured: SecuredUpstream, host: bytes
):
    tables = to(secured)
    tables["routes"][0]["preserve_host"] = True
    gateway = await start_gateway(tables)
    assert await status(gateway, GET.replace(b"shop.example", host)) == 502


# -- the client certificate


async def test_the_services_certificate_comes_before_the_upstreams_and_the_settings(
    start_gateway: StartGateway, secured: SecuredUpstream, tmp_path: Path
):
    by_name = {name: certificate(CA.issue(name)) for name in ("service", "upstream")}
    default = CA.issue("settings")
    (tmp_path / "cert.pem").write_text(default.cert_pem)
    (tmp_path / "key.pem").write_text(default.key_pem)
    settings = {
        "upstream_tls_cert": str(tmp_path / "cert.pem"),
        "upstream_tls_cert_key": str(tmp_path / "key.pem"),
    }

    async def shown(of_service: str | None, of_upstream: str | None, **settings: Any) -> str | None:
        named = upstream("orders-upstream", client_certificate=_reference(by_name, of_upstream))
        tables = to(
            secured,
            host="orders-upstream",
            client_certificate=_reference(by_name, of_service),
        )
        targets = [target(named, f"127.0.0.1:{secured.port}")]
        rows = {"certificates": [*by_name.values()], "upstreams": [named], "targets": targets}
        assert await status(await start_gateway(tables | rows, **settings)) == 200
        return secured.clients[-1]

    assert await shown(None, None) is None
    assert await shown(None, None, **settings) == "settings"
    assert await shown(None, "upstream", **settings) == "upstream"
    assert await shown("service", "upstream", **settings) == "service"
    assert await shown("service", None) == "service"


def _reference(rows: dict[str, Row], name: str | None) -> dict[str, str] | None:
    return None if name is None else {"id": str(rows[name]["id"])}


async def test_a_certificate_that_is_missing_is_told_and_none_is_shown(
    start_gateway: StartGateway, secured: SecuredUpstream
):
    missing = str(uuid4())
    gateway = await start_gateway(to(secured, client_certificate={"id": missing}))
    with capture_logs() as logs:
        assert await status(gateway) == 200
    assert secured.clients == [None]
    assert [logs[0][key] for key in ("event", "reason", "peer")] == [
        "client certificate missing",
        f"{missing} is one of the bad entities",
        "orders",
    ]


# -- connections


async def test_connections_on_the_same_terms_are_used_again(
    start_gateway: StartGateway, secured: SecuredUpstream
):
    gateway = await start_gateway(to(secured, **trusting(CA)))
    for _ in range(3):
        assert await status(gateway) == 200
    assert len(secured.connections) == 1


async def test_a_change_of_what_is_trusted_or_shown_leads_to_new_connections(
    start_gateway: StartGateway, secured: SecuredUpstream
):
    verifying = trusting(CA)
    shown = certificate(CA.issue("first"))
    tables = to(secured, client_certificate={"id": str(shown["id"])}, **verifying)
    gateway = await start_gateway(tables | {"certificates": [shown]})
    assert await status(gateway) == 200
    renewed = certificate(CA.issue("second"), id=str(shown["id"]))
    await gateway.change({"certificates": [renewed]})
    assert await status(gateway) == 200
    assert await status(gateway) == 200
    assert secured.clients == ["first", "second"]
    (trusted,) = verifying["tables"]["ca_certificates"]
    await gateway.change({"ca_certificates": [trusted | {"cert": OTHER_CA.pem}]})
    assert await status(gateway) == 502
    await gateway.change({"ca_certificates": [trusted]})
    assert await status(gateway) == 200
    assert secured.clients[-1] == "second"


async def test_clients_that_choose_names_do_not_fill_the_pools(
    start_gateway: StartGateway, secured: SecuredUpstream, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pool, "_POOLS_LIMIT", 2)
    tables = to(secured)
    tables["routes"][0]["preserve_host"] = True
    gateway = await start_gateway(tables)
    for name in (b"a", b"b", b"c", b"d", b"b", b"d"):
        assert await status(gateway, GET.replace(b"shop", name)) == 200
    await eventually(lambda: _only_idle(gateway))
    asked = [f"{name}.example" for name in "abcdd"]
    assert secured.names == asked
    assert gateway.idle_upstream_connections() == 2


@pytest.mark.both_loops
async def test_a_handshake_that_does_not_end_is_a_504(
    start_gateway: StartGateway, upstream: Upstream
):
    upstream.scripted = True
    gateway = await start_gateway(to(upstream, connect_timeout=50))
    asking = asyncio.create_task(status(gateway))
    peer = await upstream.accept()
    assert await asking == 504
    assert (await peer.rest())[:1] == b"\x16"  # a handshake record, and then the end


@pytest.mark.both_loops
async def test_a_failed_handshake_is_tried_elsewhere(
    start_gateway: StartGateway, start_upstream: StartUpstream
):
    good = await start_upstream(LOCAL)
    bad = await start_upstream(OTHER_CA.issue("127.0.0.1"))
    named = upstream("orders-upstream")
    both = [target(named, f"127.0.0.1:{it.port}") for it in (good, bad)]
    tables = to(good, host="orders-upstream", retries=1, **trusting(CA))
    gateway = await start_gateway(tables | {"upstreams": [named], "targets": both})
    post = GET.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\nhi")
    for _ in range(4):
        client = await gateway.connect()
        assert (await client.ask(post)).status == 200
    assert {request.body for request in good.requests} == {b"hi"}
    assert bad.connections == []


@pytest.mark.both_loops
async def test_an_upstream_that_speaks_no_tls_is_a_502(
    start_gateway: StartGateway, upstream: Upstream
):
    upstream.scripted = True
    gateway = await start_gateway(to(upstream))
    asking = asyncio.create_task(status(gateway))
    peer = await upstream.accept()
    peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert await asking == 502
    await peer.rest()


# -- contexts


TERMS = TlsTerms(verify=True, depth=1, authorities=(CA.pem,), pairs=())


@pytest.fixture
async def tls() -> AsyncIterator[UpstreamTls]:
    tls = UpstreamTls(NodeSettings(), FailureLog())
    yield tls
    await tls.stop()


async def test_a_context_is_made_once_however_many_wait_for_it(
    tls: UpstreamTls, monkeypatch: pytest.MonkeyPatch
):
    made: list[TlsTerms] = []
    make = upstream_tls._context
    monkeypatch.setattr(upstream_tls, "_context", lambda terms: made.append(terms) or make(terms))
    first, *others = await asyncio.gather(*(tls.context_of(TERMS) for _ in range(5)))
    assert set(others) == {first}
    assert await tls.context_of(TERMS) is first
    assert made == [TERMS]


async def test_who_gives_up_takes_the_context_from_nobody(tls: UpstreamTls):
    impatient = asyncio.create_task(tls.context_of(TERMS))
    patient = asyncio.create_task(tls.context_of(TERMS))
    await asyncio.sleep(0)
    impatient.cancel()
    assert isinstance(await patient, ssl.SSLContext)


async def test_only_so_many_contexts_are_kept(tls: UpstreamTls, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(upstream_tls, "_CONTEXTS_LIMIT", 2)
    terms = [TlsTerms(verify=True, depth=n, authorities=(), pairs=()) for n in range(3)]
    contexts = [await tls.context_of(it) for it in terms]
    assert await tls.context_of(terms[2]) is contexts[2]
    assert await tls.context_of(terms[0]) is not contexts[0]


async def test_a_pair_that_openssl_does_not_take_is_told_and_left_out(tls: UpstreamTls):
    broken = TlsTerms(verify=False, depth=0, authorities=(), pairs=(KeyPair("none", "none"),))
    with capture_logs() as logs:
        assert isinstance(await tls.context_of(broken), ssl.SSLContext)
    assert "a client certificate cannot be shown" in logs[0]["reason"]


def test_keys_are_not_told_by_what_is_printed():
    terms = TlsTerms(verify=True, depth=1, authorities=(CA.pem,), pairs=(LOCAL,))
    assert "PRIVATE" not in repr(terms)


def test_files_of_no_use_are_named_with_their_setting(tmp_path: Path):
    (tmp_path / "no.pem").write_text("nothing")
    with pytest.raises(SettingError, match=r"--upstream-tls-ca .*no certificates in PEM form"):
        UpstreamTls(NodeSettings(upstream_tls_ca=str(tmp_path / "no.pem")), FailureLog())
    with pytest.raises(SettingError, match=r"--upstream-tls-cert-key .* is required"):
        UpstreamTls(NodeSettings(upstream_tls_cert=str(tmp_path / "no.pem")), FailureLog())
