"""What one side of a connection said, as h11 reads it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import h11

_LIMIT_BYTES = 1 << 20
_ASKED_WITH = [(b"Host", b"a"), (b"Connection", b"Upgrade"), (b"Upgrade", b"any")]


_ABOUT_FRAMING = re.compile("Content-Length|Transfer-Encoding")
"""Where the head is right, that is of trailers: h11 refuses what others drop (RFC 9110, 6.5.1)."""

Headers = list[tuple[bytes, bytes]]


@dataclass
class Message:
    """A request or a response as far as it came. Names of headers are in lower case."""

    headers: Headers
    method: bytes = b""
    target: bytes = b""
    status: int = 0
    body: bytes = b""
    error: str = ""  # of its body
    is_complete: bool = False
    is_last: bool = False  # the connection is not to be used any further
    rest: bytes = b""  # what came behind a complete one

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of all headers of this name."""
        return [value for found, value in self.headers if found == name]


def read_request(words: bytes) -> Message | None:
    """Read the request that ``words`` begin with; None if not even its head has come.

    Raises h11.RemoteProtocolError for a head that is none.
    """
    connection = h11.Connection(h11.SERVER, _LIMIT_BYTES)
    return _read(connection, words)


def read_response(words: bytes, method: bytes, *, has_ended: bool) -> Message | None:
    """Read the response to a request of ``method``, and the interim ones before it.

    ``has_ended``: no more can come, since the connection was closed in good order.

    Raises h11.RemoteProtocolError for a head that is none.
    """
    connection = h11.Connection(h11.CLIENT, _LIMIT_BYTES)
    connection.send(h11.Request(method=method, target=b"/", headers=_ASKED_WITH))
    connection.send(h11.EndOfMessage())
    message = _read(connection, words)
    if message is not None and has_ended and not message.is_complete and not message.error:
        _go_on(connection, message, b"")
        message.error = ""  # it ended too soon
    return message


def _read(connection: h11.Connection, words: bytes) -> Message | None:
    if not words:  # for h11, that would be the end
        return None
    connection.receive_data(words)
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            message = Message(_headers(event), method=event.method, target=event.target)
        elif isinstance(event, h11.Response):
            message = Message(_headers(event), status=event.status_code)
        elif isinstance(event, h11.InformationalResponse) and event.status_code == 101:
            rest = connection.trailing_data[0]
            return Message(_headers(event), status=101, is_complete=True, rest=rest)
        elif isinstance(event, h11.InformationalResponse):
            continue
        else:  # NEED_DATA
            return None
        _go_on(connection, message)
        return message


def _go_on(connection: h11.Connection, message: Message, words: bytes | None = None) -> None:
    """Read the body of a message as far as it has come."""
    try:
        if words is not None:
            connection.receive_data(words)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Data):
                message.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                message.is_complete = True
                message.is_last = connection.their_state in (h11.MUST_CLOSE, h11.CLOSED)
                message.rest = connection.trailing_data[0]
                return
            else:  # NEED_DATA, ConnectionClosed
                return
    except h11.RemoteProtocolError as error:
        if _ABOUT_FRAMING.search(str(error)):
            message.is_complete = True
            message.rest = connection.trailing_data[0]
        else:
            message.error = str(error)


def _headers(event: h11.Request | h11.Response | h11.InformationalResponse) -> Headers:
    return [(name.lower(), value) for name, value in event.headers]
