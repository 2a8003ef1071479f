"""What is checked before anything starts."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from gateway.settings import NodeSettings
from gateway.up.errors import StartError
from gateway.up.plan import Listener
from gateway.up.preflight import check_ports, check_strategy, prepare_data_dir


def test_an_unknown_strategy_is_named_with_its_setting_and_the_known_ones() -> None:
    with pytest.raises(
        StartError, match=r"--strategy \(GATEWAY_STRATEGY\).*'carrier-pigeon'.*poll"
    ):
        check_strategy(NodeSettings(strategy="carrier-pigeon"))
    check_strategy(NodeSettings(strategy="poll"))


def test_a_taken_port_is_named_with_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listener = Listener("127.0.0.1", port, "Admin API of node-2", "admin_port")
        with pytest.raises(StartError) as error:
            check_ports([listener])
    assert str(error.value) == (
        f"port {port} on 127.0.0.1 is taken: the Admin API of node-2 needs it; "
        "free it or choose another --admin-port (GATEWAY_ADMIN_PORT)"
    )
    check_ports([listener])


def test_an_address_of_another_machine_is_not_called_taken() -> None:
    with pytest.raises(StartError, match="cannot be used"):
        check_ports([Listener("192.0.2.1", 8000, "proxy listener of node-1", "proxy_port")])


def test_a_data_dir_that_is_a_file_is_named_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(StartError, match=r"--data-dir \(GATEWAY_DATA_DIR\): cannot use"):
        prepare_data_dir(tmp_path / "data")


def test_a_data_dir_is_made_with_its_parents(tmp_path: Path) -> None:
    prepare_data_dir(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
