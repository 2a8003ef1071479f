"""Which process gets which ports and settings."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from gateway.settings import NodeSettings, SettingError, UpSettings
from gateway.up.errors import StartError
from gateway.up.plan import environment, listeners, node_settings
from gateway.up.run import curl_lines

DATABASE = SecretStr("postgresql://me:hunter2@localhost/gateway")


@pytest.fixture(autouse=True)
def no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*NodeSettings.model_fields, *UpSettings.model_fields]:
        monkeypatch.delenv(f"GATEWAY_{name.upper()}", raising=False)


def test_node_k_listens_ten_ports_further() -> None:
    nodes = node_settings(UpSettings(nodes=3), DATABASE)
    assert [(n.node_name, n.proxy_port, n.admin_port, n.status_port) for n in nodes] == [
        ("node-1", 8000, 8001, 8100),
        ("node-2", 8010, 8011, 8110),
        ("node-3", 8020, 8021, 8120),
    ]


def test_a_shared_proxy_port_is_everybodys() -> None:
    settings = UpSettings(nodes=3, shared_proxy_port=True)
    nodes = node_settings(settings, DATABASE)
    assert {n.proxy_port for n in nodes} == {8000}
    assert all(n.shared_proxy_port for n in nodes)
    assert len(listeners(settings, nodes)) == 1 + 3 + 3 + 1


def test_a_tls_proxy_port_goes_the_same_way() -> None:
    settings = UpSettings(nodes=2, proxy_tls_port=8443)
    nodes = node_settings(settings, DATABASE)
    assert [node.proxy_tls_port for node in nodes] == [8443, 8453]
    planned = {listener.port: listener.purpose for listener in listeners(settings, nodes)}
    assert planned[8453] == "TLS proxy listener of node-2"
    shared = UpSettings(nodes=3, proxy_tls_port=8443, shared_proxy_port=True)
    nodes = node_settings(shared, DATABASE)
    assert {node.proxy_tls_port for node in nodes} == {8443}
    assert len(listeners(shared, nodes)) == 2 + 3 + 3 + 1


def test_without_a_tls_proxy_port_there_is_no_such_listener() -> None:
    nodes = node_settings(UpSettings(nodes=2), DATABASE)
    assert [node.proxy_tls_port for node in nodes] == [None, None]


def test_each_node_has_a_tls_port_of_its_own_for_the_admin_api() -> None:
    settings = UpSettings(nodes=2, admin_tls_port=8444)
    nodes = node_settings(settings, DATABASE)
    assert [node.admin_tls_port for node in nodes] == [8444, 8454]
    planned = {listener.port: listener.purpose for listener in listeners(settings, nodes)}
    assert planned[8454] == "TLS Admin API of node-2"


def test_there_is_a_line_to_try_for_each_proxy_listener() -> None:
    settings = UpSettings(nodes=2, proxy_tls_port=8443)
    tries = curl_lines(settings, node_settings(settings, DATABASE))
    assert tries[:2] == [
        "curl -i http://127.0.0.1:8010/demo",
        "curl -ik https://127.0.0.1:8453/demo",
    ]


def test_what_up_does_not_decide_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GATEWAY_MAX_CONNECTIONS", "77")
    monkeypatch.setenv("GATEWAY_PROXY_PORT", "7000")
    first, second = node_settings(UpSettings(nodes=2), DATABASE)
    assert first.max_connections == second.max_connections == 77
    assert second.proxy_port == 7010


def test_a_cluster_stops_quickly_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GATEWAY_DRAIN_DELAY_S", "60")
    monkeypatch.setenv("GATEWAY_SHUTDOWN_TIMEOUT_S", "60")
    for node in node_settings(UpSettings(nodes=2), DATABASE):
        assert node.drain_delay_s + node.shutdown_timeout_s <= 1


def test_a_bad_setting_of_a_node_is_found_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GATEWAY_MAX_CONNECTIONS", "many")
    with pytest.raises(SettingError, match="GATEWAY_MAX_CONNECTIONS"):
        node_settings(UpSettings(), DATABASE)


def test_ports_that_meet_are_refused() -> None:
    settings = UpSettings(nodes=2, proxy_port=8000, admin_port=8010)
    with pytest.raises(StartError, match=r"port 8010 .* choose another --proxy-port"):
        listeners(settings, node_settings(settings, DATABASE))


def test_the_environment_of_a_child_says_all_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    node = node_settings(UpSettings(compat="kong", nodes=2), DATABASE)[1]
    child = environment(node, {"PATH": "/bin", "GATEWAY_PROXY_PORT": "1", "GATEWAY_NODES": "9"})
    assert child["PATH"] == "/bin"
    assert "GATEWAY_NODES" not in child
    for name, value in child.items():
        monkeypatch.setenv(name, value)
    assert NodeSettings() == node
