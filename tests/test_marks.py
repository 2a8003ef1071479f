"""What a node makes of commands that mark targets, whatever is in them."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from gateway.commands import Command, Commands
from gateway.marks import HEALTHY, UNHEALTHY, obey
from tests.admin.conftest import SomeHealth

TARGET = uuid4()


class Marked(SomeHealth):
    """Keeps the marks."""

    def mark(self, target_id: UUID, address: str | None, *, healthy: bool) -> int:
        self.last = (target_id, address, healthy)
        return 2


@pytest.mark.parametrize("name", [HEALTHY, UNHEALTHY])
@pytest.mark.parametrize("address", [None, "10.0.0.1:80"])
def test_a_mark_forces_the_state(name: str, address: str | None) -> None:
    health, commands = Marked(), Commands()
    obey(commands, health)
    with capture_logs() as logs:
        commands.carry_out(Command(uuid4(), name, TARGET, {"address": address}, 7))
    assert health.last == (TARGET, address, name == HEALTHY)
    (told,) = logs
    assert (told["event"], told["addresses"], told["version"]) == ("target marked", 2, 7)


@pytest.mark.parametrize(
    ("subject", "arguments"), [(None, {}), (TARGET, {"address": 80}), (TARGET, {"address": ["a"]})]
)
def test_one_that_names_no_target_is_told_and_left(
    subject: UUID | None, arguments: dict[str, Any]
) -> None:
    commands = Commands()
    obey(commands, SomeHealth())
    with capture_logs() as logs:
        commands.carry_out(Command(uuid4(), UNHEALTHY, subject, arguments, 7))
    assert [log["event"] for log in logs] == ["a mark names no target"]
