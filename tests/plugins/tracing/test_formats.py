"""Headers that carry a trace: each format reads what it writes, and garbage as nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.plugins.tracing.formats import FORMATS
from gateway.plugins.tracing.trace import Parent, Trace

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
WHOLE = Parent(int(TRACE_ID, 16), int(SPAN_ID, 16), True)
LOW_ID = int(TRACE_ID[16:], 16)
TRACE_ID_64 = TRACE_ID[16:]
AWS_ID = f"1-{TRACE_ID[:8]}-{TRACE_ID[8:]}"


def read(format_: str, **headers: str) -> Parent | None:
    found = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return FORMATS[format_].read(found)


@pytest.mark.parametrize(
    ("format_", "headers", "parent"),
    [
        ("w3c", {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}, WHOLE),
        ("w3c", {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-02"}, WHOLE._replace(is_sampled=False)),
        ("w3c", {"traceparent": f"cc-{TRACE_ID}-{SPAN_ID}-01-what-is-to-come"}, WHOLE),
        ("w3c", {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01-more"}, None),
        ("w3c", {"traceparent": f"ff-{TRACE_ID}-{SPAN_ID}-01"}, None),
        ("w3c", {"traceparent": f"00-{TRACE_ID.upper()}-{SPAN_ID}-01"}, None),
        ("w3c", {"traceparent": f"00-{'0' * 32}-{SPAN_ID}-01"}, None),
        ("w3c", {"traceparent": f"00-{TRACE_ID}-{'0' * 16}-01"}, None),
        ("w3c", {"traceparent": f"00-{TRACE_ID[:-1]}-{SPAN_ID}-01"}, None),
        ("w3c", {"tracestate": "a=b"}, None),
        (
            "b3",
            {"x_b3_traceid": TRACE_ID.upper(), "x_b3_spanid": SPAN_ID, "x_b3_sampled": "1"},
            WHOLE,
        ),
        (
            "b3",
            {"x_b3_traceid": TRACE_ID_64, "x_b3_spanid": SPAN_ID},
            Parent(LOW_ID, WHOLE.span_id, None),
        ),
        ("b3", {"x_b3_traceid": TRACE_ID, "x_b3_spanid": SPAN_ID, "x_b3_flags": "1"}, WHOLE),
        ("b3", {"x_b3_sampled": "0"}, Parent(is_sampled=False)),
        ("b3", {"x_b3_traceid": TRACE_ID}, None),
        ("b3", {"x_b3_traceid": "xyz", "x_b3_spanid": SPAN_ID}, None),
        ("b3-single", {"b3": f"{TRACE_ID}-{SPAN_ID}-1-{SPAN_ID}"}, WHOLE),
        ("b3-single", {"b3": f"{TRACE_ID}-{SPAN_ID}-d"}, WHOLE),
        ("b3-single", {"b3": f"{TRACE_ID}-{SPAN_ID}"}, WHOLE._replace(is_sampled=None)),
        ("b3-single", {"b3": "0"}, Parent(is_sampled=False)),
        ("b3-single", {"b3": f"{TRACE_ID}-"}, None),
        ("jaeger", {"uber_trace_id": f"{TRACE_ID}:{SPAN_ID}:0:1"}, WHOLE),
        ("jaeger", {"uber_trace_id": f"{TRACE_ID}%3A{SPAN_ID}%3A0%3A3"}, WHOLE),
        (
            "jaeger",
            {"uber_trace_id": f"{TRACE_ID}:{SPAN_ID}:0:0"},
            WHOLE._replace(is_sampled=False),
        ),
        ("jaeger", {"uber_trace_id": f"0:{SPAN_ID}:0:1"}, None),
        (
            "ot",
            {
                "ot_tracer_traceid": TRACE_ID,
                "ot_tracer_spanid": SPAN_ID,
                "ot_tracer_sampled": "true",
            },
            WHOLE,
        ),
        ("ot", {"ot_tracer_traceid": TRACE_ID}, None),
        (
            "aws",
            {"x_amzn_trace_id": f"Root={AWS_ID}; Parent={SPAN_ID};Sampled=1"},
            WHOLE,
        ),
        (
            "aws",
            {"x_amzn_trace_id": f"Self=1;Root={AWS_ID}"},
            Parent(WHOLE.trace_id),
        ),
        ("aws", {"x_amzn_trace_id": "Root=1-2-3"}, None),
        ("gcp", {"x_cloud_trace_context": f"{TRACE_ID}/{WHOLE.span_id};o=1"}, WHOLE),
        ("gcp", {"x_cloud_trace_context": TRACE_ID}, Parent(WHOLE.trace_id)),
        ("gcp", {"x_cloud_trace_context": f"{TRACE_ID}/x"}, None),
        (
            "datadog",
            {
                "x_datadog_trace_id": str(LOW_ID),
                "x_datadog_parent_id": str(WHOLE.span_id),
                "x_datadog_sampling_priority": "2",
            },
            Parent(LOW_ID, WHOLE.span_id, True),
        ),
        (
            "datadog",
            {"x_datadog_trace_id": "7", "x_datadog_sampling_priority": "-1"},
            Parent(7, 0, False),
        ),
        ("datadog", {"x_datadog_trace_id": "0"}, None),
    ],
)
def test_what_is_read(format_: str, headers: dict[str, str], parent: Parent | None):
    assert read(format_, **headers) == parent


LINE = re.compile(rb"\r\n([^:]+): ([^\r]+)")
IDS_OF_64_BITS = {"ot", "datadog"}


@pytest.mark.parametrize("name", FORMATS)
@given(trace_id=st.integers(1, 2**128 - 1), sampled=st.booleans())
def test_each_reads_what_it_writes(name: str, trace_id: int, sampled: bool):
    format_ = FORMATS[name]
    trace = Trace(Parent(trace_id, 1, sampled), 16, None, has_headers=True)
    lines = LINE.findall(format_.write(trace).encode())
    found = {header.lower(): value for header, value in lines}
    assert {header.decode() for header in found} <= set(format_.headers)
    kept = trace_id & (2**64 - 1) if name in IDS_OF_64_BITS else trace_id
    if kept:
        assert format_.read(found) == Parent(kept, trace.client_id, sampled)


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_garbage_is_read_as_something_or_nothing(name: str, data: st.DataObject):
    format_ = FORMATS[name]
    values = st.one_of(
        st.binary(max_size=80),
        st.from_regex(rb"\A[0-9a-fA-F:;=/_ %%-]{0,80}\Z"),
        st.from_regex(rb"\A[0-9]{0,40}\Z"),
    )
    found = {header.encode(): data.draw(values) for header in format_.headers}
    parent = format_.read(found)
    if parent is not None:
        assert 0 <= parent.trace_id < 2**128
        assert 0 <= parent.span_id < 2**64
