"""Processes that run `gateway`, forked from one that has imported it already.

To import it takes a node longer than to start, and the suite starts hundreds. What is forked is a
process like any other: with an id, signals, an environment, pipes and an exit code of its own.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Mapping
from functools import cache
from multiprocessing.context import ForkServerContext
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

_LINE_BYTES = 1 << 20
_PRELOADED = ["gateway.cli.app", "gateway.node", "gateway.up.run"]
_PATH = "PYTHONPATH"
_PATH_AT_FIRST = os.environ.get(_PATH)


class Forked:
    """One of them, to be dealt with like an `asyncio.subprocess.Process`; stderr is its stdout."""

    stdout: asyncio.StreamReader

    def __init__(self, arguments: list[str], environment: Mapping[str, str]) -> None:
        self._arguments = arguments
        self._environment = dict(environment)
        self._ended: asyncio.Task[int] | None = None

    async def start(self) -> None:
        """Fork it."""
        read, write = os.pipe()
        self._process = _server().Process(
            target=_run,
            args=(_Passed(write), self._arguments, self._environment, str(Path.cwd())),
            name="gateway",
        )
        try:
            await asyncio.to_thread(self._process.start)  # the first one has the server started
        finally:
            os.close(write)
        self.stdout = asyncio.StreamReader(limit=_LINE_BYTES)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self.stdout), os.fdopen(read, "rb")
        )

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    async def wait(self) -> int:
        if self._ended is None:
            self._ended = asyncio.create_task(self._wait(), name="wait-for-process")
        return await asyncio.shield(self._ended)

    async def _wait(self) -> int:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._process.sentinel, over.set)
        try:
            await over.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        self._process.join()
        assert self.returncode is not None
        return self.returncode


async def start_process(
    arguments: list[str], environment: Mapping[str, str]
) -> asyncio.subprocess.Process | Forked:
    """Run `gateway`: forked, unless it has to import something else than this process would."""
    if environment.get(_PATH) == _PATH_AT_FIRST:
        forked = Forked(arguments, environment)
        await forked.start()
        return forked
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        env=environment,
        limit=_LINE_BYTES,
    )


@cache
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


class _Passed:
    """A file descriptor on its way to another process, where it is a number."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> tuple[Any, tuple[Any]]:
        return _detached, (DupFd(self._descriptor),)


def _detached(duplicate: Any) -> int:
    return int(duplicate.detach())


def _run(output: int, arguments: list[str], environment: dict[str, str], cwd: str) -> None:
    """Be `gateway` with these arguments."""
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["gateway", *arguments]
    from gateway.cli.app import main  # noqa: PLC0415 - imported by the server long since

    sys.exit(main())
