"""The rule for examples on pages sees what is wrong."""

from __future__ import annotations

import pytest

from .examples import Outcome, check, commands


def tells(page: str, *, head: str = "HTTP/1.1 200 OK\n", output: str = "") -> bool:
    """Tell whether the page of one command is true of what came."""
    try:
        check(commands(page)[0], Outcome(code=0, output=output, heads=head))
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize(
    ("page", "is_true"),
    [
        ("$ curl u", True),
        ("$ curl u   # 200", True),
        ("$ curl u   # 201", False),
        ("$ curl u   # 200: A: …#1", True),
        ("$ curl u   # 200: B: …", False),
        ("$ curl u   # 200: A: …#1 (as on every node)", True),
        ("$ curl u   # 200, no B:", True),
        ("$ curl u   # 200, no A: (any more)", False),
        ("$ curl u   # nothing", False),
        ("$ curl u\none\nthree", True),
        ("$ curl u\nt…o\n\nthree", True),
        ("$ curl u\nthree\none", False),
        ("$ curl u \\\n   -d a   # 201\none", False),
    ],
)
async def test_what_is_checked(page: str, is_true: bool) -> None:
    head = "HTTP/1.1 200 OK\nA: 0b2d#1\n"
    assert tells(page, head=head, output="one\ntwo\nthree\n") == is_true
