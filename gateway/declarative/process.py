"""Runs a job in a process of its own, as a node sees it: started, fed, followed, ended in time."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from gateway.declarative.job import Ending, Job, Outcome, Progress, said_in

SLICE_BYTES = 65_536
LAST_WORDS_BYTES = 4096
SETTINGS_PREFIX = "GATEWAY_"
"""Of variables that the process does not get: it is told what it needs, and there are secrets."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a job ended, and the document that it left."""

    outcome: Outcome
    document: bytes
    version: int | None


class ProcessError(Exception):
    """The process gave no answer; the message has its last words."""


async def run(job: Job, body: bytes, follow: Callable[[Progress], None]) -> Answer:
    """Return the answer to a job; ``follow`` is told of each step.

    When cancelled, the process is killed, and the database undoes what is not committed. Raises
    ProcessError.
    """
    process = await _start()
    talk = asyncio.gather(
        _tell(process, job.line(), body), _listen(process, follow), _last_words(process)
    )
    try:
        _, answer, last_words = await talk
        exit_code = await process.wait()
    except BaseException:
        talk.cancel()
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if answer is None:
        raise ProcessError(f"exit code {exit_code}: {last_words or 'it said nothing'}")
    return answer


async def _start() -> Process:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(SETTINGS_PREFIX)}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.declarative"),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the node, which then ends the process
    )


async def _tell(process: Process, line: bytes, body: bytes) -> None:
    assert process.stdin is not None  # noqa: S101 - a pipe was asked for
    with suppress(ConnectionError):  # it has ended, and its exit code tells
        process.stdin.write(line)
        for start in range(0, len(body), SLICE_BYTES):
            process.stdin.write(body[start : start + SLICE_BYTES])
            await process.stdin.drain()
        process.stdin.close()
        await process.stdin.wait_closed()


async def _listen(process: Process, follow: Callable[[Progress], None]) -> Answer | None:
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    while line := await process.stdout.readline():
        try:
            said = said_in(line)
        except (ValueError, TypeError):
            raise ProcessError(f"it said {line[:LAST_WORDS_BYTES]!r}") from None
        if isinstance(said, Ending):
            document = await process.stdout.readexactly(said.size)
            return Answer(said.outcome, document, said.version)
        follow(said)
    return None


async def _last_words(process: Process) -> str:
    """Return the end of what the process says on standard error."""
    assert process.stderr is not None  # noqa: S101 - a pipe was asked for
    words = b""
    while some := await process.stderr.read(LAST_WORDS_BYTES):
        words = (words + some)[-LAST_WORDS_BYTES:]
    return words.decode("utf-8", "replace").strip()
