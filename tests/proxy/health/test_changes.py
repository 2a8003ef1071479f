"""Changes are told: each to observers, and to the log only as much as it can bear."""

from __future__ import annotations

from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from gateway.proxy.health import changes as module
from gateway.proxy.health.changes import HealthChanges
from gateway.status.health import HealthChange
from tests.proxy.peers import eventually

POOL = uuid4()


def change(*, available: bool, port: int = 80, ip: str = "10.0.0.1") -> HealthChange:
    return HealthChange(POOL, "pool", "a.test", ip, port, available=available, reason="probe: x")


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SILENCE_S", 0.02)


async def test_each_change_is_a_line() -> None:
    changes = HealthChanges()
    with capture_logs() as logs:
        changes.note(change(available=False))
        changes.note(change(available=True, ip="::1"))
    changes.stop()
    told = {"upstream": "pool", "target": "a.test", "reason": "probe: x"}
    assert logs == [
        told | {"event": "target is unhealthy", "address": "10.0.0.1:80", "log_level": "warning"},
        told | {"event": "target is healthy", "address": "[::1]:80", "log_level": "info"},
    ]


@pytest.mark.usefixtures("brief")
async def test_of_an_address_that_goes_to_and_fro_the_log_says_what_it_has_come_to() -> None:
    changes, heard = HealthChanges(), list[HealthChange]()
    changes.on_change(heard.append)
    with capture_logs() as logs:
        for number in range(100):
            changes.note(change(available=bool(number % 2)))
        assert len(logs) == 1
        await eventually(lambda: len(logs) == 2)
    changes.stop()
    assert len(heard) == 100
    assert logs[1]["event"] == "target is healthy"
    assert logs[1]["changes"] == 99


@pytest.mark.usefixtures("brief")
async def test_after_a_silence_there_is_nothing_to_remember() -> None:
    changes = HealthChanges()
    changes.note(change(available=False))
    await eventually(lambda: not changes._lately_said)


async def test_of_very_many_addresses_only_the_number_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_ADDRESSES_LIMIT", 3)
    changes = HealthChanges()
    with capture_logs() as logs:
        for port in range(10):
            changes.note(change(available=False, port=port))
        changes.stop()
        changes.note(change(available=False))
    changes.stop()
    assert [entry.get("unsaid") for entry in logs] == [None, None, None, 7]
