"""A child process: started again when it dies, gone when asked to stop or when `up` is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.up.errors import StartError
from gateway.up.process import Child

SLEEPER = "import time\nprint('awake', flush=True)\ntime.sleep(600)\n"
DEAF = f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{SLEEPER}"
BROKEN = "import sys\nsys.exit('no licence to run')\n"

Make = Callable[[str], Child]


@pytest.fixture
def events() -> asyncio.Queue[str]:
    return asyncio.Queue()


@pytest.fixture
async def make(tmp_path: Path, events: asyncio.Queue[str]) -> AsyncIterator[Make]:
    """Returns a function that makes a child of this source text; all are stopped at the end."""
    children = []

    def make_child(source: str) -> Child:
        (tmp_path / "subject.py").write_text(source)
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        child = Child(
            "subject", ["subject"], environment, tmp_path / "log", events.put_nowait, announces=True
        )
        children.append(child)
        return child

    yield make_child
    for child in children:
        await child.stop(timeout_s=0.1)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_its_first_line_is_its_announcement(make: Make) -> None:
    assert await make(SLEEPER).start() == "awake"


async def test_one_that_dies_is_started_again_and_that_is_told(
    make: Make, events: asyncio.Queue[str]
) -> None:
    child = make(SLEEPER)
    await child.start()
    first = child.pid
    os.kill(first, signal.SIGKILL)
    assert "subject was killed by SIGKILL; next start in 0.5 s" in await events.get()
    assert child.restart_in_s == 0.5
    assert await events.get() == f"subject started again as process {child.pid}"
    assert child.pid != first
    assert child.restarts == 1


async def test_one_that_cannot_start_says_why(make: Make) -> None:
    with pytest.raises(StartError, match=r"subject did not start: no licence to run \(see .*log\)"):
        await make(BROKEN).start()


async def test_stop_leaves_no_process_even_if_it_does_not_listen(make: Make) -> None:
    child = make(DEAF)
    await child.start()
    pid = child.pid
    await child.stop(timeout_s=0.1)
    assert not is_alive(pid)
    assert child.pid is None


def test_a_child_ends_when_its_parent_has_gone() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    child = subprocess.Popen(
        [sys.executable, "-m", "gateway.up.child", "gateway.demo", port], stdin=subprocess.PIPE
    )
    child.stdin.close()
    assert child.wait(timeout=10) is not None
