"""Both ends of the wire: a client that sends raw bytes, and an upstream that follows a script.

Whatever reaches either end is read by h11, so nothing that the proxy writes passes unless it is
well-formed.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import h11

DEADLINE_S = 5
"""Nothing here takes long: a test that waits longer has failed."""


@dataclass
class Message:
    """A request or a response as it came."""

    headers: list[tuple[str, str]]
    body: bytes = b""
    interim: list[int] = field(default_factory=list)  # status codes of 1xx responses before it
    trailers: list[tuple[str, str]] = field(default_factory=list)

    def __getitem__(self, name: str) -> str:
        """The value of the only header of this name."""
        (value,) = self.all(name)
        return value

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))

    def all(self, name: str) -> list[str]:
        return [value for found, value in self.headers if found.lower() == name.lower()]


@dataclass
class Request(Message):
    method: str = ""
    target: str = ""


@dataclass
class Response(Message):
    status: int = 0
    reason: str = ""
    version: str = ""


class CutError(Exception):
    """The connection ended within a message; ``partial`` is what came of it."""

    def __init__(self, partial: Message | None) -> None:
        super().__init__("connection ended within a message")
        self.partial = partial


class Peer:
    """One end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.unread = b""  # came, but belongs to the next message

    @property
    def socket(self) -> socket.socket:
        return self.writer.get_extra_info("socket")

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def drained(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await self.writer.drain()

    def half_close(self) -> None:
        self.writer.write_eof()

    async def close(self) -> None:
        """Close in good order, or what is left of it."""
        self.writer.close()
        try:
            async with asyncio.timeout(DEADLINE_S):
                await self.writer.wait_closed()
        except OSError:
            return

    async def reset(self) -> None:
        """Close at once, with RST; nothing if closed before."""
        if self.writer.is_closing():
            return
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        await self.close()

    def strike(self, data: bytes) -> None:
        """Send past the event loop: it is there before this returns. No data: half-close."""
        with socket.socket(fileno=os.dup(self.socket.fileno())) as direct:
            if data:
                direct.send(data)
            else:
                direct.shutdown(socket.SHUT_WR)

    async def rest(self) -> bytes:
        """Whatever comes until the other side closes."""
        async with asyncio.timeout(DEADLINE_S):
            data = self.unread + await self.reader.read()
        self.unread = b""
        return data

    async def closed(self) -> bool:
        """Wait for the other side to close; tell whether it did so without another byte."""
        try:
            return await self.rest() == b""
        except ConnectionError:
            return True

    async def _read(self, connection: h11.Connection, message: Message | None = None) -> Message:
        """Read one whole message with a connection of h11 that expects one."""
        if self.unread:
            connection.receive_data(self.unread)
        async with asyncio.timeout(DEADLINE_S):
            interim: list[int] = []
            while True:
                event = await self._event(connection, message)
                if isinstance(event, h11.InformationalResponse):
                    interim.append(event.status_code)
                elif isinstance(event, h11.Request | h11.Response):
                    message = _begun(event, interim)
                elif isinstance(event, h11.Data):
                    assert message is not None
                    message.body += event.data
                else:
                    assert isinstance(event, h11.EndOfMessage)
                    assert message is not None
                    message.trailers = _decoded(event.headers)
                    self.unread = connection.trailing_data[0]
                    return message

    async def _event(self, connection: h11.Connection, partial: Message | None) -> h11.Event:
        data = None
        try:
            while (event := connection.next_event()) is h11.NEED_DATA:
                data = await self.reader.read(65_536)
                connection.receive_data(data)
        except ConnectionError as error:
            raise CutError(partial) from error
        except h11.RemoteProtocolError as error:
            if data == b"":
                raise CutError(partial) from error
            raise
        if isinstance(event, h11.ConnectionClosed):
            raise CutError(partial)
        return event


def _decoded(headers: h11._headers.Headers | list[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    pairs = headers if isinstance(headers, list) else headers.raw_items()
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs]


def _begun(event: h11.Request | h11.Response, interim: list[int]) -> Message:
    headers = _decoded(event.headers)
    if isinstance(event, h11.Request):
        return Request(
            headers, method=event.method.decode(), target=event.target.decode(), interim=interim
        )
    return Response(
        headers,
        status=event.status_code,
        reason=event.reason.decode("latin-1"),
        version=event.http_version.decode(),
        interim=interim,
    )


@dataclass
class ClientTls:
    """How a client connects with TLS: to whom, trusting everybody, and what it sends first."""

    server_name: str = "a.test"
    before: bytes = b""
    context: ssl.SSLContext = field(default_factory=ssl._create_unverified_context)


class Client(Peer):
    """A client connection."""

    @classmethod
    async def connect(
        cls, port: int, *, receive_buffer: int | None = None, tls: ClientTls | None = None
    ) -> Client:
        connected = socket.socket()
        if receive_buffer is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connected.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connected, ("127.0.0.1", port))
        except OSError:
            connected.close()
            raise
        if tls is None:
            return cls(*await asyncio.open_connection(sock=connected, limit=4096))
        connected.sendall(tls.before)
        return cls(
            *await asyncio.open_connection(
                sock=connected, limit=4096, ssl=tls.context, server_hostname=tls.server_name
            )
        )

    async def response(self, method: str = "GET") -> Response:
        """The next response, to a request of ``method``."""
        connection = h11.Connection(h11.CLIENT)
        headers = [("Host", "a")]
        connection.send(h11.Request(method=method, target="/", headers=headers))
        connection.send(h11.EndOfMessage())
        response = await self._read(connection)
        assert isinstance(response, Response)
        return response

    async def ask(self, request: bytes, method: str = "GET") -> Response:
        self.send(request)
        return await self.response(method)


class UpstreamPeer(Peer):
    """A connection that the proxy opened to the upstream."""

    async def request(self) -> Request:
        """The next request, body and all."""
        request = await self._read(h11.Connection(h11.SERVER))
        assert isinstance(request, Request)
        return request

    async def until(self, end: bytes) -> bytes:
        """What comes up to ``end``, for requests that are not to be read whole.

        A request id may hold any hexadecimal text, so ``end`` had better not be one.
        """
        async with asyncio.timeout(DEADLINE_S):
            while end not in self.unread:
                data = await self.reader.read(65_536)
                assert data, "the proxy closed the connection"
                self.unread += data
        found, end, self.unread = self.unread.partition(end)
        return found + end


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Answer = bytes | Callable[[Request], bytes]


class Upstream:
    """A server on a free port.

    It answers each request with ``answer`` and keeps what it received, unless `accept` has been
    called before the connection comes: then the caller speaks.
    """

    def __init__(self) -> None:
        self.answer: Answer = OK
        self.requests: list[Request] = []
        self.connections: list[UpstreamPeer] = []
        self.requests_by_connection: Counter[int] = Counter()
        self.scripted = False
        self._accepted: asyncio.Queue[UpstreamPeer] = asyncio.Queue()
        self._answering: set[asyncio.Task[None]] = set()

    async def start(
        self,
        *,
        receive_buffer: int | None = None,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        listening = socket.create_server(("127.0.0.1", port))
        if receive_buffer is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._server = await asyncio.start_server(self._serve, sock=listening, limit=4096, ssl=tls)
        self.port: int = listening.getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)
        for peer in self.connections:
            peer.writer.transport.abort()
            await peer.close()

    async def accept(self, deadline_s: float | None = DEADLINE_S) -> UpstreamPeer:
        """The next connection, to be spoken on by the caller; ``scripted`` must be set before."""
        async with asyncio.timeout(deadline_s):
            return await self._accepted.get()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = UpstreamPeer(reader, writer)
        self.connections.append(peer)
        if self.scripted:
            self._accepted.put_nowait(peer)
            return
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        try:
            await self._answer_all(peer, len(self.connections))
        except (CutError, TimeoutError, asyncio.CancelledError):
            return
        finally:
            self._answering.discard(task)
            writer.close()

    async def _answer_all(self, peer: UpstreamPeer, number: int) -> None:
        while True:
            request = await peer.request()
            self.requests.append(request)
            self.requests_by_connection[number] += 1
            peer.send(self.answer(request) if callable(self.answer) else self.answer)


async def eventually(condition: Callable[[], object]) -> None:
    """Wait for what announces itself by no event."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - there is nothing to wait on
            await asyncio.sleep(0.001)


async def unchanging(value: Callable[[], object]) -> None:
    """Wait until a value has stayed the same for a while: what does not happen sends no event."""
    async with asyncio.timeout(DEADLINE_S):
        unchanged = 0
        while unchanged < 20:
            before = value()
            await asyncio.sleep(0.005)
            unchanged = unchanged + 1 if value() == before else 0


class Pouring:
    """Sends the same piece again and again, as fast as the other side takes it."""

    def __init__(self, peer: Peer, piece: bytes, times: int) -> None:
        self._sent = 0
        self._task = asyncio.create_task(self._pour(peer, piece, times))

    async def _pour(self, peer: Peer, piece: bytes, times: int) -> None:
        while self._sent < times:
            peer.send(piece)
            await peer.writer.drain()
            self._sent += 1

    async def stalled(self) -> None:
        """Wait until nothing more is taken, or all has been."""
        await unchanging(lambda: self._sent)

    def done(self) -> bool:
        return self._task.done()

    async def end(self) -> None:
        """Wait until all is sent; raises what sending raises."""
        async with asyncio.timeout(DEADLINE_S):
            await self._task

    def cancel(self) -> None:
        self._task.cancel()


async def drink(peer: Peer, size: int) -> None:
    """Read so many bytes, and drop them."""
    async with asyncio.timeout(DEADLINE_S):
        while size:
            data = await peer.reader.read(min(size, 1 << 18))
            assert data
            size -= len(data)
