"""One data plane at a control plane: its questions are answered, one at a time, until it goes.

Questions, reports and announcements each have a worker of their own, so that a report is noted
while a long load is on its way, and neither the hub nor another data plane ever waits for this one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

import structlog
from pydantic import BaseModel
from websockets.exceptions import ConnectionClosed

from gateway import __version__
from gateway.hybrid.complaints import Complaints
from gateway.hybrid.hub import DataPlaneHub
from gateway.hybrid.latest import Latest
from gateway.hybrid.protocol import (
    OPEN_TIMEOUT_S,
    PROTOCOL,
    Announced,
    Failed,
    Hello,
    Leave,
    Load,
    Loaded,
    Mark,
    Noted,
    NothingNewer,
    ProtocolError,
    Refused,
    Report,
    Seen,
    SeenAnswer,
    Welcome,
    decode_asked,
    encode,
    incompatibility,
)
from gateway.hybrid.register import DataPlane, Register
from gateway.store.errors import StoreError
from gateway.store.source import VersionMark

SEND_TIMEOUT_S = 30.0
"""How long a data plane may keep a message waiting before it is cut."""

_log = structlog.get_logger(__name__)


class Wire(Protocol):
    """The WebSocket as a session needs it. Its methods raise ConnectionClosed."""

    async def send(self, message: bytes) -> None:
        """Send a message; wait while the other side does not take any."""
        ...

    async def recv(self) -> str | bytes:
        """Return the next message."""
        ...


@dataclass(frozen=True, slots=True)
class ControlPlaneParts:
    """What all sessions of a control plane have in common."""

    id: UUID
    name: str
    hub: DataPlaneHub
    register: Register
    complaints: Complaints
    cert_expires_at: datetime


class Session:
    """Speaks with one data plane."""

    def __init__(self, wire: Wire, ip: str, parts: ControlPlaneParts) -> None:
        self._wire = wire
        self._ip = ip
        self._parts = parts
        self._hub = parts.hub
        self._register = parts.register
        self._versions: Latest[VersionMark] = Latest()
        self._reports: Latest[Report | Leave] = Latest()
        self._questions: Latest[Seen | Load] = Latest()
        self._is_answering = False
        self._is_listed = False

    async def run(self) -> None:
        """Speak until the data plane goes, or does not keep to the protocol."""
        try:
            await self._speak()
        except* ConnectionClosed:
            pass
        except* ProtocolError as errors:
            self._complain("data plane cut: it does not keep to the protocol", _all(errors))
        except* TimeoutError as errors:
            self._complain("data plane cut: it is too slow", _all(errors))

    async def _speak(self) -> None:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            hello = decode_asked(await self._wire.recv())
        if not isinstance(hello, Hello):
            raise ProtocolError(f"{hello.type} came before hello")
        reason = _why_refused(hello)
        data_plane = self._data_plane(hello, is_compatible=reason is None)
        if reason is not None:
            await self._refuse(data_plane, reason)
            return
        await self._send(self._welcome())
        with self._connected(data_plane):
            async with asyncio.TaskGroup() as workers:
                workers.create_task(self._answer_questions(data_plane), name="data-plane-answers")
                workers.create_task(self._note_reports(data_plane), name="data-plane-reports")
                workers.create_task(self._announce_versions(), name="data-plane-announcements")
                await self._listen(data_plane)

    # -- introduction

    def _data_plane(self, hello: Hello, *, is_compatible: bool) -> DataPlane:
        return DataPlane(
            id=hello.node_id,
            name=hello.name,
            ip=self._ip,
            software_version=hello.software_version,
            labels=dict(hello.labels),
            cert_expires_at=self._parts.cert_expires_at,
            applied=hello.applied,
            is_compatible=is_compatible,
        )

    def _welcome(self) -> Welcome:
        return Welcome(
            protocol=PROTOCOL,
            node_id=self._parts.id,
            name=self._parts.name,
            software_version=__version__,
        )

    async def _refuse(self, data_plane: DataPlane, reason: str) -> None:
        self._complain("data plane refused", f"{data_plane.name}: {reason}")
        await self._send(Refused(reason=reason))
        with suppress(StoreError):
            await self._register.write(data_plane)

    @contextmanager
    def _connected(self, data_plane: DataPlane) -> Iterator[None]:
        log = _log.bind(data_plane=data_plane.name, peer=self._ip)
        log.info("data plane connected", release=data_plane.software_version)
        self._hub.announce_to.add(self._versions.put)
        try:
            with self._register.connected(data_plane):
                yield
        finally:
            self._hub.announce_to.discard(self._versions.put)
            log.info("data plane gone")

    # -- listening

    async def _listen(self, data_plane: DataPlane) -> None:
        while True:
            message = decode_asked(await self._wire.recv())
            data_plane.heard_at = time.monotonic()
            match message:
                case Report():
                    data_plane.applied = message.applied
                    data_plane.health = message.health
                    self._reports.put(message)
                case Leave():
                    self._reports.put(message)
                case Seen() | Load() if not self._is_answering:
                    self._is_answering = True
                    self._questions.put(message)
                case _:
                    raise ProtocolError(f"{message.type} came out of turn")

    # -- workers

    async def _answer_questions(self, data_plane: DataPlane) -> None:
        while True:
            question = await self._questions.take()
            try:
                if isinstance(question, Seen):
                    answer: BaseModel = SeenAnswer(mark=Mark.of(await self._hub.seen()))
                else:
                    await self._enter_list(data_plane)
                    answer = await self._transfer(question)
            except StoreError as error:
                answer = Failed(error=str(error))
            self._is_answering = False  # the data plane may ask again once it has the answer
            await self._send(answer)

    async def _enter_list(self, data_plane: DataPlane) -> None:
        """See to it that who waits for the cluster knows of a data plane that is about to serve."""
        if not self._is_listed:
            await self._register.write(data_plane)
            self._is_listed = True

    async def _transfer(self, question: Load) -> Loaded | NothingNewer:
        """Send a load but for its last message, and return that."""
        since = None if question.since is None else question.since.mark()
        async with self._hub.load(since) as transfer:
            if transfer is None:
                return NothingNewer()
            await self._send(transfer.head())
            async for content in transfer.messages:
                await self._send_bytes(content)
            return Loaded()

    async def _note_reports(self, data_plane: DataPlane) -> None:
        """Write what is reported, at first what the introduction said."""
        with suppress(StoreError):
            await self._enter_list(data_plane)
        while True:
            report = await self._reports.take()
            error: str | None = None
            try:
                if isinstance(report, Leave):
                    await self._register.forget(data_plane)
                else:
                    await self._register.write(data_plane)
            except StoreError as problem:
                error = str(problem)
            await self._send(Noted(number=report.number, error=error))

    async def _announce_versions(self) -> None:
        while True:
            mark = await self._versions.take()
            await self._send(Announced(version=mark.version))

    # -- sending

    async def _send(self, message: BaseModel) -> None:
        await self._send_bytes(encode(message))

    async def _send_bytes(self, content: bytes) -> None:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await self._wire.send(content)

    def _complain(self, event: str, reason: str) -> None:
        self._parts.complaints.say(event, self._ip, reason)


def _why_refused(hello: Hello) -> str | None:
    if hello.protocol != PROTOCOL:
        return (
            f"control planes of release {__version__} do not speak the protocol of data planes "
            f"of release {hello.software_version}"
        )
    return incompatibility(__version__, hello.software_version)


def _all(errors: BaseExceptionGroup[Exception]) -> str:
    return "; ".join(str(error) or type(error).__name__ for error in errors.exceptions)
