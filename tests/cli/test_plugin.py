"""`gateway plugin new` writes what works as it is; `list` shows what is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gateway.plugins import registry

MINE = """\
from gateway.plugins.contract import Plugin


class Mine(Plugin):
    name = "mine"
    priority = 7
"""


def gateway(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", "plugin", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environment,
    )


def test_a_new_plugin_passes_its_own_test(tmp_path: Path):
    made = gateway("new", "my-word", "--in", str(tmp_path))
    assert made.returncode == 0, made.stderr
    root = tmp_path / "gateway-plugin-my-word"
    assert str(root) in made.stdout
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(root)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    assert tested.returncode == 0, tested.stdout
    assert "2 passed" in tested.stdout


def test_its_entry_point_leads_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gateway("new", "my-word", "--in", str(tmp_path))
    root = tmp_path / "gateway-plugin-my-word"
    project = tomllib.loads((root / "pyproject.toml").read_text())
    info = root / "gateway_plugin_my_word-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: gateway-plugin-my-word\nVersion: 0.1.0\n")
    points = project["project"]["entry-points"][registry.GROUP]
    lines = [f"{name} = {where}" for name, where in points.items()]
    (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\n" + "\n".join(lines))
    shown = gateway("list", PYTHONPATH=str(root), COLUMNS="160")
    assert "my-word" in shown.stdout
    assert "gateway_plugin_my_word.MyWord" in shown.stdout


def test_a_narrow_terminal_shows_names_whole():
    shown = gateway("list", COLUMNS="80").stdout
    assert {"request-size-limiting", "951", "correlation-id", "100001"} <= set(shown.split())


def test_the_list_is_what_a_node_with_these_settings_has(tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    (tmp_path / "broken.py").write_text("import no_such_module")
    path = ("--plugin-path", str(tmp_path))
    shown = gateway("list", *path, COLUMNS="160", GATEWAY_PLUGIN_PRIORITIES="mine=1000000")
    assert shown.returncode == 0
    first = shown.stdout.splitlines()[3]
    assert first.split() == ["mine", "1000000", "1.0.0", str(file)]
    assert "no_such_module" in shown.stderr
    assert "no_such_module" not in shown.stdout


def test_a_setting_that_makes_no_sense_is_named():
    shown = gateway("list", "--plugin-priorities", "mine")
    assert shown.returncode == 2
    assert "--plugin-priorities (GATEWAY_PLUGIN_PRIORITIES): 'mine' is not" in shown.stderr


@pytest.mark.parametrize("name", ["My-Word", "-a", "a_b", "../a", "a" * 0])
def test_a_name_that_cannot_be_is_refused(tmp_path: Path, name: str):
    made = gateway("new", "--in", str(tmp_path), "--", name)
    assert made.returncode == 1
    assert "no name of a plugin" in made.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_already_is_left_alone(tmp_path: Path):
    kept = tmp_path / "gateway-plugin-a" / "mine"
    kept.parent.mkdir()
    kept.write_text("mine")
    made = gateway("new", "a", "--in", str(tmp_path))
    assert made.returncode == 1
    assert "is there already" in made.stderr
    assert kept.read_text() == "mine"
