"""What is hashed of a request: every kind of input, missing ones, and cookies made up."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.balancing import HashInput, HashOn, MadeUpCookie, with_cookie
from gateway.balancing.hash_inputs import MOST_KEPT
from gateway.routing import Captures


@dataclass
class Facts:
    client_address: bytes = b"192.0.2.7"
    client_lines: bytes = b"\r\nHost: a\r\nAccept: */*"
    memory: dict[object, Any] = field(default_factory=dict)
    path: bytes = b"/"
    query: bytes = b""
    captures: Captures | None = None
    identity: bytes | None = None


def value(kind: str, name: str = "", **facts: object) -> bytes | None:
    return HashOn((HashInput(kind, name),)).read(Facts(**facts))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"\r\nX-User: bob", b"bob"),
        (b"\r\nx-user:bob \r\nY: 1", b"bob"),
        (b"\r\nX-USER: bob\r\nY: 1\r\nX-User:\talice", b"bob, alice"),
        (b"\r\nX-User-Id: bob\r\nY: X-User: 1", None),
        (b"\r\nX-User: ", None),
        (b"", None),
    ],
)
def test_a_header(lines: bytes, expected: bytes | None) -> None:
    assert value("header", "X-User", client_lines=lines) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"?user=bob", b"bob"),
        (b"?a=1&user=b%6Fb+x&b", b"bob x"),
        (b"?us%65r=bob", b"bob"),
        (b"?user=bob&user=alice&user", b"alice,bob,true"),
        (b"?user", b"true"),
        (b"?user=", None),
        (b"?User=bob&users=1", None),
        (b"?", None),
        (b"", None),
        (b"?user=%zz%", b"%zz%"),
    ],
)
def test_a_query_argument(query: bytes, expected: bytes | None) -> None:
    assert value("query_arg", "user", query=query) == expected


def test_the_path_is_that_of_the_router() -> None:
    assert value("path", path=b"/a/../b/%63//d") == b"/b/c/d"


def test_the_client_and_who_it_is() -> None:
    assert value("ip") == b"192.0.2.7"
    assert value("consumer", identity=b"some-id") == b"some-id"
    assert value("consumer") is None


@pytest.mark.parametrize(
    ("name", "expected"), [("1", b"x"), ("user", b"x"), ("2", None), ("3", None), ("other", None)]
)
def test_a_capture(name: str, expected: bytes | None) -> None:
    captures = Captures((b"/x", b"x", None), {"user": b"x"})
    assert value("uri_capture", name, captures=captures) == expected
    assert value("uri_capture", name) is None


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"\r\nCookie: session=abc", b"abc"),
        (b"\r\ncookie: a=1; session=abc=d ; b=2", b"abc=d"),
        (b"\r\nCookie: a=1\r\nCookie: session=abc", b"abc"),
    ],
)
def test_a_cookie(lines: bytes, expected: bytes) -> None:
    assert value("cookie", "session", client_lines=lines) == expected


@pytest.mark.parametrize("lines", [b"", b"\r\nCookie: Session=a; xsession=b; session="])
def test_a_cookie_that_is_not_there(lines: bytes) -> None:
    assert value("cookie", "session", client_lines=lines) is None


def test_a_made_up_cookie() -> None:
    hash_on = HashOn((HashInput("header", "X-User"), HashInput("cookie", "session")), "/shop")
    assert hash_on.makes_up_cookies
    first, second = hash_on.make_up_cookie(), hash_on.make_up_cookie()
    assert re.fullmatch(rb"[0-9a-f-]{36}", first.value)
    assert first.value != second.value
    expected = b"\r\nSet-Cookie: session=%b; Path=/shop; Same-Site=Lax; HttpOnly" % first.value
    assert first.line == expected


def test_the_first_that_has_a_value_counts() -> None:
    hash_on = HashOn((HashInput("consumer"), HashInput("header", "X-User")))
    assert hash_on.read(Facts(identity=b"id", client_lines=b"\r\nX-User: bob")) == b"id"
    assert hash_on.read(Facts(client_lines=b"\r\nX-User: bob")) == b"bob"
    assert hash_on.read(Facts()) is None
    assert not hash_on.makes_up_cookies


def test_a_cookie_replaces_one_of_the_same_name_only() -> None:
    lines = b"\r\nA: 1\r\nset-cookie: s=old; Path=/\r\nSet-Cookie: ss=1\r\nB: Set-Cookie: s=1"
    cookie = MadeUpCookie(b"new", b"\r\nSet-Cookie: s=new")
    expected = b"\r\nA: 1\r\nSet-Cookie: ss=1\r\nB: Set-Cookie: s=1" + cookie.line
    assert with_cookie(lines, cookie) == expected


line_bytes = st.binary(max_size=40).map(lambda text: text.replace(b"\r", b"").replace(b"\n", b""))


@given(line_bytes, line_bytes)
def test_garbage_is_hashed_or_not_but_never_raises(first: bytes, second: bytes) -> None:
    lines = b"\r\nCookie: " + first + b"\r\nX-User: " + second
    for kind, name in (("header", "X-User"), ("cookie", "s"), ("query_arg", "s"), ("path", "")):
        read = value(kind, name, client_lines=lines, query=b"?" + first, path=b"/" + second)
        assert read is None or isinstance(read, bytes)


@pytest.mark.parametrize("kind", ["header", "cookie"])
def test_what_the_same_lines_say_is_read_once(kind: str) -> None:
    hash_on = HashOn((HashInput(kind, "cookie" if kind == "header" else "session"),))
    memory: dict[object, Any] = {}
    first = Facts(client_lines=b"\r\nCookie: session=7", memory=memory)
    again = Facts(client_lines=b"(not looked at)", memory=memory)
    assert (
        hash_on.read(first) == hash_on.read(again) == (b"session=7" if kind == "header" else b"7")
    )


def test_no_more_is_kept_than_there_is_room_for() -> None:
    memory: dict[object, Any] = dict.fromkeys(range(MOST_KEPT))
    hash_on = HashOn((HashInput("header", "x-user"),))
    assert hash_on.read(Facts(client_lines=b"\r\nX-User: bob", memory=memory)) == b"bob"
    assert hash_on.read(Facts(client_lines=b"\r\nX-User: eve", memory=memory)) == b"eve"
    assert len(memory) == MOST_KEPT
