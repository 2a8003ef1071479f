"""What the access log tells of requests, as seen from outside."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.access_log import writer

from .conftest import StartGateway
from .gateway import Gateway, Tables, one_route
from .peers import ClientTls, CutError, Upstream, eventually
from .test_answer_headers import two_targets

GET = b"GET /a?b=c HTTP/1.1\r\nHost: Shop.test:80\r\nUser-Agent: curl/8\r\n\r\n"


class Logged:
    """A proxy with an access log, and what is in it."""

    def __init__(self, gateway: Gateway, path: Path) -> None:
        self.gateway = gateway
        self._path = path

    def __getattr__(self, name: str) -> Any:
        return getattr(self.gateway, name)

    async def lines(self, number: int = 1) -> list[str]:
        """The lines, once there are so many."""
        await eventually(lambda: len(self._path.read_text().splitlines()) >= number)
        lines = self._path.read_text().splitlines()
        assert len(lines) == number
        return lines

    async def record(self) -> dict[str, Any]:
        """The only line, which is JSON."""
        (line,) = await self.lines()
        record: dict[str, Any] = json.loads(line)
        return record


@pytest.fixture
def start_logged(start_gateway: StartGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Starts a proxy with an access log: ``await start_logged(tables, **settings)``."""
    monkeypatch.setattr(writer, "_HAND_OVER_S", 0.001)
    path = tmp_path / "access.log"

    async def start(tables: Tables, access_log: str = "json", **settings: Any) -> Logged:
        gateway = await start_gateway(
            tables, access_log=access_log, access_log_path=str(path), **settings
        )
        return Logged(gateway, path)

    return start


async def test_a_line_of_text(start_logged: StartGateway, upstream: Upstream):
    logged = await start_logged(one_route(upstream), access_log="text")
    response = await logged.ask(GET)
    (line,) = await logged.lines()
    assert line.startswith("127.0.0.1 - - [")
    request_id = response["X-Gateway-Request-Id"]
    assert line.endswith(f'] "GET /a?b=c HTTP/1.1" 200 2 "-" "curl/8" request_id: "{request_id}"')


async def test_a_proxied_request(start_logged: StartGateway, upstream: Upstream):
    before = time.time()
    tables = one_route(upstream, paths=["/a"], to={"path": "/v1"})
    logged = await start_logged(tables)
    response = await logged.ask(GET)
    record = await logged.record()
    assert before * 1000 - 1 <= record["started_at"] <= time.time() * 1000 + 1
    assert record["client_ip"] == "127.0.0.1"
    assert record["request"] == {
        "id": response["X-Gateway-Request-Id"],
        "method": "GET",
        "uri": "/a?b=c",
        "url": f"http://Shop.test:{logged.port}/a?b=c",
        "size": len(GET),
        "headers": {"host": "Shop.test:80", "user-agent": "curl/8"},
    }
    assert record["response"]["status"] == 200
    assert record["response"]["headers"]["content-length"] == "2"
    assert 0 <= record["latencies"]["gateway"] <= record["latencies"]["request"]
    assert record["latencies"]["proxy"] >= 0
    (attempt,) = record["tries"]
    assert attempt.items() >= {"ip": "127.0.0.1", "port": upstream.port}.items()
    assert record["upstream_uri"] == "/v1?b=c"
    assert record["upstream_status"] == "200"
    assert record["route"] == {"id": str(tables["routes"][0]["id"]), "name": "all"}
    assert record["service"] == {"id": str(tables["services"][0]["id"]), "name": "orders"}
    assert record["source"] == "upstream"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ],
)
async def test_sizes_are_what_went_over_the_wire(
    start_logged: StartGateway, upstream: Upstream, answer: bytes
):
    upstream.answer = answer
    logged = await start_logged(one_route(upstream), access_log="text")
    client = await logged.connect()
    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
    client.send(request)
    _, _, body = (await client.rest()).partition(b"\r\n\r\n")
    assert f'" 200 {len(body)} "' in (await logged.lines())[0]


async def test_every_byte_is_counted_in_both_directions(
    start_logged: StartGateway, upstream: Upstream
):
    logged = await start_logged(one_route(upstream))
    client = await logged.connect()
    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
    client.send(request)
    received = await client.rest()
    record = await logged.record()
    assert record["request"]["size"] == len(request)
    assert record["response"]["size"] == len(received)


async def test_tries_that_failed(start_logged: StartGateway, upstream: Upstream):
    logged = await start_logged(two_targets(1, upstream.port))
    for _ in range(2):  # one of the two begins with the one that nobody listens on
        assert (await logged.ask(GET)).status == 200
    records = [json.loads(line) for line in await logged.lines(2)]
    (record,) = (record for record in records if len(record["tries"]) == 2)
    failed, answered = record["tries"]
    assert failed.items() >= {"port": 1, "state": "failed", "code": 502}.items()
    assert answered["port"] == upstream.port
    assert "state" not in answered
    assert failed["balancer_start"] <= answered["balancer_start"]
    assert record["upstream_status"] == "502, 200"


async def test_an_answer_of_our_own(start_logged: StartGateway):
    logged = await start_logged({})
    await logged.ask(GET)
    record = await logged.record()
    assert record["response"]["status"] == 404
    assert record["source"] == "gateway"
    assert record["latencies"]["proxy"] == -1
    assert (record["upstream_uri"], record["upstream_status"]) == ("", "")
    assert not {"tries", "route", "service"} & record.keys()


async def test_a_client_that_did_not_wait_is_a_499(start_logged: StartGateway, upstream: Upstream):
    upstream.scripted = True
    logged = await start_logged(one_route(upstream))
    client = await logged.connect()
    client.send(GET)
    await (await upstream.accept()).until(b"\r\n\r\n")
    await client.reset()
    record = await logged.record()
    assert record["response"] == {"status": 499, "size": 0, "headers": {}}
    assert record["upstream_status"] == ""
    assert record["route"]["name"] == "all"


async def test_a_response_that_was_cut_is_told_with_what_came_of_it(
    start_logged: StartGateway, upstream: Upstream
):
    upstream.scripted = True
    logged = await start_logged(one_route(upstream), access_log="text")
    client = await logged.connect()
    client.send(GET)
    peer = await upstream.accept()
    await peer.until(b"\r\n\r\n")
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
    await peer.close()
    with pytest.raises(CutError):
        await client.response()
    assert '" 200 4 "' in (await logged.lines())[0]


async def test_a_secured_connection(start_logged: StartGateway, upstream: Upstream):
    logged = await start_logged(one_route(upstream), proxy_tls_port=0)
    client = await logged.connect(tls=ClientTls("shop.test"))
    await client.ask(GET)
    request = (await logged.record())["request"]
    assert request["url"] == f"https://Shop.test:{logged.tls_port}/a?b=c"
    assert request["tls"]["version"] == "TLSv1.3"
    assert request["tls"]["cipher"].startswith("TLS_")
    assert request["tls"]["sni"] == "shop.test"


async def test_a_tunnel_is_told_of_when_it_has_ended(
    start_logged: StartGateway, upstream: Upstream
):
    logged = await start_logged(one_route(upstream), access_log="text")
    upstream.scripted = True
    client = await logged.connect()
    client.send(
        b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    peer = await upstream.accept()
    await peer.until(b"\r\n\r\n")
    peer.send(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    peer.send(b"hello")
    assert (await client.reader.readuntil(b"hello")).startswith(b"HTTP/1.1 101 ")
    await peer.close()
    await client.close()
    assert '"GET /chat HTTP/1.1" 101 5 "' in (await logged.lines())[0]


async def test_the_client_is_who_a_trusted_proxy_says_it_is(
    start_logged: StartGateway, upstream: Upstream
):
    logged = await start_logged(one_route(upstream), trusted_ips="127.0.0.1")
    await logged.ask(b"GET / HTTP/1.1\r\nHost: a\r\nX-Real-IP: 192.0.2.7\r\n\r\n")
    assert (await logged.record())["client_ip"] == "192.0.2.7"


# -- what could not be read


async def test_a_request_that_cannot_be_read(start_logged: StartGateway, upstream: Upstream):
    logged = await start_logged(one_route(upstream), access_log="text")
    await logged.ask(b'GET /"a HTTP/1.1\r\nHost : a\r\n\r\n')
    (line,) = await logged.lines()
    assert '"GET /\\x22a HTTP/1.1" 400 ' in line


async def test_bytes_that_are_no_request_at_all(start_logged: StartGateway, upstream: Upstream):
    logged = await start_logged(one_route(upstream), access_log="text")
    client = await logged.connect()
    client.send(b'\x16\x03\x01" 200 0 "forged"\n\r\n\r\n')
    await client.rest()
    (line,) = await logged.lines()
    assert '] "\\x16\\x03\\x01\\x22 200 0 \\x22forged\\x22\\x0A" 400 ' in line


async def test_a_method_that_is_not_served(start_logged: StartGateway, upstream: Upstream):
    logged = await start_logged(one_route(upstream))
    await logged.ask(b"TRACE /a HTTP/1.1\r\nHost: a\r\nUser-Agent: curl/8\r\n\r\n", "TRACE")
    record = await logged.record()
    assert record["request"]["method"] == "TRACE"
    assert record["request"]["uri"] == "/a"
    assert record["request"]["headers"]["user-agent"] == "curl/8"
    assert record["response"]["status"] == 405


async def test_a_head_that_took_too_long(start_logged: StartGateway, upstream: Upstream):
    logged = await start_logged(one_route(upstream), access_log="text", header_timeout_s=0.05)
    client = await logged.connect()
    client.send(b"GET / HTTP/1.1\r\nHos")
    await client.rest()
    assert '"GET / HTTP/1.1" 408 ' in (await logged.lines())[0]


async def test_each_request_of_a_connection_is_told_of_once(
    start_logged: StartGateway, upstream: Upstream
):
    logged = await start_logged(one_route(upstream), access_log="text")
    client = await logged.connect()
    client.send(
        GET + b"HEAD /b HTTP/1.1\r\nHost: a\r\n\r\n" + b"GET /c HTTP/1.1\r\nHost : a\r\n\r\n"
    )
    await client.rest()
    told = [line.split('"')[1] for line in await logged.lines(3)]
    assert told == ["GET /a?b=c HTTP/1.1", "HEAD /b HTTP/1.1", "GET /c HTTP/1.1"]
