"""A data plane's way to its control planes: one open line at a time, opened when it is needed.

Control planes are tried in an order of chance, so that they share the data planes, and the next one
when one does not answer. A line on which a question was given up is closed: its answer would be
taken for that of the next one.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from gateway import __version__
from gateway.hybrid.addresses import Address, parse_addresses, parse_labels
from gateway.hybrid.certificates import SERVER_NAME, ClusterPair
from gateway.hybrid.complaints import Complaints
from gateway.hybrid.identity import Identity
from gateway.hybrid.line import ANSWERS_AHEAD, AnswerFailed, Line
from gateway.hybrid.protocol import (
    MOST_BYTES_ANSWERED,
    OPEN_TIMEOUT_S,
    PATH,
    PING_INTERVAL_S,
    PING_TIMEOUT_S,
    PROTOCOL,
    Answered,
    Applied,
    Health,
    Hello,
    ProtocolError,
    Refused,
    Welcome,
    decode_answered,
    encode,
    incompatibility,
)
from gateway.settings import NodeSettings, named
from gateway.store.errors import StoreUnavailable
from gateway.store.nodes import Heartbeat

CLOSE_TIMEOUT_S = 1.0

_log = structlog.get_logger(__name__)


class ControlPlaneLink:
    """What a data plane's source, strategy and heartbeat share.

    As a `Registry` it takes heartbeats. Making it raises PairError, or ValueError naming a setting.
    """

    def __init__(self, settings: NodeSettings) -> None:
        self._identity = Identity.of(settings)
        self.node_id = self._identity.id
        self.announced: Callable[[int], None] = _ignore
        self._settings = settings
        self._pair = ClusterPair.of(settings)
        self._context = self._pair.client_context()
        self._addresses = parse_addresses(settings.control_planes)
        self._labels = parse_labels(settings.data_plane_labels)
        self._complaints = Complaints()
        self._applied: Applied | None = None
        self._line: Line | None = None
        self._opening = asyncio.Lock()
        self._pair.complain_of_expiry()

    # -- lines

    async def line(self) -> Line:
        """Return the open line, or open one. Raises StoreUnavailable."""
        async with self._opening:
            if self._line is not None and self._line.lost.is_set():
                await self.close()
            if self._line is None:
                self._line = await self._open()
            return self._line

    @asynccontextmanager
    async def exchange(self) -> AsyncIterator[Line]:
        """Lend the line for one question; if the block raises, the line is closed.

        Unless the control plane itself said that it has no answer. Raises StoreUnavailable.
        """
        line = await self.line()
        try:
            yield line
        except AnswerFailed:
            raise
        except ProtocolError as error:
            line.drop(str(error))
            raise StoreUnavailable(str(error)) from error
        except BaseException:
            line.drop(f"a question to {line.peer} was given up")
            raise

    async def close(self) -> None:
        """Close the line; the next question opens another."""
        line, self._line = self._line, None
        if line is not None:
            await line.close()

    # -- Registry

    async def join(self, beat: Heartbeat) -> None:
        """Introduce the data plane, so that whoever waits for the cluster knows of it.

        Raises StoreUnavailable.
        """
        self._applied = Applied.of(beat.applied_version, beat.applied_committed_at)
        await (await self.line()).report(self._applied, Health.of(beat.health))

    async def heartbeat(self, beat: Heartbeat) -> None:
        """Report what is applied, and what is unhealthy. Raises StoreUnavailable."""
        self._applied = Applied.of(beat.applied_version, beat.applied_committed_at)
        if self._line is None:
            raise StoreUnavailable("there is no connection to a control plane")
        await self._line.report(self._applied, Health.of(beat.health))

    async def forget(self, node_id: UUID) -> None:
        """Leave the cluster. Raises StoreUnavailable."""
        del node_id  # we have introduced nobody but ourselves
        await (await self.line()).leave()

    # -- opening

    async def _open(self) -> Line:
        """Open a line to the first control plane that takes us."""
        problems = []
        for address in random.sample(self._addresses, len(self._addresses)):
            try:
                line = await self._open_to(address)
            except _Unfit as error:
                self._complaints.say("control plane cannot be used", str(address), str(error))
                problems.append(f"{address}: {error}")
            except _UNREACHABLE as error:
                problems.append(f"{address}: {_why_unreachable(error)}")
            else:
                _log.info("connected to a control plane", control_plane=line.peer)
                return line
        raise StoreUnavailable(f"no control plane answers: {'; '.join(problems)}")

    async def _open_to(self, address: Address) -> Line:
        """Open a line to this control plane. Raises _Unfit, or one of _UNREACHABLE."""
        try:
            wire = await connect(
                f"wss://{address}{PATH}",
                ssl=self._context,
                server_hostname=SERVER_NAME,
                proxy=None,
                compression=None,
                user_agent_header=f"gateway/{__version__}",
                open_timeout=OPEN_TIMEOUT_S,
                ping_interval=PING_INTERVAL_S,
                ping_timeout=PING_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                max_size=MOST_BYTES_ANSWERED,
                max_queue=ANSWERS_AHEAD,
            )
        except ssl.SSLCertVerificationError as error:
            raise _Unfit(_ANOTHER_CERTIFICATE) from error
        except (ssl.SSLError, InvalidStatus) as error:
            raise _Unfit(f"{_NOT_A_CLUSTER_LISTENER} ({error})") from error
        try:
            return await self._introduce(wire)
        except BaseException:
            wire.transport.abort()
            raise

    async def _introduce(self, wire: ClientConnection) -> Line:
        if not self._pair.is_shown_by(wire.transport.get_extra_info("ssl_object")):
            raise _Unfit(_ANOTHER_CERTIFICATE)
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            await wire.send(encode(self._hello()))
            try:
                answer = decode_answered(await wire.recv())
            except ProtocolError as error:
                raise _Unfit(str(error)) from error
        return Line(wire, _accepted(answer), self._announce)

    def _hello(self) -> Hello:
        return Hello(
            protocol=PROTOCOL,
            node_id=self.node_id,
            name=self._settings.node_name,
            software_version=__version__,
            labels=self._labels,
            applied=self._applied,
        )

    def _announce(self, version: int) -> None:
        self.announced(version)


class _Unfit(Exception):  # noqa: N818 - a state of the control plane
    """There is something at the address that we must not, or cannot, talk to."""


_UNREACHABLE = (OSError, TimeoutError, InvalidHandshake, ConnectionClosed)

_ANOTHER_CERTIFICATE = (
    "it shows another certificate than ours: give both the same pair with "
    f"{named('cluster_cert')} and {named('cluster_cert_key')}"
)
_NOT_A_CLUSTER_LISTENER = (
    "this is not the cluster listener of a control plane: "
    f"{named('control_planes')} must name its {named('cluster_port')}"
)


def _accepted(answer: Answered) -> Welcome:
    """Return the welcome of a control plane that gets on with us. Raises _Unfit."""
    if isinstance(answer, Refused):
        raise _Unfit(answer.reason)
    if not isinstance(answer, Welcome) or answer.protocol != PROTOCOL:
        raise _Unfit("it speaks another protocol: run control and data planes of the same release")
    reason = incompatibility(answer.software_version, __version__)
    if reason is not None:
        raise _Unfit(reason)
    return answer


def _why_unreachable(error: Exception) -> str:
    match error:
        case ConnectionRefusedError():
            return "connection refused"
        case TimeoutError():
            return f"no answer within {OPEN_TIMEOUT_S:g} s"
        case InvalidHandshake() | ConnectionClosed() | ConnectionResetError():
            return "it closed the connection; its log says why, if it does not take our certificate"
        case OSError():
            return error.strerror or str(error)
    return str(error)


def _ignore(version: int) -> None:
    del version
