"""Processes pinned to one core: started, waited for, weighed, stopped. Linux only."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0


class Pinned:
    """A server bound to one core, with its whole process group."""

    def __init__(
        self,
        name: str,
        core: int,
        command: Sequence[str],
        log_path: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.core = core
        self._log_path = log_path
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                ["taskset", "--cpu-list", str(core), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def wait_for_port(self, port: int) -> None:
        """Return when the server accepts connections; raise RuntimeError if it does not."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                self._check_pinned()
                return
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"{self.name} does not listen on port {port}: {self._last_words()}")

    def wait(self) -> None:
        """Wait for a process that ends by itself; raise RuntimeError if it failed."""
        if self._process.wait(START_TIMEOUT_S):
            raise RuntimeError(f"{self.name} failed: {self._last_words()}")

    def rss_bytes(self) -> int:
        """Return the resident memory of the process and its descendants."""
        page = os.sysconf("SC_PAGE_SIZE")
        return sum(
            int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page
            for pid in _tree(self._process.pid)
        )

    def cpu_s(self) -> float:
        """Return the processor time that the process and its descendants have used so far."""
        ticks = 0
        for pid in _tree(self._process.pid):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])  # utime, stime: proc(5), fields 14 and 15
        return ticks / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """End the process; its group is killed if it takes too long."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _last_words(self) -> str:
        return self._log_path.read_text("utf-8", "replace")[-2000:]

    def _check_pinned(self) -> None:
        strays = [p for p in _tree(self._process.pid) if os.sched_getaffinity(p) != {self.core}]
        if strays:
            raise RuntimeError(f"{self.name}: processes {strays} are not on core {self.core} alone")


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _tree(int(child))


def free_port() -> int:
    """Return a port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
