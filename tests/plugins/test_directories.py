"""Plugins in directories: what is one, what is refused, and that the others are still there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from structlog.testing import capture_logs

from gateway.plugins import registry
from gateway.plugins.contract import Plugin
from gateway.plugins.directories import file_of
from gateway.settings import SettingError, SharedSettings, read_settings

ORDERS = """\
    from gateway.plugins.contract import Plugin


    class {class_name}(Plugin):
        name = "{name}"
        priority = {priority}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "plugins"
    path.mkdir(mode=0o755)
    return path


@pytest.fixture
def _as_before() -> Iterator[None]:
    yield
    registry.configure(SharedSettings())


def plugin(name: str, class_name: str = "Orders", priority: object = 7) -> str:
    return dedent(ORDERS).format(name=name, class_name=class_name, priority=priority)


def write(path: Path, text: str = "", mode: int = 0o644) -> Path:
    path.parent.mkdir(mode=0o755, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def found_in(*directories: Path) -> tuple[dict[str, type[Plugin]], dict[str, str]]:
    """Return the plugins by name, and why others are left out, by the name of what they are in."""
    with capture_logs() as logs:
        plugins = registry.found([], directories)
    where = [Path(log.get("file") or log["directory"]).name for log in logs]
    assert {log["event"] for log in logs} <= {"a plugin is left out"}
    return dict(plugins), dict(zip(where, (log["reason"] for log in logs), strict=True))


def test_a_file_is_enough(directory: Path):
    file = write(directory / "orders.py", plugin("orders"))
    plugins, left_out = found_in(directory)
    assert (plugins["orders"].priority, file_of(plugins["orders"]), left_out) == (7, str(file), {})


def test_a_folder_that_is_a_package_and_what_files_share(directory: Path):
    write(directory / "_ranks.py", "RANK = 41")
    write(directory / "orders" / "__init__.py", "from .inner import Orders")
    shared = "from .._ranks import RANK\n"
    write(directory / "orders" / "inner.py", shared + plugin("orders", priority="RANK"))
    write(directory / "notes" / "read.me", "no package")
    plugins, left_out = found_in(directory)
    assert ({name: p.priority for name, p in plugins.items()}, left_out) == ({"orders": 41}, {})


def test_a_file_may_have_several_and_a_base_of_its_own(directory: Path):
    base = "from gateway.plugins.authentication import Authentication\n" + plugin("", "_Base")
    both = plugin("a", "A").replace("Plugin)", "_Base)") + plugin("b", "B")
    write(directory / "both.py", base + both)
    plugins, left_out = found_in(directory)
    assert (sorted(plugins), left_out) == (["a", "b"], {})


def test_files_of_one_name_in_two_directories_are_two(tmp_path: Path):
    first = write(tmp_path / "first" / "it.py", plugin("one"))
    second = write(tmp_path / "second" / "it.py", plugin("two"))
    plugins, left_out = found_in(tmp_path / "first", tmp_path / "second")
    assert {name: file_of(p) for name, p in plugins.items()} == {
        "one": str(first),
        "two": str(second),
    }
    assert left_out == {}


def test_a_file_hides_no_module_of_others(directory: Path):
    write(directory / "json.py", plugin("orders"))
    write(directory / "uses.py", f"import json\njson.dumps(1)\n{plugin('uses')}")
    assert sorted(found_in(directory)[0]) == ["orders", "uses"]


def test_the_test_of_a_plugin_may_stand_beside_it(directory: Path):
    write(directory / "orders.py", plugin("orders"))
    write(directory / "test_orders.py", "raise AssertionError")
    write(directory / ".hidden.py", "raise AssertionError")
    plugins, left_out = found_in(directory)
    assert (list(plugins), left_out) == (["orders"], {})


def test_what_will_not_do_is_named_and_the_others_are_there(directory: Path):
    write(directory / "a.py", "import no_such_module")
    write(directory / "b.py", "raise SystemExit(3)")
    write(directory / "c.py", "class Orders:\n    name = 'orders'")
    write(directory / "d.py", "def (")
    write(directory / "e.f.py", plugin("e"))
    write(directory / "g.py", plugin("Big Letters"))
    write(directory / "h.py", plugin("orders"))
    write(directory / "i.py", plugin("orders"))
    plugins, left_out = found_in(directory, directory.parent / "gone")
    assert list(plugins) == ["orders"]
    assert left_out.pop("d.py").startswith("SyntaxError(")
    assert left_out.pop("gone").startswith("FileNotFoundError(")
    assert left_out.pop("g.py").startswith("name must be small letters and digits")
    assert left_out == {
        "a.py": "ModuleNotFoundError(\"No module named 'no_such_module'\")",
        "b.py": "SystemExit(3)",
        "c.py": "no class in it is derived from gateway.plugins.contract.Plugin; the name of a "
        "file that others import begins with _",
        "e.f.py": "its name may have no dot but that of .py",
        "i.py": "there is another plugin with the name 'orders'",
    }


def test_a_directory_that_cannot_be_is_named_too():
    with capture_logs() as logs:
        assert registry.found([], [Path("~nobody-of-this-name/plugins"), Path("/dev/null")]) == {}
    assert [log["directory"] for log in logs] == ["~nobody-of-this-name/plugins", "/dev/null"]


@pytest.mark.parametrize("inner", ["orders.py", "orders/inner.py", "orders"])
def test_what_everybody_may_write_to_is_not_imported(directory: Path, inner: str):
    write(directory / "fine.py", plugin("fine"))
    if "/" not in inner and inner.endswith(".py"):
        write(directory / inner, plugin("orders"), mode=0o666)
    else:
        write(directory / "orders" / "__init__.py", plugin("orders"))
        write(directory / "orders" / "inner.py")
        (directory / inner).chmod(0o777)
    plugins, left_out = found_in(directory)
    assert list(plugins) == ["fine"]
    (reason,) = left_out.values()
    assert reason == f"everybody may write to {directory / inner}: chmod o-w {directory / inner}"


@pytest.mark.parametrize("inner", ["", "_shared.py", "__pycache__"])
def test_nor_anything_where_everybody_may_add_to_it(directory: Path, inner: str):
    write(directory / "fine.py", plugin("fine"))
    write(directory / "_shared.py")
    (directory / "__pycache__").mkdir()
    (directory / inner).chmod(0o1777)
    plugins, left_out = found_in(directory)
    assert (plugins, list(left_out)) == ({}, ["plugins"])


def test_nor_where_everybody_may_replace_it(tmp_path: Path):
    (tmp_path / "open").mkdir()
    write(tmp_path / "open" / "plugins" / "fine.py", plugin("fine"))
    (tmp_path / "open").chmod(0o777)
    plugins, left_out = found_in(tmp_path / "open" / "plugins")
    assert plugins == {}
    assert left_out == {"plugins": f"everybody may replace what is in {tmp_path / 'open'}"}


def test_nor_a_link_to_such(directory: Path, tmp_path: Path):
    real = write(tmp_path / "real.py", plugin("orders"), mode=0o666)
    (directory / "orders.py").symlink_to(real)
    assert list(found_in(directory)[1]) == ["orders.py"]


@pytest.mark.usefixtures("_as_before")
def test_installed_ones_come_first(directory: Path):
    write(directory / "mine.py", plugin("mine") + plugin("quota", "Quota"))
    with capture_logs() as logs:
        registry.configure(SharedSettings(plugin_path=f" {directory}, "))
        present = registry.present()
    assert present["mine"].priority == 7
    assert present["quota"].__module__ == "example_plugins"
    (log,) = logs
    assert (log["plugin"], log["reason"]) == (
        "Quota",
        "there is another plugin with the name 'quota'",
    )


@pytest.mark.usefixtures("_as_before")
def test_another_priority_is_that_of_this_node_alone():
    with capture_logs() as logs:
        registry.configure(SharedSettings(plugin_priorities="quota=-5, gate-key = 20,nope=1"))
        present = registry.present()
    ranked, own = present["quota"], present["quota"].__mro__[1]
    assert (ranked.priority, own.priority) == (-5, 910)
    assert (ranked.__module__, ranked.__qualname__) == (own.__module__, own.__qualname__)
    assert ranked.Config is own.Config
    assert present["gate-key"].priority == 20
    assert [(log["log_level"], log["plugins"]) for log in logs] == [("warning", ["nope"])]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("quota", "'quota' is not a name and a whole number like my-plugin=1500"),
        ("quota=high", "'quota=high' is not a name and a whole number like my-plugin=1500"),
        ("=3", "'=3' is not a name and a whole number like my-plugin=1500"),
        ("a=1,a=2", "'a=2' gives a a second priority"),
        ("a=1.5", "'a=1.5' is not a name and a whole number like my-plugin=1500"),
    ],
)
def test_what_are_no_priorities_is_told_with_the_setting(text: str, reason: str):
    with pytest.raises(SettingError) as caught:
        read_settings(SharedSettings, plugin_priorities=text)
    setting = "--plugin-priorities (GATEWAY_PLUGIN_PRIORITIES)"
    assert str(caught.value) == f"{setting}: {reason}"
