"""Options come from the settings classes: names, precedence, and one line for a bad value."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from gateway.cli.options import require, settings_options
from gateway.settings import NodeSettings, SettingError, UpSettings


@pytest.fixture(autouse=True)
def no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*NodeSettings.model_fields, *UpSettings.model_fields]:
        monkeypatch.delenv(f"GATEWAY_{name.upper()}", raising=False)


def parse(*arguments: str, kind: type[UpSettings | NodeSettings] = UpSettings):
    """Return the settings that a command gets for these arguments."""
    seen = []
    app = typer.Typer()
    app.command()(settings_options(kind)(seen.append))
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return seen[0]


def test_without_options_the_defaults_hold() -> None:
    assert parse() == UpSettings()


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_NODES", "5")
    monkeypatch.setenv("GATEWAY_ADMIN_PORT", "9001")
    settings = parse("--nodes", "2")
    assert (settings.nodes, settings.admin_port) == (2, 9001)


@pytest.mark.parametrize("option", ["--poll-interval", "--poll-interval-s"])
def test_a_unit_of_seconds_may_be_left_out(option: str) -> None:
    assert parse(option, "0.5").poll_interval_s == 0.5


@pytest.mark.parametrize(("arguments", "expected"), [([], True), (["--no-demo"], False)])
def test_a_flag_has_an_opposite(arguments: list[str], expected: bool) -> None:
    assert parse(*arguments).demo is expected


@pytest.mark.parametrize("kind", [UpSettings, NodeSettings])
def test_every_setting_is_an_option_whose_help_tells_the_variable(
    kind: type[UpSettings | NodeSettings],
) -> None:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(settings_options(kind)(lambda settings: None))
    output = CliRunner().invoke(app, ["--help"]).output
    for name in kind.model_fields:
        assert f"GATEWAY_{name.upper()}" in output


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--nodes", "none"], "--nodes (GATEWAY_NODES): input should be a valid integer"),
        (["--poll-interval", "0"], "--poll-interval (GATEWAY_POLL_INTERVAL_S): input should be"),
        (["--compat", "nginx"], "--compat (GATEWAY_COMPAT): input should be 'none' or 'kong'"),
        (["--proxy-port", "70000"], "--proxy-port (GATEWAY_PROXY_PORT): input should be less"),
    ],
)
def test_a_bad_value_names_option_and_variable(arguments: list[str], line: str) -> None:
    with pytest.raises(SettingError) as error:
        parse(*arguments)
    assert str(error.value).startswith(line)
    assert arguments[1] in str(error.value)


def test_a_bad_value_from_the_environment_is_named_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_DEMO", "perhaps")
    with pytest.raises(SettingError, match=r"--demo \(GATEWAY_DEMO\).*'perhaps'"):
        parse()


def test_a_refused_database_url_is_not_repeated() -> None:
    with pytest.raises(SettingError) as error:
        parse("--database-url", "mysql://me:hunter2@host/db", kind=NodeSettings)
    assert "hunter2" not in str(error.value)
    assert "must look like postgresql://" in str(error.value)


def test_ports_of_one_node_must_differ() -> None:
    with pytest.raises(SettingError, match=r"--admin-port \(GATEWAY_ADMIN_PORT\) and --proxy-port"):
        parse("--proxy-port", "8001", kind=NodeSettings)


def test_what_is_required_is_said_with_its_form() -> None:
    with pytest.raises(SettingError, match=r"--database-url \(GATEWAY_DATABASE_URL\) is required"):
        require(NodeSettings(), "database_url")
