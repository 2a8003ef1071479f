"""How connections arrive: how many may, by which steps, and what becomes of those that fail."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.metrics.traffic import TrafficMetrics
from gateway.proxy.admission import Admission, Refusal
from gateway.proxy.client import UNIX_ADDRESS
from gateway.proxy.deadlines import NEVER
from gateway.proxy.failures import FailureLog
from gateway.proxy.proxy import ProxyCounts
from gateway.settings import NodeSettings, SettingError, read_settings

from .conftest import StartGateway
from .gateway import Gateway, one_route
from .peers import OK, Client, ClientTls, CutError, Upstream, eventually

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LINE = b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\n"
BINARY = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0f\xc0\x00\x02\x01\xc6\x33\x64\x02\x13\x88\x01\xbb"
TLV = b"\x04\x00\x00"
CHECK = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
SOON = 0.02

TLS: dict[str, Any] = {"proxy_tls_port": 0}
BEHIND: dict[str, Any] = {"proxy_protocol": True}
BELIEVED = BEHIND | {"real_ip_header": "proxy_protocol", "trusted_ips": "127.0.0.1"}


async def asked(client: Client) -> bool:
    """Whether a request on this connection is answered as it should be."""
    return (await client.ask(GET)).status == 200


# -- how many


@pytest.mark.both_loops
async def test_beyond_the_limit_whoever_waits_longest_gives_way(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), max_connections=2)
    first, second = await gateway.connect(), await gateway.connect()
    assert await asked(second)
    loop = asyncio.get_running_loop()
    since = loop.time()
    await eventually(lambda: loop.time() > since)  # uvloop's clock has milliseconds
    assert await asked(first)
    third = await gateway.connect()
    assert await second.closed()
    assert await asked(third)
    assert await asked(first)
    assert len(gateway.proxy.admission) == 2
    counts = gateway.proxy.counts
    assert (counts.accepted, counts.handled) == (3, 3)
    assert (gateway.traffic.connections_gave_way, gateway.refusals) == (1, {})


@pytest.mark.both_loops
async def test_when_all_are_busy_the_newcomer_is_closed(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), max_connections=2)
    upstream.scripted = True
    clients = [await gateway.connect(), await gateway.connect()]
    for client in clients:
        client.send(GET)
    peers = [await upstream.accept() for _ in clients]
    with capture_logs() as logs:
        assert [await (await gateway.connect()).closed() for _ in range(3)] == [True] * 3
    for peer in peers:
        await peer.request()
        peer.send(OK)
    assert [(await client.response()).status for client in clients] == [200, 200]
    assert gateway.refusals == {"max_connections": 3}
    assert (gateway.proxy.counts.accepted, gateway.proxy.counts.handled) == (5, 2)
    (line,) = logs  # not one for each
    assert line["event"] == "connection refused: max_connections"
    assert line["reason"] == "2 connections are busy"


async def test_a_head_that_does_not_end_gives_way_too(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), max_connections=1)
    slow = await gateway.connect()
    slow.send(b"GET / HTTP/1.1\r\n")
    await eventually(lambda: [c for c in gateway.connections if c.reading_head])
    assert await asked(await gateway.connect())
    assert await slow.closed()


async def test_the_limit_is_for_all_listeners_together(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), max_connections=1, **TLS)
    plain = await gateway.connect()
    assert await asked(plain)
    secure = await gateway.connect(tls=ClientTls())
    assert await plain.closed()
    assert await asked(secure)
    silent = socket.create_connection(("127.0.0.1", gateway.tls_port))
    assert await secure.closed()
    with silent:
        assert await asked(await gateway.connect())


@pytest.mark.both_loops
async def test_one_client_may_not_have_all_connections(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), max_connections_per_client=2)
    first, second = await gateway.connect(), await gateway.connect()
    assert await asked(first)
    assert await asked(second)
    assert await (await gateway.connect()).closed()
    assert gateway.refusals == {"max_connections_per_client": 1}
    await first.close()
    await eventually(lambda: len(gateway.connections) == 1)
    assert await asked(await gateway.connect())


class Guest:
    """A connection that waits, or does not."""

    def __init__(self, waiting_since: float = NEVER) -> None:
        self.waiting_since = waiting_since
        self.is_cut = False

    def cut(self) -> None:
        self.is_cut = True


def admission(**settings: Any) -> Admission:
    return Admission(NodeSettings(**settings), ProxyCounts(), TrafficMetrics(), FailureLog())


def test_whoever_waits_is_found_however_many_do_not():
    room = admission(max_connections=1000)
    waiting = Guest(1.0)
    guests = [Guest() for _ in range(999)]
    for guest in [*guests[:500], waiting, *guests[500:]]:
        assert room.admit(guest, b"192.0.2.1")
    tries = 0
    while not room.admit(Guest(), b"192.0.2.1"):
        tries += 1
    assert waiting.is_cut
    assert 0 < tries < 10  # a newcomer looks at a few only
    assert len(room) == 1000
    assert not any(guest.is_cut for guest in guests)


ADDRESSES = st.sampled_from([b"192.0.2.1", b"192.0.2.2", UNIX_ADDRESS, None])


@given(st.lists(st.tuples(st.integers(0, 5), ADDRESSES, st.booleans())))
@settings(max_examples=50)
def test_whatever_comes_and_goes_the_counts_are_right(steps: list[tuple[int, bytes | None, bool]]):
    """Guests come, become known, are replaced and go; the limits hold, and nothing is left over."""
    room = admission(max_connections=4, max_connections_per_client=2)
    inside: dict[Guest, bytes | None] = {}
    for step, address, waits in steps:
        guest = next(iter(inside), None)
        if step < 3 or guest is None:
            newcomer = Guest(1.0 if waits else NEVER)
            if room.admit(newcomer, address):
                inside[newcomer] = address
        elif step == 3 and inside[guest] is None and address is not None:
            if room.identify(guest, address):
                inside[guest] = address
        elif step == 4:
            successor = Guest()
            room.hand_over(guest, successor)
            inside[successor] = inside.pop(guest)
        else:
            room.leave(guest)
            del inside[guest]
        inside = {guest: known for guest, known in inside.items() if not guest.is_cut}
        assert len(room) == len(inside) <= 4
        for client in (b"192.0.2.1", b"192.0.2.2"):
            assert list(inside.values()).count(client) <= 2
    for guest in inside:
        room.leave(guest)
        room.leave(guest)
    assert len(room) == 0
    assert room._by_client == {}


# -- the PROXY header


@pytest.mark.both_loops
@pytest.mark.parametrize("header", [LINE, BINARY + TLV])
async def test_the_address_of_the_header_is_believed_of_a_trusted_peer(
    start_gateway: StartGateway, upstream: Upstream, header: bytes
):
    gateway = await start_gateway(one_route(upstream), **BELIEVED)
    client = await gateway.connect()
    client.send(header)
    assert await asked(client)
    assert await asked(client)
    for request in upstream.requests:
        assert request["X-Real-IP"] == request["X-Forwarded-For"] == "192.0.2.1"


@pytest.mark.parametrize(
    "settings",
    [
        BEHIND,
        BEHIND | {"trusted_ips": "127.0.0.1"},
        BEHIND | {"trusted_ips": "10.0.0.0/8", "real_ip_header": "proxy_protocol"},
    ],
)
async def test_otherwise_the_header_is_read_and_no_more(
    start_gateway: StartGateway, upstream: Upstream, settings: dict[str, Any]
):
    gateway = await start_gateway(one_route(upstream), **settings)
    client = await gateway.connect()
    client.send(LINE + GET)
    assert (await client.response()).status == 200
    (request,) = upstream.requests
    assert request["X-Real-IP"] == request["X-Forwarded-For"] == "127.0.0.1"


@pytest.mark.parametrize("header", [CHECK, b"PROXY UNKNOWN\r\n"])
async def test_a_balancers_own_connection_is_its_own(
    start_gateway: StartGateway, upstream: Upstream, header: bytes
):
    gateway = await start_gateway(one_route(upstream), **BELIEVED)
    client = await gateway.connect()
    client.send(header + GET)
    assert (await client.response()).status == 200
    assert upstream.requests[0]["X-Real-IP"] == "127.0.0.1"


async def test_the_header_says_where_the_peer_is_only_in_x_real_ip(
    start_gateway: StartGateway, upstream: Upstream
):
    """X-Forwarded-For has the hops: what came before, then the balancer that is connected."""
    gateway = await start_gateway(one_route(upstream), **BELIEVED)
    client = await gateway.connect()
    client.send(LINE + GET[:-2] + b"X-Forwarded-For: 203.0.113.9\r\n\r\n")
    assert (await client.response()).status == 200
    (request,) = upstream.requests
    assert request["X-Real-IP"] == "192.0.2.1"
    assert request["X-Forwarded-For"] == "203.0.113.9, 127.0.0.1"


@pytest.mark.both_loops
@pytest.mark.parametrize("header", [LINE, BINARY + TLV])
async def test_a_header_may_come_byte_by_byte(
    start_gateway: StartGateway, upstream: Upstream, header: bytes
):
    gateway = await start_gateway(one_route(upstream), **BELIEVED)
    client = await gateway.connect()
    (arrival,) = [await one_of(gateway)]
    for end in range(1, len(header) + 1):
        client.strike(header[end - 1 : end])
        await eventually(lambda end=end: len(arrival._header) == end)
    assert await asked(client)
    assert upstream.requests[0]["X-Real-IP"] == "192.0.2.1"


async def one_of(gateway: Gateway) -> Any:
    await eventually(lambda: gateway.connections)
    return next(iter(gateway.connections))


@pytest.mark.both_loops
@pytest.mark.parametrize(
    "data",
    [
        GET,
        b"\x16\x03\x01\x02\x00",
        LINE.replace(b"TCP4", b"TCP6") + GET,
        BINARY.replace(b"\x21\x11", b"\x21\x41") + TLV + GET,
    ],
)
async def test_without_a_good_header_a_connection_is_closed(
    start_gateway: StartGateway, upstream: Upstream, data: bytes
):
    gateway = await start_gateway(one_route(upstream), **BELIEVED)
    client = await gateway.connect()
    with capture_logs() as logs:
        client.send(data)
        assert await client.closed()
    assert gateway.refusals == {"proxy_protocol": 1}
    assert logs[0]["event"] == "connection refused: proxy_protocol"
    assert logs[0]["peer"] == "127.0.0.1"
    assert upstream.requests == []
    await eventually(lambda: not gateway.connections)
    assert len(gateway.proxy.admission) == 0


async def test_a_header_that_stops_coming_is_a_refusal(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), **BELIEVED)
    client = await gateway.connect()
    client.send(LINE[:-1])
    client.half_close()
    assert await client.closed()
    assert gateway.refusals == {"proxy_protocol": 1}


async def test_a_balancer_may_look_whether_somebody_listens(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), **BELIEVED)
    with capture_logs() as logs:
        client = await gateway.connect()
        client.half_close()
        assert await client.closed()
        await (await gateway.connect()).reset()
        await eventually(lambda: gateway.proxy.counts.accepted == 2)
        await eventually(lambda: not gateway.connections)
    assert (gateway.refusals, logs) == ({}, [])


async def test_the_clients_of_a_balancer_are_counted_each(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), max_connections_per_client=1, **BELIEVED)
    first, second, third = [await gateway.connect() for _ in range(3)]
    first.send(LINE)
    assert await asked(first)
    second.send(LINE.replace(b"192.0.2.1", b"192.0.2.2"))
    assert await asked(second)
    third.send(LINE)
    assert await third.closed()
    assert gateway.refusals == {"max_connections_per_client": 1}


def test_a_header_that_nobody_reads_cannot_be_believed():
    with pytest.raises(SettingError, match=r"--real-ip-header .* needs --proxy-protocol"):
        read_settings(NodeSettings, real_ip_header="proxy_protocol")


# -- TLS


@pytest.mark.both_loops
async def test_a_client_of_tls_is_served_and_known_as_such(
    start_gateway: StartGateway, upstream: Upstream
):
    tables = one_route(
        upstream, protocols=["https"], snis=["a.test"], https_redirect_status_code=426
    )
    gateway = await start_gateway(tables, **TLS)
    client = await gateway.connect(tls=ClientTls("a.test"))
    assert await asked(client)
    assert await asked(client)
    (request, _) = upstream.requests
    assert request["X-Forwarded-Proto"] == "https"
    assert request["X-Forwarded-Port"] == str(gateway.tls_port)
    assert request["X-Real-IP"] == "127.0.0.1"
    other = await gateway.connect(tls=ClientTls("b.test"))
    assert (await other.ask(GET)).status == 404
    plain = await gateway.connect()
    assert (await plain.ask(GET)).status == 426


@pytest.mark.both_loops
@pytest.mark.parametrize("header", [LINE, BINARY + TLV])
async def test_the_header_comes_before_tls(
    start_gateway: StartGateway, upstream: Upstream, header: bytes
):
    """Header and ClientHello are there at once: not a byte of the latter may get lost."""
    gateway = await start_gateway(one_route(upstream), **(TLS | BELIEVED))
    client = await gateway.connect(tls=ClientTls(before=header))
    assert await asked(client)
    (request,) = upstream.requests
    assert request["X-Real-IP"] == "192.0.2.1"
    assert request["X-Forwarded-Proto"] == "https"


@pytest.mark.both_loops
async def test_a_request_may_come_with_the_end_of_the_handshake(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), **TLS)
    with socket.create_connection(("127.0.0.1", gateway.tls_port)) as connected:
        connected.setblocking(False)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = ClientTls().context.wrap_bio(incoming, outgoing)
        loop = asyncio.get_running_loop()
        shaken = False
        while not shaken:
            try:
                tls.do_handshake()
                shaken = True
                tls.write(GET)
            except ssl.SSLWantReadError:
                await loop.sock_sendall(connected, outgoing.read())
                incoming.write(await loop.sock_recv(connected, 65_536))
        await loop.sock_sendall(connected, outgoing.read())  # Finished and the request in one
        response = b""
        while b"\r\n\r\nok" not in response:
            incoming.write(await loop.sock_recv(connected, 65_536))
            try:
                response += tls.read(65_536)
            except ssl.SSLWantReadError:
                continue
    assert response.startswith(b"HTTP/1.1 200 OK")


@pytest.mark.both_loops
async def test_a_failed_handshake_is_a_refusal(start_gateway: StartGateway, upstream: Upstream):
    gateway = await start_gateway(one_route(upstream), **TLS)
    client = await Client.connect(gateway.tls_port)
    with capture_logs() as logs:
        client.send(GET)
        await client.rest()
    await client.close()
    assert gateway.refusals == {"tls_handshake": 1}
    assert logs[0]["event"] == "connection refused: tls_handshake"
    assert (logs[0]["reason"], logs[0]["peer"]) == ("HTTP_REQUEST", "127.0.0.1")
    await eventually(lambda: not gateway.connections)
    assert len(gateway.proxy.admission) == 0


@pytest.mark.both_loops
@pytest.mark.parametrize("settings", [TLS, TLS | BEHIND])
async def test_a_client_that_goes_before_its_handshake_ends_is_forgotten(
    start_gateway: StartGateway, upstream: Upstream, settings: dict[str, Any]
):
    gateway = await start_gateway(one_route(upstream), **settings)
    with capture_logs() as logs:
        for ending in ("close", "reset"):
            client = await Client.connect(gateway.tls_port)
            client.send(b"" if settings is TLS else LINE)
            client.send(b"\x16\x03\x01\x02\x00\x01")
            await eventually(lambda: len(gateway.proxy.admission) == 1)
            await getattr(client, ending)()
            await eventually(lambda: len(gateway.proxy.admission) == 0)
    assert (gateway.connections, gateway.refusals, logs) == (set(), {}, [])


@pytest.mark.both_loops
@pytest.mark.parametrize(
    ("settings", "sent", "step"),
    [
        (TLS, b"", Refusal.TLS_HANDSHAKE),
        (TLS, b"\x16\x03\x01\x02\x00\x01", Refusal.TLS_HANDSHAKE),
        (TLS | BEHIND, LINE, Refusal.TLS_HANDSHAKE),
        (TLS | BEHIND, b"PROXY ", Refusal.PROXY_PROTOCOL),
        (TLS | BEHIND, b"", Refusal.PROXY_PROTOCOL),
    ],
)
async def test_each_step_has_a_deadline(
    start_gateway: StartGateway,
    upstream: Upstream,
    settings: dict[str, Any],
    sent: bytes,
    step: Refusal,
):
    gateway = await start_gateway(one_route(upstream), header_timeout_s=SOON, **settings)
    client = await Client.connect(gateway.tls_port)
    client.send(sent)
    assert await client.closed()
    await client.close()
    assert gateway.refusals == {step: 1}


async def test_after_the_handshake_the_head_has_its_own_deadline(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), header_timeout_s=0.3, **TLS)
    client = await gateway.connect(tls=ClientTls())
    client.send(b"GET / HTTP/1.1\r\nX: ")
    dripping = asyncio.create_task(drip(client))
    assert (await client.response()).status == 408
    dripping.cancel()


async def drip(client: Client) -> None:
    while True:
        client.send(b"a")
        await asyncio.sleep(0.005)


@pytest.mark.both_loops
@pytest.mark.parametrize("sent", [b"", LINE, LINE + b"\x16\x03\x01\x02\x00\x01"])
async def test_a_stop_ends_arrivals_after_a_moment(
    start_gateway: StartGateway, upstream: Upstream, sent: bytes
):
    gateway = await start_gateway(one_route(upstream), drain_idle_s=SOON, **(TLS | BEHIND))
    client = await Client.connect(gateway.tls_port)
    client.send(sent)
    arrival = await one_of(gateway)
    gateway.proxy.announce_end()
    gateway.proxy.await_last_requests()
    arrival.shutdown()
    assert await client.closed()
    await client.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "arrival"]


async def test_a_handshake_under_way_at_a_stop_still_gets_its_answer(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), drain_idle_s=5, **(TLS | BEHIND))
    client = await Client.connect(gateway.tls_port)
    client.send(LINE)
    arrival = await one_of(gateway)
    gateway.proxy.announce_end()
    gateway.proxy.await_last_requests()
    arrival.shutdown()
    await client.writer.start_tls(ClientTls().context, server_hostname="a.test")
    response = await client.ask(GET)
    assert (response.status, response["Connection"]) == (200, "close")
    assert await client.closed()
    await client.close()


@pytest.mark.both_loops
async def test_a_cut_ends_a_handshake_at_once(start_gateway: StartGateway, upstream: Upstream):
    gateway = await start_gateway(one_route(upstream), **TLS)
    client = await Client.connect(gateway.tls_port)
    client.send(b"\x16\x03\x01\x02\x00\x01")
    (await one_of(gateway)).cut()
    assert await client.closed()
    await client.close()
    assert gateway.refusals == {}


class LastMoment(asyncio.Transport):
    """A transport that is there just after nobody wants it any more."""

    aborted = False

    def abort(self) -> None:
        self.aborted = True


async def test_a_cut_at_the_very_end_of_a_handshake_is_a_cut_as_well(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), **TLS)
    client = await Client.connect(gateway.tls_port)
    arrival = await one_of(gateway)
    arrival.cut()
    transport = LastMoment()
    arrival.hand_over(transport)
    assert transport.aborted
    assert len(gateway.proxy.admission) == 0
    await client.close()


@pytest.mark.both_loops
async def test_a_client_of_tls_that_hangs_up_is_no_half_closed_one(
    start_gateway: StartGateway, upstream: Upstream, caplog: pytest.LogCaptureFixture
):
    """TLS ends both ways at once, and the loop complains to whoever pretends otherwise."""
    gateway = await start_gateway(one_route(upstream), **TLS)
    upstream.scripted = True
    client = await gateway.connect(tls=ClientTls())
    client.send(GET)
    await (await upstream.accept()).request()
    await client.close()
    await eventually(lambda: not gateway.connections)
    assert gateway.codes() == {("all", 499, False): 1}
    assert caplog.records == []


async def test_an_arrival_gives_way_like_an_idle_connection(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), max_connections=1, **TLS)
    silent = await Client.connect(gateway.tls_port)
    await one_of(gateway)
    client = await gateway.connect(tls=ClientTls())
    assert await silent.closed()
    await silent.close()
    assert await asked(client)


async def test_a_response_over_tls_that_is_cut_is_seen_to_be(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), **TLS)
    upstream.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"
    client = await gateway.connect(tls=ClientTls())
    client.send(GET)
    await eventually(lambda: upstream.requests)
    await upstream.connections[0].close()
    with pytest.raises(CutError):
        await client.response()
