"""What a lane writes, and which configuration an answer shows."""

from __future__ import annotations

from itertools import islice

import pytest

from gateway.lab.staleness.changes import Change, Kind, Lane, Verdict

UNROUTED = (404, b'{"message":"no Route matched with those values"}')


def lane() -> Lane:
    return Lane("run", 7, "http://127.0.0.1:9000")


def answer(change: Change) -> tuple[int, bytes]:
    """Return how a node answers that has applied the change."""
    if change.shown is None:
        return UNROUTED
    return 200, b"/" + change.shown + b"/probe"


def test_a_lane_adds_a_route_changes_its_service_deletes_the_route_and_so_on() -> None:
    changes = list(islice(lane().changes(), 4))
    assert [(c.kind, c.write.method, c.write.path) for c in changes] == [
        (Kind.ADD, "PUT", "/routes/lab-run-7"),
        (Kind.CHANGE, "PUT", "/services/lab-run-7"),
        (Kind.DELETE, "DELETE", "/routes/lab-run-7"),
        (Kind.ADD, "PUT", "/routes/lab-run-7"),
    ]


def test_the_service_leads_to_the_upstream_under_a_path_of_its_generation() -> None:
    made = Lane("run", 7, "https://echo.test/base/")
    write = made.put_service()
    assert write.document == {
        "protocol": "https",
        "host": "echo.test",
        "port": 443,
        "path": "/base/lab-run-7-v000000",
        "tags": ["gateway-lab"],
    }
    changed = list(islice(made.changes(), 2))[1]
    assert changed.write.document["path"] == "/base/lab-run-7-v000001"


def test_an_answer_is_fresh_only_for_the_change_that_made_it_so() -> None:
    changes = list(islice(lane().changes(), 60))
    states = [UNROUTED, *map(answer, changes)]
    for number, change in enumerate(changes):
        before, after = states[number], states[number + 1]
        assert change.judge(*before) is Verdict.STALE
        assert change.judge(*after) is Verdict.FRESH


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_an_error_of_the_gateway_shows_no_configuration(status: int) -> None:
    for change in islice(lane().changes(), 3):
        assert change.judge(status, b"") is Verdict.FAILED


def test_without_its_route_a_lane_may_be_answered_by_somebody_elses() -> None:
    *_, deleted = islice(lane().changes(), 3)
    assert deleted.judge(200, b"a route for everything") is Verdict.FRESH


def test_a_removal_names_all_that_a_lane_creates_routes_first() -> None:
    created = {change.write.path for change in islice(lane().changes(), 3)}
    removal = lane().removal()
    assert [write.method for write in removal] == ["DELETE", "DELETE"]
    assert [write.path for write in removal] == sorted(created)
