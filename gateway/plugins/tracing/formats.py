"""The formats of headers that carry a trace from one program to the next.

Each reads what came, garbage as nothing, and writes header lines. Ids are numbers; a format whose
ids are shorter has their lower bits, as the propagators of OpenTelemetry do it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from gateway.plugins.tracing.trace import Parent, Trace

Found: TypeAlias = Mapping[bytes, bytes]
"""Headers of a request, by their names in small letters."""

_LOW = (1 << 64) - 1

_W3C = re.compile(
    rb"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})((?:-[^\r]*+)?)"
)
_B3_SINGLE = re.compile(
    rb"(?i)([0-9a-f]{32}|[0-9a-f]{16})-([0-9a-f]{16})(?:-([01d])(?:-[0-9a-f]{16})?)?"
)
_B3_TRACE_ID = re.compile(rb"(?i)[0-9a-f]{32}|[0-9a-f]{16}")
_B3_SPAN_ID = re.compile(rb"(?i)[0-9a-f]{16}")
_JAEGER = re.compile(rb"(?i)([0-9a-f]{1,32}):([0-9a-f]{1,16}):[0-9a-f]{1,16}:([0-9a-f]{1,2})")
_OT_TRACE_ID = re.compile(rb"(?i)[0-9a-f]{1,32}")
_OT_SPAN_ID = re.compile(rb"(?i)[0-9a-f]{1,16}")
_AWS_ROOT = re.compile(rb"(?i)1-([0-9a-f]{8})-([0-9a-f]{24})")
_GCP = re.compile(rb"(?i)([0-9a-f]{32})(?:/([0-9]{1,20}))?(?:;o=([0-9]{1,3}))?")
_DECIMAL = re.compile(rb"[0-9]{1,20}")
_SIGNED = re.compile(rb"-?[0-9]{1,3}")

_SAMPLING = {
    **dict.fromkeys((b"1", b"d", b"true"), True),
    **dict.fromkeys((b"0", b"false"), False),
}


@dataclass(frozen=True, slots=True)
class Format:
    """One format: the headers it has, and how they are read and written.

    ``write`` returns header lines, each led by CRLF; ``show`` a trace's id as they have it.
    """

    name: str
    headers: tuple[str, ...]
    read: Callable[[Found], Parent | None]
    write: Callable[[Trace], str]
    show: Callable[[int], str]


# -- W3C Trace Context


def _read_w3c(found: Found) -> Parent | None:
    match = _W3C.fullmatch(found.get(b"traceparent", b""))
    if match is None:
        return None
    version, trace_id, span_id, flags, further = match.groups()
    if (version == b"00" and further) or not int(span_id, 16):
        return None
    return _parent(trace_id, span_id, bool(int(flags, 16) & 1))


def _write_w3c(trace: Trace) -> str:
    return f"\r\ntraceparent: 00-{trace.trace_id:032x}-{trace.client_id:016x}-0{trace.is_sampled:d}"


# -- Zipkin


def _read_b3(found: Found) -> Parent | None:
    sampled = _SAMPLING.get(found.get(b"x-b3-sampled", b"").lower())
    if found.get(b"x-b3-flags") == b"1":
        sampled = True
    trace_id, span_id = found.get(b"x-b3-traceid", b""), found.get(b"x-b3-spanid", b"")
    if _B3_TRACE_ID.fullmatch(trace_id) and _B3_SPAN_ID.fullmatch(span_id):
        return _parent(trace_id, span_id, sampled)
    return None if sampled is None else Parent(is_sampled=sampled)


def _read_b3_single(found: Found) -> Parent | None:
    value = found.get(b"b3", b"")
    if (sampled := _SAMPLING.get(value.lower())) is not None:
        return Parent(is_sampled=sampled)
    match = _B3_SINGLE.fullmatch(value)
    if match is None:
        return None
    trace_id, span_id, state = match.groups()
    return _parent(trace_id, span_id, _SAMPLING.get((state or b"").lower()))


def _write_b3(trace: Trace) -> str:
    return (
        f"\r\nX-B3-TraceId: {_hex(trace.trace_id)}"
        f"\r\nX-B3-SpanId: {trace.client_id:016x}"
        f"\r\nX-B3-ParentSpanId: {trace.server_id:016x}"
        f"\r\nX-B3-Sampled: {trace.is_sampled:d}"
    )


def _write_b3_single(trace: Trace) -> str:
    return (
        f"\r\nb3: {_hex(trace.trace_id)}-{trace.client_id:016x}-{trace.is_sampled:d}"
        f"-{trace.server_id:016x}"
    )


# -- Jaeger, OpenTracing


def _read_jaeger(found: Found) -> Parent | None:
    value = found.get(b"uber-trace-id", b"").replace(b"%3A", b":").replace(b"%3a", b":")
    match = _JAEGER.fullmatch(value)
    if match is None:
        return None
    trace_id, span_id, flags = match.groups()
    return _parent(trace_id, span_id, bool(int(flags, 16) & 1))


def _write_jaeger(trace: Trace) -> str:
    return (
        f"\r\nuber-trace-id: {_hex(trace.trace_id)}:{trace.client_id:016x}:{trace.server_id:016x}"
        f":{trace.is_sampled:d}"
    )


def _read_ot(found: Found) -> Parent | None:
    trace_id, span_id = found.get(b"ot-tracer-traceid", b""), found.get(b"ot-tracer-spanid", b"")
    if not (_OT_TRACE_ID.fullmatch(trace_id) and _OT_SPAN_ID.fullmatch(span_id)):
        return None
    return _parent(trace_id, span_id, _SAMPLING.get(found.get(b"ot-tracer-sampled", b"").lower()))


def _write_ot(trace: Trace) -> str:
    return (
        f"\r\not-tracer-traceid: {trace.trace_id & _LOW:016x}"
        f"\r\not-tracer-spanid: {trace.client_id:016x}"
        f"\r\not-tracer-sampled: {'true' if trace.is_sampled else 'false'}"
    )


# -- clouds and vendors


def _read_aws(found: Found) -> Parent | None:
    parts = found.get(b"x-amzn-trace-id", b"").split(b";")
    pairs = [part.strip(b" \t").partition(b"=") for part in parts]
    fields = {name.lower(): value for name, _, value in pairs}
    root = _AWS_ROOT.fullmatch(fields.get(b"root", b""))
    if root is None:
        return None
    span_id = fields.get(b"parent", b"")
    return _parent(
        root[1] + root[2],
        span_id if _B3_SPAN_ID.fullmatch(span_id) else b"0",
        _SAMPLING.get(fields.get(b"sampled", b"")),
    )


def _write_aws(trace: Trace) -> str:
    return (
        f"\r\nX-Amzn-Trace-Id: Root={_show_aws(trace.trace_id)};Parent={trace.client_id:016x}"
        f";Sampled={trace.is_sampled:d}"
    )


def _show_aws(trace_id: int) -> str:
    return f"1-{trace_id >> 96:08x}-{trace_id & ((1 << 96) - 1):024x}"


def _read_gcp(found: Found) -> Parent | None:
    match = _GCP.fullmatch(found.get(b"x-cloud-trace-context", b""))
    if match is None:
        return None
    trace_id, span_id, options = match.groups()
    sampled = None if options is None else bool(int(options) & 1)
    return _parent(trace_id, b"%x" % (int(span_id or b"0") & _LOW), sampled)


def _write_gcp(trace: Trace) -> str:
    return (
        f"\r\nX-Cloud-Trace-Context: {trace.trace_id:032x}/{trace.client_id};o={trace.is_sampled:d}"
    )


def _read_datadog(found: Found) -> Parent | None:
    trace_id = found.get(b"x-datadog-trace-id", b"")
    span_id = found.get(b"x-datadog-parent-id", b"")
    if not _DECIMAL.fullmatch(trace_id) or not int(trace_id) & _LOW:
        return None
    priority = found.get(b"x-datadog-sampling-priority", b"")
    return Parent(
        int(trace_id) & _LOW,
        int(span_id) & _LOW if _DECIMAL.fullmatch(span_id) else 0,
        int(priority) > 0 if _SIGNED.fullmatch(priority) else None,
    )


def _write_datadog(trace: Trace) -> str:
    return (
        f"\r\nx-datadog-trace-id: {trace.trace_id & _LOW}"
        f"\r\nx-datadog-parent-id: {trace.client_id}"
        f"\r\nx-datadog-sampling-priority: {trace.is_sampled:d}"
    )


def _parent(trace_id: bytes, span_id: bytes, is_sampled: bool | None) -> Parent | None:
    """Return who is meant by these ids; a trace's id of zero is none."""
    number = int(trace_id, 16)
    return Parent(number, int(span_id, 16), is_sampled) if number else None


def _hex(trace_id: int) -> str:
    """Return an id in as many digits as it may have come in."""
    return f"{trace_id:032x}" if trace_id > _LOW else f"{trace_id:016x}"


_B3_HEADERS = (
    *("b3", "x-b3-traceid", "x-b3-spanid"),
    *("x-b3-parentspanid", "x-b3-sampled", "x-b3-flags"),
)

_ALL = (
    Format("w3c", ("traceparent", "tracestate"), _read_w3c, _write_w3c, "{:032x}".format),
    Format("b3", _B3_HEADERS, _read_b3, _write_b3, _hex),
    Format("b3-single", _B3_HEADERS, _read_b3_single, _write_b3_single, _hex),
    Format("jaeger", ("uber-trace-id",), _read_jaeger, _write_jaeger, _hex),
    Format(
        "ot",
        ("ot-tracer-traceid", "ot-tracer-spanid", "ot-tracer-sampled"),
        _read_ot,
        _write_ot,
        lambda trace_id: f"{trace_id & _LOW:016x}",
    ),
    Format("aws", ("x-amzn-trace-id",), _read_aws, _write_aws, _show_aws),
    Format("gcp", ("x-cloud-trace-context",), _read_gcp, _write_gcp, "{:032x}".format),
    Format(
        "datadog",
        ("x-datadog-trace-id", "x-datadog-parent-id", "x-datadog-sampling-priority"),
        _read_datadog,
        _write_datadog,
        lambda trace_id: str(trace_id & _LOW),
    ),
)
FORMATS = {format_.name: format_ for format_ in _ALL}
"""All formats by their names, in the order in which they are looked for."""
