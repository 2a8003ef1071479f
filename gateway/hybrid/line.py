"""An open connection of a data plane to a control plane.

One task reads. What is announced and noted goes where it is waited for; answers queue up, so that
reading stops when they are not taken: a control plane never fills the memory of a data plane.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from gateway.hybrid.protocol import (
    Announced,
    Answered,
    Applied,
    Failed,
    Health,
    Leave,
    Load,
    Noted,
    ProtocolError,
    Report,
    Seen,
    Welcome,
    decode_answered,
    encode,
)
from gateway.store.errors import StoreUnavailable

ANSWERS_AHEAD = 4
NOTE_TIMEOUT_S = 10.0
"""Deadline for what is reported to reach the cluster's table."""

AnswerT = TypeVar("AnswerT", bound=Answered)


class AnswerFailed(StoreUnavailable):
    """The control plane cannot answer now; the line is as good as before."""


class Line:
    """Asks and reports; ``peer`` is the control plane as messages name it.

    :param announced: called with each version that is announced.
    """

    def __init__(
        self, wire: ClientConnection, welcome: Welcome, announced: Callable[[int], None]
    ) -> None:
        self.welcome = welcome
        self.peer = f"control plane {welcome.name}"
        self.lost = asyncio.Event()
        self.why_lost = f"the connection to {self.peer} is closed"
        self._wire = wire
        self._announced = announced
        self._answers: asyncio.Queue[Answered | None] = asyncio.Queue(ANSWERS_AHEAD)
        self._noted: dict[int, asyncio.Future[str | None]] = {}
        self._told = 0
        self._reading = asyncio.create_task(self._read(), name="control-plane-line")

    async def close(self) -> None:
        """Say good-bye and end the connection."""
        self._lose(self.why_lost)
        self._reading.cancel()
        await asyncio.wait({self._reading})
        await self._wire.close()

    def drop(self, why: str) -> None:
        """End the connection at once."""
        self._lose(why)
        self._reading.cancel()
        self._wire.transport.abort()

    # -- questions

    async def ask(self, question: Seen | Load, *expected: type[AnswerT]) -> AnswerT:
        """Ask and return the answer. Raises StoreUnavailable, AnswerFailed, ProtocolError."""
        await self._send(question)
        return await self.answer(*expected)

    async def answer(self, *expected: type[AnswerT]) -> AnswerT:
        """Return the next part of an answer. Raises as `ask` does."""
        answer = None if self.lost.is_set() else await self._answers.get()
        match answer:
            case None:
                raise StoreUnavailable(self.why_lost)
            case Failed():
                raise AnswerFailed(f"{self.peer}: {answer.error}")
            case _ if not isinstance(answer, expected):
                raise ProtocolError(f"{self.peer} answers with {type(answer).__name__}")
        return answer

    # -- reports

    async def report(self, applied: Applied | None, health: Health | None) -> None:
        """Return when the cluster knows what is applied. Raises StoreUnavailable."""
        await self._tell(Report(number=self._next_number(), applied=applied, health=health))

    async def leave(self) -> None:
        """Return when the cluster has forgotten this data plane. Raises StoreUnavailable."""
        await self._tell(Leave(number=self._next_number()))

    def _next_number(self) -> int:
        self._told += 1
        return self._told

    async def _tell(self, message: Report | Leave) -> None:
        noted = self._noted[message.number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(NOTE_TIMEOUT_S):
                await self._send(message)
                error = await noted
        except TimeoutError:
            error = f"a {message.type} was not noted within {NOTE_TIMEOUT_S:g} s"
        finally:
            del self._noted[message.number]
        if error is not None:
            raise StoreUnavailable(f"{self.peer}: {error}")

    async def _send(self, message: Seen | Load | Report | Leave) -> None:
        try:
            await self._wire.send(encode(message))
        except ConnectionClosed:
            raise StoreUnavailable(self.why_lost) from None

    # -- reading

    async def _read(self) -> None:
        try:
            while True:
                await self._take(decode_answered(await self._wire.recv()))
        except ConnectionClosed as error:
            self._lose(f"{self.peer} is gone: {error}")
        except ProtocolError as error:
            self._lose(f"{self.peer} does not keep to the protocol: {error}")
        finally:
            self._lose(self.why_lost)

    async def _take(self, message: Answered) -> None:
        match message:
            case Announced():
                self._announced(message.version)
            case Noted():
                noted = self._noted.get(message.number)
                if noted is not None and not noted.done():
                    noted.set_result(message.error)
            case _:
                await self._answers.put(message)

    def _lose(self, why: str) -> None:
        """Let nobody wait for what will not come."""
        if self.lost.is_set():
            return
        self.why_lost = why
        self.lost.set()
        for noted in self._noted.values():
            if not noted.done():
                noted.set_result(why)
        while not self._answers.empty():
            self._answers.get_nowait()
        self._answers.put_nowait(None)
