"""request-transformer: edits requests on their way to the service (plugins.md section 5.12)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import lru_cache, partial
from typing import Annotated, Any, TypeAlias, TypeVar
from urllib.parse import quote

from pydantic import Field
from python_multipart.multipart import parse_options_header

from gateway.entities.entity import Record
from gateway.entities.errors import violation
from gateway.entities.rules import Satisfies
from gateway.entities.types import HttpMethod, Text
from gateway.plugins.contract import Plugin, Use
from gateway.plugins.form import read_form
from gateway.plugins.request import BodyTooLarge, Request
from gateway.plugins.transformers.edits import Edits, names, renames, values
from gateway.plugins.transformers.headers import Arguments, Headers, RequestHeaders, sendable
from gateway.plugins.transformers.pairs import (
    HeaderEntry,
    Pair,
    RequestHeaderPair,
    RequestHeaderRename,
    split,
)
from gateway.plugins.transformers.templates import Inputs, Template, check_template, compiled
from gateway.routing.paths import escape

_FORM = "application/x-www-form-urlencoded"
_EMPTY = {_FORM: b"", "application/json": b"{}"}
"""What a body that is not there is taken for."""

_WITHOUT_BODY = frozenset({"GET", "HEAD", "TRACE"})

MOST_KEPT = 64
"""Header lines whose edited form is kept; most clients send those of their last request again."""

MOST_KEPT_BYTES = 4096
"""Longer ones are not kept."""

T = TypeVar("T")
Value: TypeAlias = str | Template


def _check_value(pair: str) -> str:
    check_template(split(pair)[1])
    return pair


def _check_method(method: str) -> str:
    if method == "CONNECT":
        raise violation("CONNECT asks for a tunnel, not for a resource")
    return method


def _check_uri(uri: str) -> str:
    if not uri.startswith(("/", "$(")):
        raise violation("should start with: /")
    return check_template(uri)


TemplatePair = Annotated[Pair, Satisfies(_check_value)]
TemplateHeader = Annotated[RequestHeaderPair, Satisfies(_check_value)]


class Removed(Record):
    """Names of what is taken out."""

    body: list[Text] = Field(default=[], description="Fields of the body.")
    headers: list[HeaderEntry] = Field(default=[], description="Headers.")
    querystring: list[Text] = Field(default=[], description="Arguments of the query.")


class Renamed(Record):
    """Old and new names, as ``old:new``, of what is renamed if it is there."""

    body: list[Pair] = Field(default=[], description="Fields of the body.")
    headers: list[RequestHeaderRename] = Field(default=[], description="Headers.")
    querystring: list[Pair] = Field(default=[], description="Arguments of the query.")


class Put(Record):
    """Names and values, as ``name:value``; templates may stand in the values."""

    body: list[TemplatePair] = Field(default=[], description="Fields of the body.")
    headers: list[TemplateHeader] = Field(default=[], description="Headers.")
    querystring: list[TemplatePair] = Field(default=[], description="Arguments of the query.")


class Replaced(Put):
    """What gets another value if it is there, and the path."""

    uri: Annotated[Text, Satisfies(_check_uri)] | None = Field(
        default=None,
        description="The whole path that the service is asked for; templates may stand in it.",
    )


class RequestTransformer(Plugin):
    """Edits the method, the path, the headers, the query and the body."""

    name = "request-transformer"
    priority = 801

    class Config(Record):
        """What to change, in the order: removed, renamed, replaced, added, appended."""

        http_method: Annotated[HttpMethod, Satisfies(_check_method)] | None = Field(
            default=None, description="The method that the service is asked with."
        )
        remove: Removed = Field(default_factory=Removed, description="What is taken out.")
        rename: Renamed = Field(default_factory=Renamed, description="What gets another name.")
        replace: Replaced = Field(
            default_factory=Replaced, description="What gets another value if it is there."
        )
        add: Put = Field(default_factory=Put, description="What is set unless it is there.")
        append: Put = Field(default_factory=Put, description="What gets one more value.")

    config: Config

    def __init__(self, config: Config, use: Use, shared: Any = None) -> None:
        super().__init__(config, use, shared)
        self._method = None if config.http_method is None else config.http_method.encode()
        self._uri = None if config.replace.uri is None else compiled(config.replace.uri)
        self._headers = _edits(config, "headers", _compiled_header)
        self._edited = _editor(self._headers)
        self._arguments = _edits(config, "querystring", compiled)
        self._body = _edits(config, "body", compiled)
        self._moves_form = config.http_method in _WITHOUT_BODY

    def access(self, request: Request) -> Coroutine[Any, Any, None] | None:
        """Change what can be changed at once; the rest once the body is there."""
        inputs = Inputs(request)
        rendered = partial(_rendered, inputs)
        if self._uri is not None:
            request.upstream.path = _path(self._uri, inputs)
        if self._method is not None:
            request.upstream.method = self._method
        moves_form = self._moves_form and request.asked.has_body and _media_type(request) == _FORM
        if self._headers:
            self._edit_headers(request, inputs)
        if moves_form or (self._body and self._has_form(request)):
            return self._edit_body(request, rendered, moves_form=moves_form)
        if self._arguments:
            self._edit_query(request, rendered)
        return None

    def _edit_headers(self, request: Request, inputs: Inputs) -> None:
        upstream = request.upstream
        if self._edited is not None and len(upstream.lines) <= MOST_KEPT_BYTES:
            upstream.lines = self._edited(upstream.lines)
            return
        headers = RequestHeaders(upstream, upstream.host or request.asked.host)
        self._headers.apply(headers, partial(_rendered_header, inputs))
        upstream.lines = headers.lines

    def _edit_query(
        self, request: Request, rendered: Callable[[Value], str], form: bytes = b""
    ) -> None:
        """Edit the arguments, once those of a form are among them."""
        upstream = request.upstream
        arguments = Arguments(request.asked.query if upstream.query is None else upstream.query)
        arguments.take(form)
        self._arguments.apply(arguments, rendered)
        upstream.query = arguments.query()

    def _has_form(self, request: Request) -> bool:
        """Tell whether there may be something to do with the body."""
        if request.asked.has_body:
            return True
        return self._body.may_make_some and _media_type(request) in _EMPTY

    async def _edit_body(
        self, request: Request, rendered: Callable[[Value], str], *, moves_form: bool
    ) -> None:
        content = await _body_of(request)
        if content is not None and self._body:
            self._edit_form(request, content, rendered)
        if moves_form or self._arguments:
            form = content if moves_form and content is not None else b""
            self._edit_query(request, rendered, form)

    def _edit_form(
        self, request: Request, content: bytes, rendered: Callable[[Value], str]
    ) -> None:
        if not content and self._body.may_make_some:
            content = _EMPTY.get(_media_type(request), b"")
        form = read_form(content, _content_type(request))
        if form is not None:
            self._body.apply(form, rendered)
            request.replace_body(form.whole())


def _edits(config: RequestTransformer.Config, kind: str, compiled: Callable[[str], T]) -> Edits[T]:
    put = (config.replace, config.add, config.append)
    return Edits(
        names(getattr(config.remove, kind)),
        renames(getattr(config.rename, kind)),
        *(values(getattr(how, kind), compiled) for how in put),
    )


def _editor(edits: Edits[bytes | Template]) -> Callable[[bytes], bytes] | None:
    """Return what edits header lines and knows the last ones again.

    None where there is more to it than the lines: values that are templates, or the host.
    """
    if "host" in edits.names or not all(isinstance(value, bytes) for value in edits.values):
        return None

    def edited(lines: bytes) -> bytes:
        headers = Headers(lines)
        edits.apply(headers, _as_it_is)
        return headers.lines

    return lru_cache(MOST_KEPT)(edited)


def _as_it_is(value: bytes | Template) -> bytes:
    assert isinstance(value, bytes)  # noqa: S101 - there is no template among them
    return value


def _compiled_header(text: str) -> bytes | Template:
    value = compiled(text)
    return sendable(value) if isinstance(value, str) else value


def _rendered_header(inputs: Inputs, value: bytes | Template) -> bytes:
    return value if isinstance(value, bytes) else sendable(value.render(inputs))


def _rendered(inputs: Inputs, value: Value) -> str:
    return value if isinstance(value, str) else value.render(inputs)


def _path(uri: Value, inputs: Inputs) -> bytes:
    """Return the path; what a template puts in never begins a query."""
    text = uri if isinstance(uri, str) else uri.render(inputs, _inserted)
    path = escape(text.encode(errors="surrogateescape"))
    return path if path.startswith(b"/") else b"/" + path


def _inserted(value: str) -> str:
    return quote(value, safe="/!$&'()*+,:;=@%", errors="surrogateescape")


def _content_type(request: Request) -> str:
    found = request.upstream.headers("content-type")
    return found[0] if found else ""


def _media_type(request: Request) -> str:
    return parse_options_header(_content_type(request))[0].decode("latin-1")


async def _body_of(request: Request) -> bytes | None:
    """Return the body as it is by now; None for one that is not held in memory."""
    replaced = request.upstream.body
    if replaced is not None:
        return replaced
    try:
        return await request.body()
    except BodyTooLarge:
        return None
