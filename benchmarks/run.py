"""`make bench`: one gateway node against nginx, HAProxy and Envoy.

Every server under test runs on one core; the load generator, the upstream and the gateway's
database share the other. Everything listens on loopback and ends with this process.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks.gateway import Gateway
from benchmarks.peers import installed_peers
from benchmarks.report import Report, Scenario, print_scenario, record, write_json
from benchmarks.scenarios import Contender, Effort, measure
from benchmarks.upstream import start_upstream

TOOLS = {"nginx": "nginx", "wrk": "wrk", "taskset": "util-linux"}
ROUTE_COUNT = 10_000
QUICK = Effort(round_s=2, rounds=1)


def main() -> int:
    """Run every scenario; return the exit code."""
    arguments = _arguments()
    if complaint := _missing():
        print(complaint, file=sys.stderr)
        return 1
    effort = QUICK if arguments.quick else Effort(arguments.seconds, arguments.rounds)
    server_core, load_core = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, {load_core})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the stack unwinds
    with ExitStack() as stack:
        gateway, plain, peers = _start_all(stack, server_core, load_core)
        scenarios = []
        for scenario in _scenarios(gateway, plain, peers, load_core, effort):
            print_scenario(scenario)
            scenarios.append(scenario)
    report = Report(effort, scenarios)
    print(f"written: {write_json(report)}")
    if arguments.record:
        record(report)
    return 0


def _scenarios(
    gateway: Gateway,
    plain: Contender,
    peers: Sequence[Contender],
    load_core: int,
    effort: Effort,
) -> Iterator[Scenario]:
    """Measure one scenario after the other; the routes are added once the plain ones are done."""
    nginx = peers[0]

    def scenario(title: str, contenders: Sequence[Contender], path: str = "/") -> Scenario:
        return Scenario(title, measure(contenders, path, load_core, effort))

    yield scenario("One route, 100-byte body", [plain, *reversed(peers)])
    yield scenario("One route, 10 KB body", [plain, nginx], "/10k")
    yield scenario("One route, 1 MB body", [plain, nginx], "/1m")

    gateway.fill(ROUTE_COUNT)
    random = replace(plain, route_count=ROUTE_COUNT)
    yield scenario("10,000 routes at random; nginx has none", [random, nginx])

    quiet = replace(random, name="quiet")
    churn = replace(random, name="churn", disturbance=lambda: gateway.churn(ROUTE_COUNT))
    yield scenario("Gateway, 10,000 routes, one changed every 0.5 s", [churn, quiet])


def _start_all(
    stack: ExitStack, server_core: int, load_core: int
) -> tuple[Gateway, Contender, list[Contender]]:
    """Start the upstream, the gateway and the peers, nginx first; the stack stops them."""
    home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-bench-")))
    home.chmod(0o755)  # the workers of an nginx that root starts are another user's
    upstream, upstream_port = start_upstream(load_core, home / "upstream")
    stack.callback(upstream.stop)
    gateway = Gateway(server_core, home / "gateway")
    stack.callback(gateway.stop)
    plain = Contender("gateway", gateway.start(upstream_port), gateway.port)
    peers = []
    for name, start in installed_peers().items():
        server, port = start(server_core, home / name, upstream_port)
        stack.callback(server.stop)
        peers.append(Contender(name, server, port))
    return gateway, plain, peers


def _missing() -> str:
    """Say what this machine lacks; empty if nothing."""
    packages = [package for tool, package in TOOLS.items() if not shutil.which(tool)]
    if packages:
        return f"missing: {' '.join(packages)}; on Debian: apt install {' '.join(packages)}"
    if len(os.sched_getaffinity(0)) < 2:
        return "two cores are needed: one for the server under test, one for the load"
    return ""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of 2 s, to try it out")
    parser.add_argument("--seconds", type=float, default=5, help="length of a round (default 5)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds per contender (default 3)")
    parser.add_argument("--record", action="store_true", help="rewrite docs/performance.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
