"""Everything that runs during a bench: upstreams, the gateway with its database, and its peers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gateway import Gateway
from benchmarks.load import PLAIN, Load
from benchmarks.measure import Contender
from benchmarks.peers import Peer, installed_peers
from benchmarks.processes import Pinned
from benchmarks.tls import make_identity
from benchmarks.upstream import start_echo, start_upstream


@dataclass(frozen=True, slots=True)
class Stage:
    """The gateway, its node, and the peers, nginx first."""

    gateway: Gateway
    node: Pinned
    peers: Sequence[Peer]

    def gateway_under(self, load: Load, name: str = "gateway") -> Contender:
        """Return the gateway as a contender."""
        return Contender(name, self.node, self.gateway.port, load)

    def pair(self, load: Load = PLAIN) -> list[Contender]:
        """Return the gateway and nginx."""
        nginx = self.peers[0]
        return [self.gateway_under(load), Contender(nginx.name, nginx.server, nginx.port, load)]


@contextmanager
def start_stage(server_core: int, load_core: int) -> Iterator[Stage]:
    """Start everything; it ends with the block."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-bench-")))
        home.chmod(0o755)  # the workers of an nginx that root starts are another user's
        identity = make_identity(home / "tls")
        upstream, upstream_ports = start_upstream(load_core, home / "upstream")
        stack.callback(upstream.stop)
        echo, echo_port = start_echo(load_core, home)
        stack.callback(echo.stop)
        gateway = Gateway(server_core, home / "gateway", identity)
        stack.callback(gateway.stop)
        node = gateway.start(upstream_ports, echo_port)
        peers = []
        for name, start in installed_peers(identity, echo_port).items():
            peer = start(server_core, home / name, upstream_ports[0])
            stack.callback(peer.server.stop)
            peers.append(peer)
        yield Stage(gateway, node, peers)
