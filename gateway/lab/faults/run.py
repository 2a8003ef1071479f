"""A run: a cluster is written to, probed and hurt, and what happens is recorded."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import httpx

from gateway.lab.cluster import LabError
from gateway.lab.faults import ledger, registers
from gateway.lab.faults.arena import MAX_STALE_S, Arena, Member
from gateway.lab.faults.history import Healed, Recorder, Run, Tables, Values
from gateway.lab.faults.nemesis import Nemesis, victims
from gateway.lab.faults.plan import FaultKind, PlannedFault, plan
from gateway.lab.faults.probes import Prober
from gateway.lab.faults.registers import ROUTES, SERVICES, UPSTREAMS
from gateway.lab.faults.upstream import HOST, ShowingUpstream
from gateway.lab.faults.writers import AdminWriter, Desk, SqlWriter
from gateway.lab.strategies import Strategy
from gateway.lab.tasks import task_group

KEYS = 5
ADMIN_WRITERS = 3
ADMIN_PAUSE_S = 0.12
BARRIER_PAUSE_S = 0.3
PROBE_PAUSE_S = 0.02
MIN_VERSION_PAUSE_S = 0.1
HEAL_BOUND_S = 60.0
SETTLING_PAUSE_S = 0.05
SERVED_BOUND_S = 60.0
LOGS = "logs"


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is like."""

    seed: int
    minutes: float
    nodes: int
    strategies: Sequence[Strategy]
    faults: Sequence[FaultKind]
    heal_bound_s: float = HEAL_BOUND_S

    @property
    def duration_s(self) -> float:
        """How long there are writes and faults."""
        return self.minutes * 60


async def record(options: Options, history: Path, tell: Callable[[PlannedFault], None]) -> None:
    """Make a run and write its history to a file; ``tell`` hears of each fault as it begins.

    The nodes' logs are kept beside the history. Raises LabError or StartError if the cluster, or a
    part of it, does not start.
    """
    async with (
        ShowingUpstream() as upstream,
        Arena.open(options.strategies, options.nodes) as arena,
        httpx.AsyncClient(trust_env=False, verify=False) as http,  # noqa: S501 - plain HTTP only
    ):
        try:
            with Recorder(history) as recorder:
                await _Run(options, arena, upstream, http, recorder).go(tell)
        finally:
            logs = arena.cluster.directory / LOGS
            shutil.copytree(logs, history.parent / LOGS, dirs_exist_ok=True)


class _Run:
    """A run on a cluster that is there."""

    def __init__(
        self,
        options: Options,
        arena: Arena,
        upstream: ShowingUpstream,
        http: httpx.AsyncClient,
        recorder: Recorder,
    ) -> None:
        self._options = options
        self._arena = arena
        self._upstream = upstream
        self._http = http
        self._recorder = recorder
        self._keys = [f"k{number}" for number in range(1, KEYS + 1)]
        self._desk = Desk(recorder, self._keys)

    async def go(self, tell: Callable[[PlannedFault], None]) -> None:
        self._introduce()
        await self._create_entities()
        await self._are_served()
        async with self._probing():
            async with self._writing():
                await self._hurt(tell)
            self._recorder.record(Healed(self._recorder.now()))
            values = await ledger.tables(self._arena.cluster.database_url, self._keys)
            await self._settle(values)
        await self._close_the_books(values)

    # -- the beginning

    def _introduce(self) -> None:
        options = self._options
        self._recorder.record(
            Run(
                began_at=datetime.now(UTC).isoformat(),
                seed=options.seed,
                minutes=options.minutes,
                strategy=",".join(strategy.label for strategy in options.strategies),
                faults=list(options.faults),
                nodes=[member.name for member in self._arena.serving],
                keys=self._keys,
                max_stale_s=MAX_STALE_S,
                heal_bound_s=options.heal_bound_s,
            )
        )

    async def _create_entities(self) -> None:
        await ledger.install(self._arena.cluster.database_url)
        target = {"target": f"{HOST}:{self._upstream.port}"}
        for key in self._keys:
            service = {"host": key, "retries": 0, **registers.fields(SERVICES, key, 0)}
            await self._write("PUT", f"{UPSTREAMS}/{key}", registers.fields(UPSTREAMS, key, 0))
            await self._write("POST", f"{UPSTREAMS}/{key}/targets", target)
            await self._write("PUT", f"{SERVICES}/{key}", service)
            await self._write("PUT", f"{ROUTES}/{key}", registers.fields(ROUTES, key, 0))

    async def _write(self, method: str, path: str, body: Mapping[str, object]) -> None:
        url = f"{self._arena.writing[0].node.url('admin')}/{path}"
        answer = await self._http.request(method, url, json=body, timeout=SERVED_BOUND_S)
        if not answer.is_success:
            raise LabError(f"{method} {url}: {answer.status_code} {answer.text}")

    async def _are_served(self) -> None:
        """Wait until every node serves what the run begins with."""
        try:
            async with asyncio.timeout(SERVED_BOUND_S):
                for member in self._arena.serving:
                    for key in self._keys:
                        while not await self._is_served(member, key):  # noqa: ASYNC110
                            await asyncio.sleep(SETTLING_PAUSE_S)
        except TimeoutError:
            raise LabError(f"not all nodes served the routes within {SERVED_BOUND_S:g} s") from None

    async def _is_served(self, member: Member, key: str) -> bool:
        url = member.node.url("proxy") + registers.request_path(key)
        try:
            return (await self._http.get(url)).is_success
        except httpx.HTTPError:
            return False

    # -- the middle

    async def _hurt(self, tell: Callable[[PlannedFault], None]) -> None:
        """Let the time pass, with faults."""
        options = self._options
        faults = plan(options.seed, options.duration_s, victims(self._arena, options.faults))
        nemesis = Nemesis(self._arena, self._recorder, tell)
        async with task_group() as tasks:
            tasks.create_task(asyncio.sleep(options.duration_s), name="duration")
            tasks.create_task(nemesis.run(faults, options.duration_s), name="nemesis")

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        """Have all writers write inside the block; the last write is answered when it ends."""
        async with task_group() as tasks:
            for number, writer in enumerate(self._writers()):
                tasks.create_task(writer.run(), name=f"writer-{number}")
            try:
                yield
            finally:
                self._desk.ended.set()

    def _writers(self) -> Iterator[AdminWriter | SqlWriter]:
        writers = ADMIN_WRITERS + 2
        *admins, sql = [(self._dice(f"writer {n}"), count(n + 1, writers)) for n in range(writers)]
        urls = {member.name: member.node.url("admin") for member in self._arena.writing}
        for number, (dice, numbers) in enumerate(admins):
            waits = number == ADMIN_WRITERS
            pause_s = BARRIER_PAUSE_S if waits else ADMIN_PAUSE_S
            yield AdminWriter(self._desk, self._http, urls, dice, numbers, pause_s, waits)
        yield SqlWriter(self._desk, self._arena.cluster.database_url, *sql)

    @asynccontextmanager
    async def _probing(self) -> AsyncIterator[None]:
        """Have all nodes probed inside the block."""
        async with task_group() as tasks:
            asking = [
                tasks.create_task(work, name=f"prober-of-{member.name}")
                for member in self._arena.serving
                for work in (self._probe(member), self._probe_patiently(member))
            ]
            yield
            for task in asking:
                task.cancel()

    async def _probe(self, member: Member) -> None:
        dice = self._dice(f"prober of {member.name}")
        await self._prober(member).run(self._keys, dice, PROBE_PAUSE_S)

    async def _probe_patiently(self, member: Member) -> None:
        """Ask for the newest version that anybody has been told of."""
        prober = self._prober(member)
        prober.min_version = lambda: self._desk.newest
        dice = self._dice(f"patient prober of {member.name}")
        await prober.run(self._keys, dice, MIN_VERSION_PAUSE_S)

    def _prober(self, member: Member) -> Prober:
        address = member.node.addresses["proxy"]
        return Prober(member.name, address, lambda: member.incarnation, self._recorder)

    def _dice(self, whose: str) -> random.Random:
        """Return chance of one's own: then what others do does not change it."""
        return random.Random(f"{self._options.seed} {whose}")  # noqa: S311 - no secret

    # -- the end

    async def _settle(self, values: Values) -> None:
        """Ask every node for every key until it shows what is in the database, or time is up."""
        async with task_group() as tasks:
            for member in self._arena.serving:
                tasks.create_task(self._settles(member, values))

    async def _settles(self, member: Member, values: Values) -> None:
        prober = self._prober(member)
        missing = list(self._keys)
        try:
            async with asyncio.timeout(self._options.heal_bound_s):
                while missing:
                    probe = await prober.ask(missing[0])
                    if probe and probe.seen and probe.seen.items() <= values.items():
                        missing.pop(0)
                    else:
                        await asyncio.sleep(SETTLING_PAUSE_S)
        except TimeoutError:
            pass  # the checker will say so
        finally:
            prober.close()

    async def _close_the_books(self, values: Values) -> None:
        async for commit in ledger.commits(self._arena.cluster.database_url):
            self._recorder.record(commit)
        self._recorder.record(Tables(values))
