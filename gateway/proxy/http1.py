"""HTTP/1.x heads without I/O: bytes in, facts out (RFC 9112); chunked bodies: `chunked.py`.

A head is validated as a whole by regular expressions that admit nothing but the grammar, so bare
LF, obs-fold, control bytes and white space before a colon never get past them. Another one splits
the headers that mean something to a proxy (`Host`, framing, hop-by-hop, forwarding) from the rest;
the rest travels on untouched, and what was split off is written anew by `exchange.py`. What repeats
inside a line repeats possessively, so matching is linear in the length of the head.

A client sends the same header lines again and again while its paths change, and so does a service
with its responses: whoever reads a connection keeps what the last lines meant, and the next ones
are only compared with them.

Measured against httptools (llhttp): faster for a typical request, any method token is accepted, and
the framing rules stand here in one place (docs/decisions.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from gateway.proxy.upgrade import offered_protocols

CHUNKED = -1
"""A body length that only the last chunk tells."""

UNTIL_CLOSE = -2
"""A response body that ends with its connection (RFC 9112 section 6.3, rule 8)."""

NO_BODY = -3
"""A response that has no body, whatever its headers say (HEAD, 204, 304)."""

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
"""A character of a token, as a regular expression (RFC 9110 section 5.6.2)."""

# No possessive group around possessive parts: before CPython 3.11.5 such a one never matches.
_LINES = rb"(?:\r\n" + TOKEN + rb"++:[^\x00-\x08\x0a-\x1f\x7f]*+)*"

# Method; path and query, or a target of another form; minor version.
_REQUEST_LINE = re.compile(
    rb"(" + TOKEN + rb"++) (?:(/[!\x22$->@-~]*+)(\?[!\x22$-~]*+)?|([!\x22$-~]++))"
    rb" HTTP/1\.([01])(?=\r\n)"
)
_HEADER_LINES = re.compile(_LINES)
_REQUEST_LINE_START = re.compile(rb"(?:" + TOKEN + rb"++(?: [!\x22$-~]*+(?: [HTP/.0-9]*+\r?)?)?)?")
_RESPONSE_HEAD = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9][0-9](?: [^\x00-\x08\x0a-\x1f\x7f]*+)?)(" + _LINES + rb")"
)
_HEADER = re.compile(rb"\r\n([^:]++):[ \t]*+([^\r]*+)")

_REQUEST_SPECIAL = re.compile(
    rb"(?i)\r\n(?=[hctuekpvx])"  # most lines go no further than this
    rb"(host|connection|content-length|transfer-encoding|te|upgrade|expect|keep-alive"
    rb"|proxy-connection|proxy|trailer|via|x-real-ip"
    rb"|x-forwarded-(?:for|proto|host|port|path|prefix)"
    rb"|x-(?:gateway|kong)-request-id|x-gateway-min-version):[ \t]*+([^\r]*+)"
)
_RESPONSE_SPECIAL = re.compile(
    rb"(?i)\r\n(?=[ctkpuvx])"
    rb"(connection|content-length|transfer-encoding|keep-alive|proxy-connection|upgrade"
    rb"|trailer|via|x-pad|x-accel-(?:redirect|expires|limit-rate|buffering|charset)"
    rb"|x-(?:gateway|kong)-(?:request-id|(?:proxy|upstream|response)-latency)):[ \t]*+([^\r]*+)"
)
_TEXT_TYPE = re.compile(
    rb"(?i)\r\ncontent-type:[ \t]*(?:text/(?:html|xml|plain)|application/(?:javascript|rss\+xml))"
    rb"(?:[ \t]*;(?![^\r]*charset[ \t]*=)[^\r]*[^\r \t])?(?=[ \t]*(?:\r|\Z))"
)

MIN_VERSION = b"x-gateway-min-version"
"""The request header that asks for a version; it never travels on."""

_ORDINARY = frozenset((b"host", b"connection", b"content-length", b"transfer-encoding"))
"""Special headers of a request that `RequestFields` has the meaning of in other attributes."""

_EMPTY_LINES = 4
"""Most empty lines that are skipped before a request."""

_NOTHING_SPECIAL: Mapping[bytes, bytes] = {}
_HOST_NAMES = frozenset((b"Host", b"host"))
_KEEP_ALIVE = [b"Connection", b"keep-alive"]
_ONE_OPTION = frozenset((b"keep-alive", b"close"))
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]{0,5})?")
_HTTP_LOOKALIKE = re.compile(rb"HTTP/[0-9]+\.[0-9]+$")


class MessageError(Exception):
    """A message that must not be forwarded, nor its connection read any further.

    ``status`` is the answer to give when it came from a client; from an upstream it is a 502.
    """

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """How large a head may be (settings ``request_line_limit_bytes``, ``header_*_limit``)."""

    line_bytes: int
    head_bytes: int
    header_count: int
    unchecked_bytes: int = field(init=False)
    """A head that is no larger than this keeps all limits: no header is shorter than four bytes."""

    def __post_init__(self) -> None:
        unchecked = min(self.line_bytes, self.head_bytes, 4 * self.header_count)
        object.__setattr__(self, "unchecked_bytes", unchecked)


class RequestFields:
    """What the header lines of a request say. Shared by requests with the same lines.

    ``lines`` is what was read: the minor version of HTTP/1, the lines and the empty one after them.
    ``rest`` holds the lines that pass unchanged, each led by CRLF. ``is_ordinary`` tells that
    it is of HTTP/1.1 and nothing in ``special`` has to be looked at. A request with ``upgrades`` is
    never kept alive: what follows it may be meant for another protocol. In ``memory`` plugins keep
    what they concluded from the lines (`gateway.plugins.request.Request.remember`).
    """

    __slots__ = (
        "body_length",
        "expect_continue",
        "host",
        "is_ordinary",
        "keep_alive",
        "lines",
        "memory",
        "minor",
        "rest",
        "special",
        "upgrades",
    )

    lines: bytes
    memory: dict[object, Any]
    minor: bytes
    rest: bytes
    special: Mapping[bytes, bytes]
    host: bytes
    body_length: int
    keep_alive: bool
    expect_continue: bool
    is_ordinary: bool
    upgrades: tuple[bytes, ...]

    @property
    def block(self) -> bytes:
        """All header lines, each led by CRLF."""
        return self.lines[1:-4]

    def as_special(self) -> RequestFields:
        """Return the same, but not as ordinary: of one request somebody knows more."""
        fields = copy(self)
        fields.is_ordinary = False
        return fields

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return all headers as (lower-case name, value) pairs in the order they came."""
        return header_pairs(self.block)


class RequestHead:
    """A parsed request head.

    ``path`` is raw and without the query, which keeps its ``?``. A target of another form than
    ``/path?query`` is in ``odd_target``, and the path is then empty.
    """

    __slots__ = ("fields", "method", "odd_target", "path", "query", "size")

    fields: RequestFields
    method: bytes
    path: bytes
    query: bytes
    odd_target: bytes
    size: int


class ResponseHead:
    """A parsed response head. ``rest`` holds the header lines that pass unchanged.

    Shared by responses with the same head; ``text`` is what was read, with the empty line,
    ``memory`` what plugins have concluded from it.
    """

    __slots__ = (
        "body_length",
        "has_date",
        "has_server",
        "is_ordinary",
        "keep_alive",
        "may_be_kept",
        "memory",
        "rest",
        "size",
        "special",
        "status",
        "status_text",
        "text",
    )

    text: bytes
    memory: dict[object, Any]
    status: int
    status_text: bytes  # code and reason phrase
    rest: bytes
    special: Mapping[bytes, bytes]
    body_length: int
    keep_alive: bool
    size: int
    has_date: bool
    has_server: bool
    is_ordinary: bool  # nothing in `special` that has to be told to the client in other words
    may_be_kept: bool  # beyond what the client takes: the upstream has not forbidden it

    def mentions(self, pattern: re.Pattern[bytes]) -> bool:
        """Tell whether a pattern matches among the lines that pass; once for equal heads."""
        known = self.memory.get(pattern.pattern)
        if known is None:
            known = self.memory[pattern.pattern] = pattern.search(self.rest) is not None
        return bool(known)


def header_pairs(block: bytes) -> list[tuple[bytes, bytes]]:
    """Split validated header lines into (lower-case name, value) pairs."""
    return [(name.lower(), value.rstrip(b" \t")) for name, value in _HEADER.findall(block)]


def parse_request_head(
    data: bytes, limits: HeadLimits, before: RequestFields | None = None
) -> RequestHead | None:
    """Parse the head that ``data`` begins with; None while it is incomplete.

    ``before`` is what the request before it said: most clients say the same again.

    :raises MessageError: 400, 414, 417, 431, 501 or 505 as the request deserves.
    """
    line = _REQUEST_LINE.match(data)
    if line is None:
        return _parse_odd_start(data, limits)
    at = line.end() - 1  # of the minor version
    if before is not None and data.startswith(before.lines, at):
        fields = before
        end = at + len(before.lines)
        if end > limits.unchecked_bytes:
            _check_request_size(data, at, end, limits)
    else:
        end = data.find(b"\r\n\r\n", at) + 4
        if end < 4:
            _check_unfinished_request(data, limits)
            return None
        if end > limits.unchecked_bytes:
            _check_request_size(data, at, end, limits)
        fields = _read_request_fields(data[at:end])
    head = RequestHead()
    head.fields = fields
    head.method, head.path, head.query, head.odd_target, _ = line.groups(b"")
    head.size = end
    return head


def _parse_odd_start(data: bytes, limits: HeadLimits) -> RequestHead | None:
    """Parse what begins with no complete request line, or with empty ones."""
    if data[:1] == b"\r":
        return _parse_after_empty_lines(data, limits)
    _check_unfinished_request(data, limits)
    return None


def _parse_after_empty_lines(data: bytes, limits: HeadLimits) -> RequestHead | None:
    """Skip the empty lines that some clients send behind a body (RFC 9112 section 2.2)."""
    message = data
    for _ in range(_EMPTY_LINES):
        message = message.removeprefix(b"\r\n")
    if message in (b"", b"\r"):
        return None
    if message[:1] == b"\r":
        raise MessageError("malformed request line")
    head = parse_request_head(message, limits)
    if head is not None:
        head.size += len(data) - len(message)
    return head


def parse_response_head(
    data: bytes, limits: HeadLimits, request_method: bytes, before: ResponseHead | None = None
) -> ResponseHead | None:
    """Parse the response head that ``data`` begins with; None while it is incomplete.

    ``request_method`` decides with the status whether a body follows (RFC 9112 section 6.3).
    ``before`` is the head of an earlier response to anything but HEAD, which may come again.

    :raises MessageError: for anything that is not a well-formed HTTP/1.x response head.
    """
    if before is not None and data.startswith(before.text) and request_method != b"HEAD":
        return before
    end = data.find(b"\r\n\r\n") + 4
    if end < 4:
        _check_unfinished_response(data, limits)
        return None
    if end > limits.unchecked_bytes and (
        end > limits.head_bytes or data.count(b"\n", 0, end) - 2 > limits.header_count
    ):
        raise MessageError("response head too large")
    return read_response_head(data[:end], request_method)


def _read_request_fields(lines: bytes) -> RequestFields:
    """Read `RequestFields.lines`."""
    fields = RequestFields()
    fields.lines = lines
    fields.memory = {}
    minor, block = lines[:1], lines[1:-4]
    fields.minor = minor
    if _HEADER_LINES.fullmatch(block) is None:
        raise MessageError("malformed header")
    parts = _REQUEST_SPECIAL.split(block)
    if (
        (len(parts) == 4 or (len(parts) == 7 and parts[4:6] == _KEEP_ALIVE))
        and parts[1] in _HOST_NAMES
        and minor == b"1"
    ):  # the common request: nothing special but its host, so it has no body, and it stays open
        fields.rest = b"".join(parts[::3])
        fields.special = _NOTHING_SPECIAL
        fields.upgrades = ()
        fields.keep_alive = fields.is_ordinary = True
        fields.host = parts[2].rstrip(b" \t")
        check_host(fields.host)
        fields.body_length = 0
        fields.expect_continue = False
        return fields
    special = fields.special = _unique_special(parts, required_once=b"host")
    connection = special.get(b"connection")
    fields.rest = _without_listed(b"".join(parts[::3]), connection)
    fields.upgrades = offered_protocols(special, minor)
    fields.keep_alive = _stays_open(connection, minor) and not fields.upgrades
    fields.host = _host_of(special, minor)
    fields.body_length = _request_body_length(special, minor)
    fields.expect_continue = _expects_continue(special.get(b"expect"), minor)
    fields.is_ordinary = special.keys() <= _ORDINARY and minor == b"1"
    return fields


def read_response_head(text: bytes, request_method: bytes) -> ResponseHead:
    """Read a whole head: status line, header lines, and the empty one. Raises MessageError."""
    match = _RESPONSE_HEAD.fullmatch(text, 0, len(text) - 4)
    if match is None:
        raise MessageError("malformed response head")
    head = ResponseHead()
    head.text = text
    head.memory = {}
    minor, head.status_text, lines = match.groups()
    head.status = int(head.status_text[:3])
    head.size = len(text)
    parts = _RESPONSE_SPECIAL.split(lines)
    if (
        (len(parts) == 4 or (len(parts) == 7 and parts[4:6] == _KEEP_ALIVE))
        and parts[1] == b"Content-Length"
        and minor == b"1"
        and head.status == 200
        and request_method != b"HEAD"
    ):  # the common response: nothing special but its length, and it stays open
        head.rest = b"".join(parts[::3])
        head.special = _NOTHING_SPECIAL
        head.keep_alive = head.is_ordinary = head.may_be_kept = True
        head.body_length = _content_length(parts[2].rstrip(b" \t"))
    else:
        _read_response_special(head, parts, minor, request_method)
    rest = head.rest
    # On Python 3.11 `in` takes three times as long as `find`.
    head.has_date = rest.find(b"\r\nDate:") >= 0 or rest.lower().find(b"\r\ndate:") >= 0
    head.has_server = rest.find(b"\r\nServer:") >= 0 or rest.lower().find(b"\r\nserver:") >= 0
    return head


def _read_response_special(
    head: ResponseHead, parts: list[bytes], minor: bytes, request_method: bytes
) -> None:
    special = head.special = _unique_special(parts)
    connection = special.get(b"connection")
    head.rest = _without_listed(b"".join(parts[::3]), connection)
    head.keep_alive = _stays_open(connection, minor)
    head.body_length = _response_body_length(head.status, special, minor, request_method)
    if head.body_length == UNTIL_CLOSE:
        head.keep_alive = False
    head.may_be_kept = special.get(b"x-accel-buffering", b"").lower() != b"no"
    head.is_ordinary = b"upgrade" not in special and (head.body_length >= 0 or not special)


def place_for_charset(rest: bytes) -> int:
    """Return where in `ResponseHead.rest` a charset would be named that the upstream has not; or 0.

    Only texts of some types have one (proxying.md section 3).
    """
    text_type = _TEXT_TYPE.search(rest)
    return 0 if text_type is None else text_type.end()


def _check_unfinished_request(data: bytes, limits: HeadLimits) -> None:
    """Refuse what can no longer become a good request, and say why as precisely as HTTP can."""
    line, newline, _ = data.partition(b"\r\n")
    if len(line) > limits.line_bytes:
        raise MessageError("request line too long", 414)
    if not newline and _REQUEST_LINE_START.fullmatch(line) is None:
        raise MessageError("malformed request line")
    if newline:
        _check_request_line(line)
    if _can_be_no_head(data):
        raise MessageError("malformed header")
    if len(data) > limits.head_bytes:
        raise MessageError("request head too large", 431)


def _can_be_no_head(data: bytes) -> bool:
    """Tell whether what is not a whole head yet has no way to become one."""
    return b"\r\n\r\n" in data or data.count(b"\n") != data.count(b"\r\n")


def _check_request_line(line: bytes) -> None:
    version = line.rpartition(b" ")[2]
    if _HTTP_LOOKALIKE.match(version) and version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise MessageError("unsupported HTTP version", 505)
    if _REQUEST_LINE.match(line + b"\r\n") is None:
        raise MessageError("malformed request line")


def _check_request_size(data: bytes, at: int, end: int, limits: HeadLimits) -> None:
    """Check a head that ends before ``end``; its request line ends with the byte at ``at``."""
    if at + 1 > limits.line_bytes:
        raise MessageError("request line too long", 414)
    if end > limits.head_bytes:
        raise MessageError("request head too large", 431)
    if data.count(b"\n", at, end) - 2 > limits.header_count:
        raise MessageError("too many headers", 431)


def _check_unfinished_response(data: bytes, limits: HeadLimits) -> None:
    """Refuse what can no longer become a good response."""
    if len(data) > limits.head_bytes:
        raise MessageError("response head too large")
    if _can_be_no_head(data) or not b"HTTP/1.".startswith(data[:7]):
        raise MessageError("malformed response head")


def _unique_special(parts: list[bytes], required_once: bytes | None = None) -> dict[bytes, bytes]:
    """Fold the special headers into a dict; repeated lists are joined, repeated facts refused."""
    special: dict[bytes, bytes] = {}
    for index in range(1, len(parts), 3):
        name = parts[index].lower()
        value = parts[index + 1].rstrip(b" \t")
        if name not in special:
            special[name] = value
        elif name == required_once or name in (b"content-length", b"transfer-encoding"):
            raise MessageError(f"repeated {name.decode()}")
        else:
            special[name] += b", " + value
    return special


def _host_of(special: Mapping[bytes, bytes], minor: bytes) -> bytes:
    """Return the request's host: RFC 9112 section 3.2 asks for exactly one in HTTP/1.1."""
    host = special.get(b"host")
    if host is None:
        if minor == b"1":
            raise MessageError("missing Host")
        return b""
    check_host(host)
    return host


@lru_cache(maxsize=4096)  # a node serves few hosts, and many clients ask for each
def check_host(host: bytes) -> None:
    """Raise MessageError unless ``host`` is a name or address with or without a port."""
    if _HOST.fullmatch(host) is None:
        raise MessageError("malformed Host")


def _request_body_length(special: dict[bytes, bytes], minor: bytes) -> int:
    """Decide the body's framing (RFC 9112 section 6.3): a length, CHUNKED, or 0."""
    coding = special.get(b"transfer-encoding")
    length = special.get(b"content-length")
    if coding is None:
        return 0 if length is None else _content_length(length)
    if length is not None:
        raise MessageError("Content-Length together with Transfer-Encoding")
    if minor == b"0":
        raise MessageError("Transfer-Encoding in HTTP/1.0")
    if coding.lower() != b"chunked":
        raise MessageError("unsupported Transfer-Encoding", 501)
    return CHUNKED


def _response_body_length(
    status: int, special: dict[bytes, bytes], minor: bytes, request_method: bytes
) -> int:
    coding = special.get(b"transfer-encoding")
    length = special.get(b"content-length")
    if coding is not None and (length is not None or minor == b"0" or coding.lower() != b"chunked"):
        raise MessageError("ambiguous response framing")
    declared = None if length is None else _content_length(length)
    if request_method == b"HEAD" or status in (204, 304) or status < 200:
        return NO_BODY
    if coding is not None:
        return CHUNKED
    return UNTIL_CLOSE if declared is None else declared


def _content_length(value: bytes) -> int:
    if not value.isdigit() or len(value) > 18:
        raise MessageError("malformed Content-Length")
    return int(value)


def _stays_open(connection: bytes | None, minor: bytes) -> bool:
    """Tell whether the connection persists (RFC 9112 section 9.3)."""
    if connection is None:
        return minor == b"1"
    if connection in _ONE_OPTION:
        return connection == b"keep-alive"
    options = [option.strip() for option in connection.lower().split(b",")]
    if b"close" in options:
        return False
    return minor == b"1" or b"keep-alive" in options


def _expects_continue(expect: bytes | None, minor: bytes) -> bool:
    if expect is None or minor == b"0":
        return False
    if expect.lower() != b"100-continue":
        raise MessageError("unknown expectation", 417)
    return True


def _without_listed(rest: bytes, connection: bytes | None) -> bytes:
    """Drop the headers that `Connection` names as hop-by-hop (RFC 9110 section 7.6.1)."""
    if connection is None or connection in _ONE_OPTION:
        return rest
    listed = {option.strip() for option in connection.lower().split(b",")}
    listed -= {b"", b"close", b"keep-alive", b"upgrade"}
    if not listed:
        return rest
    kept = [
        line for line in rest.split(b"\r\n")[1:] if line.partition(b":")[0].lower() not in listed
    ]
    return b"".join(b"\r\n" + line for line in kept)
