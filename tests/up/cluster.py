"""A real `gateway up` in a process of its own, without a terminal, for the tests of this room."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from pathlib import Path
from typing import Self

import httpx
import psutil

DEADLINE_S = 30


class Cluster:
    """`gateway up` on free ports; `lines` collects what it has printed so far."""

    def __init__(self, data_dir: Path, *arguments: str, nodes: int) -> None:
        self.proxy, self.admin, self.status, self.demo = _free_bases(nodes)
        self.lines: list[str] = []
        self._arguments = [
            *("--nodes", str(nodes), "--data-dir", str(data_dir)),
            *("--proxy-port", str(self.proxy), "--admin-port", str(self.admin)),
            *("--status-port", str(self.status), "--demo-port", str(self.demo)),
            *arguments,
        ]

    async def __aenter__(self) -> Self:
        self.process = await _gateway("up", *self._arguments)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            await self.stop()

    async def printed(self, text: str) -> str:
        """Return the next line with this text."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE_S):
                while line := (await self.process.stdout.readline()).decode():
                    self.lines.append(line)
                    if text in line:
                        return line
        raise AssertionError(f"{text!r} is not in: {self.lines}")

    async def run(self, *arguments: str) -> str:
        """Run another `gateway` command and return what it prints."""
        async with asyncio.timeout(DEADLINE_S):
            output, _ = await (await _gateway(*arguments)).communicate()
        return output.decode()

    async def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Send the signal and return the exit code; everything below must then be gone."""
        below = self.children()
        self.process.send_signal(signal_number)
        async with asyncio.timeout(DEADLINE_S):
            code = await self.process.wait()
        await asyncio.to_thread(_all_gone, below)
        return code

    def children(self) -> list[psutil.Process]:
        """Return every process below `gateway up`, PostgreSQL's included."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def node_process(self, name: str) -> psutil.Process:
        """Return the process of a node."""
        return next(p for p in self.children() if p.environ().get("GATEWAY_NODE_NAME") == name)

    async def request(self, method: str, port: int, path: str, **options: object) -> httpx.Response:
        """Send a request to a port of the cluster."""
        async with httpx.AsyncClient(timeout=DEADLINE_S, trust_env=False) as client:
            return await client.request(method, f"http://127.0.0.1:{port}{path}", **options)

    async def served(self, port: int, path: str, status: int = 200) -> httpx.Response:
        """Return the response once the proxy port answers the path with this status."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                with contextlib.suppress(httpx.ConnectError):  # it does not listen yet
                    answer = await self.request("GET", port, path)
                    if answer.status_code == status:
                        return answer
                await asyncio.sleep(0.05)


async def _gateway(*arguments: str) -> Process:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        env=environment,
    )


def _all_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=DEADLINE_S)
    assert not alive


def _free_bases(nodes: int) -> list[int]:
    """Return four ports, each with the `nodes` - 1 further ones in steps of ten free as well."""
    found: list[int] = []
    while len(found) < 4:
        base = random.randrange(20_000, 30_000)
        ports = {base + 10 * k for k in range(nodes)}
        taken = {other + 10 * k for other in found for k in range(nodes)}
        if not ports & taken and all(map(_is_free, ports)):
            found.append(base)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
