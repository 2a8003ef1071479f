"""zipkin: the spans that a collector gets, and what requests carry on."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.responses import Response

from gateway.plugins.key_auth import KeyAuth
from gateway.plugins.opentelemetry import OpenTelemetry
from gateway.plugins.zipkin import Zipkin
from gateway.testing import Serving
from tests.plugins.collectors import Collector, eventually, http_collector
from tests.plugins.configs import problems

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def tracing(collector: Collector, **config: Any) -> Serving:
    url = f"http://127.0.0.1:{collector.port}/api/v2/spans"
    return Serving(Zipkin, http_endpoint=url, **{"sample_ratio": 1} | config)


def spans_of(collector: Collector) -> list[dict[str, Any]]:
    return [span for post in collector.posts for span in post.content]


async def told(gateway: Serving, collector: Collector, path: str = "/", **further: Any) -> Any:
    """Return the spans of one request."""
    async with gateway:
        await gateway.ask("GET", path, **further)
        await eventually(lambda: bool(collector.posts))
    return spans_of(collector)


async def test_a_request_has_a_span_one_of_the_proxy_and_one_for_each_try():
    async with http_collector() as collector:
        gateway = tracing(collector, local_service_name="edge")
        request, proxy, attempt = await told(gateway, collector, "/orders?a=1")
    assert collector.posts[0].line == "POST /api/v2/spans HTTP/1.1"
    assert [span["name"] for span in (request, proxy, attempt)] == [
        "GET",
        "GET (proxy)",
        "GET (balancer try 1)",
    ]
    assert [span["kind"] for span in (request, proxy, attempt)] == ["SERVER", "CLIENT", "CLIENT"]
    assert "parentId" not in request
    assert {proxy["parentId"], attempt["parentId"]} == {request["id"]}
    assert request["localEndpoint"] == {"serviceName": "edge"}
    assert request["remoteEndpoint"] == {"ipv4": "127.0.0.1"}
    assert (
        request["tags"]
        | {
            "http.method": "GET",
            "http.path": "/orders",
            "http.protocol": "HTTP/1.1",
            "http.status_code": "200",
            "lc": "gateway",
            "gateway.route": "all",
            "gateway.service": "orders",
        }
        == request["tags"]
    )
    assert proxy["remoteEndpoint"]["serviceName"] == "orders"
    assert [note["value"] for note in proxy["annotations"]] == ["kas", "kaf", "kbs", "kbf"]
    times = [note["timestamp"] for note in proxy["annotations"]]
    assert times == sorted(times)
    received = gateway.received[0].headers
    assert received["x-b3-traceid"] == request["traceId"]
    assert received["x-b3-spanid"] == proxy["id"]
    assert received["x-b3-parentspanid"] == request["id"]
    assert received["x-b3-sampled"] == "1"


async def test_the_trace_of_the_request_goes_on():
    async with http_collector() as collector:
        headers = {"b3": f"{TRACE_ID}-{SPAN_ID}-1"}
        request, *_ = await told(tracing(collector, sample_ratio=0), collector, headers=headers)
    assert (request["traceId"], request["parentId"]) == (TRACE_ID, SPAN_ID)


async def test_names_and_tags_can_be_chosen():
    config = {
        "http_span_name": "method_path",
        "phase_duration_flavor": "tags",
        "static_tags": [{"name": "zone", "value": "b"}],
        "traceid_byte_count": 8,
        "include_credential": False,
    }
    async with http_collector() as collector:
        gateway = tracing(collector, **config)
        gateway.use(KeyAuth)
        ann = gateway.consumer("ann", keyauth_credentials={"key": "k"})
        headers = {"Zipkin-Tags": "fg = blue; bad; lc=mine; =; bg=red", "apikey": "k"}
        request, proxy, _ = await told(gateway, collector, "/a?apikey=k", headers=headers)
    assert request["name"] == "GET /a"
    assert len(request["traceId"]) == 16
    tags = request["tags"]
    assert (tags["fg"], tags["bg"], tags["zone"], tags["lc"]) == ("blue", "red", "b", "gateway")
    assert tags["gateway.consumer"] == str(ann["id"])
    assert "gateway.credential" not in tags
    assert float(proxy["tags"]["gateway.access.duration_ms"]) > 0
    assert "annotations" not in proxy


async def test_failures_are_told():
    async with http_collector() as collector:
        gateway = tracing(collector)
        gateway.target |= {"port": 9, "retries": 1, "name": None}
        request, proxy, *tries = await told(gateway, collector)
    assert request["tags"]["error"] == "true"
    assert "serviceName" not in proxy["remoteEndpoint"]
    assert [span["tags"]["gateway.balancer.try"] for span in tries] == ["1", "2"]
    assert {span["tags"]["gateway.balancer.state"] for span in tries} == {"failed"}


async def test_a_status_that_is_no_failure_of_the_service_is_no_error():
    async with http_collector() as collector:
        gateway = tracing(collector)
        gateway.service.answer = Response(status_code=404)
        request, *_ = await told(gateway, collector)
    assert "error" not in request["tags"]


async def test_without_a_collector_traces_are_passed_on_only():
    async with Serving(Zipkin, sample_ratio=1, default_header_type="w3c") as gateway:
        await gateway.ask("GET", "/")
        assert gateway.received[0].headers["traceparent"].endswith("-01")
        assert gateway.measured("delivery_waiting", plugin="zipkin") == 0


async def test_together_with_opentelemetry_there_is_one_trace():
    gateway = Serving(Zipkin)
    gateway.use(OpenTelemetry, traces_endpoint="http://127.0.0.1:9/", header_type="w3c")
    async with gateway:
        await gateway.ask("GET", "/")
        received = gateway.received[0].headers
    _, trace_id, span_id, _ = received["traceparent"].split("-")
    assert (received["x-b3-traceid"], received["x-b3-spanid"]) == (trace_id, span_id)


async def test_a_collector_that_refuses_costs_traces_only():
    queue = {"max_retry_time": -1}
    async with http_collector(500) as collector, tracing(collector, queue=queue) as gateway:
        assert (await gateway.ask("GET", "/")).status_code == 200
        await eventually(lambda: bool(collector.posts))
        await eventually(lambda: gateway.measured("delivery_waiting", plugin="zipkin") == 0)
        assert gateway.measured("delivery_dropped_total", reason="undelivered") == 1


@pytest.mark.parametrize(
    ("config", "field", "text"),
    [
        (
            {"static_tags": [{"name": "http.path", "value": "x"}]},
            "static_tags",
            "invalid tag name: http.path is written by the plugin",
        ),
        ({"traceid_byte_count": 12}, "traceid_byte_count", "expected one of: 8, 16"),
        ({"sample_ratio": 2}, "sample_ratio", "value should be between 0 and 1"),
        ({"http_endpoint": "x"}, "http_endpoint", "scheme must be http or https"),
    ],
)
def test_what_is_refused(config: dict[str, Any], field: str, text: str):
    found = problems(Zipkin, config)
    assert list(found) == [field]
    assert text in str(found)
