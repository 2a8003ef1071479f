"""Failed logins are counted by client, for a minute."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from gateway.admin.access.failures import MOST_CLIENTS, PERIOD_S, FailedLogins

CLIENT = "192.0.2.1"


class Clock:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_after_so_many_a_client_waits_until_the_first_is_a_minute_ago(clock: Clock):
    failures = FailedLogins(3, clock)
    for _ in range(3):
        assert failures.blocked_s(CLIENT) == 0
        failures.note(CLIENT)
        clock.now += 10
    assert failures.blocked_s(CLIENT) == PERIOD_S - 30
    assert failures.blocked_s("192.0.2.2") == 0
    clock.now += PERIOD_S - 30
    assert failures.blocked_s(CLIENT) == 0
    failures.note(CLIENT)
    assert failures.blocked_s(CLIENT) == 10  # until the second is a minute ago, too


def test_one_now_and_then_never_blocks(clock: Clock):
    failures = FailedLogins(2, clock)
    for _ in range(100):
        failures.note(CLIENT)
        clock.now += PERIOD_S / 2 + 1
        assert failures.blocked_s(CLIENT) == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
    ],
)
def test_of_an_ipv6_address_the_network_counts(one: str, other: str, *, same: bool):
    failures = FailedLogins(1)
    failures.note(one)
    assert (failures.blocked_s(other) > 0) is same


def test_only_so_many_clients_are_remembered_the_latest_to_fail(clock: Clock):
    failures = FailedLogins(1, clock)
    for number in range(MOST_CLIENTS):
        failures.note(f"client-{number}")
    clock.now += PERIOD_S
    failures.note("client-0")
    failures.note("one-more")
    assert len(failures) == MOST_CLIENTS
    assert failures.blocked_s("client-0") > 0
    assert failures.blocked_s("one-more") > 0


def test_a_burst_is_logged_when_it_begins_and_when_it_is_too_much(clock: Clock):
    failures = FailedLogins(3, clock)
    with capture_logs() as logs:
        for _ in range(3):
            failures.note(CLIENT)
        clock.now += PERIOD_S
        failures.note(CLIENT)
    assert [(line["event"], line["address"]) for line in logs] == [
        ("an admin login failed", CLIENT),
        ("too many admin logins have failed", CLIENT),
        ("an admin login failed", CLIENT),
    ]
