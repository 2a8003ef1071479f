"""The answers that the proxy itself gives: status, message, and a body in the type asked for.

Messages and bodies are Kong's (proxying.md section 4), so that clients which look at them keep
working.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape as html_escape
from http import HTTPStatus

MESSAGES = {
    400: "Bad request",
    404: "no Route matched with those values",
    405: "Method not allowed",
    408: "Request timeout",
    413: "Payload too large",
    414: "URI too long",
    417: "Expectation failed",
    426: "Please use HTTPS protocol",
    431: "Request header or cookie too large",
    500: "An unexpected error occurred",
    501: "Not implemented",
    502: "An invalid response was received from the upstream server",
    503: "The upstream server is currently unavailable",
    504: "The upstream server is timing out",
    505: "HTTP version not supported",
}

STATUS_TEXT = {
    status: f"{status} {HTTPStatus(status).phrase}".encode()
    for status in (*MESSAGES, 301, 302, 307, 308)
}

BY_ROUTER = frozenset({404, 426})
"""Statuses whose own message is the router's."""

NO_SERVICE = "no Service found with those values"
NO_TARGET = "failure to get a peer from the ring-balancer"
NO_ADDRESS = "name resolution failed"

_JSON = "application/json; charset=utf-8"
PLAIN = "text/plain; charset=utf-8"
_HTML = "text/html; charset=utf-8"
_XML = "application/xml; charset=utf-8"

_TYPES = {
    "application/json": _JSON,
    "application/*": _JSON,
    "*/*": _JSON,
    "application/xml": _XML,
    "text/html": _HTML,
    "text/plain": PLAIN,
    "text/*": PLAIN,
}

_HTML_PAGE = """<!doctype html>
<html>
  <head>
    <meta charset="utf-8">
    <title>Error</title>
  </head>
  <body>
    <h1>Error</h1>
    <p>{message}.</p>
    <p>request_id: {request_id}</p>
  </body>
</html>
"""


def body_type(headers: Sequence[tuple[bytes, bytes]], *, by_router: bool) -> str:
    """Choose the Content-Type of an error body (proxying.md section 4).

    `Accept` decides. Without one, answers of router and balancer are JSON; the others have the
    type of the request's own body, or are plain text.

    :param headers: the request's, as (lower-case name, value) pairs.
    """
    accept = b", ".join(value for name, value in headers if name == b"accept")
    if accept or by_router:
        return media_type(accept)
    own_type = b"".join(value for name, value in headers if name == b"content-type")
    return media_type(own_type) if own_type else PLAIN


def media_type(accept: bytes) -> str:
    """Return the Content-Type that an `Accept` value asks for; JSON when nothing fits.

    The highest ``q`` wins and the first one on ties; ``q=0`` never wins (proxying.md section 4).
    """
    best_quality, best = 0.0, _JSON
    for media_range in accept.decode("latin-1").split(","):
        name, *parameters = (part.strip().lower() for part in media_range.split(";"))
        quality = _quality(parameters)
        if name and quality > best_quality:
            best_quality, best = quality, _TYPES.get(name, _JSON)
    return best


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                return 0.0
    return 1.0


def error_body(message: str, request_id: str, content_type: str) -> bytes:
    """Render ``message`` in one of the types that `media_type` returns."""
    if content_type == PLAIN:
        text = f"{message}\nrequest_id: {request_id}\n"
    elif content_type == _HTML:
        text = _HTML_PAGE.format(message=html_escape(message), request_id=request_id)
    elif content_type == _XML:
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<error>\n'
            f"  <message>{html_escape(message)}</message>\n"
            f"  <requestid>{request_id}</requestid>\n</error>\n"
        )
    else:
        text = f'{{\n  "message":"{message}",\n  "request_id":"{request_id}"\n}}'
    return text.encode()
