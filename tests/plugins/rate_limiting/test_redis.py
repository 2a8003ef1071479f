"""The policy redis: requests wait for it, or it is told every so often."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from structlog.testing import capture_logs

from gateway.lab.fault_proxy import FaultProxy
from gateway.plugins.counter_store import ScopeKey
from gateway.plugins.rate_limiting.periods import PERIODS
from gateway.self_signed import pem_of_certificate, pem_of_key, self_signed
from gateway.testing import DEADLINE_S
from tests.plugins.rate_limiting.cluster import Member, cluster_of, eventually
from tests.plugins.rate_limiting.redis_server import client_of, needs_redis, redis_server

pytestmark = needs_redis

NOBODY = "00000000-0000-0000-0000-000000000000"
EVERY_SO_OFTEN = {"sync_rate": 0.02}


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    async with redis_server(tmp_path) as port:
        yield port


def limiting(port: int, /, redis: dict[str, Any] | None = None, **config: Any) -> Member:
    at = {"host": "127.0.0.1", "port": port} | (redis or {})
    return Member(policy="redis", redis=at, **({"year": 5} | config))


def left(answer: httpx.Response) -> int:
    return int(answer.headers["X-RateLimit-Remaining-Year"])


# -- by asking


async def test_each_request_is_counted_with_those_of_all_nodes(port: int):
    async with cluster_of([limiting(port) for _ in range(2)]) as (one, other):
        seen = [left(await node.ask("GET", "/")) for node in (one, other, one, other, one)]
        refusal = await other.ask("GET", "/")
    assert seen == [4, 3, 2, 1, 0]
    assert (refusal.status_code, left(refusal)) == (429, 0)
    assert int(refusal.headers["Retry-After"]) > 3600


async def test_never_do_more_pass_than_the_limit(port: int):
    async with cluster_of([limiting(port, year=30) for _ in range(3)]) as nodes:
        await asyncio.gather(*(node.statuses(30) for node in nodes))
        assert sum(len(node.received) for node in nodes) == 30


async def test_what_is_refused_counts_as_well(port: int):
    async with cluster_of([limiting(port, hour=1, year=5)]) as (node,):
        answers = [await node.ask("GET", "/") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 429, 429]
    assert [left(answer) for answer in answers] == [4, 4, 3]


async def test_keys_are_those_of_kong(port: int):
    async with cluster_of([limiting(port, hour=5, limit_by="ip")]) as (node,):
        await node.ask("GET", "/")
    async with client_of(port) as redis:
        keys = sorted(await redis.keys(), key=lambda key: key.split(":")[-1])
        assert [key.split(":")[-1] for key in keys] == ["hour", "year"]
        start_ms = int(keys[0].split(":")[4])
        assert keys[0] == f"ratelimit:{NOBODY}:{NOBODY}:127.0.0.1:{start_ms}:hour"
        assert start_ms % 3_600_000 == 0
        assert 0 < await redis.ttl(keys[0]) <= 3600 < await redis.ttl(keys[1]) <= 31_536_000
        assert await redis.get(keys[0]) == "1"


async def test_a_new_window_begins_with_nothing(port: int):
    async with cluster_of([limiting(port, second=2, year=10**6)]) as (node,):
        begun_at = node.settler.now()
        while node.settler.now() - begun_at < 3:
            await node.statuses(1)
        windows = int(node.settler.now()) - int(begun_at) + 1
        assert 2 * (windows - 2) <= len(node.received) <= 2 * windows


async def test_one_of_its_databases(port: int):
    async with cluster_of([limiting(port, {"database": 3})]) as (node,):
        await node.ask("GET", "/")
    async with client_of(port, 3) as redis:
        assert len(await redis.keys()) == 1


async def test_nodes_whose_clocks_differ_are_in_the_same_window(port: int):
    members = [limiting(port, hour=5) for _ in range(2)]
    members.append(
        Member(wrong_s=7200, policy="redis", redis_host="127.0.0.1", redis_port=port, hour=5)
    )
    async with cluster_of(members) as nodes:
        seen = [await node.ask("GET", "/") for node in nodes]
    assert [int(answer.headers["X-RateLimit-Remaining-Hour"]) for answer in seen] == [4, 3, 2]


# -- every so often


async def test_it_is_told_every_so_often(port: int):
    members = [limiting(port, year=30, **EVERY_SO_OFTEN) for _ in range(2)]
    async with cluster_of(members) as (one, other):
        assert await one.statuses(20) == [200] * 20
        await one.settled()
        await other.ask("GET", "/")
        await other.settled()
        assert left(await other.ask("GET", "/")) == 30 - 22
        await other.settled()
    async with client_of(port) as redis:
        (key,) = await redis.keys()
        assert await redis.get(key) == "22"
        assert 0 < await redis.ttl(key) <= 31_536_000


async def test_what_is_refused_is_not_told(port: int):
    async with cluster_of([limiting(port, **EVERY_SO_OFTEN)]) as (node,):
        await node.statuses(20)
        await node.settled()
        assert len(node.received) == 5
    async with client_of(port) as redis:
        (key,) = await redis.keys()
        assert await redis.get(key) == "5"


async def test_however_many_are_counted_all_of_it_is_told(port: int):
    config = {"limit_by": "header", "header_name": "X-Who", "sync_rate": 1000}
    async with cluster_of([limiting(port, **config)]) as (node,):
        scope = node.settler.ledger.counters.enter(ScopeKey(None, None))
        window = scope.window(PERIODS[-1])
        for key in range(1050):
            node.settler.ledger.count(window, key)
    async with client_of(port) as redis:
        assert len(await redis.keys()) == 1050


# -- who may, and how


async def test_a_user_with_a_password(tmp_path: Path):
    bob = ("--user", "bob", "on", ">sesame", "~*", "+@all")
    options = (*bob, "--user", "default", "off")
    async with redis_server(tmp_path, *options) as port:
        login = {"username": "bob", "password": "sesame"}
        async with cluster_of([limiting(port, login)]) as (node,):
            assert left(await node.ask("GET", "/")) == 4


async def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    pair = ec.generate_private_key(ec.SECP256R1())
    usages = [ExtendedKeyUsageOID.SERVER_AUTH]
    certificate.write_bytes(pem_of_certificate(self_signed(pair, "redis.test", 1, usages)))
    key.write_bytes(pem_of_key(pair))
    options = ("--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    options += ("--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no")
    async with redis_server(tmp_path, *options, tls=True) as port:
        async with cluster_of([limiting(port, {"ssl": True})]) as (node,):
            assert left(await node.ask("GET", "/")) == 4
        verified = {"ssl": True, "ssl_verify": True, "server_name": "redis.test"}
        async with limiting(port, verified) as node:
            await check_that_it_does_without(node)  # nobody vouches for it
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with cluster_of([limiting(port, verified)]) as (node,):
            assert left(await node.ask("GET", "/")) == 3
        async with limiting(port, verified | {"server_name": None}) as node:
            await check_that_it_does_without(node)  # it has another name


def test_nodes_that_do_not_use_it_do_not_load_the_client():
    code = (
        "import sys, gateway.node, gateway.plugins.rate_limiting; sys.exit('redis' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- trouble


async def check_that_it_does_without(node: Member) -> None:
    """Requests pass, are told nothing, and do not wait for what is known to be away."""
    await eventually(lambda: node.settler.is_away)
    answers = [await node.ask("GET", "/") for _ in range(10)]
    assert {answer.status_code for answer in answers} == {200}
    assert not any("RateLimit-Limit" in answer.headers for answer in answers)


@pytest.mark.parametrize("config", [{}, EVERY_SO_OFTEN])
async def test_redis_away_and_back(port: int, config: dict[str, Any]):
    async with (
        FaultProxy.before_address("127.0.0.1", port) as way,
        cluster_of([limiting(way.port, **config)]) as (node,),
    ):
        with capture_logs() as log:
            way.cut()
            await node.ask("GET", "/")
            await check_that_it_does_without(node)
            way.heal()
            async with asyncio.timeout(DEADLINE_S):
                while node.settler.is_away:
                    await node.ask("GET", "/")
    ours = [line["event"] for line in log if "counters" in line["event"]]
    assert ours == ["counters cannot be reached", "counters can be reached again"]


@pytest.mark.parametrize("config", [{}, EVERY_SO_OFTEN])
async def test_without_redis_requests_fail_where_that_is_asked_for(config: dict[str, Any]):
    async with limiting(1, fault_tolerant=False, **config) as node:
        await eventually(lambda: node.settler.is_away)
        answer = await node.ask("GET", "/")
    assert answer.status_code == 500
    assert answer.json()["message"] == "An unexpected error occurred"


async def test_redis_that_is_too_slow(port: int):
    async with (
        FaultProxy.before_address("127.0.0.1", port) as way,
        cluster_of([limiting(way.port, {"timeout": 300})]) as (node,),
    ):
        way.stall()
        answer = await node.ask("GET", "/")
        assert answer.status_code == 200
        assert "RateLimit-Limit" not in answer.headers
        await check_that_it_does_without(node)


async def test_a_wrong_password(tmp_path: Path):
    async with redis_server(tmp_path, "--requirepass", "sesame") as port:
        with capture_logs() as log:
            async with limiting(port, {"password": "parsley"}) as node:
                await check_that_it_does_without(node)
        (line,) = [line for line in log if line["event"] == "counters cannot be reached"]
        assert line["place"] == f"Redis at 127.0.0.1:{port}"
        assert "password" in line["reason"]
        assert "parsley" not in str(log)


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"$99999999999\r\nx\r\n",
        b"*-7\r\n:x\r\n",
        b"\x00\xff\r\n" * 100,
        b"+OK\r\n" * 100,
        b":-9\r\n" * 100,
        b"",
    ],
)
async def test_what_is_no_redis(garbage: bytes):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(garbage)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, limiting(server.sockets[0].getsockname()[1]) as node:
        await check_that_it_does_without(node)


async def test_a_counter_that_is_no_number(port: int):
    async with cluster_of([limiting(port)]) as (node,):
        await node.ask("GET", "/")
        async with client_of(port) as redis:
            (key,) = await redis.keys()
            await redis.set(key, "none")
        assert (await node.ask("GET", "/")).status_code == 200
        await check_that_it_does_without(node)
