"""One supervised child process: started, watched, restarted with back-off, stopped in time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gateway.up.errors import StartError

BACK_OFF_FIRST_S = 0.5
BACK_OFF_MOST_S = 10.0
# A child that has run this long has recovered: its next failure starts the back-off anew.
RAN_WELL_S = 10.0
ANNOUNCEMENT_TIMEOUT_S = 60.0
LAST_WORDS_BYTES = 4096


class Child:
    """A process of the cluster, in a process group of its own so that Ctrl-C reaches only `up`.

    It runs `python -m ARGUMENT…` and writes to a log file; if it `announces`, its standard output
    is one line that `start` waits for. `tell` is called with one sentence per event.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        log_path: Path,
        tell: Callable[[str], None],
        *,
        announces: bool = False,
    ) -> None:
        self.name = name
        self.restarts = 0
        self.restart_in_s: float | None = None
        self._arguments = arguments
        self._environment = environment
        self._log_path = log_path
        self._tell = tell
        self._announces = announces
        self._process: Process | None = None
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while the process runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> str:
        """Start the process and keep it running until `stop`; return its announcement, if any.

        Raises `StartError` if the announcement does not come.
        """
        self._begin_log()
        self._process = await self._spawn()
        announcement = await self._announcement(self._process)
        self._supervisor = asyncio.create_task(
            self._supervise(self._process), name=f"supervise-{self.name}"
        )
        return announcement

    async def stop(self, timeout_s: float) -> None:
        """Ask the process to end, and end its whole process group after `timeout_s`."""
        if self._supervisor:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), timeout_s)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def _announcement(self, process: Process) -> str:
        if process.stdout is None:
            return ""
        line = b""
        with contextlib.suppress(TimeoutError):
            line = await asyncio.wait_for(process.stdout.readline(), ANNOUNCEMENT_TIMEOUT_S)
        if not line:
            raise StartError(f"{self.name} did not start: {self._last_words()}")
        return line.decode().strip()

    async def _supervise(self, process: Process) -> None:
        loop = asyncio.get_running_loop()
        back_off_s = BACK_OFF_FIRST_S
        while True:
            started = loop.time()
            ending = self._ending(await process.wait())
            if loop.time() - started >= RAN_WELL_S:
                back_off_s = BACK_OFF_FIRST_S
            process = await self._start_again(ending, back_off_s) or process
            back_off_s = min(back_off_s * 2, BACK_OFF_MOST_S)

    async def _start_again(self, ending: str, back_off_s: float) -> Process | None:
        self._tell(f"{self.name} {ending}; next start in {back_off_s:g} s")
        self.restart_in_s = back_off_s
        await asyncio.sleep(back_off_s)
        self.restart_in_s = None
        try:
            self._process = await self._spawn()
        except OSError as error:
            self._tell(f"{self.name} cannot be started: {error}")
            return None
        self.restarts += 1
        self._tell(f"{self.name} started again as process {self._process.pid}")
        return self._process

    async def _spawn(self) -> Process:
        with self._log_path.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway.up.child", *self._arguments),
                stdin=PIPE,
                stdout=PIPE if self._announces else log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )

    def _begin_log(self) -> None:
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        self._log_path.write_bytes(b"")

    def _ending(self, exit_code: int) -> str:
        if exit_code < 0:
            return f"was killed by {signal.Signals(-exit_code).name}"
        return f"ended with exit code {exit_code}: {self._last_words()}"

    def _last_words(self) -> str:
        """Return the last line of the log and where it is."""
        with self._log_path.open("rb") as log:
            log.seek(max(0, self._log_path.stat().st_size - LAST_WORDS_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()
        return f"{lines[-1].strip() if lines else 'it said nothing'} (see {self._log_path})"
