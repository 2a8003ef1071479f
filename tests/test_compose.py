"""compose.yaml and deploy/ fit the code: no container engine is needed to find a wrong name."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from gateway.cli.app import app
from gateway.settings import NodeSettings, read_settings

ROOT = Path(__file__).parent.parent
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
NODES = [name for name in SERVICES if name.startswith("node-")]
OURS = [*NODES, "migrate"]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
NGINX = (ROOT / "deploy" / "nginx.conf").read_text()
PROMETHEUS = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text())


def interpolated(text: str) -> str:
    """Return the value as compose makes it when no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def image_environment() -> dict[str, str]:
    """Return the settings that the Dockerfile gives."""
    return dict(re.findall(r"(GATEWAY_\w+)=(\S+)", DOCKERFILE))


def environment(service: str) -> dict[str, str]:
    """Return the variables that the service's process sees."""
    own = SERVICES[service].get("environment", {})
    return image_environment() | {name: interpolated(value) for name, value in own.items()}


def settings(service: str, monkeypatch: pytest.MonkeyPatch) -> NodeSettings:
    for name, value in environment(service).items():
        monkeypatch.setenv(name, value)
    return read_settings(NodeSettings)


def published(service: str) -> list[tuple[str, int, int]]:
    """Return (host address, host port, container port) of each published port."""
    found = []
    for entry in SERVICES[service].get("ports", []):
        *address, outside, inside = entry.split(":")
        found.append((address[0] if address else "", int(outside), int(inside)))
    return found


def test_there_are_three_nodes_and_what_they_need() -> None:
    assert len(NODES) == 3
    assert set(SERVICES) == {"postgres", "migrate", *NODES, "load-balancer", "prometheus"}


@pytest.mark.parametrize("service", OURS)
def test_every_variable_is_a_setting_with_a_valid_value(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {f"GATEWAY_{name.upper()}" for name in NodeSettings.model_fields}
    assert set(environment(service)) <= known
    settings(service, monkeypatch)


@pytest.mark.parametrize("service", OURS)
def test_the_database_url_is_that_of_the_postgres_service(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres = {k: interpolated(v) for k, v in SERVICES["postgres"]["environment"].items()}
    assert settings(service, monkeypatch).database_url.get_secret_value() == (
        f"postgresql://{postgres['POSTGRES_USER']}:{postgres['POSTGRES_PASSWORD']}"
        f"@postgres:5432/{postgres['POSTGRES_DB']}"
    )


@pytest.mark.parametrize("service", OURS)
def test_every_command_exists_and_parses(service: str) -> None:
    assert re.search(r'^ENTRYPOINT \["gateway"\]$', DOCKERFILE, re.MULTILINE)
    command = SERVICES[service]["command"]
    usage = CliRunner().invoke(app, [*command, "--help"], prog_name="gateway").output
    assert usage.startswith(f"Usage: gateway {' '.join(command)} [OPTIONS]\n")


def test_nodes_are_told_apart_by_their_service_name() -> None:
    assert [environment(node)["GATEWAY_NODE_NAME"] for node in NODES] == NODES


@pytest.mark.parametrize("node", NODES)
def test_published_ports_are_listeners_and_only_on_loopback(
    node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = settings(node, monkeypatch)
    assert {(address, inside) for address, _, inside in published(node)} == {
        ("127.0.0.1", own.admin_port),
        ("127.0.0.1", own.status_port),
    }
    assert {own.proxy_host, own.admin_host, own.status_host} == {"0.0.0.0"}


@pytest.mark.parametrize("node", NODES)
def test_a_node_starts_without_a_token_as_its_admin_port_is_published_on_loopback_only(
    node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings(node, monkeypatch).admin_open


@pytest.mark.parametrize("node", NODES)
def test_a_node_keeps_its_disk_copy_when_its_container_goes(
    node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = settings(node, monkeypatch).snapshot_dir
    assert SERVICES[node]["volumes"] == [f"{node}:{directory}"]
    assert node in COMPOSE["volumes"]
    assert f"VOLUME {directory}\n" in DOCKERFILE


def test_no_two_services_publish_the_same_port() -> None:
    outside = [port for service in SERVICES for _, port, _ in published(service)]
    assert len(outside) == len(set(outside))


def test_the_migrations_run_before_the_nodes_and_after_postgres_is_up() -> None:
    assert SERVICES["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    for node in NODES:
        condition = SERVICES[node]["depends_on"]["migrate"]["condition"]
        assert condition == "service_completed_successfully"


def test_a_container_is_given_longer_to_stop_than_its_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grace = int(SERVICES["node-1"]["stop_grace_period"].removesuffix("s"))
    assert grace > settings("node-1", monkeypatch).shutdown_timeout_s


def test_mounted_files_and_volumes_exist() -> None:
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            is_file = source.startswith("./")
            assert (ROOT / source).is_file() if is_file else source in COMPOSE["volumes"]


def test_the_load_balancer_knows_every_node_by_its_proxy_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    servers = re.findall(r"^\s*server ([\w-]+):(\d+)", NGINX, re.MULTILINE)
    assert servers == [(n, str(settings(n, monkeypatch).proxy_port)) for n in NODES]
    (listening,) = re.findall(r"listen (\d+)", NGINX)
    assert [inside for _, _, inside in published("load-balancer")] == [int(listening)]


def test_prometheus_scrapes_every_node_on_its_status_port(monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = PROMETHEUS["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert job["static_configs"][0]["targets"] == [
        f"{node}:{settings(node, monkeypatch).status_port}" for node in NODES
    ]


def test_the_image_is_built_from_paths_that_exist_on_a_python_we_support() -> None:
    assert (ROOT / SERVICES["node-1"]["build"]["dockerfile"]).is_file()
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        assert all((ROOT / source).exists() for source in sources.split())
    assert set(re.findall(r"^FROM python:(3\.\d+)", DOCKERFILE, re.MULTILINE)) == {"3.13"}


def test_the_image_runs_as_a_user_and_watches_its_readiness() -> None:
    assert re.search(r"^USER gateway$", DOCKERFILE, re.MULTILINE)
    assert "/status/ready" in DOCKERFILE
    (exposed,) = re.findall(r"^EXPOSE (.+)$", DOCKERFILE, re.MULTILINE)
    fields = NodeSettings.model_fields
    ports = [fields[name].default for name in ("proxy_port", "admin_port", "status_port")]
    assert exposed.split() == [str(port) for port in ports]


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")
def test_nginx_accepts_the_load_balancers_configuration(tmp_path: Path) -> None:
    config = tmp_path / "nginx.conf"
    config.write_text(re.sub(r"\bnode-\d+:", "127.0.0.1:", NGINX))
    checked = subprocess.run(
        ["nginx", "-t", "-e", "stderr", "-p", tmp_path, "-c", config, "-g", f"pid {tmp_path}/pid;"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
