"""Whom requests are counted for: what they are told apart by, else the client's address."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeAlias

from gateway.plugins.counter_store import Key
from gateway.plugins.lines import values_of

if TYPE_CHECKING:
    from gateway.plugins.request import Request

Identify: TypeAlias = Callable[["Request"], Key]

_KEPT_BYTES = 64
"""Longer texts are kept as their digest."""


def identify_by(limit_by: str, header_name: str | None = None, path: str | None = None) -> Identify:
    """Return the function that ``limit_by`` asks for."""
    if limit_by == "header" and header_name is not None:
        return _by_header(header_name)
    if limit_by == "path" and path is not None:
        return _by_path(path.encode())
    return _BY[limit_by]


def _consumer(request: Request) -> Key:
    consumer = request.consumer
    return _credential(request) if consumer is None else consumer.id.int


def _credential(request: Request) -> Key:
    credential = request.credential
    return _address(request) if credential is None else credential.id.int


def _address(request: Request) -> Key:
    return request.asked.client_address


def _service(request: Request) -> Key:
    service = request.asked.service
    return _address(request) if service is None else service.id.int


_BY: dict[str, Identify] = {
    "consumer": _consumer,
    "credential": _credential,
    "ip": _address,
    "service": _service,
}


def _by_header(name: str) -> Identify:
    def identify(request: Request) -> Key:
        values = values_of(request.asked.client_lines, name)
        # An address begins with a digit or letter, so that no header stands for one.
        return b"=" + _short(values[0].encode()) if values else _address(request)

    return identify


def _by_path(path: bytes) -> Identify:
    identifier = _short(path)

    def identify(request: Request) -> Key:
        return identifier if request.asked.path == path else _address(request)

    return identify


def _short(text: bytes) -> bytes:
    if len(text) <= _KEPT_BYTES:
        return text
    return blake2b(text, digest_size=32).hexdigest().encode()
