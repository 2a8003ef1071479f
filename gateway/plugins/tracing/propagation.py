"""Which headers tell a request's trace, and in which it is passed on (plugins.md section 5.21)."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from pydantic import Field

from gateway.entities.entity import Record
from gateway.entities.rules import OneOf
from gateway.entities.types import HeaderName, Text
from gateway.plugins.lines import removal
from gateway.plugins.request import Request, Upstream
from gateway.plugins.tracing.formats import FORMATS, Format
from gateway.plugins.tracing.trace import NOTE, Parent, Trace

PRESERVE = "preserve"
IGNORE = "ignore"

_SOUGHT = tuple(name for name in FORMATS if name != "b3-single")
"""What can be looked for: ``b3`` finds both of Zipkin's."""

_NOBODY = Parent()
_STATE = "tracestate"

FormatName = Annotated[Text, OneOf(*FORMATS)]
HeaderType = Annotated[Text, OneOf(PRESERVE, IGNORE, *FORMATS)]


class Propagation(Record):
    """Headers of traces, beyond what ``header_type`` can say."""

    extract: list[Annotated[Text, OneOf(*_SOUGHT)]] | None = Field(
        default=None,
        description="Formats in which a request may tell its trace; the first found counts.",
    )
    clear: list[HeaderName] | None = Field(
        default=None, description="Headers that are not passed on once they are read."
    )
    inject: list[Annotated[Text, OneOf(PRESERVE, *FORMATS)]] | None = Field(
        default=None,
        description="Formats in which the service is told the trace; `preserve`: the one that was "
        "found.",
    )
    default_format: FormatName = Field(
        default="w3c", description="The format for `preserve` where none was found."
    )


class Way(NamedTuple):
    """The formats to look for, the headers to clear, and the formats to write."""

    extract: tuple[str, ...]
    clear: tuple[str, ...]
    inject: tuple[str, ...]
    default: str

    @classmethod
    def of(cls, propagation: Propagation, header_type: str, default: str) -> Way:
        """Return what a config asks for; ``header_type`` counts where nothing else is said."""
        lists = (propagation.extract, propagation.clear, propagation.inject)
        if any(given is not None for given in lists):
            extract, clear, inject = (tuple(given or ()) for given in lists)
            return cls(extract, clear, inject, propagation.default_format)
        if header_type == IGNORE:
            return cls((), (), (default,), default)
        if header_type == PRESERVE:
            return cls(_SOUGHT, (), (PRESERVE,), default)
        return cls(_SOUGHT, (), (PRESERVE, header_type), default)


class Propagator:
    """Reads and writes the headers; ``id_bytes`` is the size of new ids of traces."""

    def __init__(self, way: Way, id_bytes: int = 16) -> None:
        self._id_bytes = id_bytes
        self._default = FORMATS[way.default]
        self._extract: list[Format] = []
        for name in way.extract:
            self._extract += [FORMATS["b3-single"]] * (name == "b3") + [FORMATS[name]]
        self._inject = [None if name == PRESERVE else FORMATS[name] for name in way.inject]
        self._clear = way.clear
        known = [*self._extract, *(f or self._default for f in self._inject)]
        names = {name for format_ in known for name in format_.headers} | set(way.clear)
        either = b"|".join(re.escape(name.encode()) for name in sorted(names))
        self._line = re.compile(rb"(?i)\r\n(" + either + rb"):[ \t]*+([^\r]*+)") if names else None

    def trace_of(self, request: Request) -> Trace:
        """Return the request's trace; where several plugins tell it, the first settles which."""
        known: Trace | None = request.context.get(NOTE)
        return self._begin(request) if known is None else known

    def pass_on(self, request: Request, rate: float) -> None:
        """Tell the service the trace, and whether it is sampled, at this rate or another."""
        known: Trace | None = request.context.get(NOTE)
        trace = self._begin(request) if known is None else known
        if not trace.is_sampled:
            trace.is_sampled = trace.is_sampled_at(rate)
        upstream = request.upstream
        formats: list[Format] = []
        for chosen in self._inject:
            format_ = chosen or trace.format or self._default
            if format_ not in formats:
                formats.append(format_)
        if known is not None or trace.has_headers:
            self._clean(upstream, formats, keeps_state=trace.format is FORMATS["w3c"])
        told = ""
        for format_ in formats:
            trace.formats[format_.name] = format_
            told += format_.write(trace)
        upstream.lines += told.encode()

    def _begin(self, request: Request) -> Trace:
        found = self._found(request.asked.client_lines)
        parent, format_ = self._read(found) if found else (_NOBODY, None)
        trace = Trace(parent, self._id_bytes, format_, has_headers=bool(found))
        request.context[NOTE] = trace
        return trace

    def _found(self, lines: bytes) -> dict[bytes, bytes]:
        if self._line is None:
            return {}
        found: dict[bytes, bytes] = {}
        for name, value in self._line.findall(lines):
            found.setdefault(name.lower(), value.rstrip(b" \t"))
        return found

    def _read(self, found: dict[bytes, bytes]) -> tuple[Parent, Format | None]:
        for format_ in self._extract:
            if (parent := format_.read(found)) is not None:
                return parent, format_
        return _NOBODY, None

    def _clean(self, upstream: Upstream, formats: list[Format], *, keeps_state: bool) -> None:
        """Take out what is to be cleared, or is about to be written anew."""
        names = [*self._clear]
        for format_ in formats:
            names += [n for n in format_.headers if not (keeps_state and n == _STATE)]
        if names:
            upstream.lines = removal(tuple(names)).sub(b"", upstream.lines)
