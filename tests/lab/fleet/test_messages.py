"""What workers say of their nodes, put together."""

from __future__ import annotations

from gateway.lab.fleet.messages import FleetState, Order, WorkerMessage

from .making import report

FIRST = FleetState(
    synced=2, lowest_version=7, earliest_success_s=5.0, cpu_s=1.0, stall_s=0.1, failures=1
)
SECOND = FleetState(
    synced=3, lowest_version=6, earliest_success_s=9.0, cpu_s=0.5, stall_s=0.3, last_error="gone"
)


def test_a_fleet_is_as_far_as_its_last_node() -> None:
    fleet = FleetState.of_all([FIRST, SECOND])
    assert (fleet.synced, fleet.lowest_version, fleet.earliest_success_s) == (5, 6, 5.0)
    assert (fleet.cpu_s, fleet.stall_s) == (1.5, 0.3)
    assert (fleet.failures, fleet.last_error) == (1, "gone")


def test_as_long_as_one_node_serves_nothing_the_fleet_has_no_version() -> None:
    fleet = FleetState.of_all([FIRST, FleetState()])
    assert (fleet.lowest_version, fleet.earliest_success_s) == (None, None)


def test_messages_are_lines_that_come_back_as_they_were() -> None:
    message = WorkerMessage(state=FIRST, report=[report("a", (1, 2, 3.5))])
    line = message.model_dump_json()
    assert "\n" not in line
    assert WorkerMessage.model_validate_json(line) == message


def test_an_order_is_one_line_too_whatever_its_settings() -> None:
    order = Order(
        settings={"database_url": "postgresql://u:a%0Ab@h/d", "poll_interval_s": 0.5},
        names=["one\ntwo"],
        start_within_s=1.0,
        clock_ahead_s=-0.25,
    )
    assert "\n" not in order.model_dump_json()
    assert Order.model_validate_json(order.model_dump_json()) == order
