"""Memory is told in the unit that is asked for."""

from __future__ import annotations

import os

import pytest

from gateway.status.memory import in_unit, memory, resident_bytes


@pytest.mark.parametrize(
    ("unit", "scale", "told"),
    [
        ("m", 2, "1.50 MiB"),
        ("M", 0, "2 MiB"),
        ("k", 1, "1536.0 KiB"),
        ("G", 4, "0.0015 GiB"),
        ("b", 2, 1_572_864),
        ("", 2, 1_572_864),
    ],
)
def test_a_size_has_a_unit(unit: str, scale: int, told: str | int):
    assert in_unit(1_572_864, unit, scale) == told


@pytest.mark.parametrize(
    ("unit", "scale", "text"),
    [
        ("V", 2, "invalid unit 'V' (expected 'k/K', 'm/M', or 'g/G')"),
        ("mb", 2, "invalid unit 'mb' (expected 'k/K', 'm/M', or 'g/G')"),
        ("m", -1, "invalid scale '-1' (expected 0 to 20)"),
        ("m", 21, "invalid scale '21' (expected 0 to 20)"),
    ],
)
def test_what_is_no_unit_or_scale_is_refused(unit: str, scale: int, text: str):
    with pytest.raises(ValueError) as refusal:
        in_unit(1, unit, scale)
    assert str(refusal.value) == text


def test_it_is_that_of_this_process():
    held = memory("b")
    (process,) = held["workers_lua_vms"]
    assert process["pid"] == os.getpid()
    assert held["lua_shared_dicts"] == {}
    block = b"x" * 50_000_000
    assert resident_bytes() > process["http_allocated_gc"] > 1_000_000
    del block
