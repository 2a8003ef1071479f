"""How a trace that a request comes with goes on to the service, and what becomes of bad ones."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.plugins.opentelemetry import OpenTelemetry
from gateway.plugins.request_termination import RequestTermination
from gateway.plugins.tracing.formats import FORMATS
from gateway.testing import Serving
from tests.plugins.configs import problems

NOWHERE = "http://127.0.0.1:9/v1/traces"
TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-00"
NEW = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00")

Headers = dict[str, str]


def tracing(**config: Any) -> Serving:
    """A gateway that tells no trace, if it may decide."""
    return Serving(OpenTelemetry, traces_endpoint=NOWHERE, **{"sampling_rate": 0} | config)


async def passed_on(gateway: Serving, headers: Headers) -> Headers:
    """Return the headers about traces that the service gets."""
    assert (await gateway.ask("GET", "/", headers=headers)).status_code == 200
    ours = re.compile("trace|b3|datadog|uber")
    return {
        name: value for name, value in gateway.received[-1].headers.items() if ours.search(name)
    }


async def test_a_trace_goes_on_with_the_gateway_as_its_parent():
    async with tracing() as gateway:
        passed = await passed_on(gateway, {"traceparent": TRACEPARENT, "tracestate": "a=b"})
    version, trace_id, span_id, flags = passed["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", TRACE_ID, "00")
    assert span_id != SPAN_ID
    assert passed["tracestate"] == "a=b"


async def test_a_request_without_a_trace_begins_one():
    async with tracing() as gateway:
        first, second = [await passed_on(gateway, {}) for _ in range(2)]
    assert NEW.fullmatch(first["traceparent"])
    assert first["traceparent"] != second["traceparent"]


async def test_a_bad_trace_is_replaced_and_its_state_goes():
    async with tracing() as gateway:
        passed = await passed_on(gateway, {"traceparent": "00-bad", "tracestate": "a=b"})
    assert NEW.fullmatch(passed["traceparent"])
    assert "tracestate" not in passed


async def test_the_format_that_came_is_kept():
    async with tracing() as gateway:
        passed = await passed_on(gateway, {"b3": f"{TRACE_ID}-{SPAN_ID}-0"})
    assert list(passed) == ["b3"]
    assert re.fullmatch(rf"{TRACE_ID}-[0-9a-f]{{16}}-0-[0-9a-f]{{16}}", passed["b3"])


async def test_a_header_type_adds_its_own():
    async with tracing(header_type="jaeger") as gateway:
        passed = await passed_on(gateway, {"traceparent": TRACEPARENT})
        assert set(passed) == {"traceparent", "uber-trace-id"}
        assert passed["uber-trace-id"].startswith(TRACE_ID)
        passed = await passed_on(gateway, {"uber-trace-id": f"{TRACE_ID}:{SPAN_ID}:0:0"})
        assert set(passed) == {"uber-trace-id"}


async def test_headers_may_be_ignored():
    async with tracing(header_type="ignore") as gateway:
        passed = await passed_on(gateway, {"traceparent": TRACEPARENT})
    assert NEW.fullmatch(passed["traceparent"])
    assert TRACE_ID not in passed["traceparent"]


async def test_from_one_format_to_others():
    propagation = {
        "extract": ["b3", "w3c"],
        "clear": ["b3", "X-Old-Trace"],
        "inject": ["w3c", "datadog", "preserve"],
        "default_format": "gcp",
    }
    async with tracing(propagation=propagation) as gateway:
        headers = {"traceparent": TRACEPARENT, "b3": "bad", "X-Old-Trace": "1"}
        passed = await passed_on(gateway, headers)
        assert passed["traceparent"].startswith(f"00-{TRACE_ID}")
        assert passed["x-datadog-trace-id"] == str(int(TRACE_ID[16:], 16))
        assert not {"b3", "x-old-trace"} & set(passed)
        assert "x-cloud-trace-context" in await passed_on(gateway, {})


async def test_nothing_is_passed_on_where_no_format_is_wanted():
    async with tracing(propagation={"inject": []}) as gateway:
        assert await passed_on(gateway, {}) == {}
        assert await passed_on(gateway, {"traceparent": TRACEPARENT}) == {
            "traceparent": TRACEPARENT
        }


async def test_the_client_may_be_told_also_of_a_refusal():
    gateway = tracing(http_response_header_for_traceid="X-Trace-Id")
    async with gateway:
        answer = await gateway.ask("GET", "/", headers={"traceparent": TRACEPARENT})
        assert answer.headers["X-Trace-Id"] == TRACE_ID
        gateway.use(RequestTermination)
        await gateway.apply()
        answer = await gateway.ask("GET", "/", headers={"traceparent": TRACEPARENT})
    assert answer.status_code == 503
    assert answer.headers["X-Trace-Id"] == TRACE_ID


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    value=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=200),
    name=st.sampled_from([name for format_ in FORMATS.values() for name in format_.headers]),
)
async def test_garbage_costs_no_request(value: str, name: str):
    async with tracing() as gateway:
        assert await passed_on(gateway, {name: value})


@pytest.mark.parametrize(
    ("config", "path", "text"),
    [
        ({"propagation": {"extract": ["b3-single"]}}, "propagation", "expected one of"),
        ({"propagation": {"inject": ["smoke"]}}, "propagation", "expected one of"),
        ({"header_type": "smoke"}, "header_type", "expected one of"),
        ({"http_response_header_for_traceid": "Connection"}, None, "written by the proxy only"),
    ],
)
def test_what_is_refused(config: dict[str, Any], path: str | None, text: str):
    found = problems(OpenTelemetry, {"traces_endpoint": NOWHERE} | config)
    assert list(found) == [path or "http_response_header_for_traceid"]
    assert text in str(found)
