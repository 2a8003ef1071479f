"""What must be true of every story, whatever the case."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import h11

from fuzz.case import PIECE_LIMIT_BYTES
from fuzz.messages import Message, read_request, read_response
from fuzz.still_transport import StillTransport
from fuzz.world import BUFFER_LIMIT_BYTES, HEAD_LIMIT_BYTES, Client, Story
from gateway.access_log.record import Record

_TRIES_LIMIT = 3  # one, a retry, and one more for a connection that had been used before
_BUFFER_BOUND_BYTES = BUFFER_LIMIT_BYTES + HEAD_LIMIT_BYTES + 2 * PIECE_LIMIT_BYTES

_OWN_OF_REQUESTS = re.compile(
    rb"host|connection|content-length|transfer-encoding|te|upgrade|expect|keep-alive"
    rb"|proxy-connection|proxy|trailer|via|x-real-ip|x-forwarded-.*"
    rb"|x-(?:gateway|kong)-(?:request-id|min-version)"
)
"""Headers that a proxy writes itself, or does not pass on."""

_OWN_OF_RESPONSES = re.compile(
    rb"connection|content-length|transfer-encoding|upgrade|trailer|via|date|server|content-type"
    rb"|x-gateway-.*"
)


class _Forwarded(NamedTuple):
    """A request as an upstream got it, and its answer, if there was one that can be read."""

    request: Message
    response: Message | None


_ByRequest = dict[bytes, list[_Forwarded]]


class _UnreadableError(Exception):
    """Somebody was sent what nobody can read; there is no point in comparing any further."""


def problems(story: Story) -> list[str]:
    """Return what is wrong, in words for people; nothing if all is well."""
    found = list(story.troubles)
    try:
        found.extend(_problems(story))
    except _UnreadableError as error:
        found.append(str(error))
    return found


def _problems(story: Story) -> Iterator[str]:
    forwarded: _ByRequest = defaultdict(list)
    for upstream in story.upstreams:
        yield from _read_upstream(upstream, forwarded)
    ends = Counter(record.request_id for record in story.records)
    for request_id, number in ends.items():
        if number > 1:
            yield f"exchange {request_id.decode()} ended {number} times"
    for request_id, tries in forwarded.items():
        if request_id not in ends:
            yield f"what was sent as {request_id.decode()} never ended"
        if len(tries) > _TRIES_LIMIT:
            yield f"exchange {request_id.decode()} was sent {len(tries)} times"
    for client in story.clients:
        records = [record for record in story.records if record.client == client.address]
        yield from _client_problems(client, records, forwarded)
    yield from _size_problems(story)


def _size_problems(story: Story) -> Iterator[str]:
    for client in story.clients:
        if client.most_buffered_bytes > _BUFFER_BOUND_BYTES:
            yield f"{client.most_buffered_bytes} bytes of a client were buffered"
    for transport in (*(client.transport for client in story.clients), *story.upstreams):
        if transport.most_unsent_bytes > _BUFFER_BOUND_BYTES:
            yield f"{transport.most_unsent_bytes} bytes waited to be sent"


def _read_upstream(upstream: StillTransport, forwarded: _ByRequest) -> Iterator[str]:
    """Read what an upstream got, request by request, and what it said to each."""
    words, said = bytes(upstream.written), bytes(upstream.read)
    has_ended = upstream.other_ended and not upstream.was_reset
    while words:
        request = _sent(words, "an upstream got", read_request)
        response = None
        try:
            response = read_response(said, request.method, has_ended=has_ended)
        except h11.RemoteProtocolError as error:
            if request.rest:
                yield f"an upstream was asked again after an answer that is none ({error})"
        for request_id in request.values(b"x-gateway-request-id"):
            forwarded[request_id].append(_Forwarded(request, response))
        if response is not None and response.status == 101:
            return
        if request.rest and (response is None or not response.is_complete):
            yield "an upstream was asked again before it had answered"
        words, said = request.rest, b"" if response is None else response.rest


def _sent(words: bytes, who_got: str, read: Callable[[bytes], Message | None]) -> Message:
    """Read what the proxy has written, all of which has to be right."""
    try:
        message = read(words)
    except h11.RemoteProtocolError as error:
        raise _UnreadableError(f"{who_got} what is no message ({error}): {words[:200]!r}") from None
    if message is None:
        raise _UnreadableError(f"{who_got} half a head: {words[:200]!r}")
    if message.error:
        raise _UnreadableError(f"{who_got} what is no body ({message.error}): {words[:200]!r}")
    return message


def _client_problems(client: Client, records: list[Record], forwarded: _ByRequest) -> Iterator[str]:
    """Compare what a client said with what was sent on, and what it heard with the answers."""
    words, heard = bytes(client.transport.read), _final(bytes(client.transport.heard))
    has_ended = client.transport.ended
    for position, record in enumerate(records):
        is_newest = position + 1 == len(records)
        tries = forwarded[record.request_id]
        request = None
        if record.total_ms > 0:  # else it could not be read
            request = _understood(words, record)
            yield from _request_problems(request, record, tries)
        if not heard:
            if not is_newest and not client.transport.most_unsent_bytes:
                yield "a client was served further after a request without a response"
            return
        response = _sent(
            heard, "a client heard", partial(_answer, record=record, has_ended=has_ended)
        )
        yield from _response_problems(response, record, tries)
        if response.status == 101 and request is not None:
            yield from _tunnel_problems(request, response, tries)
            return
        if not response.is_complete and client.transport.most_unsent_bytes:
            return  # the client took no more
        is_last = request is None or response.is_last or not response.is_complete
        if is_last and not (is_newest and not response.rest):
            yield f"a connection went on after its last response: {response.rest[:200]!r}"
            return
        words, heard = b"" if request is None else request.rest, _final(response.rest)
    if heard:
        yield f"a client heard what it had not asked for: {heard[:200]!r}"


def _final(heard: bytes) -> bytes:
    """Skip interim responses, but for that which ends HTTP."""
    while heard.startswith(b"HTTP/1.1 1") and not heard.startswith(b"HTTP/1.1 101"):
        heard = heard.partition(b"\r\n\r\n")[2]
    return heard


def _understood(words: bytes, record: Record) -> Message:
    """Read a request that the proxy has understood; what follows its head may still be wrong.

    Empty lines before it are none of it (RFC 9112 section 2.2); h11 knows none.
    """
    while words.startswith(b"\r\n"):
        words = words[2:]
    try:
        request = read_request(words)
    except h11.RemoteProtocolError as error:
        raise _UnreadableError(f"this was read as a request ({error}): {words[:200]!r}") from None
    if request is None:
        raise _UnreadableError(f"a request was served that has not come: {record.request_line!r}")
    return request


def _answer(words: bytes, *, record: Record, has_ended: bool) -> Message | None:
    method = b"HEAD" if record.method == b"HEAD" else b"GET"
    return read_response(words, method, has_ended=has_ended)


def _request_problems(request: Message, record: Record, sent: list[_Forwarded]) -> Iterator[str]:
    if (request.method, request.target) != (record.method, record.target):
        yield f"{request.method!r} {request.target!r} was read as {record.request_line!r}"
    connection = b",".join(request.values(b"connection")).lower()
    listed = {name.strip() for name in connection.split(b",")}
    for forwarded, _ in sent:
        if forwarded.method != request.method:
            yield f"{request.method!r} was sent as {forwarded.method!r}"
        if forwarded.target.partition(b"?")[2] != request.target.partition(b"?")[2]:
            yield f"{request.target!r} was sent as {forwarded.target!r}"
        if not _is_relayed(forwarded, request):
            yield f"body {request.body[:200]!r} was sent as {forwarded.body[:200]!r}"
        passed = [
            header
            for header in request.headers
            if not _OWN_OF_REQUESTS.fullmatch(header[0]) and header[0] not in listed
        ]
        added = [h for h in forwarded.headers if not _OWN_OF_REQUESTS.fullmatch(h[0])]
        if passed != added:
            yield f"headers {passed!r} were sent as {added!r}"


def _response_problems(response: Message, record: Record, sent: list[_Forwarded]) -> Iterator[str]:
    if response.status != record.status:
        yield f"a client heard {response.status} where {record.status} was counted"
    if not record.from_upstream:
        return
    answered = sent[-1].response if sent else None
    if answered is None or answered.status != response.status:
        yield f"a client heard {response.status}, which no upstream had said"
    elif not _is_relayed(response, answered):
        yield f"body {answered.body[:200]!r} was relayed as {response.body[:200]!r}"
    else:
        for name, value in response.headers:
            own = _OWN_OF_RESPONSES.fullmatch(name)
            if not own and (name, value) not in answered.headers:
                yield f"a client heard of {name!r}: {value!r}, of which no upstream had spoken"


def _is_relayed(relayed: Message, original: Message) -> bool:
    """Tell whether a body is the same, or its beginning if that shows."""
    if relayed.is_complete:
        return original.is_complete and relayed.body == original.body
    return original.body.startswith(relayed.body)


def _tunnel_problems(request: Message, response: Message, sent: list[_Forwarded]) -> Iterator[str]:
    asked, answered = sent[-1]
    if not request.rest.startswith(asked.rest):
        yield f"{request.rest[:200]!r} left the tunnel as {asked.rest[:200]!r}"
    if answered is not None and not answered.rest.startswith(response.rest):
        yield f"{answered.rest[:200]!r} left the tunnel as {response.rest[:200]!r}"
