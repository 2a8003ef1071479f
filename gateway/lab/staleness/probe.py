"""Follows one change on one node, from outside: a client that asks again and again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from gateway.lab.staleness.changes import Change, Verdict
from gateway.lab.staleness.result import Observation, Seen
from gateway.lab.staleness.wire import Connection, WireError


@dataclass(slots=True)
class Probe:
    """A kept-alive connection to one node's proxy, asking for one path every ``gap_s``.

    ``last_answer`` says what came last, for people.
    """

    node: str
    connection: Connection
    path: str
    gap_s: float
    last_answer: str = field(default="nothing", init=False)

    async def follow(
        self, change: Change, acknowledged: asyncio.Future[float], patience_s: float
    ) -> Observation:
        """Ask until an answer shows the change, at most until ``patience_s`` after its write.

        ``acknowledged`` gets the time at which the write was answered; asking begins before that.
        """
        loop = asyncio.get_running_loop()
        answers: list[tuple[float, float, Verdict]] = []
        while True:
            sent_s = loop.time()
            verdict = await self._ask(change)
            answers.append((sent_s, loop.time(), verdict))
            if verdict is Verdict.FRESH:
                break
            if acknowledged.done() and loop.time() > acknowledged.result() + patience_s:
                break
            await asyncio.sleep(sent_s + self.gap_s - loop.time())
        return self._observation(answers, await acknowledged)

    async def _ask(self, change: Change) -> Verdict:
        try:
            answer = await self.connection.request("GET", self.path)
        except WireError as error:
            self.last_answer = str(error)
            return Verdict.FAILED
        self.last_answer = f"{answer.status} {answer.body[:200].decode(errors='replace')!r}"
        return change.judge(answer.status, answer.body)

    def _observation(
        self, answers: list[tuple[float, float, Verdict]], acknowledged_s: float
    ) -> Observation:
        return Observation(
            self.node,
            tuple(
                Seen((sent - acknowledged_s) * 1000, (received - acknowledged_s) * 1000, verdict)
                for sent, received, verdict in answers
            ),
        )
