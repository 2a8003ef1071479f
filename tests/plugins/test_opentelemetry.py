"""opentelemetry: the spans that a collector gets, and what becomes of them when it is unwell."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from starlette.responses import Response

from gateway.plugins.file_log import FileLog
from gateway.plugins.key_auth import KeyAuth
from gateway.plugins.opentelemetry import OpenTelemetry, plugin
from gateway.testing import Serving
from tests.plugins.collectors import Collector, eventually, http_collector
from tests.plugins.configs import problems

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
AT_ONCE = {"max_batch_size": 1}


def tracing(collector: Collector, queue: dict[str, Any] | None = None, **config: Any) -> Serving:
    url = f"http://127.0.0.1:{collector.port}/v1/traces"
    config = {"sampling_rate": 1} | config
    return Serving(OpenTelemetry, traces_endpoint=url, queue=queue or AT_ONCE, **config)


def exports(collector: Collector) -> Iterator[ExportTraceServiceRequest]:
    for post in collector.posts:
        yield ExportTraceServiceRequest.FromString(post.body)


def spans_of(collector: Collector) -> list[Span]:
    return [
        span
        for export in exports(collector)
        for resource in export.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def told(attributes: Any) -> Mapping[str, Any]:
    def value(pair: KeyValue) -> Any:
        return getattr(pair.value, pair.value.WhichOneof("value"))

    return {pair.key: value(pair) for pair in attributes}


async def test_a_request_has_a_span_and_one_for_the_service():
    async with http_collector() as collector, tracing(collector) as gateway:
        await gateway.ask("GET", "/orders?a=1", headers={"User-Agent": "me"})
        await eventually(lambda: bool(collector.posts))
        received = gateway.received[0]
    assert collector.posts[0].line == "POST /v1/traces HTTP/1.1"
    assert collector.posts[0].headers["Content-Type"] == "application/x-protobuf"
    (resource,) = next(exports(collector)).resource_spans
    assert told(resource.resource.attributes)["service.name"] == "gateway"
    server, client = spans_of(collector)
    assert server.kind == Span.SPAN_KIND_SERVER
    assert server.name == "GET all"
    assert server.parent_span_id == b""
    attributes = told(server.attributes)
    assert {
        "http.request.method": "GET",
        "url.scheme": "http",
        "url.path": "/orders",
        "url.query": "a=1",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
        "client.address": "127.0.0.1",
        "server.address": "127.0.0.1",
        "user_agent.original": "me",
        "gateway.route.name": "all",
        "gateway.service.name": "orders",
    }.items() <= attributes.items()
    assert client.kind == Span.SPAN_KIND_CLIENT
    assert client.parent_span_id == server.span_id
    assert client.trace_id == server.trace_id
    attributes = told(client.attributes)
    assert attributes["server.address"] == "127.0.0.1"
    assert attributes["url.full"].endswith("/orders?a=1")
    assert attributes["http.response.status_code"] == 200
    assert received.headers["traceparent"] == (
        f"00-{server.trace_id.hex()}-{client.span_id.hex()}-01"
    )
    assert server.start_time_unix_nano <= client.start_time_unix_nano
    assert client.start_time_unix_nano < client.end_time_unix_nano
    assert client.end_time_unix_nano <= server.end_time_unix_nano


async def test_the_parent_of_the_request_is_known_and_decides():
    async with http_collector() as collector, tracing(collector, sampling_rate=0) as gateway:
        for flags in ("00", "01"):
            parent = f"00-{TRACE_ID}-{SPAN_ID}-{flags}"
            await gateway.ask("GET", f"/{flags}", headers={"traceparent": parent})
        await eventually(lambda: bool(collector.posts))
    server, client = spans_of(collector)
    assert told(server.attributes)["url.path"] == "/01"
    assert server.trace_id.hex() == client.trace_id.hex() == TRACE_ID
    assert server.parent_span_id.hex() == SPAN_ID


async def test_some_are_told_by_their_ids():
    async with http_collector() as collector, tracing(collector, sampling_rate=0.5) as gateway:
        for number in (2**63 - 1, 2**63):
            await gateway.ask("GET", "/", headers={"b3": f"{number:016x}-{SPAN_ID}"})
        await eventually(lambda: bool(collector.posts))
        sampled = [received.headers["b3"].split("-")[2] for received in gateway.received]
    assert sampled == ["1", "0"]
    assert int(spans_of(collector)[0].trace_id.hex(), 16) == 2**63 - 1


async def test_an_error_of_the_service_is_one_of_both_spans():
    async with http_collector() as collector, tracing(collector) as gateway:
        gateway.service.answer = Response(status_code=500)
        await gateway.ask("GET", "/")
        await eventually(lambda: bool(collector.posts))
    for span in spans_of(collector):
        assert span.status.code == Status.STATUS_CODE_ERROR
        assert told(span.attributes)["error.type"] == "500"


async def test_each_try_has_a_span():
    async with http_collector() as collector:
        gateway = tracing(collector)
        gateway.target |= {"port": 9, "retries": 2}
        async with gateway:
            assert (await gateway.ask("GET", "/")).status_code == 502
            await eventually(lambda: bool(collector.posts))
    server, *tries = spans_of(collector)
    attributes = [told(span.attributes) for span in tries]
    assert [a.get("http.request.resend_count") for a in attributes] == [None, 1, 2]
    assert {a["error.type"] for a in attributes} == {"no_response"}
    assert len({span.span_id for span in tries}) == 3
    assert told(server.attributes)["error.type"] == "502"


async def test_a_refused_request_is_told_without_a_try_and_without_its_key():
    async with http_collector() as collector:
        gateway = tracing(collector, resource_attributes={"service.name": "edge", "zone": "b"})
        gateway.use(KeyAuth)
        gateway.consumer("ann", keyauth_credentials={"key": "secret"})
        async with gateway:
            await gateway.ask("GET", "/?apikey=wrong")
            await gateway.ask("GET", "/?apikey=secret")
            await eventually(lambda: len(collector.posts) == 2)
    refused, server, client = spans_of(collector)
    assert told(refused.attributes)["http.response.status_code"] == 401
    assert refused.status.code == Status.STATUS_CODE_UNSET
    assert told(server.attributes)["url.query"] == "apikey=REDACTED"
    assert told(server.attributes)["gateway.consumer.name"] == "ann"
    assert "secret" not in told(client.attributes)["url.full"]
    resource = next(exports(collector)).resource_spans[0].resource
    assert {"service.name": "edge", "zone": "b"}.items() <= told(resource.attributes).items()


async def test_a_request_without_a_route_is_told_where_the_plugin_is_for_all():
    async with http_collector() as collector:
        gateway = tracing(collector, http_response_header_for_traceid="X-Trace-Id")
        gateway.route["paths"] = ["/orders"]
        async with gateway:
            answer = await gateway.ask("GET", "/bills")
            await eventually(lambda: bool(collector.posts))
    (server,) = spans_of(collector)
    assert answer.headers["X-Trace-Id"] == server.trace_id.hex()
    assert (server.name, told(server.attributes)["http.response.status_code"]) == ("GET", 404)


async def test_odd_methods_and_bytes_are_told_as_what_they_are():
    async with http_collector() as collector, tracing(collector) as gateway:
        await gateway.ask("BREW", "/%ff", headers={"User-Agent": b"\xff\xfe"})
        await eventually(lambda: bool(collector.posts))
    server, client = spans_of(collector)
    assert server.name == "HTTP all"
    assert client.name == "HTTP"
    attributes = told(server.attributes)
    assert attributes["http.request.method"] == "_OTHER"
    assert attributes["http.request.method_original"] == "BREW"


async def test_requests_that_end_while_protocol_buffers_are_loaded_are_told_then(
    monkeypatch: pytest.MonkeyPatch,
):
    may_load = threading.Event()

    def load(name: str) -> Any:
        may_load.wait()
        return import_module(name)

    monkeypatch.setattr(plugin, "import_module", load)
    monkeypatch.setattr(plugin, "_MOST_EARLY", 2)
    async with http_collector() as collector, tracing(collector) as gateway:
        for number in range(3):
            await gateway.ask("GET", f"/{number}")
        may_load.set()
        await eventually(lambda: len(collector.posts) == 2)
        assert gateway.measured("delivery_dropped_total", reason="no_room") == 1
    paths = [told(span.attributes).get("url.path") for span in spans_of(collector)]
    assert [path for path in paths if path] == ["/0", "/1"]


def test_a_node_without_the_plugin_in_use_loads_no_protocol_buffers():
    program = (
        "import sys\n"
        "from gateway.plugins.registry import present\n"
        "assert 'opentelemetry' in present()\n"
        "assert not [name for name in sys.modules if name.startswith('google.protobuf')]"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


async def test_requests_are_told_in_batches():
    queue = {"max_batch_size": 3, "max_coalescing_delay": 60}
    async with http_collector() as collector, tracing(collector, queue) as gateway:
        for number in range(3):
            await gateway.ask("GET", f"/{number}")
        await eventually(lambda: bool(collector.posts))
    assert len(collector.posts) == 1
    assert len(spans_of(collector)) == 6


async def test_a_collector_that_is_unwell_is_asked_again():
    queue = AT_ONCE | {"initial_retry_delay": 0.01}
    async with http_collector(500, 503) as collector, tracing(collector, queue) as gateway:
        await gateway.ask("GET", "/")
        await eventually(lambda: len(collector.posts) == 3)
        await eventually(lambda: gateway.measured("delivery_waiting", plugin="opentelemetry") == 0)
        assert gateway.measured("delivery_sent_total", plugin="opentelemetry") == 1


async def test_a_slow_collector_delays_nobody_and_the_oldest_are_dropped():
    queue = AT_ONCE | {"max_entries": 2}
    async with http_collector() as collector, tracing(collector, queue) as gateway:
        collector.waits.clear()
        await gateway.ask("GET", "/0")
        await eventually(lambda: len(collector.posts) == 1)
        for number in range(1, 5):
            assert (await gateway.ask("GET", f"/{number}")).status_code == 200
        assert gateway.measured("delivery_dropped_total", reason="no_room") == 2
        collector.waits.set()
        await eventually(lambda: len(collector.posts) == 3)
    paths = [told(span.attributes).get("url.path") for span in spans_of(collector)]
    assert [path for path in paths if path] == ["/0", "/3", "/4"]


async def garbage(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\xff not HTTP\r\n\r\n")
    writer.close()


async def test_a_collector_that_is_away_or_answers_garbage_costs_traces_only():
    queue = AT_ONCE | {"max_retry_time": -1}
    server = await asyncio.start_server(garbage, "127.0.0.1", 0)
    async with tracing(Collector(server.sockets[0].getsockname()[1]), queue) as gateway:
        assert (await gateway.ask("GET", "/")).status_code == 200
        await eventually(lambda: dropped(gateway) == [1])
        server.close()
        assert (await gateway.ask("GET", "/")).status_code == 200
        await eventually(lambda: dropped(gateway) == [2])


def dropped(gateway: Serving) -> list[float]:
    samples = [s for family in gateway.plugins.metrics() for s in family.samples]
    return [s.value for s in samples if s.labels.get("reason") == "undelivered"]


async def test_other_plugins_tell_the_trace_too(tmp_path: Any):
    path = tmp_path / "log"
    async with http_collector() as collector:
        gateway = tracing(collector)
        gateway.use(FileLog, path=str(path))
        async with gateway:
            await gateway.ask("GET", "/", headers={"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"})
    assert f'"trace_id":{{"w3c":"{TRACE_ID}"}}' in path.read_text()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {},
            {
                "@entity": [
                    "at least one of these fields must be non-empty: 'traces_endpoint', "
                    "'logs_endpoint'"
                ]
            },
        ),
        (
            {"traces_endpoint": "http://x", "logs_endpoint": "http://x"},
            {
                "logs_endpoint": "must be null: nodes do not send their log, which goes to "
                "standard output"
            },
        ),
        (
            {"traces_endpoint": "ftp://x", "sampling_rate": 1.5},
            {
                "traces_endpoint": "scheme must be http or https",
                "sampling_rate": "value should be between 0 and 1",
            },
        ),
    ],
)
def test_what_is_refused(config: dict[str, Any], expected: dict[str, Any]):
    assert problems(OpenTelemetry, config) == expected


def test_the_old_name_of_the_endpoint():
    config = OpenTelemetry.Config.model_validate({"endpoint": "http://x/v1/traces"})
    assert config.traces_endpoint == "http://x/v1/traces"
    assert config.queue.max_batch_size == 200
