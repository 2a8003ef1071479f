"""http-log: what is sent, and what becomes of it when the server is away, slow or refuses."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.plugins.http_log import HttpLog
from gateway.testing import Serving
from tests.plugins.collectors import Collector, eventually, http_collector
from tests.plugins.configs import problems

QUICKLY = {"initial_retry_delay": 0.01, "max_retry_delay": 0.01}


def logging_to(collector: Collector, queue: dict[str, Any] | None = None, **config: Any) -> Serving:
    url = f"http://127.0.0.1:{collector.port}/logs?x=1"
    return Serving(HttpLog, http_endpoint=url, queue=queue or {}, **config)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


async def test_each_request_is_told():
    async with http_collector() as collector, logging_to(collector) as gateway:
        answer = await gateway.ask("GET", "/orders?a=1")
        await eventually(lambda: len(collector.posts) == 1)
        post = collector.posts[0]
        assert post.line == "POST /logs HTTP/1.1"
        assert post.headers["Content-Type"] == "application/json"
        assert "Authorization" not in post.headers
        assert post.content["request"]["id"] == answer.headers["X-Gateway-Request-Id"]
        assert post.content["request"]["querystring"] == {"a": "1"}
        await gateway.ask("GET", "/")
        await eventually(lambda: len(collector.posts) == 2)
        assert collector.connections == 1


async def test_the_server_is_asked_as_configured():
    async with http_collector() as collector:
        config = {
            "http_endpoint": f"http://bob:p%40ss@127.0.0.1:{collector.port}",
            "method": "PUT",
            "content_type": "application/json; charset=utf-8",
            "headers": {"X-Token": "t"},
        }
        async with Serving(HttpLog, **config) as gateway:
            await gateway.ask("GET", "/")
            await eventually(lambda: len(collector.posts) == 1)
    post = collector.posts[0]
    assert post.line == "PUT / HTTP/1.1"
    assert post.headers["Content-Type"] == "application/json; charset=utf-8"
    assert post.headers["X-Token"] == "t"
    assert post.headers["Authorization"] == "Basic Ym9iOnBAc3M="


async def test_batches_are_arrays():
    queue = {"max_batch_size": 3, "max_coalescing_delay": 60}
    async with http_collector() as collector, logging_to(collector, queue) as gateway:
        for number in range(3):
            await gateway.ask("GET", f"/{number}")
        await eventually(lambda: len(collector.posts) == 1)
    told = [entry["request"]["uri"] for entry in collector.posts[0].content]
    assert told == ["/0", "/1", "/2"]


async def test_a_batch_that_does_not_fill_goes_after_a_while():
    queue = {"max_batch_size": 3, "max_coalescing_delay": 0.05}
    async with http_collector() as collector, logging_to(collector, queue) as gateway:
        await gateway.ask("GET", "/")
        await eventually(lambda: len(collector.posts) == 1)
    assert len(collector.posts[0].content) == 1


async def test_a_refused_batch_is_sent_again():
    async with http_collector(500, 302) as collector, logging_to(collector, QUICKLY) as gateway:
        with capture_logs() as logs:
            await gateway.ask("GET", "/")
            await eventually(lambda: len(collector.posts) == 3)
            await eventually(lambda: "log entries arrive again" in [e["event"] for e in logs])
        assert len({post.body for post in collector.posts}) == 1
        told = [entry for entry in logs if entry["event"] == "log entries do not arrive"]
        assert [entry["reason"] for entry in told] == ["the answer was 500"]
        assert told[0]["place"] == f"http-log http://127.0.0.1:{collector.port}/logs"


async def test_what_cannot_be_delivered_in_time_is_dropped_and_told():
    queue = QUICKLY | {"max_retry_time": 0.03}
    with capture_logs() as logs:
        async with (
            http_collector(*[500] * 100) as collector,
            logging_to(collector, queue) as gateway,
        ):
            await gateway.ask("GET", "/")
            await eventually(lambda: "log entries are dropped" in [e["event"] for e in logs])
            assert gateway.measured("delivery_dropped_total", reason="undelivered") == 1
    told = next(entry for entry in logs if entry["event"] == "log entries are dropped")
    assert (told["dropped"], told["reason"]) == (1, "the answer was 500")


async def test_never_to_try_again():
    queue = {"max_retry_time": -1}
    with capture_logs() as logs:
        async with http_collector(500) as collector, logging_to(collector, queue) as gateway:
            await gateway.ask("GET", "/a")
            await eventually(lambda: "log entries are dropped" in [e["event"] for e in logs])
            await gateway.ask("GET", "/b")
            await eventually(lambda: len(collector.posts) == 2)
    assert [post.content["request"]["uri"] for post in collector.posts] == ["/a", "/b"]


async def test_a_server_that_is_away_gets_all_when_it_is_back():
    port = free_port()
    async with logging_to(Collector(port), QUICKLY) as gateway:
        with capture_logs() as logs:
            for number in range(3):
                assert (await gateway.ask("GET", f"/{number}")).status_code == 200
            await eventually(lambda: bool(logs))
        async with http_collector(port=port) as collector:
            await eventually(lambda: len(collector.posts) == 3)
    told = [post.content["request"]["uri"] for post in collector.posts]
    assert told == ["/0", "/1", "/2"]


async def test_a_slow_server_delays_nobody_and_the_oldest_are_dropped():
    queue = {"max_entries": 2}
    with capture_logs() as logs:
        async with http_collector() as collector, logging_to(collector, queue) as gateway:
            collector.waits.clear()
            await gateway.ask("GET", "/0")
            await eventually(lambda: len(collector.posts) == 1)
            for number in range(1, 5):
                await gateway.ask("GET", f"/{number}")
            assert gateway.measured("delivery_waiting", plugin="http-log") == 3
            await eventually(lambda: "log entries are dropped" in [e["event"] for e in logs])
            collector.waits.set()
            await eventually(lambda: len(collector.posts) == 3)
            await eventually(lambda: gateway.measured("delivery_waiting", plugin="http-log") == 0)
            assert gateway.measured("delivery_sent_total", plugin="http-log") == 3
            assert gateway.measured("delivery_dropped_total", reason="no_room") == 2
    told = [post.content["request"]["uri"] for post in collector.posts]
    assert told == ["/0", "/3", "/4"]


async def test_a_server_that_does_not_answer_is_given_up_and_asked_again():
    async with http_collector() as collector:
        collector.waits.clear()
        async with logging_to(collector, QUICKLY, timeout=100) as gateway:
            with capture_logs() as logs:
                await gateway.ask("GET", "/")
                await eventually(lambda: len(collector.posts) == 2)
            assert logs[0]["reason"] == "no answer within 0.1 s"
            collector.waits.set()
            await eventually(lambda: collector.connections >= 2)


async def test_bytes_are_bounded():
    with capture_logs() as logs:
        async with (
            http_collector() as collector,
            logging_to(collector, {"max_bytes": 9}) as gateway,
        ):
            await gateway.ask("GET", "/")
            await eventually(lambda: "log entries are dropped" in [e["event"] for e in logs])
    assert collector.posts == []


async def test_several_at_a_time():
    queue = {"concurrency_limit": -1}
    async with http_collector() as collector, logging_to(collector, queue) as gateway:
        collector.waits.clear()
        for number in range(3):
            await gateway.ask("GET", f"/{number}")
        await eventually(lambda: len(collector.posts) == 3)
        assert collector.connections == 3


async def test_what_waits_is_delivered_when_the_node_stops():
    queue = {"max_batch_size": 10, "max_coalescing_delay": 3600}
    async with http_collector() as collector:
        async with logging_to(collector, queue) as gateway:
            await gateway.ask("GET", "/")
            await asyncio.sleep(0)
        await eventually(lambda: len(collector.posts) == 1)


async def test_plugins_with_the_same_parameters_share_a_queue():
    queue = {"max_batch_size": 2, "max_coalescing_delay": 3600}
    async with http_collector() as collector:
        gateway = logging_to(collector, queue)
        async with gateway:
            await gateway.ask("GET", "/0")
            await gateway.apply()  # makes the plugins anew
            await gateway.ask("GET", "/1")
            await eventually(lambda: len(collector.posts) == 1)
    assert [entry["request"]["uri"] for entry in collector.posts[0].content] == ["/0", "/1"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, {"http_endpoint": "required field missing"}),
        ({"http_endpoint": "ftp://a"}, {"http_endpoint": "scheme must be http or https"}),
        ({"http_endpoint": "http://"}, {"http_endpoint": "missing host in url"}),
        ({"method": "GET"}, {"method": "expected one of: POST, PUT, PATCH"}),
        (
            {"queue": {"max_entries": 0}},
            {"queue": {"max_entries": "value should be between 1 and 1000000"}},
        ),
        (
            {"queue": {"concurrency_limit": 2}},
            {"queue": {"concurrency_limit": "expected one of: -1, 1"}},
        ),
        (
            {"custom_fields_by_lua": {"a": "return 1"}},
            {
                "custom_fields_by_lua": "code that stands in a configuration is not run: "
                "there can be no field"
            },
        ),
    ],
)
def test_what_is_refused(config: dict[str, Any], expected: dict[str, Any]):
    complete = {"http_endpoint": "http://a"} | config if config else {}
    assert problems(HttpLog, complete) == expected


@pytest.mark.parametrize("name", ["Host", "content-length", "Content-Type"])
def test_headers_that_are_not_to_be_set(name: str):
    assert problems(HttpLog, {"http_endpoint": "http://a", "headers": {name: "x"}})


def test_old_names():
    config = {"http_endpoint": "http://a", "queue_size": 5, "flush_timeout": 3, "retry_count": 2}
    queue = HttpLog.Config.model_validate(config).queue
    assert (queue.max_batch_size, queue.max_coalescing_delay) == (5, 3)
