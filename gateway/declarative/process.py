"""Runs a job in a process of its own, as a node sees it: started, fed, followed, ended in time."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import IO

from gateway.declarative.job import Job, Outcome, Progress, said_in

LAST_WORDS_BYTES = 4096
SETTINGS_PREFIX = "GATEWAY_"
"""Of variables that the process does not get: it is told what it needs, and there are secrets."""

Follow = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """How a job ended, and the document that it left."""

    outcome: Outcome
    document: bytes
    version: int | None


class ProcessError(Exception):
    """The process gave no answer; the message has its last words."""


async def run(job: Job, body: bytes, follow: Follow) -> Answer:
    """Return the answer to a job; ``follow`` is told of each step.

    When cancelled, the process is killed, and the database undoes what is not committed. Raises
    ProcessError.
    """
    process = _start()
    try:
        answer, last_words = await _talk(process, job.line() + body, follow)
        exit_code = await asyncio.to_thread(process.wait)
    except BaseException:
        process.kill()
        await asyncio.to_thread(process.wait)
        raise
    if answer is None:
        raise ProcessError(f"exit code {exit_code}: {last_words or 'it said nothing'}")
    return answer


def _start() -> subprocess.Popen[bytes]:
    """Start the process, as `subprocess` does it: in 1 ms, however large the node is.

    Event loops do it otherwise: uvloop copies the page tables first.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(SETTINGS_PREFIX)}
    return subprocess.Popen(
        [sys.executable, "-m", "gateway.declarative"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the node, which then ends the process
    )


async def _talk(
    process: subprocess.Popen[bytes], said: bytes, follow: Follow
) -> tuple[Answer | None, str]:
    """Return what the process answers, and the end of what it says besides."""
    assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018 - all are pipes
    async with _reading(process.stdout) as answers, _reading(process.stderr) as words:
        telling = asyncio.to_thread(_tell, process.stdin, said)
        _, answer, last_words = await asyncio.gather(
            telling, _listen(answers, follow), _last_words(words)
        )
    return answer, last_words


def _tell(pipe: IO[bytes], said: bytes) -> None:
    with suppress(BrokenPipeError), pipe:  # it has ended, and its exit code tells
        pipe.write(said)


async def _listen(answers: asyncio.StreamReader, follow: Follow) -> Answer | None:
    while line := await answers.readline():
        try:
            said = said_in(line)
        except (ValueError, TypeError):
            raise ProcessError(f"it said {line[:LAST_WORDS_BYTES]!r}") from None
        if isinstance(said, Progress):
            follow(said)
            continue
        with suppress(asyncio.IncompleteReadError):
            return Answer(said.outcome, await answers.readexactly(said.size), said.version)
    return None


async def _last_words(words: asyncio.StreamReader) -> str:
    last = b""
    while some := await words.read(LAST_WORDS_BYTES):
        last = (last + some)[-LAST_WORDS_BYTES:]
    return last.decode("utf-8", "replace").strip()


@asynccontextmanager
async def _reading(pipe: IO[bytes]) -> AsyncIterator[asyncio.StreamReader]:
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
    try:
        yield reader
    finally:
        transport.close()
