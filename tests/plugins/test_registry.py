"""Plugins are found by their entry points; one that will not do is named and left out."""

from __future__ import annotations

from importlib.metadata import EntryPoint

from structlog.testing import capture_logs

from gateway.plugins import registry
from gateway.plugins.contract import Plugin


class Fine(Plugin):
    name = "fine"
    priority = 1


class Namesake(Plugin):
    name = "fine"
    priority = 2


class Nameless(Plugin):
    priority = 1


def entry_point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, registry.GROUP)


def test_what_packages_have_installed_is_present():
    present = registry.present()
    assert [present[name].priority for name in ("gate-key", "quota")] == [1250, 910]
    assert all(name == plugin.name for name, plugin in present.items())


def test_the_name_is_what_the_plugin_says():
    assert registry.found([entry_point("other", f"{__name__}:Fine")]) == {"fine": Fine}


def test_what_will_not_do_is_named_in_the_log_and_left_out():
    with capture_logs() as logs:
        plugins = registry.found(
            [
                entry_point("gone", "no_such_module:Plugin"),
                entry_point("absent", f"{__name__}:Absent"),
                entry_point("fine", f"{__name__}:Fine"),
                entry_point("nameless", f"{__name__}:Nameless"),
                entry_point("namesake", f"{__name__}:Namesake"),
                entry_point("function", f"{__name__}:entry_point"),
            ]
        )
    assert plugins == {"fine": Fine}
    assert [(log["log_level"], log["event"]) for log in logs] == [
        ("error", "a plugin is left out")
    ] * 5
    assert {log["entry_point"].split()[0]: log["reason"] for log in logs} == {
        "gone": "ModuleNotFoundError(\"No module named 'no_such_module'\")",
        "absent": f"AttributeError(\"module '{__name__}' has no attribute 'Absent'\")",
        "nameless": "name must be small letters and digits with '-' or '_' between, not None",
        "namesake": "there is another plugin with the name 'fine'",
        "function": f"{entry_point!r} is no subclass of gateway.plugins.contract.Plugin",
    }
