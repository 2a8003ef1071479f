"""Who is believed about the client, and what is told upstream of it (proxying.md, 1 and 2)."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import __version__
from gateway.proxy.arrival import connection_factory
from gateway.proxy.client import Client, Peer
from gateway.proxy.forwarding import Forwarding
from gateway.proxy.http1 import HeadLimits, RequestFields, parse_request_head
from gateway.settings import NodeSettings, SettingError, read_settings

from .conftest import StartGateway
from .gateway import Gateway, one_route
from .peers import DEADLINE_S, ClientTls, Request, Upstream
from .peers import Client as Connection

ANYBODY = "0.0.0.0/0,::/0"
TRUSTED: dict[str, Any] = {"trusted_ips": "127.0.0.1"}
TLS: dict[str, Any] = {"proxy_tls_port": 0}

CLAIMS = (
    "X-Real-IP: 192.0.2.1",
    "x-forwarded-proto: https",
    "X-Forwarded-Host: Shop.test:81",
    "X-Forwarded-Port: 8443",
    "X-Forwarded-Path: /before/p",
    "X-Forwarded-Prefix: /before",
)


async def sent_up(
    gateway: Gateway, upstream: Upstream, *lines: str, host: str = "A.test:80"
) -> Request:
    """What reaches the upstream of a request with these header lines."""
    head = "\r\n".join(("GET /p/q?r HTTP/1.1", f"Host: {host}", *lines, "", ""))
    assert (await gateway.ask(head.encode("latin-1"))).status == 200
    return upstream.requests[-1]


def told(request: Request, *names: str) -> list[list[str]]:
    return [request.all(name) for name in names]


FORWARDED = tuple(f"X-Forwarded-{name}" for name in ("Proto", "Host", "Port", "Path", "Prefix"))


# -- what a peer says of host, scheme, port and path


@pytest.mark.parametrize("settings", [{}, {"trusted_ips": "10.0.0.0/8,::1"}])
async def test_what_others_claim_is_replaced(
    start_gateway: StartGateway, upstream: Upstream, settings: dict[str, Any]
):
    gateway = await start_gateway(one_route(upstream, paths=["/p"]), **settings)
    request = await sent_up(gateway, upstream, *CLAIMS)
    assert told(request, *FORWARDED) == [
        ["http"],
        ["a.test"],
        [str(gateway.port)],
        ["/p/q"],
        ["/p"],
    ]
    assert request["X-Real-IP"] == request["X-Forwarded-For"] == "127.0.0.1"


@pytest.mark.parametrize("trusted", ["127.0.0.1", "10.0.0.0/8, 127.0.0.0/8", ANYBODY])
async def test_what_trusted_peers_say_is_passed_on(
    start_gateway: StartGateway, upstream: Upstream, trusted: str
):
    gateway = await start_gateway(one_route(upstream, paths=["/p"]), trusted_ips=trusted)
    request = await sent_up(gateway, upstream, *CLAIMS)
    assert told(request, *FORWARDED) == [
        ["https"],
        ["Shop.test:81"],
        ["8443"],
        ["/before/p"],
        ["/before"],
    ]
    assert request["X-Real-IP"] == "192.0.2.1"
    assert request["X-Forwarded-For"] == "192.0.2.1"


async def test_what_trusted_peers_do_not_say_is_what_we_see(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream, paths=["/p"]), **TRUSTED)
    for lines in ([], ["X-Forwarded-For: 192.0.2.7"]):
        request = await sent_up(gateway, upstream, *lines)
        own = [["http"], ["a.test"], [str(gateway.port)], ["/p/q"], ["/p"]]
        assert told(request, *FORWARDED) == own
        assert request["X-Real-IP"] == "127.0.0.1"


@pytest.mark.parametrize("name", FORWARDED)
async def test_each_is_taken_for_itself(start_gateway: StartGateway, upstream: Upstream, name: str):
    gateway = await start_gateway(one_route(upstream, paths=["/p"]), **TRUSTED)
    plain = await sent_up(gateway, upstream)
    request = await sent_up(gateway, upstream, f"{name}: said")
    assert request[name] == "said"
    for other in FORWARDED:
        if other != name:
            assert request[other] == plain[other]


async def test_what_a_trusted_peer_leaves_empty_is_not_sent(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream, paths=["/p"]), **TRUSTED)
    request = await sent_up(gateway, upstream, *(f"{name}:" for name in FORWARDED))
    assert told(request, *FORWARDED) == [[], [], [], [], []]


async def test_what_a_trusted_peer_says_twice_is_passed_on_as_one_list(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream, paths=["/p"]), **TRUSTED)
    lines = [f"{name}: {value}" for name in FORWARDED for value in ("a", "b")]
    request = await sent_up(gateway, upstream, *lines)
    assert told(request, *FORWARDED) == [["a, b"]] * 5


async def test_the_prefix_may_be_told_where_none_was_stripped(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), **TRUSTED)
    assert "X-Forwarded-Prefix" not in await sent_up(gateway, upstream)
    request = await sent_up(gateway, upstream, "X-Forwarded-Prefix: /before")
    assert request["X-Forwarded-Prefix"] == "/before"


async def test_a_path_that_looks_like_a_header_is_a_path(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), **TRUSTED)
    path = b"/X-Forwarded-Host:"
    head = b"GET %b HTTP/1.1\r\nHost: a\r\nX-Forwarded-Host: b\r\n\r\n" % path
    assert (await gateway.ask(head)).status == 200
    (request,) = upstream.requests
    assert told(request, "X-Forwarded-Path", "X-Forwarded-Host") == [[path.decode()], ["b"]]


async def test_ports_are_told_as_clients_know_them(start_gateway: StartGateway, upstream: Upstream):
    gateway = await start_gateway(one_route(upstream), **TLS)
    listening = gateway.port
    gateway.proxy.forwarding = Forwarding(
        NodeSettings(port_maps=f"80:{listening}, 443:{gateway.tls_port}"), b"gateway"
    )
    assert (await sent_up(gateway, upstream))["X-Forwarded-Port"] == "80"
    client = await gateway.connect(tls=ClientTls())
    await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert upstream.requests[-1]["X-Forwarded-Port"] == "443"


# -- the way: X-Forwarded-For


@pytest.mark.parametrize(
    ("lines", "sent"),
    [
        ([], "{me}"),
        (["X-Forwarded-For:"], "{me}"),
        (["X-Forwarded-For: 192.0.2.1"], "192.0.2.1, 127.0.0.1"),
        (["X-Forwarded-For: 192.0.2.1, 192.0.2.2"], "192.0.2.1, 192.0.2.2, 127.0.0.1"),
        (["X-Forwarded-For: a", "x-forwarded-for: b"], "a, b, 127.0.0.1"),
        (["X-Forwarded-For: rubbish"], "rubbish, 127.0.0.1"),
    ],
)
@pytest.mark.parametrize(("settings", "me"), [({}, "127.0.0.1"), (TRUSTED, "192.0.2.9")])
async def test_the_connecting_peer_is_appended_to_the_way(
    start_gateway: StartGateway,
    upstream: Upstream,
    settings: dict[str, Any],
    me: str,
    lines: list[str],
    sent: str,
):
    gateway = await start_gateway(one_route(upstream), **settings)
    request = await sent_up(gateway, upstream, "X-Real-IP: 192.0.2.9", *lines)
    assert request["X-Forwarded-For"] == sent.format(me=me)
    assert request["X-Real-IP"] == me


async def test_the_example_of_the_sheet(start_gateway: StartGateway, upstream: Upstream):
    gateway = await start_gateway(
        one_route(upstream),
        trusted_ips="127.0.0.1,10.1.0.0/16",
        real_ip_header="X-Forwarded-For",
        real_ip_recursive=True,
    )
    request = await sent_up(gateway, upstream, "X-Forwarded-For: 203.0.113.9, 10.1.2.3")
    assert request["X-Real-IP"] == "203.0.113.9"
    assert request["X-Forwarded-For"] == "203.0.113.9, 10.1.2.3, 127.0.0.1"


@pytest.mark.parametrize(
    ("head", "via"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "1.1"),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", "1"),
        (b"GET / HTTP/1.0\r\n\r\n", "1"),
        (b"GET / HTTP/1.0\r\nVia: 1.0 fred\r\n\r\n", "1.0 fred, 1"),
    ],
)
async def test_via_tells_which_http_the_client_spoke(
    gateway: Gateway, upstream: Upstream, head: bytes, via: str
):
    assert (await gateway.ask(head)).status == 200
    assert upstream.requests[0]["Via"] == f"{via} gateway/{__version__}"


# -- the client: real_ip_header


def fields_of(*lines: bytes) -> RequestFields:
    data = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    head = parse_request_head(data, HeadLimits(8192, 1 << 20, 1000))
    assert head is not None
    return head.fields


ME = Client(b"127.0.0.1", 8000, True, b"a.test")


def client_behind(*lines: bytes, trusted: bool = True, **settings: Any) -> bytes:
    """The address of the client of a request with these header lines."""
    settings = {"trusted_ips": "127.0.0.1,10.0.0.0/8", **settings}
    forwarding = Forwarding(NodeSettings(**settings), b"gateway")
    client = forwarding.client_behind(ME, Peer(ME.address, trusted), fields_of(*lines))
    assert client == ME._replace(address=client.address)
    return client.address


BY_LIST: dict[str, Any] = {"real_ip_header": "X-Forwarded-For"}
RECURSIVE: dict[str, Any] = BY_LIST | {"real_ip_recursive": True}
NOBODY = ME.address


@pytest.mark.parametrize(
    ("lines", "plain", "recursive"),
    [
        ([], NOBODY, NOBODY),
        ([b""], NOBODY, NOBODY),
        ([b" , ,"], NOBODY, NOBODY),
        ([b"192.0.2.1"], b"192.0.2.1", b"192.0.2.1"),
        ([b"\t192.0.2.1 "], b"192.0.2.1", b"192.0.2.1"),
        ([b"192.0.2.1:5000"], b"192.0.2.1", b"192.0.2.1"),
        ([b"[2001:DB8::1]:5000"], b"2001:db8::1", b"2001:db8::1"),
        ([b"2001:db8::1"], b"2001:db8::1", b"2001:db8::1"),
        ([b"::ffff:192.0.2.1"], b"192.0.2.1", b"192.0.2.1"),
        ([b"192.0.2.1, 192.0.2.2"], b"192.0.2.2", b"192.0.2.2"),
        ([b"192.0.2.1, 10.0.0.1"], b"10.0.0.1", b"192.0.2.1"),
        ([b"192.0.2.1,,10.0.0.1,"], b"10.0.0.1", b"192.0.2.1"),
        ([b"192.0.2.9, 192.0.2.1, 10.0.0.2, 10.0.0.1"], b"10.0.0.1", b"192.0.2.1"),
        ([b"10.0.0.2, 10.0.0.1"], b"10.0.0.1", b"10.0.0.2"),
        ([b"::ffff:10.0.0.2, 10.0.0.1"], b"10.0.0.1", b"10.0.0.2"),
        ([b"192.0.2.1", b"10.0.0.1"], b"10.0.0.1", b"192.0.2.1"),  # one list in two lines
        ([b"unknown"], NOBODY, NOBODY),
        ([b"192.0.2.1, unknown"], NOBODY, NOBODY),
        ([b"unknown, 10.0.0.1"], b"10.0.0.1", b"10.0.0.1"),
        ([b"192.0.2.1, _hidden, 10.0.0.1"], b"10.0.0.1", b"10.0.0.1"),
        ([b"192.0.2.1 10.0.0.1"], NOBODY, NOBODY),
        ([b"1" * 5000], NOBODY, NOBODY),
    ],
)
def test_the_client_is_the_last_of_the_list(lines: list[bytes], plain: bytes, recursive: bytes):
    headers = [b"X-Forwarded-For:" + line for line in lines]
    assert client_behind(*headers, **BY_LIST) == plain
    assert client_behind(*headers, **RECURSIVE) == recursive
    assert client_behind(*headers, trusted=False, **RECURSIVE) == NOBODY
    assert client_behind(*headers) == NOBODY  # X-Real-IP is the header that counts


def test_only_so_many_addresses_are_looked_at():
    hops = b", ".join([b"192.0.2.1", *[b"10.0.0.2"] * 3, b"10.0.0.3", *[b"10.0.0.1"] * 62])
    assert client_behind(b"X-Forwarded-For: " + hops, **RECURSIVE) == b"10.0.0.2"


ADDRESSES = st.sampled_from([b"10.0.0.1", b"10.2.3.4", b"192.0.2.1", b"2001:db8::1"])


TEXT = st.binary().map(lambda text: bytes(c for c in text if c == 9 or 32 <= c != 127))


@given(
    before=TEXT,
    client=st.sampled_from([b"192.0.2.77", b"2001:db8::77"]),
    proxies=st.lists(st.sampled_from([b"10.0.0.1", b"10.2.3.4"]), max_size=20),
)
def test_whatever_the_client_claims_its_own_address_is_found(
    before: bytes, client: bytes, proxies: list[bytes]
):
    """What stands before the address that our first proxy has written does not matter."""
    listed = b", ".join([before, client, *proxies])
    assert client_behind(b"X-Forwarded-For: " + listed, **RECURSIVE) == client


@pytest.mark.parametrize("name", ["CF-Connecting-IP", "x-forwarded-for", "X-REAL-IP", "True-Ip_1"])
def test_any_header_may_name_the_client(name: str):
    line = name.title().encode() + b": 192.0.2.1"
    assert client_behind(line, real_ip_header=name) == b"192.0.2.1"
    assert client_behind(b"X-" + line, real_ip_header=name) == NOBODY


@pytest.mark.parametrize("line", ["CF-Connecting-IP: 192.0.2.1", "cf-connecting-ip:192.0.2.1"])
async def test_a_header_of_ones_own_makes_no_request_an_odd_one(
    start_gateway: StartGateway, upstream: Upstream, line: str
):
    settings = {"real_ip_header": "CF-Connecting-IP", "trusted_ips": "127.0.0.1"}
    gateway = await start_gateway(one_route(upstream), **settings)
    request = await sent_up(gateway, upstream, line)
    assert request["X-Real-IP"] == request["X-Forwarded-For"] == "192.0.2.1"
    assert request["CF-Connecting-IP"] == "192.0.2.1"  # it travels on
    request = await sent_up(gateway, upstream)
    assert request["X-Real-IP"] == "127.0.0.1"  # and what it said is not remembered


async def test_each_request_names_its_own_client(start_gateway: StartGateway, upstream: Upstream):
    gateway = await start_gateway(one_route(upstream), **TRUSTED)
    client = await gateway.connect()
    for address in ("192.0.2.1", "192.0.2.2"):
        await client.ask(f"GET / HTTP/1.1\r\nHost: a\r\nX-Real-IP: {address}\r\n\r\n".encode())
    await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    addresses = [request["X-Real-IP"] for request in upstream.requests]
    assert addresses == ["192.0.2.1", "192.0.2.2", "127.0.0.1"]


async def test_who_may_ask_for_a_version_is_the_connecting_peer(
    start_gateway: StartGateway, upstream: Upstream
):
    """Not whom it names: an address that anybody can write must not open anything."""
    asking = "X-Gateway-Min-Version: 10000"
    gateway = await start_gateway(
        one_route(upstream), min_version_from="192.0.2.1", min_version_timeout_s=0.02, **TRUSTED
    )
    await sent_up(gateway, upstream, asking, "X-Real-IP: 192.0.2.1")
    gateway = await start_gateway(one_route(upstream), min_version_timeout_s=0.02, **TRUSTED)
    head = f"GET / HTTP/1.1\r\nHost: a\r\n{asking}\r\nX-Real-IP: 192.0.2.1\r\n\r\n"
    assert (await gateway.ask(head.encode())).status == 503


# -- HTTPS only


@pytest.mark.parametrize(
    ("settings", "lines", "status"),
    [
        ({}, [], 426),
        ({}, ["X-Forwarded-Proto: https"], 426),
        (TRUSTED, [], 426),
        (TRUSTED, ["X-Forwarded-Proto: https"], 200),
        (TRUSTED, ["x-forwarded-proto: HTTPS"], 200),
        (TRUSTED, ["X-Forwarded-Proto: http"], 426),
        (TRUSTED, ["X-Forwarded-Proto:"], 426),
        (TRUSTED, ["X-Forwarded-Proto: https, http"], 426),
        (TRUSTED, ["X-Forwarded-Proto: https", "X-Forwarded-Proto: http"], 426),
    ],
)
async def test_a_trusted_peer_says_whether_its_client_used_https(
    start_gateway: StartGateway,
    upstream: Upstream,
    settings: dict[str, Any],
    lines: list[str],
    status: int,
):
    gateway = await start_gateway(one_route(upstream, protocols=["https"]), **settings)
    head = "\r\n".join(("GET / HTTP/1.1", "Host: a", *lines, "", ""))
    assert (await gateway.ask(head.encode())).status == status


async def test_a_trusted_peer_may_say_that_its_client_did_not(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream, protocols=["https"]), **(TRUSTED | TLS))
    client = await gateway.connect(tls=ClientTls())
    assert (await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: http\r\n\r\n"
    assert (await client.ask(head)).status == 426


@pytest.mark.parametrize(
    ("settings", "line", "host"),
    [
        ({}, "X-Forwarded-Host: evil.test", "a.test"),
        (TRUSTED, "X-Other: 1", "a.test"),
        (TRUSTED, "X-Forwarded-Host: Shop.test:81", "shop.test"),
        (TRUSTED, "X-Forwarded-Host: [2001:db8::1]:81", "[2001:db8::1]"),
        (TRUSTED, "X-Forwarded-Host:", "a.test"),
        (TRUSTED, "X-Forwarded-Host: evil.test/?", "a.test"),
        (TRUSTED, "X-Forwarded-Host: shop.test, b.test", "a.test"),
    ],
)
async def test_clients_are_sent_to_the_host_they_asked_for(
    start_gateway: StartGateway,
    upstream: Upstream,
    settings: dict[str, Any],
    line: str,
    host: str,
):
    tables = one_route(upstream, protocols=["https"], https_redirect_status_code=301)
    gateway = await start_gateway(tables, **settings)
    head = f"GET /p?q HTTP/1.1\r\nHost: A.test:80\r\n{line}\r\n\r\n"
    response = await gateway.ask(head.encode())
    assert (response.status, response["Location"]) == (301, f"https://{host}/p?q")


# -- peers


@pytest.mark.both_loops
@pytest.mark.parametrize(
    ("settings", "client"), [({}, "unix:"), ({"trusted_ips": "unix:"}, "192.0.2.1")]
)
async def test_a_peer_on_a_unix_socket_has_no_address(
    start_gateway: StartGateway,
    upstream: Upstream,
    tmp_path: Path,
    settings: dict[str, Any],
    client: str,
):
    gateway = await start_gateway(one_route(upstream), max_connections_per_client=1, **settings)
    path = str(tmp_path / "s")
    make = partial(connection_factory(gateway.proxy), server_state=gateway.server_state)
    server = await asyncio.get_running_loop().create_unix_server(make, path)
    connections = [Connection(*await asyncio.open_unix_connection(path)) for _ in range(2)]
    for connection in connections:
        async with asyncio.timeout(DEADLINE_S):
            head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Real-IP: 192.0.2.1\r\n\r\n"
            assert (await connection.ask(head)).status == 200
    request = upstream.requests[0]
    assert request["X-Real-IP"] == request["X-Forwarded-For"] == client
    assert "X-Forwarded-Port" not in request
    for connection in connections:
        await connection.close()
    server.close()


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        (("192.0.2.1", 5000), Peer(b"192.0.2.1", False)),
        (("10.0.0.1", 5000), Peer(b"10.0.0.1", True)),
        (("::ffff:10.0.0.1", 5000, 0, 0), Peer(b"10.0.0.1", True)),
        (("2001:db8::1", 5000, 0, 0), Peer(b"2001:db8::1", False)),
        (("fe80::1%lo", 5000, 0, 1), Peer(b"fe80::1", True)),
        (None, Peer(b"unknown", False)),  # it has gone before anybody looked
    ],
)
def test_a_peer_is_known_by_its_address(name: tuple[Any, ...] | None, peer: Peer):
    transport = asyncio.Transport(
        {"peername": name, "socket": SimpleNamespace(family=socket.AF_INET)}
    )
    forwarding = Forwarding(NodeSettings(trusted_ips="10.0.0.0/8,fe80::/10"), b"gateway")
    assert forwarding.peer_of(transport) == peer


# -- settings


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("trusted_ips", "10.0.0.0/8, nobody", "'nobody' does not appear to be an IPv4 or IPv6"),
        ("real_ip_header", "X Real IP", "'X Real IP' is no name of a header, nor proxy_protocol"),
        ("real_ip_header", "", "'' is no name of a header"),
        ("port_maps", "80", "'80' is not two ports like 80:8000"),
        ("port_maps", "80:8000,443:", "'443:' is not two ports"),
        ("port_maps", "80:0", "'80:0' is not two ports"),
        ("port_maps", "80:65536", "'80:65536' is not two ports"),
        ("port_maps", "80:8000:1", "'80:8000:1' is not two ports"),
        ("port_maps", "80:8000, 81:8000", "'81:8000' maps port 8000 a second time"),
    ],
)
def test_a_bad_setting_is_named(setting: str, value: str, message: str):
    with pytest.raises(SettingError, match=f"--{setting.replace('_', '-')} .*{message}"):
        read_settings(NodeSettings, **{setting: value})
