"""What is checked before anything starts: the strategy exists, the data directory is usable and
every port is free.
"""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from gateway.settings import NodeSettings, named
from gateway.sync.registry import StrategyError, create_strategy
from gateway.up.errors import StartError
from gateway.up.plan import Listener


def check_strategy(node: NodeSettings) -> None:
    """Raise `StartError` if a node with these settings would have no sync strategy."""
    try:
        create_strategy(node)
    except StrategyError as error:
        raise StartError(f"{named('strategy')}: {error}") from None


def prepare_data_dir(path: Path) -> None:
    """Create the data directory; raise `StartError` if it cannot be written to."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise StartError(f"{named('data_dir')}: cannot use {path}: {error.strerror}") from None


def check_ports(listeners: list[Listener]) -> None:
    """Raise `StartError` for the first port that something else has."""
    for listener in listeners:
        try:
            _bind(listener.host, listener.port)
        except OSError as error:
            raise StartError(
                f"port {listener.port} on {listener.host} {_why(error)}: the {listener.purpose} "
                f"needs it; free it or choose another {named(listener.setting)}"
            ) from None


def _bind(host: str, port: int) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "is taken"
    return f"cannot be used ({error.strerror or os.strerror(error.errno or 0)})"
