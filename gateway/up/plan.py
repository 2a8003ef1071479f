"""What will run where: pure arithmetic from the settings of `gateway up` to those of each process.

Node k (from 0) listens on each base port + 10·k; with shared proxy ports only the Admin API and the
status listener move.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pydantic import SecretStr

from gateway.settings import NodeSettings, UpSettings, environment_variable, named, read_settings
from gateway.up.errors import StartError

PORT_STEP = 10
LISTENERS = {
    "proxy": "proxy listener",
    "proxy_tls": "TLS proxy listener",
    "admin": "Admin API",
    "admin_tls": "TLS Admin API",
    "status": "status listener",
}
PROXY_LISTENERS = frozenset({"proxy", "proxy_tls"})
# A cluster stops within 5 s, whatever a single node would allow its in-flight requests; there is no
# other node that a balancer could turn to.
NODE_SHUTDOWN_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that the cluster will open: where, what for, and which setting moves it."""

    host: str
    port: int
    purpose: str
    setting: str


def node_settings(settings: UpSettings, database_url: SecretStr) -> list[NodeSettings]:
    """Return the settings of every node.

    What `gateway up` does not decide comes from the environment, as for a single node. Raises
    `SettingError` for what is wrong there.
    """
    shared = {name: getattr(settings, name) for name in _SHARED}
    proxy_step = 0 if settings.shared_proxy_port else PORT_STEP
    tls_port, admin_tls_port = settings.proxy_tls_port, settings.admin_tls_port
    return [
        read_settings(
            NodeSettings,
            **shared,
            node_name=f"node-{k + 1}",
            database_url=database_url,
            proxy_port=settings.proxy_port + proxy_step * k,
            proxy_tls_port=None if tls_port is None else tls_port + proxy_step * k,
            admin_port=settings.admin_port + PORT_STEP * k,
            admin_tls_port=None if admin_tls_port is None else admin_tls_port + PORT_STEP * k,
            status_port=settings.status_port + PORT_STEP * k,
            snapshot_dir=str(settings.data_dir / "snapshots"),
            shutdown_timeout_s=NODE_SHUTDOWN_TIMEOUT_S,
            drain_delay_s=0.0,
        )
        for k in range(settings.nodes)
    ]


_SHARED = frozenset(UpSettings.model_fields) & frozenset(NodeSettings.model_fields) - {
    "database_url",
    "proxy_port",
    "proxy_tls_port",
    "admin_port",
    "admin_tls_port",
    "status_port",
}


def listeners(settings: UpSettings, nodes: list[NodeSettings]) -> list[Listener]:
    """Return every socket the cluster will open; raise `StartError` if two want the same port."""
    planned: dict[int, Listener] = {}
    for listener in _listeners(settings, nodes):
        other = planned.setdefault(listener.port, listener)
        if other is not listener:
            raise StartError(
                f"port {listener.port} is wanted by the {other.purpose} and the "
                f"{listener.purpose}; choose another {named(listener.setting)}"
            )
    return list(planned.values())


def _listeners(settings: UpSettings, nodes: list[NodeSettings]) -> Iterator[Listener]:
    for k, node in enumerate(nodes):
        for name, title in LISTENERS.items():
            is_of_all = settings.shared_proxy_port and name in PROXY_LISTENERS
            if name not in node.listener_names() or (is_of_all and k > 0):
                continue
            host, port = getattr(node, f"{name}_host"), getattr(node, f"{name}_port")
            yield Listener(host, port, f"{title} of {node.node_name}", f"{name}_port")
    if settings.demo:
        yield Listener("127.0.0.1", settings.demo_port, "demo upstream", "demo_port")


def environment(settings: NodeSettings, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment that gives a child process exactly these settings.

    Settings travel this way because arguments, unlike the environment, are visible to other users
    of the machine.
    """
    inherited = {name: value for name, value in base.items() if not name.startswith("GATEWAY_")}
    own = {
        environment_variable(name): _text(value) for name, value in settings if value is not None
    }
    return inherited | own


def _text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value.value if isinstance(value, Enum) else value)
