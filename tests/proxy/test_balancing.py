"""Services whose host names an upstream entity: requests spread over its targets, live."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import dns.rcode
import pytest

from gateway.entities import Row
from tests.snapshot.rows import full_load, route, service, target
from tests.snapshot.rows import upstream as upstream_row

from .conftest import StartGateway
from .gateway import Gateway, Tables, one_route
from .name_server import NameServer
from .peers import OK, Client, Upstream, UpstreamPeer, eventually, unchanging

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

POOL = upstream_row("pool")
ORDERS = service(host="pool", port=1, name="orders", path="/api")
ALL = route(ORDERS, name="all", paths=["/"])


@pytest.fixture
async def upstreams() -> AsyncIterator[list[Upstream]]:
    """Three of them; each answers with its number."""
    upstreams = [Upstream() for _ in range(3)]
    for number, upstream in enumerate(upstreams):
        await upstream.start()
        upstream.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number
    yield upstreams
    for upstream in upstreams:
        await upstream.stop()


def tables(upstreams: list[Upstream], *weights: int) -> Tables:
    return {
        "services": [ORDERS],
        "routes": [ALL],
        "upstreams": [POOL],
        "targets": [
            target(POOL, f"127.0.0.1:{upstream.port}", weight=weight)
            for upstream, weight in zip(upstreams, weights, strict=False)
        ],
    }


async def shares(gateway: Gateway, requests: int) -> Counter[bytes]:
    """How many of so many requests each upstream answered."""
    client = await gateway.connect()
    return Counter([(await client.ask(GET)).body for _ in range(requests)])


async def test_each_target_has_its_weight_of_the_requests(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    gateway = await start_gateway(tables(upstreams, 1, 3, 0))
    assert await shares(gateway, 40) == {b"0": 10, b"1": 30}
    assert upstreams[0].requests[0].target == "/api"
    assert [len(upstream.connections) for upstream in upstreams] == [1, 1, 0]


async def test_targets_come_and_go_while_requests_are_served(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    begun = tables(upstreams, 1, 1)
    gateway = await start_gateway(begun)
    assert await shares(gateway, 10) == {b"0": 5, b"1": 5}
    added = target(POOL, f"127.0.0.1:{upstreams[2].port}", weight=1)
    await gateway.change({"targets": [added]}, {"targets": [begun["targets"][0]["id"]]})
    assert await shares(gateway, 10) == {b"1": 5, b"2": 5}
    await gateway.change({"targets": [added | {"weight": 0}]})
    assert await shares(gateway, 10) == {b"1": 10}


async def test_a_service_turns_to_an_upstream_entity_of_its_hosts_name_and_back(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    direct = service(name="orders", host="localhost", port=upstreams[0].port)
    gateway = await start_gateway({"services": [direct], "routes": [route(direct, paths=["/"])]})
    assert await shares(gateway, 4) == {b"0": 4}
    pool = upstream_row("localhost")
    other = target(pool, f"127.0.0.1:{upstreams[1].port}")
    await gateway.change({"upstreams": [pool], "targets": [other]})
    assert await shares(gateway, 4) == {b"1": 4}
    await gateway.change({"upstreams": [pool | {"name": "elsewhere"}]})
    assert await shares(gateway, 4) == {b"0": 4}
    await gateway.change({"upstreams": [pool]})
    assert await shares(gateway, 4) == {b"1": 4}
    await gateway.change({}, {"upstreams": [pool["id"]], "targets": [other["id"]]})
    assert await shares(gateway, 4) == {b"0": 4}


async def test_connections_are_kept_over_a_change_of_configuration(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    gateway = await start_gateway(tables(upstreams, 1))
    await shares(gateway, 3)
    await gateway.change({"upstreams": [POOL], "services": [ORDERS], "routes": [ALL]})
    await shares(gateway, 3)
    assert upstreams[0].requests_by_connection == {1: 6}


async def test_two_names_of_one_address_share_its_connections(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    port = upstreams[0].port
    by_name, by_address = (
        service(name=name, host=host, port=port)
        for name, host in (("by-name", "localhost"), ("by-address", "127.0.0.1"))
    )
    gateway = await start_gateway(
        {
            "services": [by_name, by_address],
            "routes": [route(by_name, paths=["/a"]), route(by_address, paths=["/b"])],
        }
    )
    client = await gateway.connect()
    for path in (b"/a", b"/b", b"/a", b"/b"):
        await client.ask(GET.replace(b"/ ", path + b" "))
    assert upstreams[0].requests_by_connection == {1: 4}
    assert {request["Host"] for request in upstreams[0].requests} == {
        f"localhost:{port}",
        f"127.0.0.1:{port}",
    }


# -- algorithms


def pool_of(upstreams: list[Upstream], *, retries: int = 5, **of_pool: Any) -> Tables:
    """All requests to an upstream entity like this, over these targets."""
    pool, orders = upstream_row("pool", **of_pool), service(host="pool", retries=retries)
    return {
        "services": [orders],
        "routes": [route(orders, name="all", paths=["/", "~/of/(?<who>[a-z]+)/(.*)"])],
        "upstreams": [pool],
        "targets": [target(pool, f"127.0.0.1:{upstream.port}") for upstream in upstreams],
    }


async def answered_by(client: Client, path: bytes = b"/", *lines: bytes) -> bytes:
    head = b"\r\n".join((b"GET " + path + b" HTTP/1.1", b"Host: a", *lines, b"", b""))
    return (await client.ask(head)).body


async def test_least_connections_avoids_who_is_busy(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    slow = upstreams[0]
    slow.scripted = True
    gateway = await start_gateway(pool_of(upstreams[:2], algorithm="least-connections"))
    clients = [await gateway.connect() for _ in range(2)]
    for client in clients:  # one of the two meets the slow one
        client.send(GET)
    peer = await slow.accept()
    await peer.request()
    await eventually(lambda: upstreams[1].requests and in_flight(gateway) == 1)
    assert await shares(gateway, 10) == {b"1": 10}
    peer.send(OK)
    slow.scripted = False
    await eventually(lambda: in_flight(gateway) == 0)


def endpoints(gateway: Gateway) -> list[Any]:
    snapshot = gateway.proxy.table.snapshot
    [upstream] = snapshot.upstreams.values()
    return list(gateway.proxy.destinations.of_upstream(upstream).endpoints.values())


def in_flight(gateway: Gateway) -> int:
    return sum(endpoint.in_flight for endpoint in endpoints(gateway))


@pytest.mark.parametrize("algorithm", ["least-connections", "latency"])
async def test_nothing_stays_in_flight_whatever_becomes_of_a_request(
    start_gateway: StartGateway, upstreams: list[Upstream], algorithm: str
):
    upstream = upstreams[0]
    upstream.scripted = True
    tables = pool_of([upstream], retries=1, algorithm=algorithm)
    tables["services"][0]["read_timeout"] = 100
    gateway = await start_gateway(tables)

    async def meet(do: Any) -> None:
        client = await gateway.connect()
        client.send(GET)
        peer = await upstream.accept()
        await peer.request()
        assert in_flight(gateway) == 1
        await do(client, peer)
        await eventually(lambda: in_flight(gateway) == 0)

    async def leave(client: Client, peer: UpstreamPeer) -> None:
        await client.reset()

    async def cut(client: Client, peer: UpstreamPeer) -> None:
        peer.send(OK[:-1])
        await peer.close()

    async def talk_nonsense(client: Client, peer: UpstreamPeer) -> None:
        peer.send(b"nonsense\r\n\r\n")

    async def be_silent_and_then_answer(client: Client, peer: UpstreamPeer) -> None:
        if algorithm == "least-connections":  # the other has no second try
            again = await upstream.accept()
            await again.request()
            again.send(OK)
        await client.response()

    for do in (leave, cut, talk_nonsense, be_silent_and_then_answer):
        await meet(do)


async def test_what_is_in_flight_is_known_over_changes_of_anything_else(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    upstreams[0].scripted = True
    tables = pool_of(upstreams[:2], algorithm="least-connections")
    gateway = await start_gateway(tables)
    for _ in range(2):  # one of the two meets the slow one
        (await gateway.connect()).send(GET)
    peer = await upstreams[0].accept()
    await peer.request()
    await eventually(lambda: upstreams[1].requests and in_flight(gateway) == 1)
    added = target(tables["upstreams"][0], f"127.0.0.1:{upstreams[2].port}")
    for tables_or_load in (tables, {"targets": [*tables["targets"], added]}):
        await gateway.change(tables_or_load)
        assert b"0" not in await shares(gateway, 10)
    await gateway.applier.apply(full_load(tables, 99))
    assert await shares(gateway, 10) == {b"1": 10}
    peer.send(OK)
    await eventually(lambda: in_flight(gateway) == 0)


async def test_latency_prefers_who_answers_fast(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    gateway = await start_gateway(pool_of(upstreams[:2], algorithm="latency"))
    upstreams[0].scripted = True

    async def answer_slowly() -> None:
        peer = await upstreams[0].accept()
        while True:
            await peer.request()
            await asyncio.sleep(0.2)
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0")

    task = asyncio.create_task(answer_slowly())
    assert (await shares(gateway, 20))[b"0"] <= 2
    task.cancel()


# -- hashing


@pytest.mark.parametrize(
    ("of_pool", "requests"),
    [
        (
            {"hash_on": "header", "hash_on_header": "X-User"},
            [(b"/%d" % n, b"X-User: %d" % n) for n in range(20)],
        ),
        ({"hash_on": "path"}, [(b"/%d?q" % n,) for n in range(20)]),
        (
            {"hash_on": "query_arg", "hash_on_query_arg": "user"},
            [(b"/?user=%d&n=1" % n,) for n in range(20)],
        ),
        (
            {"hash_on": "uri_capture", "hash_on_uri_capture": "who"},
            [(b"/of/" + bytes([97 + n, 98]) + b"/x",) for n in range(20)],
        ),
        (
            {"hash_on": "cookie", "hash_on_cookie": "session"},
            [(b"/", b"Cookie: session=%d" % n) for n in range(20)],
        ),
        (
            {"hash_on": "consumer", "hash_fallback": "ip"},
            [(b"/", b"X-Real-IP: 192.0.2.%d" % n) for n in range(20)],
        ),
    ],
    ids=lambda value: value["hash_on"] if isinstance(value, dict) else "",
)
async def test_equal_values_meet_the_same_target_on_all_nodes(
    start_gateway: StartGateway,
    upstreams: list[Upstream],
    of_pool: dict[str, str],
    requests: list[tuple[bytes, ...]],
):
    tables = pool_of(upstreams, **of_pool)
    reverse = tables | {"targets": tables["targets"][::-1]}
    one, two = [
        await (await start_gateway(t, trusted_ips="127.0.0.1")).connect() for t in (tables, reverse)
    ]
    met = [await answered_by(one, *request) for request in requests]
    assert [await answered_by(two, *request) for request in requests] == met
    assert [await answered_by(one, *request) for request in requests] == met
    assert len(set(met)) > 1


async def test_requests_without_a_value_take_turns(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    tables = pool_of(upstreams, hash_on="header", hash_on_header="X-User")
    assert await shares(await start_gateway(tables), 9) == {b"0": 3, b"1": 3, b"2": 3}


async def test_a_client_without_the_cookie_gets_one_and_stays(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    for number, upstream in enumerate(upstreams):
        upstream.answer = (
            b"HTTP/1.1 200 OK\r\nSet-Cookie: other=1\r\nSet-Cookie: session=theirs\r\n"
            b"Content-Length: 1\r\n\r\n%d" % number
        )
    gateway = await start_gateway(
        pool_of(upstreams, hash_on="cookie", hash_on_cookie="session", hash_on_cookie_path="/x")
    )
    client = await gateway.connect()
    met = set()
    for _ in range(20):
        first = await client.ask(GET)
        theirs, ours = first.all("Set-Cookie")
        assert theirs == "other=1"
        pair, _, attributes = ours.partition("; ")
        assert attributes == "Path=/x; Same-Site=Lax; HttpOnly"
        for _ in range(3):
            line = b"Cookie: a=1; " + pair.encode()
            again = await client.ask(GET.replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n\r\n"))
            assert again.body == first.body
            assert again.all("Set-Cookie") == ["other=1", "session=theirs"]
        met.add(first.body)
    assert len(met) > 1


async def test_a_hashed_request_whose_target_fails_is_tried_where_it_would_go_without(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    tables = pool_of(upstreams, hash_on="path")
    gateway = await start_gateway(tables)
    client = await gateway.connect()
    before = {n: await answered_by(client, b"/%d" % n) for n in range(30)}
    await upstreams[1].stop()
    after = {n: await answered_by(client, b"/%d" % n) for n in range(30)}
    assert {n for n in before if before[n] != after[n]} == {n for n in before if before[n] == b"1"}
    assert set(after.values()) == {b"0", b"2"}


# -- names


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    server = NameServer()
    await server.start()
    yield server
    await server.stop()


def at(upstream: Upstream, host: str, **given: Any) -> Row:
    return target(POOL, f"{host}:{upstream.port}", **given)


def named(*targets: Row, **of_pool: Any) -> Tables:
    pool = POOL | of_pool
    return {"services": [ORDERS], "routes": [ALL], "upstreams": [pool], "targets": list(targets)}


async def test_the_first_request_waits_for_names(
    start_gateway: StartGateway, upstreams: list[Upstream], server: NameServer
):
    server.records = {"a.test": {"A": ["127.0.0.1"]}}
    server.answering.clear()
    gateway = await start_gateway(named(at(upstreams[0], "a.test")), **server.settings)
    clients = [await gateway.connect() for _ in range(3)]
    for client in clients:
        client.send(GET)
    await eventually(lambda: server.asked)
    server.answering.set()
    assert [(await client.response()).body for client in clients] == [b"0"] * 3
    assert server.questions("A") == 1


async def test_a_name_that_others_wait_for_already_is_waited_for_as_well(
    start_gateway: StartGateway, upstreams: list[Upstream], server: NameServer
):
    server.records = {"a.test": {"A": ["127.0.0.1"]}}
    server.answering.clear()
    services = [service(host="a.test", port=upstreams[n].port, name=f"s{n}") for n in (0, 1)]
    routes = [route(of, paths=[f"/{of['name']}"]) for of in services]
    gateway = await start_gateway({"services": services, "routes": routes}, **server.settings)
    clients = [await gateway.connect() for _ in services]
    for number, client in enumerate(clients):
        client.send(GET.replace(b"/", b"/s%d" % number, 1))
        await eventually(lambda: server.asked)
        await unchanging(lambda: len(server.asked))
    server.answering.set()
    assert [(await client.response()).body for client in clients] == [b"0", b"1"]
    assert server.questions("A") == 1


async def test_a_name_that_does_not_answer_holds_nobody_up_where_others_do(
    start_gateway: StartGateway, upstreams: list[Upstream], server: NameServer
):
    server.answering.clear()
    targets = at(upstreams[0], "a.test"), at(upstreams[1], "127.0.0.1")
    gateway = await start_gateway(named(*targets), **server.settings)
    assert await shares(gateway, 3) == {b"1": 3}
    server.records = {"a.test": {"A": ["127.0.0.1"]}}
    server.answering.set()
    await eventually(lambda: len(endpoints(gateway)) == 2)
    assert await shares(gateway, 4) == {b"0": 2, b"1": 2}


async def test_who_waits_for_a_name_and_leaves_is_forgotten(
    start_gateway: StartGateway, upstreams: list[Upstream], server: NameServer
):
    server.records = {"a.test": {"A": ["127.0.0.1"]}}
    server.answering.clear()
    gateway = await start_gateway(named(at(upstreams[0], "a.test")), **server.settings)
    client = await gateway.connect()
    client.send(GET)
    await eventually(lambda: server.asked)
    await client.reset()
    await eventually(lambda: not gateway.connections)
    server.answering.set()
    assert await shares(gateway, 1) == {b"0": 1}
    assert len(upstreams[0].requests) == 1


async def test_each_address_of_a_name_has_the_weight_of_its_target(
    start_gateway: StartGateway, upstreams: list[Upstream], server: NameServer
):
    server.records = {"a.test": {"A": ["127.0.0.1", "127.0.0.2", "127.0.0.3"]}}
    targets = at(upstreams[0], "a.test", weight=7), at(upstreams[1], "127.0.0.1", weight=0)
    gateway = await start_gateway(named(*targets), **server.settings)
    await shares(gateway, 1)
    assert sorted((e.host, e.address, e.weight) for e in endpoints(gateway)) == [
        ("127.0.0.1", "127.0.0.1", 0),
        ("a.test", "127.0.0.1", 7),
        ("a.test", "127.0.0.2", 7),
        ("a.test", "127.0.0.3", 7),
    ]


async def test_a_retry_goes_to_the_next_address_of_the_name(
    start_gateway: StartGateway, upstreams: list[Upstream], server: NameServer
):
    server.records = {"a.test": {"A": ["127.0.0.1", "127.0.0.2", "127.0.0.3"]}}  # one listens
    direct = service(host="a.test", port=upstreams[0].port, retries=2)
    tables = {"services": [direct], "routes": [route(direct, paths=["/"])]}
    gateway = await start_gateway(tables, **server.settings)
    assert await shares(gateway, 9) == {b"0": 9}


@pytest.mark.parametrize("use_srv_name", [False, True])
async def test_srv_records_have_their_own_ports_and_weights(
    start_gateway: StartGateway,
    upstreams: list[Upstream],
    server: NameServer,
    use_srv_name: bool,
):
    one, two, _ = ports = [upstream.port for upstream in upstreams]
    server.records = {
        "_api._tcp.test": {"SRV": [f"1 30 {one} x.test.", f"1 10 {two} y.test.", "2 9 9 z.test."]},
        "x.test": {"A": ["127.0.0.1"]},
        "y.test": {"A": ["127.0.0.1"]},
    }
    tables = named(at(upstreams[2], "_api._tcp.test"), use_srv_name=use_srv_name)
    gateway = await start_gateway(tables, **server.settings)
    assert await shares(gateway, 40) == {b"0": 30, b"1": 10}
    host = "x.test" if use_srv_name else "_api._tcp.test"
    assert upstreams[0].requests[0]["Host"] == f"{host}:{ports[0]}"


async def test_addresses_that_change_are_followed(
    start_gateway: StartGateway, upstreams: list[Upstream], server: NameServer
):
    server.records = {"a.test": {"SRV": [f"1 1 {upstreams[0].port} x.test."]}}
    server.records["x.test"] = {"A": ["127.0.0.1"]}
    gateway = await start_gateway(
        named(at(upstreams[2], "a.test")), dns_ttl_min_s=0.01, dns_ttl_max_s=0.01, **server.settings
    )
    assert await shares(gateway, 3) == {b"0": 3}
    server.records["a.test"] = {"SRV": [f"1 1 {upstreams[1].port} x.test."]}
    async with asyncio.timeout(10):
        while await shares(gateway, 1) != {b"1": 1}:
            pass
    server.failures = {"a.test": dns.rcode.SERVFAIL}
    asked = len(server.asked)
    async with asyncio.timeout(10):
        while len(server.asked) < asked + 2:
            assert await shares(gateway, 1) == {b"1": 1}


@pytest.mark.parametrize(
    ("failure", "status", "message"),
    [
        (None, 503, "name resolution failed"),
        (
            dns.rcode.SERVFAIL,
            500,
            "failed the initial dns/balancer resolve for 'a.test' with: SERVFAIL",
        ),
    ],
)
async def test_a_service_whose_name_leads_nowhere(
    start_gateway: StartGateway,
    upstreams: list[Upstream],
    server: NameServer,
    failure: dns.rcode.Rcode | None,
    status: int,
    message: str,
):
    if failure is not None:
        server.failures = {"a.test": failure}
    gateway = await start_gateway(one_route(1, to={"host": "a.test"}), **server.settings)
    for _ in range(2):
        answer = await gateway.ask(GET)
        assert answer.status == status
        assert message.encode() in answer.body
    assert "Via" not in answer
    assert server.questions("A") == 1


@pytest.mark.parametrize("failure", [None, dns.rcode.SERVFAIL])
async def test_an_upstream_entity_whose_names_lead_nowhere(
    start_gateway: StartGateway,
    upstreams: list[Upstream],
    server: NameServer,
    failure: dns.rcode.Rcode | None,
):
    if failure is not None:
        server.failures = {"a.test": failure}
    gateway = await start_gateway(named(at(upstreams[0], "a.test")), **server.settings)
    answer = await gateway.ask(GET)
    assert answer.status == 503
    assert b"failure to get a peer from the ring-balancer" in answer.body


async def test_names_are_kept_over_a_change_of_configuration(
    start_gateway: StartGateway, upstreams: list[Upstream], server: NameServer
):
    server.records = {"a.test": {"A": ["127.0.0.1"]}}
    begun = one_route(upstreams[0], to={"host": "a.test"})
    gateway = await start_gateway(begun, **server.settings)
    assert await shares(gateway, 1) == {b"0": 1}
    server.answering.clear()
    await gateway.applier.apply(full_load(begun, 2))
    await gateway.change(begun)
    assert await shares(gateway, 1) == {b"0": 1}
    server.answering.set()


async def test_an_upstream_entity_that_is_gone_is_forgotten(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    gateway = await start_gateway(tables(upstreams, 1))
    await shares(gateway, 1)
    await gateway.change({}, {"upstreams": [POOL["id"]]})
    await eventually(lambda: not gateway.proxy.destinations._of_upstreams)
