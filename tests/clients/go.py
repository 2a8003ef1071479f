"""Go tests against Kong's own client; Debian's packages ``golang-go`` and
``golang-github-kong-go-kong-dev`` bring what they need."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from dataclasses import dataclass
from pathlib import Path

import pytest

GO = shutil.which("go")
GO_PATH = Path("/usr/share/gocode")
GO_KONG = GO_PATH / "src/github.com/kong/go-kong/kong"

BUILD_DEADLINE_S = 100
RUN_DEADLINE_S = 100

needs_go_kong = pytest.mark.skipif(
    (GO is None or not GO_KONG.is_dir()) and "CI" not in os.environ,
    reason="golang-go or golang-github-kong-go-kong-dev is not installed",
)


def names_of_tests(directory: Path) -> list[str]:
    """Return the names of the Go tests in a folder, in the order of its files."""
    sources = (path.read_text() for path in sorted(directory.glob("*_test.go")))
    return [name for source in sources for name in re.findall(r"(?m)^func (Test\w+)\(", source)]


@dataclass(frozen=True)
class Outcome:
    """How tests have ended, by name, and everything they said; a panic ends all that come after."""

    verdicts: dict[str, str]
    output: str


@dataclass(frozen=True)
class GoTests:
    """A compiled package of tests."""

    binary: Path

    def names(self) -> list[str]:
        """Return the names of the tests."""
        listing = subprocess.run(
            [self.binary, "-test.list", "."],
            stdout=subprocess.PIPE,
            text=True,
            timeout=10,
            check=True,
        )
        return listing.stdout.split()

    async def run(self, *names: str, admin_url: str, **environment: str) -> Outcome:
        """Run tests in one process, one after another."""
        process = await asyncio.create_subprocess_exec(
            *(self.binary, "-test.v", f"-test.run=^({'|'.join(names)})$"),
            env={"KONG_ADMIN_URL": admin_url, **environment},
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
        )
        try:
            async with asyncio.timeout(RUN_DEADLINE_S):
                said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        output = said.decode(errors="replace")
        verdicts = re.findall(r"(?m)^--- (PASS|FAIL|SKIP): (\w+) ", output)
        return Outcome({name: verdict for verdict, name in verdicts}, output)


def compile_tests(package: Path, into: Path, cache: Path, *options: str) -> GoTests:
    """Compile the tests of a package; fails with what the compiler says."""
    assert GO is not None and GO_KONG.is_dir(), "CI has to install the packages with go-kong"  # noqa: PT018
    binary = into / "tests"
    ours = {
        "GO111MODULE": "off",
        "GOPATH": str(GO_PATH),
        "GOCACHE": str(cache),
        "GOFLAGS": "",
        "CGO_ENABLED": "0",
    }
    compiler = subprocess.run(
        [GO, "test", "-c", *options, "-o", binary, "."],
        cwd=package,
        env=os.environ | ours,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_DEADLINE_S,
        check=False,
    )
    assert compiler.returncode == 0, compiler.stdout
    return GoTests(binary)


def compile_go_kong(into: Path, cache: Path) -> GoTests:
    """Compile go-kong's own tests; they ask $KONG_ADMIN_URL in place of port 8001."""
    source = (GO_KONG / "kong.go").read_text()
    fixed = 'const defaultBaseURL = "http://localhost:8001"'
    assert fixed in source
    replacement = into / "kong.go"
    replacement.write_text(
        source.replace(fixed, 'var defaultBaseURL = os.Getenv("KONG_ADMIN_URL")')
    )
    overlay = into / "overlay.json"
    overlay.write_text(json.dumps({"Replace": {str(GO_KONG / "kong.go"): str(replacement)}}))
    return compile_tests(GO_KONG, into, cache, f"-overlay={overlay}")
