"""`gateway config`: files checked offline, compared with a node, written to it, dumped from it."""

from __future__ import annotations

import asyncio
import io
import json
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner, Result

from gateway.cli import config, config_display
from gateway.cli.errors import CommandError
from gateway.settings import NodeSettings
from tests.scenarios.nodes import NodeProcess, http_client

from .test_app import gateway

SERVICE = {"name": "orders", "host": "orders.test"}
VALID = {"_format_version": "3.0", "services": [SERVICE]}
BROKEN = {"_format_version": "3.0", "services": [{"name": "bad", "host": "h", "port": "x"}]}

Run = Callable[..., Awaitable[Result]]


def write(file: Path, document: dict[str, Any]) -> None:
    file.write_text(yaml.dump(document))


def content(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(file.read_text())
    return document


def run_offline(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(config.app, arguments, **options)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "kong.yaml"
    write(path, VALID)
    return path


@pytest.fixture
async def node(settings: NodeSettings) -> AsyncIterator[NodeProcess]:
    """A node that runs, with an Admin API to talk to."""
    async with http_client() as http:
        url = settings.database_url.get_secret_value()
        node = await NodeProcess("node-1", http, database_url=url).start()
        yield node
        assert await node.stop() == 0


@pytest.fixture
def run(node: NodeProcess) -> Run:
    """Runs a command that talks to the node."""

    async def run(*arguments: str, **options: Any) -> Result:
        environment = {"GATEWAY_ADMIN_URL": f"http://{node.addresses['admin']}"}
        return await asyncio.to_thread(run_offline, *arguments, env=environment, **options)

    return run


# -- validate


def test_a_plugin_in_a_directory_may_be_used(tmp_path: Path, file: Path) -> None:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "mine.py").write_text(
        "from gateway.plugins.contract import Plugin\n\n\n"
        "class Mine(Plugin):\n    name = 'mine'\n    priority = 7\n"
    )
    write(file, {"_format_version": "3.0", "plugins": [{"name": "mine"}]})
    assert gateway("config", "validate", str(file)).returncode == 1
    checked = gateway("config", "validate", str(file), GATEWAY_PLUGIN_PATH=str(plugins))
    assert (checked.returncode, checked.stdout) == (0, "valid: 1 plugins\n")


def test_a_valid_file_is_told_with_what_is_in_it(file: Path) -> None:
    ran = run_offline("validate", str(file))
    assert (ran.exit_code, ran.output) == (0, "valid: 1 services\n")
    ran = run_offline("validate", "--json", str(file))
    assert json.loads(ran.output) == {"valid": True, "entities": {"services": 1}}


def test_what_is_wrong_goes_to_standard_error_with_exit_code_1(file: Path) -> None:
    write(file, BROKEN)
    ran = gateway("config", "validate", str(file))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.splitlines() == [
        "not valid:",
        "in 'services':",
        "  - in entry 1 of 'services' (bad):",
        "    in 'port': expected an integer",
    ]
    ran = run_offline("validate", "--json", str(file))
    told = json.loads(ran.stdout)
    assert (ran.exit_code, told["code"]) == (1, 14)
    assert told["flattened_errors"][0]["entity_name"] == "bad"


def test_files_and_directories_are_put_together_and_standard_input_with_them(
    tmp_path: Path,
) -> None:
    (tmp_path / "teams" / "a").mkdir(parents=True)
    (tmp_path / "teams" / "a" / "routes.json").write_text(
        json.dumps({"routes": [{"paths": ["/"], "service": "orders"}]})
    )
    (tmp_path / "teams" / "services.yml").write_text(yaml.dump(VALID))
    (tmp_path / "teams" / "README.md").write_text("not a configuration")
    ran = run_offline("validate", str(tmp_path / "teams"), "-", input="consumers: [{username: b}]")
    assert (ran.exit_code, ran.output) == (0, "valid: 1 services, 1 routes, 1 consumers\n")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a: b: c", "kong.yaml: failed parsing declarative configuration: line 1, column 5"),
        (b"\xff", "kong.yaml is not UTF-8 at byte 1"),
        (b'key: ${{ env "DECK_KEY" }}', 'such as ${{ env "DECK_KEY" }} are not filled in here'),
        (None, "cannot read "),
        (b"- 1", "expected a mapping at the top"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    content: bytes | None, reason: str, file: Path
) -> None:
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    ran = run_offline("validate", str(file))
    assert isinstance(ran.exception, CommandError)
    assert reason in str(ran.exception)


def test_a_directory_without_files_is_told(tmp_path: Path) -> None:
    ran = run_offline("validate", str(tmp_path))
    assert "ends with .yaml, .yml, .json" in str(ran.exception)


def test_references_out_of_the_file_are_fine_where_tags_limit_it(file: Path) -> None:
    write(file, {"_format_version": "3.0", "routes": [{"paths": ["/"], "service": "shared"}]})
    assert run_offline("validate", str(file)).exit_code == 1
    assert run_offline("validate", "--select-tag", "a", str(file)).exit_code == 0


# -- diff and sync


async def test_differences_are_shown_until_they_are_synced(file: Path, run: Run) -> None:
    ran = await run("diff", str(file))
    assert ran.exit_code == config.DIFFERENT
    assert ran.output.splitlines() == [
        "+ services orders",
        '    name: "orders"',
        '    host: "orders.test"',
        "1 to create, 0 to update, 0 to delete, 0 unchanged (version 0)",
    ]
    assert (await run("sync", "--dry-run", str(file))).exit_code == config.DIFFERENT
    ran = await run("sync", str(file))
    assert ran.exit_code == 0
    assert "1 created, 0 updated, 0 deleted, 0 unchanged (version 1)" in ran.output
    ran = await run("diff", str(file))
    assert (ran.exit_code, ran.output) == (
        0,
        "0 to create, 0 to update, 0 to delete, 1 unchanged (version 1)\n",
    )
    write(file, VALID | {"services": [{**SERVICE, "port": 81}]})
    ran = await run("diff", str(file))
    assert "~ services orders\n    port: 80 → 81\n" in ran.output
    ran = await run("diff", "--json", str(file))
    assert ran.exit_code == config.DIFFERENT
    assert json.loads(ran.output)["counts"]["update"] == 1
    write(file, {"_format_version": "3.0"})
    ran = await run("sync", "--wait", str(file))
    assert "- services orders\n" in ran.output
    assert "served by 1/1 nodes" in ran.stderr


async def test_a_file_that_the_server_refuses_is_told_line_by_line(file: Path, run: Run) -> None:
    write(file, BROKEN)
    for command in ("diff", "sync"):
        ran = await run(command, str(file))
        assert ran.exit_code == 1
        assert "    in 'port': expected an integer" in ran.stderr.splitlines()


@pytest.mark.parametrize("command", ["diff", "sync"])
def test_a_server_that_does_not_answer_is_told(command: str, file: Path) -> None:
    ran = gateway("config", command, str(file), "--admin-url", "http://127.0.0.1:1")
    assert ran.returncode == 1
    assert ran.stderr.startswith("gateway: no answer from http://127.0.0.1:1/config: ")
    assert ran.stderr.count("\n") == 1


async def test_whom_the_server_does_not_let_in_is_told_how(
    file: Path, run: Run, node: NodeProcess, settings: NodeSettings
) -> None:
    made = await asyncio.to_thread(
        gateway,
        *("admin", "token", "create", "ci", "--role", "admin"),
        GATEWAY_DATABASE_URL=settings.database_url.get_secret_value(),
    )
    assert made.returncode == 0, made.stderr
    token = next(
        word for line in made.stdout.splitlines() for word in line.split() if len(word) > 30
    )
    ran = await run("diff", str(file), "--token", "wrong")
    assert "401" in str(ran.exception)
    assert "--token (GATEWAY_ADMIN_TOKEN)" in str(ran.exception)
    assert (await run("diff", str(file), "--token", token)).exit_code == config.DIFFERENT


# -- dump


async def test_what_is_dumped_is_the_same_again(file: Path, run: Run, tmp_path: Path) -> None:
    document = {
        **VALID,
        "services": [
            {**SERVICE, "tags": ["a"], "routes": [{"name": "r", "paths": ["/"], "tags": ["a"]}]}
        ],
        "consumers": [{"username": "bob", "keyauth_credentials": [{"key": "k"}]}],
    }
    write(file, document)
    await run("sync", str(file))

    nested = yaml.safe_load((await run("dump")).output)
    (service,) = nested["services"]
    assert [route["name"] for route in service["routes"]] == ["r"]
    assert nested["consumers"][0]["keyauth_credentials"] == [{"key": "k"}]
    assert "id" not in service
    with_id = json.loads((await run("dump", "--with-id", "--format", "json")).output)
    assert "id" in with_id["services"][0]
    flat = yaml.safe_load((await run("dump", "--flat")).output)
    assert flat["_transform"] is False
    assert flat["routes"][0]["service"] == flat["services"][0]["id"]

    out = tmp_path / "dump.yaml"
    assert (await run("dump", str(out))).exit_code == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert content(out) == nested
    assert (await run("diff", str(out))).exit_code == 0
    ran = await run("dump", str(out))
    assert "--force" in str(ran.exception)
    assert (await run("dump", str(out), "--force", "--select-tag", "a")).exit_code == 0
    tagged = content(out)
    assert tagged["_info"] == {"select_tags": ["a"]}
    assert "consumers" not in tagged
    assert (await run("diff", str(out))).exit_code == 0


async def test_what_cannot_be_written_is_told(run: Run, tmp_path: Path) -> None:
    ran = await run("dump", str(tmp_path / "nowhere" / "dump.yaml"))
    assert "cannot write" in str(ran.exception)


# -- as it looks


def test_differences_are_coloured_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(**options: Any) -> str:
        output = io.StringIO()
        monkeypatch.setattr(
            config_display, "Console", lambda **more: Console(file=output, **more, **options)
        )
        config_display.show_differences(
            {
                "differences_total": 3,
                "differences": [
                    {
                        "operation": "delete",
                        "entity": "targets",
                        "id": "7",
                        "of": "[pool]",
                        "fields": {},
                    }
                ],
            }
        )
        return output.getvalue()

    assert shown() == "- targets 7 of [pool]\n… and 2 more\n"
    assert "\x1b[31m- targets 7 of [pool]" in shown(force_terminal=True, color_system="standard")
