"""The answers that the proxy itself gives: status, message, and a body in the type asked for.

Messages and bodies are Kong's (proxying.md section 4), so that clients which look at them keep
working; files named by the ``error_template_*`` settings replace the bodies.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from html import escape as html_escape
from http import HTTPStatus
from pathlib import Path

from gateway.settings import Compat, NodeSettings, SettingError, named

MESSAGES = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    411: "Length required",
    412: "Precondition failed",
    413: "Payload too large",
    414: "URI too long",
    415: "Unsupported media type",
    417: "Expectation failed",
    426: "Upgrade required",
    429: "Too many requests",
    431: "Request header or cookie too large",
    500: "An unexpected error occurred",
    501: "Not implemented",
    502: "An invalid response was received from the upstream server",
    503: "The upstream server is currently unavailable",
    504: "The upstream server is timing out",
    505: "HTTP version not supported",
}
"""What is said of a status when nobody says more (proxying.md section 4.1)."""

_STATUS_TEXT = {status.value: f"{status.value} {status.phrase}".encode() for status in HTTPStatus}

NO_ROUTE = "no Route matched with those values"
NO_SERVICE = "no Service found with those values"
NO_TARGET = "failure to get a peer from the ring-balancer"
NO_ADDRESS = "name resolution failed"
NO_ROOM = "no room for the request body at the moment"
HTTPS_ONLY = "Please use HTTPS protocol"
HTTP2_ONLY = "Please use HTTP2 protocol"
GRPC_ONLY = "Non-gRPC request matched gRPC route"

_JSON = "application/json; charset=utf-8"
_PLAIN = "text/plain; charset=utf-8"
_HTML = "text/html; charset=utf-8"
_XML = "application/xml; charset=utf-8"

_TYPES = {
    "application/json": _JSON,
    "application/*": _JSON,
    "*/*": _JSON,
    "application/xml": _XML,
    "text/html": _HTML,
    "text/plain": _PLAIN,
    "text/*": _PLAIN,
}

_RANGES_LIMIT = 32
"""Media ranges of one `Accept`, and parameters of one range, that are looked at."""

_TEMPLATES = {
    _HTML: """<!doctype html>
<html>
  <head>
    <meta charset="utf-8">
    <title>Error</title>
  </head>
  <body>
    <h1>Error</h1>
    <p>%s.</p>
    <p>request_id: %s</p>
  </body>
</html>
""",
    _JSON: '{\n  "message":"%s",\n  "request_id":"%s"\n}',
    _XML: """<?xml version="1.0" encoding="UTF-8"?>
<error>
  <message>%s</message>
  <requestid>%s</requestid>
</error>
""",
    _PLAIN: "%s\nrequest_id: %s\n",
}
"""The bodies: message, then request id."""

_TEMPLATE_SETTINGS = {
    _HTML: "error_template_html",
    _JSON: "error_template_json",
    _XML: "error_template_xml",
    _PLAIN: "error_template_plain",
}
_PERCENT = re.compile("%.?", re.DOTALL)


def missing_plugin(name: str) -> str:
    """Return what is said where a plugin is asked for that does not run on the node."""
    return f"plugin '{name}' is not available on this node"


def lookup_failed(host: str, reason: str) -> str:
    """Return what is said where name servers could not say where a service is."""
    return f"failed the initial dns/balancer resolve for '{host}' with: {reason}"


def status_text(status: int) -> bytes:
    """Return a status with its phrase, as far as it has one."""
    return _STATUS_TEXT.get(status) or b"%d " % status


def message_of(status: int) -> str:
    """Return what is said of a status when nobody says more."""
    return MESSAGES.get(status, f"The upstream server responded with {status}")


class ErrorBodies:
    """How this node words its errors: the bodies, and the type they have by default."""

    def __init__(self, settings: NodeSettings) -> None:
        """Read the templates.

        :raises SettingError: when one cannot be read, or has no place for what belongs into it.
        """
        self._default_type = _TYPES[settings.error_default_type]
        self._templates = {
            content_type: _template(settings, field) or _TEMPLATES[content_type]
            for content_type, field in _TEMPLATE_SETTINGS.items()
        }
        self._is_kong = settings.compat is Compat.KONG

    def as_sent(self, status: int) -> int:
        """Return the status that goes out: Kong sends 400 for heads that are too large."""
        return 400 if status == 431 and self._is_kong else status

    def choose_type(self, headers: Sequence[tuple[bytes, bytes]], *, by_router: bool) -> str:
        """Choose the Content-Type of an error body (proxying.md section 4).

        `Accept` decides. Without one, answers of router and balancer are JSON; the others have the
        type of the request's own body, or else the default.

        :param headers: the request's, as (lower-case name, value) pairs.
        """
        accept = b", ".join(value for name, value in headers if name == b"accept")
        if accept or by_router:
            return media_type(accept)
        own_type = b"".join(value for name, value in headers if name == b"content-type")
        return media_type(own_type) if own_type else self._default_type

    def render(self, message: str, request_id: str, content_type: str) -> bytes:
        """Return the body that tells ``message``, in a type that `choose_type` returned.

        A message may hold what a client sent, so it is escaped as the type asks for.
        """
        escape = _ESCAPES[content_type]
        return (self._templates[content_type] % (escape(message), request_id)).encode()

    def refusal(self, status: int, request_id: str) -> tuple[str, bytes]:
        """Return type and body of the answer to a request that could not be read."""
        content_type = self._default_type
        return content_type, self.render(message_of(status), request_id, content_type)


def media_type(accept: bytes) -> str:
    """Return the Content-Type that an `Accept` value asks for; JSON when nothing fits.

    The highest ``q`` wins and the first one on ties; ``q=0`` never wins (proxying.md section 4).
    """
    best_quality, best = 0.0, _JSON
    for media_range in _split(accept.decode("latin-1"), ","):
        name, *parameters = (part.strip().lower() for part in _split(media_range, ";"))
        quality = _quality(parameters)
        if name and quality > best_quality:
            best_quality, best = quality, _TYPES.get(name, _JSON)
    return best


def _split(text: str, separator: str) -> list[str]:
    return text.split(separator, _RANGES_LIMIT)[:_RANGES_LIMIT]


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                return 0.0
    return 1.0


def _as_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


_ESCAPES: dict[str, Callable[[str], str]] = {
    _HTML: html_escape,
    _JSON: _as_json,
    _XML: html_escape,
    _PLAIN: str,
}


def _template(settings: NodeSettings, field: str) -> str:
    """Return what the file that a setting names holds, nothing where it names none.

    It is a format as Kong takes it: ``%s`` twice, and ``%%`` for a percent sign.
    """
    path = getattr(settings, field)
    if not path:
        return ""
    try:
        template = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingError(f"{named(field)}: {path} cannot be read: {reason}") from error
    places = [place for place in _PERCENT.findall(template) if place != "%%"]
    if places != ["%s", "%s"]:
        raise SettingError(
            f"{named(field)}: {path} must have %s in exactly two places, for the message and "
            "then the request id, and %% where a percent sign is meant"
        )
    return template
