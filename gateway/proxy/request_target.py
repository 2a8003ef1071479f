"""Where a request wants to go (RFC 9112 section 3.2)."""

from __future__ import annotations

from gateway.proxy.http1 import MessageError, RequestHead, check_host

RequestTarget = tuple[bytes, bytes, bytes]
"""Host with port as sent, raw path, query with its ``?``."""

_NOT_SERVED = frozenset({b"CONNECT", b"TRACE"})


def request_target(head: RequestHead) -> RequestTarget:
    """Split the target into host, raw path, and query with its ``?`` (RFC 9112 section 3.2).

    :raises MessageError: for the forms that a gateway does not serve.
    """
    if head.method in _NOT_SERVED:
        raise MessageError(f"method {head.method.decode()} is not served", 405)
    if head.odd_target:
        return _absolute_form(head.odd_target)
    return head.fields.host, head.path, head.query


def _absolute_form(target: bytes) -> RequestTarget:
    """Split ``http://host/path``; its host outranks the Host header (RFC 9112 section 3.2.2)."""
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        raise MessageError("malformed request target")
    end = min((i for i in (rest.find(b"/"), rest.find(b"?")) if i >= 0), default=len(rest))
    host, target = rest[:end], rest[end:]
    if not host:
        raise MessageError("malformed request target")
    check_host(host)
    path, mark, query = target.partition(b"?")
    return host, path or b"/", mark + query
