"""What a plugin answers a request with, in place of its service (proxying.md section 4)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.plugins.lines import checked_name, line

if TYPE_CHECKING:
    from gateway.proxy.http1 import ResponseHead

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. With a ``message`` it is worded as the client accepts; else ``body`` is sent.

    Without either there is no body. ``headers`` come on top of those that every answer has, and
    are in ``lines`` as they are sent. Raises LineError for those that cannot be set.
    """

    status: int
    message: str | None = None
    body: bytes = b""
    content_type: str = ""
    headers: Headers | None = None
    lines: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        line("Content-Type", self.content_type)
        headers = (self.headers or {}).items()
        lines = b"".join(line(checked_name(name), value) for name, value in headers)
        object.__setattr__(self, "lines", lines)


class Replay:
    """A service's response to an earlier request, sent again as if it had just come.

    All plugins see it on its way back but the one that replays it, which adds its ``lines``, each
    led by CRLF. `gateway.proxy.http1.read_response_head` makes the ``head``.
    """

    __slots__ = ("body", "head", "lines")

    def __init__(self, head: ResponseHead, body: bytes, lines: bytes = b"") -> None:
        self.head = head
        self.body = body
        self.lines = lines


def refuse(status: int, message: str, headers: Headers | None = None) -> Reply:
    """Return an answer that tells a message, in the type that the client accepts."""
    return Reply(status, message=message, headers=headers)


def reply_json(status: int, value: Any, headers: Headers | None = None) -> Reply:
    """Return an answer with a JSON body, whatever the client accepts."""
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    return Reply(status, body=body, content_type="application/json; charset=utf-8", headers=headers)
